"""The ConfigMap mlprivacy-addresses: our addresses, and what pods are rendered with now and a moment ago."""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from mlprivacy.controller.addresses import Addresses, cluster_addresses
from mlprivacy.kube.client import KubeClient
from mlprivacy.kube.errors import Forbidden, NotFound
from mlprivacy.kube.resources import Resource
from mlprivacy.workloads.context import RenderSettings
from mlprivacy.workloads.installation import OVERLAP, noted, settings_in

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FIRST = RenderSettings("mlprivacy-system", "registry.example/dataplane@sha256:1", "10.0.0.7:15019:15019", "a2V5")
SECOND = dataclasses.replace(FIRST, canary="10.0.0.8:15019:15019")
THIRD = dataclasses.replace(FIRST, dataplane_image="registry.example/dataplane@sha256:2")


def service(*addresses: str) -> dict[str, Any]:
    return {"spec": {"clusterIP": addresses[0], "clusterIPs": list(addresses)}}


class FakeClient:
    """Our namespace with two Services, and the API server's own."""

    def __init__(self) -> None:
        self.services = [service("10.0.0.7", "fd00::7"), service("None")]
        self.stored: dict[str, str] | None = None
        self.writes = 0
        self.refuses = False

    async def list(self, resource: Resource, namespace: str) -> list[dict[str, Any]]:
        return list(self.services)

    async def get(self, resource: Resource, name: str, namespace: str) -> dict[str, Any]:
        if resource.plural == "services":
            return service("10.0.0.1")
        if self.stored is None:
            raise NotFound(404, "NotFound", "not found")
        return {"data": self.stored}

    async def apply(self, resource: Resource, obj: Mapping[str, Any]) -> None:
        if self.refuses:
            raise Forbidden(403, "Forbidden", "no")
        self.writes += 1
        self.stored = dict(obj["data"])


def keeper(client: FakeClient, settings: RenderSettings = FIRST) -> Addresses:
    return Addresses(cast(KubeClient, client), "mlprivacy-system", settings, clock=lambda: NOW)


async def test_it_says_our_addresses_and_what_pods_are_rendered_with() -> None:
    client = FakeClient()
    assert await keeper(client).keep()
    assert client.stored is not None
    assert client.stored["addresses"] == "10.0.0.1,10.0.0.7,fd00::7"
    assert settings_in(client.stored, NOW) == (FIRST,)


async def test_it_is_written_when_something_changed_and_not_else() -> None:
    client = FakeClient()
    for _ in range(3):
        await keeper(client).keep()
    assert client.writes == 1

    client.services[0] = service("10.0.0.9")
    await keeper(client).keep()
    assert client.stored is not None
    assert client.stored["addresses"] == "10.0.0.1,10.0.0.9"

    client.stored["addresses"] = "192.0.2.1"  # somebody's doing
    await keeper(client).keep()
    assert client.stored["addresses"] == "10.0.0.1,10.0.0.9"


async def test_a_refusal_is_no_end(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeClient()
    client.refuses = True
    assert not await keeper(client).keep()
    assert "can not be kept" in caplog.text


def test_addresses_are_written_in_plain_form_and_once() -> None:
    found = cluster_addresses(
        [service("10.0.0.10"), service("10.0.0.9"), service("fd00:0::1"), service("10.0.0.9"), {}]
    )
    assert found == ["10.0.0.9", "10.0.0.10", "fd00::1"]


def test_what_was_before_holds_for_a_while() -> None:
    data = {"settings": noted({}, FIRST, NOW)}
    data = {"settings": noted(data, SECOND, NOW)}
    soon, later = NOW + OVERLAP - timedelta(seconds=1), NOW + OVERLAP

    assert settings_in(data, soon) == (SECOND, FIRST)
    assert settings_in(data, later) == (SECOND,)
    assert settings_in({"settings": noted(data, SECOND, later)}, soon) == (SECOND,)


def test_its_while_is_not_made_longer_by_another_look() -> None:
    data = {"settings": noted({"settings": noted({}, FIRST, NOW)}, SECOND, NOW)}
    for minutes in (1, 30, 59):
        data = {"settings": noted(data, SECOND, NOW + timedelta(minutes=minutes))}
    assert settings_in(data, NOW + OVERLAP) == (SECOND,)


def test_a_few_at_most_are_kept() -> None:
    data: dict[str, str] = {}
    for settings in (FIRST, SECOND, THIRD, dataclasses.replace(THIRD, grace_seconds=20)):
        data = {"settings": noted(data, settings, NOW)}
    assert len(settings_in(data, NOW)) == 3


@pytest.mark.parametrize(
    "text",
    ["", "x", "{}", "[1]", '[{"settings": 1}]', '[{"settings": {}}]', '[{"settings": {"canary": "x"}}]', "null"],
)
def test_what_can_not_be_read_is_no_settings(text: str) -> None:
    assert settings_in({"settings": text}, NOW) == ()
    assert settings_in({"settings": noted({"settings": text}, FIRST, NOW)}, NOW)[0] == FIRST


def test_a_setting_of_a_newer_release_is_passed_over() -> None:
    text = noted({}, FIRST, NOW).replace('"canary"', '"colour": "blue", "canary"')
    assert settings_in({"settings": text}, NOW) == (FIRST,)


@pytest.mark.parametrize("until", ['"x"', "1", '"2026-06-02T00:00:00"'])
def test_an_end_that_can_not_be_read_is_over(until: str) -> None:
    text = noted({}, FIRST, NOW).replace('"settings"', f'"until": {until}, "settings"')
    assert settings_in({"settings": text}, NOW) == ()
