"""Default DataClasses: made where absent, brought up to date where nobody changed them, else left alone.

Matrix: what is there (nothing, ours, ours of an earlier release, edited, foreign) × what the API server answers.
"""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from mlprivacy.api.names import ANNOTATION_DEFAULT
from mlprivacy.controller.defaults import FIELD_MANAGER, DefaultClasses, Made
from mlprivacy.kube.errors import AlreadyExists, Conflict, Forbidden, NotFound, Unreachable
from mlprivacy.policy.classes import default_classes, spec_digest

CONTACT = next(c for c in default_classes() if c["metadata"]["name"] == "contact")


class Api:
    """The three calls that are made, over a dict."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.stored = {o["metadata"]["name"]: copy.deepcopy(o) for o in objects}
        self.managers: list[str] = []
        self.fails: list[Exception] = []
        self.writes = 0

    def _fail(self) -> None:
        if self.fails:
            raise self.fails.pop(0)

    async def get(self, _resource: Any, name: str) -> dict[str, Any]:
        if name not in self.stored:
            raise NotFound(404, "NotFound", "no such class")
        return copy.deepcopy(self.stored[name])

    async def create(self, _resource: Any, obj: Any, *, field_manager: str) -> None:
        self._fail()
        self._keep(obj, field_manager)

    async def replace(self, _resource: Any, obj: Any, *, field_manager: str) -> None:
        self._fail()
        assert obj["metadata"]["resourceVersion"] == self.stored[obj["metadata"]["name"]]["metadata"]["resourceVersion"]
        self._keep(obj, field_manager)

    def _keep(self, obj: Any, manager: str) -> None:
        self.writes += 1
        self.managers.append(manager)
        stored = copy.deepcopy(dict(obj))
        stored["metadata"] = {**stored["metadata"], "resourceVersion": str(self.writes), "managedFields": []}
        self.stored[obj["metadata"]["name"]] = stored


def stored(**spec: Any) -> dict[str, Any]:
    raw = copy.deepcopy(dict(CONTACT))
    raw["metadata"]["resourceVersion"] = "7"
    raw["spec"] |= spec
    return raw


def of_an_earlier_release() -> dict[str, Any]:
    raw = stored(identifiers="Keep")
    raw["metadata"]["annotations"] = {"team": "privacy", ANNOTATION_DEFAULT: spec_digest(raw)}
    return raw


async def test_an_absent_one_is_made_under_a_manager_of_its_own():
    api = Api()
    assert await DefaultClasses(api).install(CONTACT) is Made.CREATED
    assert api.stored["contact"]["spec"] == CONTACT["spec"]
    assert api.managers == [FIELD_MANAGER]


async def test_ours_is_left_as_it_is():
    api = Api(stored())
    assert await DefaultClasses(api).install(CONTACT) is Made.CURRENT
    assert api.writes == 0


async def test_one_of_an_earlier_release_that_nobody_changed_is_brought_up_to_date():
    api = Api(of_an_earlier_release())
    assert await DefaultClasses(api).install(CONTACT) is Made.UPDATED
    assert api.stored["contact"]["spec"] == CONTACT["spec"]
    assert api.stored["contact"]["metadata"]["annotations"]["team"] == "privacy"
    assert await DefaultClasses(api).install(CONTACT) is Made.CURRENT


@pytest.mark.parametrize("change", [{"identifiers": "Keep"}, {"retention": {"maxDays": 1}}])
async def test_an_officers_edit_stays(change):
    api = Api(stored(**change))
    assert await DefaultClasses(api).install(CONTACT) is Made.THEIRS
    assert api.writes == 0


async def test_a_namesake_that_somebody_made_stays():
    raw = stored()
    del raw["metadata"]["annotations"]
    api = Api(raw)
    assert await DefaultClasses(api).install(CONTACT) is Made.THEIRS


@pytest.mark.parametrize("error", [AlreadyExists, Conflict])
@pytest.mark.parametrize("there", [[], [of_an_earlier_release()]])
async def test_who_was_quicker_wins(error, there):
    api = Api(*there)
    api.fails = [error(409, "Conflict", "quicker")]
    assert await DefaultClasses(api).install(CONTACT) is Made.THEIRS
    assert api.writes == 0


async def test_a_refusal_is_no_loop():
    api = Api()
    api.fails = [Forbidden(403, "Forbidden", "no")]
    assert await DefaultClasses(api).install(CONTACT) is Made.REFUSED


async def test_what_may_pass_is_tried_again_and_the_rest_is_done_meanwhile(monkeypatch):
    monkeypatch.setattr("mlprivacy.controller.defaults.FIRST_PAUSE", 0.01)
    api = Api()
    api.fails = [Unreachable("the webhook does not answer")]
    task = asyncio.create_task(DefaultClasses(api).run())
    for _ in range(200):
        await asyncio.sleep(0.01)
        if len(api.stored) == len(default_classes()):
            break
    assert len(api.stored) == len(default_classes())
    assert not task.done(), "it rests; the controller ends with its tasks"
    task.cancel()
