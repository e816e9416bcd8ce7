"""A test-only NetworkPolicy enforcer on nftables, for a cluster of one node whose processes share a network namespace.

`compiler` turns policies, pods and namespaces into a `model.Ruleset`, `render` turns that into text for `nft`; both are
pure. `loop` keeps the facts by list and watch and loads what changed in one transaction. `lab` is for its tests.

What is enforced: networking.k8s.io/v1 NetworkPolicy, as its API documentation says it, on the addresses that a packet
carries when it is forwarded (pod to pod, pod to outside, outside to pod) or delivered to the node (pod to API server,
kubelet, node ports): after Service translation, before masquerading. Where that documentation leaves it open:

- Established and related connections go on, whatever the policies say by now.
- The node always reaches its pods; so do pods of the host's network, which are the node as far as packets tell.
- A pod always reaches itself, through a Service too.
- A pod is open until its addresses are in its status, and again once it is gone or its phase is Succeeded or Failed.
- An ipBlock matches pod addresses too. A selector never matches pods of the host's network.
- A named port of an egress rule is looked up in the pod that has the destination address; outside pods it has no
  meaning and matches nothing.
- A rule without ports allows every protocol; one with ports allows TCP, UDP and SCTP only. Hence ICMP, ICMPv6 and
  anything else passes an isolated pod only by a rule without ports. What IPv6 needs on the link (neighbour discovery,
  router solicitation) passes always.
- Nobody talks TCP, UDP or SCTP to the node from a link-local IPv6 address: each pod has one that no status mentions.

Denied TCP is answered with a reset, denied UDP and SCTP with ICMP "administratively prohibited", so that a test learns
of it at once and not after a timeout; the rest is dropped. A refused connection hence does not tell "denied" from
"nobody listens": a test needs a positive control. ICMP answers are rate-limited by the kernel: some refusals look like
silence. Source addresses are believed: a pod that may forge them (NET_RAW, NET_ADMIN) is not held.
"""
