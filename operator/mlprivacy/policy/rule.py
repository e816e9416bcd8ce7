"""What a rule is: an id, an action, its sources, a remedy, typed parameters and a pure check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mlprivacy.api.reasons import Reason
from mlprivacy.policy.model import Action, Demand, Obligation

if TYPE_CHECKING:
    from mlprivacy.policy.case import Case

ParameterValue = int | float | str | bool | tuple[str, ...]


@dataclass(frozen=True)
class Parameter:
    """A typed parameter of a rule.

    ``stricter`` says which of two values is the stricter one, for policies and packs that disagree: the smaller, the
    larger, the one earlier in ``choices`` (``first``) or later (``last``), the intersection of two lists
    (``intersection``) or their union (``union``). Of an intersection ``*`` is everything, where the default says so;
    an empty list is always nothing, so that two lists with nothing in common never open what each of them closes.
    """

    name: str
    type: Literal["int", "float", "bool", "str", "duration", "list", "choice"]
    default: ParameterValue
    description: str
    stricter: Literal["smaller", "larger", "first", "last", "intersection", "union"]
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Raised:
    """What a check yields when something is wrong or unknown; the engine turns it into a finding.

    ``boundary`` marks what a DatasetGrant does not cover: that is access, not policy, so in a mode or under an override
    that would let a breach pass it holds the job, as a reference without any grant does.

    ``firm`` marks what Warn and an override do not soften: only the mode Audit, or an exception, lets it pass. What is
    spent of a privacy budget can not be taken back (accounting.md 5).
    """

    path: str
    message: str
    remedy: str | None = None
    reason: Reason = Reason.BREACH
    hold: bool = False
    private: bool = False
    boundary: bool = False
    firm: bool = False
    domain: str | None = None  # the subject domain whose blocks are tainted when it is let pass
    note: bool = False  # tells a person what is done; it never stops a job


@dataclass(frozen=True)
class Rule:
    """One rule. ``reason`` is the one line that says why it exists; ``citations`` come from the table of rules."""

    id: str
    family: str
    action: Action
    reason: str
    citations: tuple[str, ...]
    remedy: str
    check: Callable[[Case], Iterator[Raised | Obligation]]
    parameters: tuple[Parameter, ...] = ()
    applies_to: frozenset[str] = frozenset({"TrainingJob", "InferenceJob"})
    baseline: bool = True  # on without any pack
    refines: str | None = None  # the rule whose finding at the same path this one says better
    yields_to: str | None = None  # the rule whose finding at the same path comes first: mend that, then look again

    def parameter(self, name: str) -> Parameter | None:
        """The parameter called ``name``, or None."""
        return next((p for p in self.parameters if p.name == name), None)


def breach(
    path: str, message: str, remedy: str | None = None, *, private: bool = False, boundary: bool = False
) -> Raised:
    """A known breach; ``boundary`` when a DatasetGrant does not reach that far."""
    return Raised(path, message, remedy, private=private, boundary=boundary)


def missing(
    path: str,
    message: str,
    remedy: str | None = None,
    *,
    reason: Reason = Reason.FACT_MISSING,
    private: bool = False,
) -> Raised:
    """A fact the rule needs and does not have: Hold, never Allow."""
    return Raised(path, message, remedy, reason=reason, hold=True, private=private)


def owed(path: str, message: str, remedy: str | None = None, *, private: bool = False) -> Raised:
    """A statement that people owe: Hold, until they make it or an exception accepts the risk of going without."""
    return Raised(path, message, remedy, reason=Reason.STATEMENT_MISSING, hold=True, private=private)


def record(path: str, message: str, remedy: str | None = None, *, private: bool = False) -> Raised:
    """What a rule of action Evidence writes down; it says nothing against the job."""
    return Raised(path, message, remedy, reason=Reason.RECORDED, private=private)


def note(path: str, message: str, remedy: str | None = None) -> Raised:
    """Something that is done to the job and that its author should know: a warning at most."""
    return Raised(path, message, remedy, note=True)


def oblige(demand: Demand, value: str | int) -> Obligation:
    """Something that must be true of what is rendered."""
    return Obligation(demand, value)
