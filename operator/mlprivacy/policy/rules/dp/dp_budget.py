"""dp-budget: what a job takes of people's privacy is counted, fits their budget, and is taken by who may take it.

What it finds is firm: Warn and an override do not soften it. Audit, or a PolicyException, lets a job pass, which then
runs outside accounting, and the blocks that it touches say so for good (accounting.md 5).
"""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.api.reasons import Reason
from mlprivacy.budget.figures import at_most, exact
from mlprivacy.budget.ledger.blocks import BlockError, Cut
from mlprivacy.budget.ledger.promise import budget_errors
from mlprivacy.policy import assurance
from mlprivacy.policy.case import Case
from mlprivacy.policy.charging import Account, Use, delta_bound, digest_of, images
from mlprivacy.policy.durations import later
from mlprivacy.policy.loss import LOOK_AGAIN, Counted, NotCounted
from mlprivacy.policy.mending import DERIVED
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Raised, Rule

_OUTSIDE = "ask for a PolicyException from dp-budget, which says of the data for good that it was used uncounted"


def check(case: Case) -> Iterator[Raised | Obligation]:
    """Every dataset belongs to one domain, and each domain's budget can be charged with what the job takes of it."""
    for use in case.accounts.lost:
        yield from _problem(use)
    for account in case.accounts.each:
        for use in account.uses:
            yield from _problem(use)
        spec = account.spec
        if spec is not None and any(use.home.problem is None for use in account.uses):
            yield from _terms(case, account, spec)
            yield from _loss(case, account, spec)


def _breach(account: Account, path: str, message: str, remedy: str, *, private: bool = False) -> Raised:
    return Raised(path, message, remedy, private=private, firm=True, domain=account.domain)


def _problem(use: Use) -> Iterator[Raised]:
    """What keeps a dataset from being charged to a domain. Names the domain, and nothing else of other namespaces."""
    problem = use.home.problem
    if problem is not None:
        yield Raised(
            f"{use.dataset.path}.name",
            f"the dataset {use.dataset.ref} {problem.message}",
            problem.remedy,
            reason=problem.reason,
            hold=problem.hold,
            firm=True,
            domain=use.home.domain or None,
        )


def _terms(case: Case, account: Account, spec: PrivacyBudgetSpec) -> Iterator[Raised]:
    """What the budget says of who may spend, and on which blocks."""
    whose = f"the PrivacyBudget {account.budget.name if account.budget else account.domain}"
    for error in budget_errors(spec, max(use.dataset.spec.subjects.at_least for use in account.uses)):
        yield _breach(
            account,
            account.uses[0].dataset.path,
            f"{whose} can not be kept: its {error.path}: {error.message}",
            f"ask the privacy office to {error.remedy or 'make it right'}",
            private=account.uses[0].dataset.foreign,
        )
    if spec.quotas and all(quota.namespace != case.namespace for quota in spec.quotas):
        yield _breach(
            account,
            account.uses[0].dataset.path,
            f"{whose} has quotas, and none for the namespace {case.namespace}",
            f"ask the privacy office for a quota of {account.domain} for {case.namespace}",
        )
    reached = assurance.achieved(case.processing, case.facts.capabilities)
    if spec.minimum_assurance.rank > reached.rank:
        lacking = ", ".join(assurance.lacking(case.processing, spec.minimum_assurance, case.facts.capabilities))
        yield _breach(
            account,
            account.uses[0].dataset.path,
            f"{whose} demands assurance {spec.minimum_assurance.value} of who spends, and this job reaches "
            f"{reached.value}; not in force here: {lacking}",
            f"leave the data out, or ask the privacy office whether {account.domain} may demand less",
        )
    if spec.reviewed_images:
        strange = [
            name for name, image in images(case.template) if digest_of(image) not in frozenset(spec.reviewed_images)
        ]
        if strange or case.accounts.image is None:
            yield _breach(
                account,
                "spec.template.spec.containers",
                f"{whose} lets reviewed images alone spend, and the image of {', '.join(strange) or 'the trainer'} is "
                "not among its reviewedImages",
                f"use one of {', '.join(spec.reviewed_images)}, or ask the privacy office to review this one",
            )
    cut = Cut.of(spec.blocks)
    for use in account.uses:
        yield from _span(account, use, cut)


def _span(account: Account, use: Use, cut: Cut) -> Iterator[Raised]:
    """The blocks that are named are blocks of the budget, the first no later than the last."""
    span = use.dataset.asked.blocks
    if span is None:
        return
    keys: list[int] = []
    for side, label in (("from", span.from_), ("to", span.to)):
        if label is None:
            continue
        try:
            keys.append(_key(cut, label))
        except BlockError as error:
            yield _breach(
                account,
                f"{use.dataset.path}.blocks.{side}",
                str(error),
                "name a block as status of the budget calls it, or leave blocks out to use all",
            )
            return
    if len(keys) == 2 and keys[0] > keys[1]:
        yield _breach(
            account,
            f"{use.dataset.path}.blocks",
            f"{span.from_} comes after {span.to}",
            f"set from to {span.to} and to to {span.from_}",
        )


def _key(cut: Cut, label: str) -> int:
    """The number of a block. Raises BlockError when there never is one of this name."""
    key = cut.key_of(label)
    if cut.buckets is not None and key >= cut.buckets:
        raise BlockError(f"{label!r} is no block; the last one is {cut.label(cut.buckets - 1)}")
    return key


def _loss(case: Case, account: Account, spec: PrivacyBudgetSpec) -> Iterator[Raised]:
    """The loss is known, is of the unit that is protected, and fits a block that nobody has used."""
    privacy = case.training.privacy
    name = account.budget.name if account.budget else account.domain
    if account.why is not None or privacy is None:
        refs = ", ".join(dict.fromkeys(use.dataset.ref for use in account.uses))
        yield _breach(
            account,
            "spec.privacy" if privacy is None else "spec.privacy.mechanism",
            f"{refs} has the PrivacyBudget {name}, and {account.why}: what the job takes could not be counted",
            f"set spec.privacy with mechanism: DPSGD, epsilon below {exact(spec.epsilon)}, delta at most "
            f"{at_most(delta_bound(use.dataset for use in account.uses))}, batchSize, epochs and maxGradNorm; "
            f"or {_OUTSIDE}",
        )
        return
    if spec.unit == "User" and privacy.unit == "Event":
        yield _breach(
            account,
            "spec.privacy.unit",
            f"the PrivacyBudget {name} protects persons, and the unit Event protects single records",
            "set unit to User",
        )
    yield from _delta(case, account)
    if account.key is None:
        return  # some dataset is not known yet, which holds the job
    found = case.facts.losses.get(account.key)
    path = "spec.privacy.event" if privacy.mechanism == "Event" else "spec.privacy"
    if found is None:
        case.expires(later(case.facts.now, LOOK_AGAIN))
        yield Raised(
            path,
            f"what the job takes of the PrivacyBudget {name} is not counted yet, since that takes longer than there "
            "was time for",
            "wait; it is tried again by itself",
            reason=Reason.FACT_MISSING,
            hold=True,
            boundary=True,  # in no mode it runs before it is known what it takes: a moment's wait, a taint for good
        )
    elif isinstance(found, NotCounted):
        mended = f"{found.remedy}; or {_OUTSIDE}" if found.remedy else _OUTSIDE
        message = f"what the job takes of {name} can not be counted: {found.why}"
        yield _breach(account, path, message, mended, private=any(use.dataset.foreign for use in account.uses))
    else:
        yield from _room(case, account, spec, found)


def _delta(case: Case, account: Account) -> Iterator[Raised]:
    """delta is at most 1/(100 N), where no class of the job says so already (dp-required)."""
    privacy = case.training.privacy
    if privacy is None or privacy.delta is None or any(c.spec.differential_privacy.required for c in case.classes):
        return
    bound = delta_bound(use.dataset for use in account.uses)
    if privacy.delta > bound:
        yield _breach(
            account,
            "spec.privacy.delta",
            f"{exact(privacy.delta)} is more than {at_most(bound)}, which is 1/(100 N) for the people of "
            f"{account.domain}",
            f"set delta to {at_most(bound)} or less",
            private=any(use.dataset.foreign for use in account.uses),
        )


def _room(case: Case, account: Account, spec: PrivacyBudgetSpec, found: Counted) -> Iterator[Raised]:
    """An empty block takes it, and what the ledger says of the blocks there are does not rule it out."""
    room = (case.facts.rooms or {}).get(account.domain)
    if room is not None and room.held:
        return  # it has what it needs; what is left for others matters no more
    name = account.budget.name if account.budget else account.domain
    path = "spec.privacy.event" if case.training.privacy and case.training.privacy.event else "spec.privacy.epsilon"
    if not found.fits:
        share = account.key.limit.share if account.key and account.key.limit else 1.0
        whole = "a whole block" if share == 1 else f"the {share:.0%} of a block that {case.namespace} may take"
        yield _breach(
            account,
            path,
            f"the job takes epsilon {at_most(found.loss.epsilon)}, which is more than {whole} of {name} holds "
            f"(epsilon {exact(spec.epsilon)}, delta {exact(spec.delta)})",
            _smaller(case, account, found.largest, found.fitting),
        )
    elif room is not None and room.never is not None:
        yield _breach(account, path, room.never, room.remedy or _smaller(case, account, room.largest, None))


def _smaller(case: Case, account: Account, largest: float | None, fitting: str | None) -> str:
    """What a job that is too large can do, with numbers where they are known."""
    privacy = case.training.privacy
    also = f" and {DERIVED}" if privacy is not None and privacy.noise_multiplier is not None else ""
    if privacy is not None and privacy.event is not None:
        return fitting or "give the event more noise, or fewer steps: what epsilon the job declares does not matter"
    if largest is None:
        return f"set a smaller epsilon{also}, or use fewer records of each person, smaller batches or fewer epochs"
    if largest <= 0:
        ask = f"ask the privacy office whether more of {account.domain} can be given"
        less = fitting or f"use fewer records of each person, smaller batches or fewer epochs, or {ask}"
        return f"{less}: as it is, no epsilon can be granted"
    bound = account.key.delta_bound if account.key is not None else None
    if bound is None:
        return f"set epsilon to {at_most(largest)} or less{also}"
    delta = f"set delta to {at_most(bound)} or less"  # with which more of epsilon fits
    enough = not also and privacy is not None and (privacy.epsilon or largest) <= largest
    return delta if enough else f"{delta} and epsilon to {at_most(largest)} or less{also}"


RULE = Rule(
    id="dp-budget",
    family="dp",
    action=Action.DENY,
    reason="What is known of people adds up over all jobs, so each job is counted against what they were promised.",
    citations=("organisation",),
    remedy="take less of the budget, or ask the privacy office",
    check=check,
    applies_to=frozenset({"TrainingJob"}),
)
