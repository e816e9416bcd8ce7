"""What is used of each block is what is committed and what is reserved, also where it no longer fits into 64 bits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.budget.ledger.blocks import Range
from mlprivacy.budget.ledger.table import Table
from mlprivacy.budget.ledger.units import UNBOUNDED
from mlprivacy.budget.ledger.usage import FULL

BLOCKS, ORDERS = 5, 2
CURVES = st.tuples(*[st.integers(0, UNBOUNDED)] * ORDERS)
RANGES = st.tuples(st.integers(0, BLOCKS - 1), st.integers(0, BLOCKS - 1)).map(lambda two: (Range(min(two), max(two)),))
ENDS = st.sampled_from(["all", "less", "nothing", "still running"])
FULL_ALREADY = st.lists(st.sampled_from([0, int(FULL) - UNBOUNDED, int(FULL)]), min_size=BLOCKS, max_size=BLOCKS)


@given(FULL_ALREADY, st.lists(st.tuples(RANGES, CURVES, ENDS), max_size=12), st.randoms())
def test_it_is_what_two_plain_tables_say(before: list[int], jobs: list, random) -> None:
    table = Table(ORDERS)
    table.mark("opened", (Range(0, BLOCKS - 1),))
    committed, reserved = np.zeros((BLOCKS, ORDERS), object), np.zeros((BLOCKS, ORDERS), object)
    for block, spent in enumerate(before):
        table.load_committed(slice(block, block + 1), np.array([spent] * ORDERS))
        committed[block] = spent
    for ranges, curve, _ in jobs:
        table.reserve(ranges, curve, "research")
        reserved[ranges[0].first : ranges[0].last + 1] += np.array(curve, object)
    random.shuffle(jobs)
    for ranges, curve, end in jobs:
        if end == "still running":
            continue
        spent = {"all": curve, "less": tuple(value // 2 for value in curve), "nothing": None}[end]
        table.settle(ranges, curve, spent, "research")
        part = slice(ranges[0].first, ranges[0].last + 1)
        reserved[part] -= np.array(curve, object)
        if spent is not None:
            committed[part] = np.minimum(committed[part] + np.array(spent, object), int(FULL))

    rows = slice(0, BLOCKS)
    assert table.committed[rows].tolist() == committed.tolist()
    assert table.used[rows].tolist() == (committed + reserved).tolist()
    again = table.copy()
    again.reserve((Range(0, 0),), (1, 1), "research")
    assert table.used[rows].tolist() == (committed + reserved).tolist(), "a copy is on its own"


def test_blocks_that_are_opened_later_leave_what_is_used() -> None:
    table = Table(1)
    table.mark("opened", (Range(10, 11),))
    table.reserve((Range(10, 11),), (5,), "research")
    table.settle((Range(10, 11),), (5,), (3,), "research")
    table.mark("opened", (Range(8, 13),))

    rows = table.rows((Range(8, 13),))
    assert table.used[rows].T.tolist() == table.committed[rows].T.tolist() == [[0, 0, 3, 3, 0, 0]]
