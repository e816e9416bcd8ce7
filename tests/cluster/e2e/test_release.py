"""Row 25: an upgrade opens nothing and stops nothing; after an uninstall nothing is left that blocks."""

from typing import Any

from devstack.stack import DATAPLANE_IMAGE, NAMESPACE, RELEASE

NEXT_IMAGE = DATAPLANE_IMAGE.split("@")[0] + "@sha256:" + "9" * 64
STRANGE_IMAGE = DATAPLANE_IMAGE.split("@")[0] + "@sha256:" + "8" * 64


def with_image(pod: dict[str, Any], image: str) -> dict[str, Any]:
    init = [{**c, "image": image} if c["name"].startswith("mlprivacy-") else c for c in pod["spec"]["initContainers"]]
    return {**pod, "spec": {**pod["spec"], "initContainers": init}}


def sidecar_image(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["initContainers"][1]["image"])


def test_an_upgrade_of_the_data_plane_opens_nothing_and_stops_nothing(lab: Any) -> None:
    """The chart first, the controller after it, as Helm rolls them; what runs goes on, what serves is replaced."""
    ns = lab.namespace()
    lab.allowed(lab.mallory.create(ns, lab.training_job("long")))
    lab.allowed(lab.mallory.create(ns, lab.inference_job("served")))
    trainer, server = lab.running_pod(ns, "long"), lab.running_pod(ns, "served")
    probe = lab.governed_pod(ns, trainer)
    operator = lab.person(lab.operator)

    def nothing_is_open() -> None:
        forged = {**probe, "metadata": {**probe["metadata"], "name": "forged"}}
        lab.refused(lab.mallory.create(ns, forged), "guard label-chain")
        lab.refused(operator.create(ns, with_image(probe, STRANGE_IMAGE), dryRun="All"), "guard pod-sidecar")
        lab.refused(lab.mallory.create(ns, lab.training_job("wrong", purpose="marketing")), "webhook kinds")

    def passes(image: str) -> bool:
        return bool(operator.create(ns, with_image(probe, image), dryRun="All").ok)

    nothing_is_open()
    images = f"dataplane.image={NEXT_IMAGE},dataplane.previousImages[0]={DATAPLANE_IMAGE}"
    lab.stack.install("--set", images)
    nothing_is_open()
    lab.eventually(lambda: passes(DATAPLANE_IMAGE), "pods of the running release go on being made")
    assert not passes(NEXT_IMAGE)  # the admission processes know nothing of it yet
    # As the chart's Deployments do: admission first, then the controller, which writes down what it renders with.
    lab.arguments["admission"][:] = ["--dataplane-image", NEXT_IMAGE]
    lab.end("admission")
    lab.restore()
    lab.eventually(lambda: passes(DATAPLANE_IMAGE), "pods of the running release go on being made")
    assert not passes(NEXT_IMAGE)  # the controller has not said that it renders with it
    nothing_is_open()
    lab.arguments["controller"][:] = ["--dataplane-image", NEXT_IMAGE]
    lab.end("controller")
    nothing_is_open()
    lab.restore()
    lab.eventually(lambda: passes(DATAPLANE_IMAGE) and passes(NEXT_IMAGE), "both images pass")
    nothing_is_open()
    lab.allowed(lab.mallory.create(ns, lab.training_job("fresh")))

    assert sidecar_image(lab.running_pod(ns, "fresh")) == NEXT_IMAGE
    lab.eventually(lambda: sidecar_image(lab.running_pod(ns, "served")) == NEXT_IMAGE, "the gateway's next image")
    assert lab.running_pod(ns, "long")["metadata"]["uid"] == trainer["metadata"]["uid"]
    assert sidecar_image(server) == sidecar_image(trainer) == DATAPLANE_IMAGE
    nothing_is_open()


def test_after_an_uninstall_with_a_dead_controller_nothing_blocks(lab: Any) -> None:
    """Leaves nothing installed: the last test of its module."""
    governed, free = lab.namespace(), lab.namespace(None)
    lab.allowed(lab.mallory.create(governed, lab.training_job("left")))
    lab.running_pod(governed, "left")
    lab.kill(*lab.stack.components)
    lab.allowed(lab.mallory.delete(governed, "trainingjobs/left"))
    assert lab.admin.read(governed, "trainingjobs/left")["metadata"]["finalizers"] == ["mlprivacy.dev/teardown"]
    lab.cluster.helm("uninstall", RELEASE, "--namespace", NAMESPACE)

    for place in (governed, free, "default", "kube-system", NAMESPACE):
        lab.eventually(lambda place=place: lab.admin.create(place, lab.pod("after")).ok, f"a pod in {place}")
        lab.allowed(lab.admin.delete(place, "pods/after"))
    done = lab.mlprivacy("strip-finalizers", "--yes")
    assert done.returncode == 0, done.stderr
    lab.eventually(lambda: lab.admin.read(governed, "trainingjobs/left") is None, "the end of the job")
    lab.eventually(lambda: lab.admin.items(governed, "jobs") == [], "the end of what was rendered for it")
    # The kinds are kept and nobody acts on them; mallory's role went with the release.
    lab.allowed(lab.heidi.create(governed, lab.training_job("undecided")))
    lab.allowed(lab.heidi.delete(governed, "trainingjobs/undecided"))
    lab.eventually(lambda: lab.admin.read(governed, "trainingjobs/undecided") is None, "its end")
