"""A connection that was made before a policy was narrowed (28): it ends with the pod that made it, and soon."""

import time

from mlprivacy.api import names
from node.world import World, condition, eventually

# Connects once and says a word a second over it for as long as it lasts; as PID 1 it does not even heed SIGTERM.
TALK = """
import os, socket, time
try:
    s = socket.create_connection((%r, 8080), 3)
except OSError:
    print("denied", flush=True)
    time.sleep(600)
while True:
    s.sendall(os.environ["HOSTNAME"].encode() + b"\\n")
    time.sleep(0.2)
"""
# Prints what it is told, with the time.
LISTEN = """
import socket, threading, time
def hear(c):
    for line in c.makefile():
        print(time.time(), line.strip(), flush=True)
s = socket.create_server(("0.0.0.0", 8080))
print("listening", flush=True)
while True:
    threading.Thread(target=hear, args=(s.accept()[0],), daemon=True).start()
"""
SLACK = 15  # seconds beside the grace period: for the decision, the Job controller and the kubelet


def test_28_a_connection_made_before_a_policy_was_narrowed_ends_with_its_pod(world: World, street: World) -> None:
    street.apply(street.plain_pod(LISTEN, "house"))
    street.said("house", "listening")
    address = street.ready("house")["status"]["podIP"]
    world.apply(
        world.data_class_object(network={"egress": "Allowlist"}),
        world.policy(parameters={"egress.allow": f"{address}/32:8080"}),
    )
    world.apply(world.training_job(TALK % address))
    pod = world.governed_pod()
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    street.said("house", name)
    first = world.get("networkpolicies", "mlp-study")["spec"]["egress"]
    assert first[0]["to"][0]["ipBlock"]["cidr"] == f"{address}/32"

    narrowed = time.time()
    world.apply(world.policy(parameters={"egress.allow": "192.0.2.255/32:8080"}))
    eventually(lambda: world.get("pods", name) is None, "the pod that had the connection to go")
    took = time.time() - narrowed
    assert took < pod["spec"]["terminationGracePeriodSeconds"] + SLACK
    eventually(lambda: [p for p in world.pods() if p["metadata"]["uid"] != uid], "a pod of the narrower decision")
    latest = [line.split() for line in street.log("house").splitlines() if line.endswith(name)][-1]
    assert float(latest[0]) <= narrowed + took
    # The pod that follows has the narrower rules from its first moment: it never gets through.
    successor = world.governed_pod(not_uid=[uid])["metadata"]["name"]
    world.said(successor, "denied", "trainer")
    assert successor not in street.log("house")
    assert condition(world.job(), "Accepted")["status"] == "True"
    assert world.get("networkpolicies", "mlp-study")["metadata"]["labels"][names.LABEL_RENDERED] == "training"
