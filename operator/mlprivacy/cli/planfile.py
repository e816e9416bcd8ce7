"""``plan --budget FILE``: what is left for the planned job of blocks in a JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from mlprivacy.budget.accounting.rdp import curve_of
from mlprivacy.budget.curves import Curve, capacity, check_curve, effective_delta
from mlprivacy.budget.left import Block, sentence, what_is_left
from mlprivacy.budget.orders import DEFAULT_ORDERS, Orders, check_orders
from mlprivacy.budget.planner import Plan
from mlprivacy.cli.errors import CliError
from mlprivacy.cli.planlargest import with_largest

_FORM: Final = "`mlprivacy plan --help` shows the form"


@dataclass(frozen=True)
class FileBudget:
    """Orders and blocks of a file, and the delta that it promises, if it says one."""

    orders: Orders
    blocks: tuple[Block, ...]
    delta: float | None = None

    @classmethod
    def of(cls, path: Path) -> Self:
        """The budget in a file.

        Raises:
            CliError: when it is none.
        """
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            return cls(*read(body), None if body.get("delta") is None else _number("delta", body["delta"]))
        except OSError as error:
            raise CliError(
                f"{path} is not a budget: {error.strerror or error}. Name a file, or a PrivacyBudget of the cluster."
            ) from None
        except (ValueError, KeyError) as error:  # of which bad JSON and bad text are some
            raise CliError(f"{path} is not a budget: {_why(error)}; {_FORM}.") from None

    def answer(self, plan: Plan) -> dict[str, Any]:
        """What the job would use of each block, how many such jobs fit, when it would be granted."""
        left = what_is_left(self.blocks, curve_of(plan.event, self.orders))
        found: dict[str, Any] = {
            "share": left.share if math.isfinite(left.share) else None,
            "jobs": left.jobs,
            "wait_seconds": left.wait,
            "waits_for": list(left.blocked),
            "never": list(left.never),
            "sentence": sentence(left, len(self.blocks)),
        }
        stops = [block for block in self.blocks if block.name in left.never]
        return with_largest(found, stops, self.orders, plan) if stops else found


def _why(error: ValueError | KeyError) -> str:
    match error:
        case KeyError():
            return f"it has no {error}"
        case json.JSONDecodeError():
            return f"it is no JSON from line {error.lineno}, column {error.colno} on"
        case UnicodeDecodeError():
            return "it is no text"
    return str(error).rstrip(".")


def read(body: Any) -> tuple[Orders, tuple[Block, ...]]:
    """Orders and blocks of the file's content. Raises KeyError and ValueError on anything else."""
    if not isinstance(body, Mapping):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - of what people wrote
    orders = check_orders(_numbers("orders", body.get("orders", list(DEFAULT_ORDERS))))
    common: Curve | None = None
    if "epsilon" in body:
        epsilon = _number("epsilon", body["epsilon"])
        common = capacity(orders, epsilon, effective_delta(orders, epsilon, _number("delta", body["delta"])))
    blocks = body["blocks"]
    if not isinstance(blocks, list) or not blocks or not all(isinstance(block, Mapping) for block in blocks):
        raise ValueError("its `blocks` are no list of at least one block, each an object with a name")
    return orders, tuple(_block(orders, block, common) for block in blocks)


def _block(orders: Orders, body: Mapping[str, Any], common: Curve | None) -> Block:
    consumed = _numbers("consumed", body.get("consumed", [0.0] * len(orders)))
    room = common if common is not None else _numbers("capacity", body["capacity"])
    if len(room) != len(orders):
        raise ValueError(f"a capacity has {len(room)} values and there are {len(orders)} orders")
    unlocked = _number("unlocked", body.get("unlocked", 1.0))
    whole = None if body.get("unlock_seconds") is None else _number("unlock_seconds", body["unlock_seconds"])
    if not 0 <= unlocked <= 1:
        raise ValueError(f"`unlocked` is {unlocked:g}; it is a share from 0 to 1")
    if whole is not None and not whole >= 0:
        raise ValueError("`unlock_seconds` is a number, 0 or more")
    return Block(str(body["name"]), check_curve(orders, consumed), room, unlocked, whole)


def _numbers(name: str, values: Any) -> Curve:
    if not isinstance(values, list):
        raise ValueError(f"`{name}` is no list of numbers, one for each order")  # noqa: TRY004 - likewise
    return tuple(_number(name, value) for value in values)


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` holds {value!r} where a number belongs") from None
