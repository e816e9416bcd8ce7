"""Peers: one common name, and a bucket for each address that empties and fills."""

import pytest

from mlprivacy.admission.config import host_and_port
from mlprivacy.admission.peers import REMEMBERED, PeerLimiter, common_name


def subject(*names: str) -> dict:
    return {"subject": tuple((("commonName", name),) for name in names)}


def test_the_common_name_is_read_when_there_is_exactly_one() -> None:
    assert common_name(subject("kube-apiserver")) == "kube-apiserver"
    assert common_name(subject("kube-apiserver", "mallory")) is None
    assert common_name({"subject": ((("organizationName", "kube-apiserver"),),)}) is None
    assert common_name({}) is None
    assert common_name(None) is None


def test_a_bucket_empties_and_fills_again() -> None:
    now = [0.0]
    limiter = PeerLimiter(2.0, clock=lambda: now[0])

    assert [limiter.allow("10.0.0.1") for _ in range(5)] == [True, True, True, True, False]
    assert limiter.allow("10.0.0.2"), "one address does not use up another's"
    now[0] = 0.5
    assert [limiter.allow("10.0.0.1") for _ in range(2)] == [True, False]


def test_many_addresses_use_bounded_memory() -> None:
    limiter = PeerLimiter(1.0)

    for index in range(REMEMBERED + 10):
        limiter.allow(str(index))

    assert len(limiter._buckets) == REMEMBERED


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.0.0.0:8443", ("0.0.0.0", 8443)), ("[::1]:0", ("::1", 0)), ("localhost:80", ("localhost", 80))],
)
def test_addresses_are_read(text, expected) -> None:
    assert host_and_port(text) == expected


@pytest.mark.parametrize("text", ["8443", ":8443", "host:", "host:http", "host:99999", "host:-1"])
def test_what_is_no_address_is_told(text) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        host_and_port(text)
