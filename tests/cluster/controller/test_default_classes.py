"""The DataClasses that ship, made by the controller under its own account, on a control plane of this module alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controlplane import ControlPlane
from devstack import DevStack
from mlprivacy.policy.classes import default_classes

pytestmark = pytest.mark.cluster


def classes(cluster: ControlPlane) -> dict[str, Any]:
    done = cluster.kubectl("get", "dataclasses.mlprivacy.dev", "-o", "json", "--show-managed-fields")
    return {o["metadata"]["name"]: o for o in json.loads(done.stdout)["items"]}


def test_made_where_absent_and_never_over_an_edit(private_cluster: ControlPlane, tmp_path, make_world):
    eventually = make_world.eventually
    names = {c["metadata"]["name"] for c in default_classes()}

    def all_there() -> dict[str, Any] | None:
        found = classes(private_cluster)
        return found if names <= found.keys() else None

    with DevStack(private_cluster, tmp_path / "operator", extra={"controller": ["--default-classes"]}) as stack:
        found = eventually(all_there, "every class that ships")
        fields = [m for o in found.values() for m in o["metadata"]["managedFields"]]
        managers = {m["manager"] for m in fields if "f:spec" in m["fieldsV1"]}
        assert managers == {"mlprivacy-defaults"}

        edit = {"spec": {"identifiers": "Keep"}}
        private_cluster.kubectl("patch", "dataclasses.mlprivacy.dev", "contact", "--type=merge", "-p", json.dumps(edit))
        private_cluster.kubectl("delete", "dataclasses.mlprivacy.dev", "location")
        untouched = classes(private_cluster)

        stack.end("controller")
        stack.run("controller")
        stack.wait_ready("controller")
        now = eventually(all_there, "the class that was deleted, after a start")
        assert now["contact"]["spec"]["identifiers"] == "Keep"
        same = names - {"location"}
        assert {n: now[n]["metadata"]["generation"] for n in same} == {
            n: untouched[n]["metadata"]["generation"] for n in same
        }
