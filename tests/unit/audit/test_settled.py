"""When a refusal at the canary means something: its Service must lead to it, or every pod would look sealed."""

from mlprivacy.audit.settled import AFTER_ALIVE, AFTER_READY, Settled


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def settled() -> tuple[Settled, Clock]:
    clock = Clock()
    return Settled(clock), clock


def test_a_living_canary_alone_proves_nothing_right_after_a_start() -> None:
    found, clock = settled()
    assert not found
    found.looked(True)
    assert not found
    clock.now += AFTER_ALIVE - 0.1
    assert not found


def test_a_moment_after_the_kubelet_found_it_ready_its_service_leads_to_it() -> None:
    found, clock = settled()
    found.looked(True)
    found.answered(True)
    clock.now += AFTER_READY - 0.1
    found.answered(True)
    assert not found
    clock.now += 0.2
    assert found


def test_after_it_was_not_ready_it_waits_anew() -> None:
    found, clock = settled()
    found.looked(True)
    found.answered(True)
    clock.now += AFTER_READY
    assert found
    found.looked(False)
    found.answered(False)
    clock.now += 1
    found.looked(True)
    assert not found
    found.answered(True)
    clock.now += AFTER_READY
    assert found


def test_where_nobody_asks_whether_it_is_ready_it_waits_longer() -> None:
    found, clock = settled()
    found.looked(True)
    clock.now += AFTER_ALIVE
    assert found
    found.looked(False)
    assert not found
