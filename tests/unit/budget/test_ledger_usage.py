"""What a namespace takes of each block is what a plain table would say, whoever looks at it and when."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.budget.ledger.units import UNBOUNDED
from mlprivacy.budget.ledger.usage import FULL, Usage

BLOCKS, ORDERS = 6, 2
PARTS = st.tuples(st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS)).map(lambda two: slice(min(two), max(two)))
ROWS = st.tuples(*[st.integers(0, UNBOUNDED)] * ORDERS).map(lambda row: np.array(row, np.int64))
STEPS = st.lists(st.tuples(st.sampled_from(["add", "take back", "look", "copy", "pad", "put"]), PARTS, ROWS))


@given(STEPS)
def test_it_is_what_a_table_says_that_adds_at_once(steps: list[tuple[str, slice, np.ndarray]]) -> None:
    usage, plain = Usage(BLOCKS, ORDERS), np.zeros((BLOCKS, ORDERS), np.int64)
    added: list[tuple[slice, np.ndarray]] = []
    for what, part, row in steps:
        if part.start == part.stop:
            continue
        match what:
            case "add":
                usage.add(part, row)
                plain[part] += row
                added.append((part, row))
            case "take back" if added:
                before, taken = added.pop()
                usage.take(before, taken)
                plain[before] -= taken
            case "look":
                assert (usage.sums() == plain).all()
            case "copy":
                former, usage = usage, usage.copy()
                former.add(part, row)
            case "pad":
                usage.pad(0, 1)
                plain = np.pad(plain, ((0, 1), (0, 0)))
            case "put":
                usage.put(part, row)
                plain[part] = row
                added = []
    assert (usage.sums() == plain).all()


def test_what_does_not_fit_into_64_bits_stays_beyond_every_capacity() -> None:
    usage = Usage(2, 1)
    usage.put(slice(0, 1), np.array([np.iinfo(np.int64).max]))
    usage.add(slice(0, 2), np.array([UNBOUNDED]))
    usage.add(slice(0, 2), np.array([UNBOUNDED]))
    assert usage.sums().tolist() == [[int(FULL)], [2 * UNBOUNDED]]
