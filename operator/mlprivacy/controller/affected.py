"""Which jobs, exceptions and inputs a change of one fact concerns: found by indices, not by looking at all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlprivacy.api.base import Parsed, parse_spec
from mlprivacy.api.dataset_grant import KIND as DATASET_GRANT
from mlprivacy.api.privacy_policy import KIND as PRIVACY_POLICY
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.controller.exceptions import EXCEPTION, jobs_of
from mlprivacy.controller.store import DependencyIndex, JobKey
from mlprivacy.kube.client import Object
from mlprivacy.kube.facts import ATTESTATIONS, PACKS, FactStore
from mlprivacy.kube.factstore_changes import touched_by
from mlprivacy.policy.model import Dependency
from mlprivacy.policy.modes import ceiling_of, selects

_POLICIES = Dependency("PrivacyPolicy", "", "*")
_REGISTERS = Dependency(ATTESTATIONS, "", "*")
_JOB_OF_SCOPES = "InferenceJob"  # only an inference job names a consent scope itself, and needs it granted


@dataclass(frozen=True)
class Affected:
    """Looks at a change that matters (``kube.factstore_changes.matters``), with the facts as they are after it."""

    facts: FactStore
    index: DependencyIndex

    def jobs(self, changed: Dependency, old: Object | None, new: Object | None) -> set[JobKey]:
        """The jobs whose decision rests on what changed."""
        if changed.kind == PRIVACY_POLICY.kind:
            return self._under(self._selected(old, new))
        if changed.kind == DATASET_GRANT.kind:
            return self._granted(changed.namespace, old, new)
        if changed.kind == ATTESTATIONS:
            return self.index.resting_on(self._attested(changed, old, new))
        if changed.kind == EXCEPTION:
            # Also the one that rested on none until now; one that is not there is looked at when it comes.
            return {job for job in jobs_of(old, new) if job in self.index}
        return self.index.resting_on(touched_by(changed))

    def exceptions(
        self, changed: Dependency, old: Object | None, new: Object | None, jobs: Iterable[JobKey]
    ) -> set[JobKey]:
        """The PolicyExceptions that may be worth something else now: ``jobs`` are those that the change concerns."""
        if changed.kind == "Namespace":
            namespaces: set[str] | None = {changed.name}
        elif changed.kind == PRIVACY_POLICY.kind:
            namespaces = self._selected(old, new)
        else:
            return set()
        informer = self.facts.informers[EXCEPTION]
        if namespaces is None:
            return {JobKey(EXCEPTION, "", name) for _, name in informer.keys(None)}
        found = [place for namespace in namespaces for place in informer.by_index("namespace", namespace)]
        if len(informer):
            found += [place for job in jobs for place in informer.by_index("workload", "/".join(job))]
        return {JobKey(EXCEPTION, "", name) for _, name in found}

    def inputs(self, changed: Dependency, old: Object | None = None, new: Object | None = None) -> set[JobKey]:
        """The objects whose own status says whether what changed is there."""
        if changed.kind == "Namespace":
            return {JobKey(PRIVACY_POLICY.kind, "", policy.name) for policy in self._selecting_otherwise(old, new)}
        if changed.kind == PACKS:
            places = self.facts.informers["PrivacyPolicy"].by_index("pack", changed.name)
            return {JobKey("PrivacyPolicy", "", name) for _, name in places}
        if changed.kind == "DataClass":
            places = self.facts.informers["Dataset"].by_index("class", changed.name)
        elif changed.kind == "ConsentScope":
            places = self.facts.informers["Dataset"].by_index("scope", f"{changed.namespace}/{changed.name}")
        else:
            return set()
        return {JobKey("Dataset", namespace or "", name) for namespace, name in places}

    # -- of one kind -----------------------------------------------------------------------------------------------

    def _selected(self, old: Object | None, new: Object | None) -> set[str] | None:
        """Namespaces that the policy selected or selects; None for all: one that can not be read holds everybody."""
        specs = [parse_spec(PRIVACY_POLICY, one).spec for one in (old, new) if one is not None]
        wanted = [spec for spec in specs if spec is not None]
        if len(wanted) < len(specs) or any(not spec.namespace_selector.match_labels for spec in wanted):
            return None
        return {
            name
            for _, name in self.facts.informers["Namespace"].keys(None)
            if _any_selects(wanted, self.facts.labels(name) or {})
        }

    def _selecting_otherwise(self, old: Object | None, new: Object | None) -> list[Parsed[PrivacyPolicySpec]]:
        """The policies that select a namespace now and did not, or the other way round, ungoverned ones apart."""
        before, after = (_governed_labels(one) for one in (old, new))
        return [
            policy
            for policy in self.facts.policies()
            if policy.spec is not None
            and (before is not None and selects(policy.spec, before))
            != (after is not None and selects(policy.spec, after))
        ]

    def _under(self, namespaces: set[str] | None) -> set[JobKey]:
        """The jobs in these namespaces, or with data there, that stand under policies."""
        if namespaces is None:
            return self.index.resting_on([_POLICIES])
        there = self.index.resting_on(Dependency("Namespace", "", name) for name in namespaces)
        return self.index.among(there, _POLICIES)

    def _granted(self, owner: str, old: Object | None, new: Object | None) -> set[JobKey]:
        """The jobs that the grant names, or named, by what they ask for and by where and of which kind they are."""
        found: set[JobKey] = set()
        for one in (old, new):
            grant = None if one is None else parse_spec(DATASET_GRANT, one).spec
            if grant is None:
                continue  # what can not be read grants nothing
            sources = {(source.kind, source.namespace) for source in grant.from_}
            for to in grant.to:
                resting = self.index.resting_on([Dependency("DatasetGrant", owner, f"{to.kind}/{to.name}")])
                found |= {job for job in resting if (job.kind, job.namespace) in sources}
        return found

    def _attested(self, changed: Dependency, old: Object | None, new: Object | None) -> list[Dependency]:
        """The people whose entry changed; everybody when the first register came or the last one went."""
        if changed.name == "*":
            return [_REGISTERS]
        before, after = (_entries(one) for one in (old, new))
        people = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
        there = len(self.facts.informers[ATTESTATIONS])
        whole = (old is None and there <= 1) or (new is None and there == 0)
        return [*(Dependency(ATTESTATIONS, "", key) for key in people), *([_REGISTERS] if whole else [])]


def _entries(register: Object | None) -> Mapping[str, object]:
    data = (register or {}).get("data")
    return data if isinstance(data, Mapping) else {}


def _any_selects(specs: Iterable[PrivacyPolicySpec], labels: Mapping[str, str]) -> bool:
    return any(selects(spec, labels) for spec in specs)


def _governed_labels(namespace: Object | None) -> Mapping[str, str] | None:
    labels: Mapping[str, str] = {} if namespace is None else namespace["metadata"].get("labels") or {}
    return labels if ceiling_of(labels) is not None else None
