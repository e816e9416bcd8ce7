"""processor-contract: a namespace that works on another's behalf does so under a contract that is named and in force.

Switched on by a pack or a policy. A namespace is a processor's by the guarded label ``mlprivacy.dev/role: processor``;
one without the label is taken for the controller's own.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.accountability import ProcessorContract
from mlprivacy.api.names import LABEL_ROLE
from mlprivacy.policy.case import Case
from mlprivacy.policy.durations import end_at
from mlprivacy.policy.matching import covered_by_any
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.resolve import find_grant
from mlprivacy.policy.rule import Raised, Rule, breach, owed


def check(case: Case) -> Iterator[Raised | Obligation]:
    """In a processor's namespace each dataset, or the inference job, stands under a contract that has not ended."""
    role = case.facts.namespaces.get(case.namespace, {}).get(LABEL_ROLE, "controller")
    if role == "controller":
        return
    if role != "processor":
        yield owed(
            "metadata.namespace",
            f"the label {LABEL_ROLE} of the namespace {case.namespace} is neither controller nor processor",
            "ask the privacy office to correct the label",
        )
        return
    for dataset in case.datasets:
        # Of foreign data only the grant that the job relies on counts: two grants do not add up.
        spec = dataset.granted_by.spec if dataset.granted_by is not None else None
        contract = spec.processor_contract if spec is not None else None
        if not dataset.foreign:
            contract = dataset.spec.processor_contract
        where = "the DatasetGrant" if dataset.foreign else "the Dataset"
        yield from _judge(
            case, contract, f"{dataset.path}.name", f"the data of {dataset.ref}", where, private=dataset.foreign
        )
    if case.kind == "InferenceJob":
        yield from _inference(case)


def _inference(case: Case) -> Iterator[Raised]:
    scope = case.inference.consent_scope
    if scope is None or (scope.namespace or case.namespace) == case.namespace:
        yield from _judge(
            case, case.inference.processor_contract, "spec.processorContract", "serving this model", "the InferenceJob"
        )
        return
    owner = scope.namespace or case.namespace
    grants = [
        grant.spec.processor_contract
        for grant, to in find_grant(
            case.facts,
            owner=owner,
            kind="ConsentScope",
            name=scope.name,
            by_namespace=case.namespace,
            by_kind=case.kind,
        )
        if grant.spec is not None
        and (not to.processing or case.processing in to.processing)
        and (not to.purposes or covered_by_any(to.purposes, case.purpose))
    ]
    if not grants:
        return  # the reference holds the job already
    in_force = [c for c in grants if c is not None and not _over(case, c)]
    contract = in_force[0] if in_force else next((c for c in grants if c is not None), None)
    yield from _judge(
        case, contract, "spec.consentScope", f"the scope {owner}/{scope.name}", "the DatasetGrant", private=True
    )


def _judge(
    case: Case, contract: ProcessorContract | None, path: str, what: str, where: str, *, private: bool = False
) -> Iterator[Raised]:
    if contract is None:
        yield breach(
            path,
            f"the namespace {case.namespace} is a processor's, and no contract is named for {what}",
            f"set spec.processorContract of {where}" + ("; ask the data owner" if private else ""),
            private=private,
        )
    elif _over(case, contract):
        yield breach(
            path,
            f"the contract for {what} ended at {contract.expires_at}",
            f"set spec.processorContract of {where} to the contract that follows it",
            private=private,
        )
    elif contract.expires_at is not None:
        case.expires(end_at(contract.expires_at))


def _over(case: Case, contract: ProcessorContract) -> bool:
    return contract.expires_at is not None and end_at(contract.expires_at) <= case.facts.now


RULE = Rule(
    id="processor-contract",
    family="transfer",
    action=Action.DENY,
    reason="Who works with data for somebody else is bound by a contract.",
    citations=("GDPR 28", "DPDP r.6(1)(f)"),
    remedy="name the contract",
    check=check,
    baseline=False,
)
