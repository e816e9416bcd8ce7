"""rdma-spoofing: a virtual function can not pretend to be another: spoofchk on, trust off, link_state not forced."""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.policy.case import Case
from mlprivacy.policy.fabric.asks import NETWORKS_PATH
from mlprivacy.policy.fabric.objects import made_by, spec
from mlprivacy.policy.fabric.use import Network, exclusive, rdma_of, touch
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule, breach, missing


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The plugin's settings, and those of the SriovNetwork from which they are written anew."""
    use = rdma_of(case)
    if use is None or not exclusive(case):
        return
    for network in use.device_networks:
        for plugin in network.chain or ():
            kind = plugin.get("type")
            if kind not in ("sriov", "ib-sriov"):
                continue
            if kind == "sriov" and plugin.get("spoofchk") != "on":
                yield _breach(network, f"has spoofchk {plugin.get('spoofchk') or 'unset'}", 'spoofchk: "on"')
            if kind == "sriov" and plugin.get("trust") not in (None, "off"):
                yield _breach(network, "trusts its virtual function", 'trust: "off"')
            if plugin.get("link_state") not in (None, "auto"):
                yield _breach(network, f"forces link_state {plugin.get('link_state')}", "link_state: auto, or none")
            yield from _source(case, network)


def _source(case: Case, network: Network) -> Iterator[Raised]:
    touch(case, "SriovNetwork")
    known = case.facts.fabric.sriov_networks
    if known is None:
        yield missing(
            NETWORKS_PATH,
            f"the SriovNetworks are not known (yet), so it is not known what {network.asked.ref} is written from",
            "wait until they are read; offline, add the SriovNetwork",
        )
        return
    for source in known:
        body = spec(source)
        if made_by(source) != network.asked:
            continue
        if body.get("spoofChk") == "off" or body.get("trust") == "on":
            yield _breach(network, "comes from a SriovNetwork with spoofChk off or trust on", "both the other way")
        elif body.get("linkState") in ("enable", "disable"):
            yield _breach(network, "comes from a SriovNetwork that forces linkState", "linkState: auto")


def _breach(network: Network, what: str, remedy: str) -> Raised:
    return breach(
        NETWORKS_PATH,
        f"the network {network.asked.ref} {what}, so a pod could take the address of another or hide a lost link",
        f"use a network with {remedy}",
    )


RULE = Rule(
    id="rdma-spoofing",
    family="rdma",
    action=Action.DENY,
    reason="A device that may forge addresses receives what was meant for others.",
    citations=("organisation",),
    remedy="use a network with spoofchk on and trust off",
    check=check,
    yields_to="pod-hardening",
)
