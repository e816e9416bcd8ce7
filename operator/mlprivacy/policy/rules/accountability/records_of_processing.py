"""records-of-processing: which fields of an Art. 30(1) record the objects give for this workload, and which not.

Switched on by a pack or a policy. It refuses nothing: one finding of action Evidence lists the fields (a) to (g). Who
the controller is no object says, so that is a parameter of the policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mlprivacy.api.base import Sensitivity
from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, record

MESSAGE_MAX = 900  # characters; a status cuts what is longer


class Field(NamedTuple):
    """One field of the record: its letter, what it is, its content if the objects give it, else what would."""

    letter: str
    what: str
    content: str | None
    lacking: str


def check(case: Case) -> Iterator[Raised | Obligation]:
    """One finding with every field, unless all the data is public and so nobody's."""
    if case.classes and all(c.spec.sensitivity is Sensitivity.PUBLIC for c in case.classes):
        return
    found = fields(case)
    given = [f for f in found if f.content is not None]
    lacking = [f for f in found if f.content is None]
    text = "derived: " + "; ".join(f"({f.letter}) {f.what}: {f.content}" for f in given)
    if len(text) > MESSAGE_MAX:
        text = "derived: " + ", ".join(f"({f.letter}) {f.what}" for f in given)
    if lacking:
        text += ". Not derived: " + ", ".join(f"({f.letter}) {f.what}" for f in lacking)
    remedy = "; ".join(f"({f.letter}) {f.lacking}" for f in lacking)
    # Whom the data is about and how long it is kept is in the Dataset, which may be another namespace's.
    yield record("spec", text, remedy or "nothing is missing", private=any(d.foreign for d in case.datasets))


def fields(case: Case) -> tuple[Field, ...]:
    """The fields (a) to (g) of Art. 30(1) for this job."""
    return (
        Field(
            "a",
            "controller and contact",
            _controller(case),
            "ask the privacy office to set records-of-processing.controller and records-of-processing.contact",
        ),
        Field("b", "purposes", case.purpose, ""),
        Field(
            "c",
            "data subjects and categories",
            _people_and_data(case),
            "name the data classes, and describe the subjects of an inference job in your own record"
            if case.kind == "InferenceJob"
            else "mend the references of the job",
        ),
        Field("d", "recipients", _recipients(case), "describe in your own record who gets what leaves"),
        Field(
            "e",
            "transfers to third countries",
            _transfers(case),
            "ask the privacy office to set spec.regions of the data classes",
        ),
        Field(
            "f",
            "time limits for erasure",
            _erasure(case),
            "set spec.retention.until of every Dataset, or spec.retention of every DataClass",
        ),
        Field("g", "security measures", _measures(case), ""),
    )


def _controller(case: Case) -> str | None:
    # Lists, since the job's and the data's namespace may have different ones; a comma within a name stays what it was.
    names = ", ".join(case.words("records-of-processing", "controller"))
    contacts = ", ".join(case.words("records-of-processing", "contact"))
    return f"{names} ({contacts})" if names and contacts else None


def _people_and_data(case: Case) -> str | None:
    categories = sorted({category for c in case.classes for category in c.spec.categories})
    people = sorted({d.spec.subjects.kind for d in case.datasets})
    if not categories or not people:
        return None
    return f"{', '.join(people)}; {', '.join(categories)}"


def _recipients(case: Case) -> str | None:
    if case.kind == "InferenceJob":
        return f"clients authenticated by {case.inference.clients.authentication}"
    goes_to = case.training.output.destination
    closed = bool(case.classes) and any(c.spec.network.egress == "Sealed" for c in case.classes)
    if not closed:
        allowed = case.words("egress", "allow")
        goes_to = ", ".join(filter(None, (goes_to, *allowed)))
    return f"only {goes_to}" if goes_to else "none, since egress is sealed"


def _transfers(case: Case) -> str | None:
    """Where no class names regions, a job may run anywhere, whatever region its data is kept in."""
    bound = [set(c.spec.regions) for c in case.classes if c.spec.regions]
    if not bound:
        return None
    mechanism = case.text("residency", "mechanism")
    beyond = case.words("residency", "transferRegions") if mechanism != "None" else ()
    more = f", and by {mechanism} in {', '.join(sorted(beyond))}" if beyond else ""
    return f"runs in {', '.join(sorted(set.intersection(*bound))) or 'no region'}{more}"


def _erasure(case: Case) -> str | None:
    ends = {d.spec.retention.until if d.spec.retention is not None else None for d in case.datasets}
    if case.datasets and None not in ends:
        return f"used until {', '.join(sorted(str(end) for end in ends))}"
    days = {c.spec.retention.max_days if c.spec.retention is not None else None for c in case.classes}
    if case.classes and None not in days:
        return f"copies kept for {min(int(d) for d in days if d is not None)} days at most"
    return None


def _measures(case: Case) -> str:
    in_force = ", ".join(sorted(c.value for c in case.facts.capabilities)) or "none"
    return f"in force here: {in_force}"


RULE = Rule(
    id="records-of-processing",
    family="accountability",
    action=Action.EVIDENCE,
    reason="A record of what is done with data is kept, and most of it is already written down.",
    citations=("GDPR 30",),
    remedy="describe the missing fields in your own record",
    check=check,
    parameters=(
        Parameter("controller", "list", (), "the controller's name, for the record.", "union"),
        Parameter("contact", "list", (), "the controller's contact, for the record.", "union"),
    ),
    baseline=False,
)
