"""Facts: everything a decision may rest on, gathered by an adapter and handed over as data. Time is a fact too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mlprivacy.api.base import Parsed
from mlprivacy.api.consent_scope import ConsentScopeSpec
from mlprivacy.api.data_class import DataClassSpec
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.dataset_grant import DatasetGrantSpec
from mlprivacy.api.policy_exception import PolicyExceptionSpec
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.policy.charge import Registered, Rooms
from mlprivacy.policy.custom import Key, Outcome
from mlprivacy.policy.fabric.objects import UNKNOWN, Fabric
from mlprivacy.policy.loss import LossKey, LossOutcome
from mlprivacy.policy.packs import Pack, built_in_packs, built_in_shelf


class Capability(StrEnum):
    """Parts of the data path that are in force here. What is achieved is computed from them, never claimed."""

    SEALED_EGRESS = "sealed-egress"  # default-deny egress and the seal probe
    ACCOUNTANT = "accountant"  # the accountant meters steps
    TRAINER_HOOK = "trainer-hook"  # the hook owns the noise
    DATA_GATE = "data-gate"  # data reaches a job only through a gate
    RELEASE_GATE = "release-gate"  # outputs leave only through a gate
    GATEWAY_PROXY = "gateway-proxy"  # the gateway forwards and filters requests
    FEDERATED = "federated"  # clipping and noise by the operator's own aggregator
    ATTESTATION = "attestation"  # a TEE releases the key


# What this release has. Later parts add theirs here, and status reports the difference.
IN_FORCE: frozenset[Capability] = frozenset({Capability.SEALED_EGRESS})


@dataclass(frozen=True)
class Claim:
    """What is known of a PersistentVolumeClaim."""

    storage_class: str | None
    read_only: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known at ``now``. An absent key means *not known to exist*, which holds a job, never allows it.

    ``namespaces`` maps a name to its labels. ``visible_datasets`` are the ``namespace/name`` that the job's namespace
    may know of; only these are ever suggested. ``audit_retention_days`` is how long the installation promises to keep
    its audit log (0: it keeps none), ``attestations`` maps a requester's key (``policy.people``) to the day until which
    its privacy training counts; None of either is *not known*.
    """

    now: datetime
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    data_classes: Mapping[str, Parsed[DataClassSpec]] = field(default_factory=dict)
    datasets: Mapping[tuple[str, str], Parsed[DatasetSpec]] = field(default_factory=dict)
    grants: Mapping[str, tuple[Parsed[DatasetGrantSpec], ...]] = field(default_factory=dict)
    consent_scopes: Mapping[tuple[str, str], Parsed[ConsentScopeSpec]] = field(default_factory=dict)
    policies: tuple[Parsed[PrivacyPolicySpec], ...] = ()
    exceptions: tuple[Parsed[PolicyExceptionSpec], ...] = ()  # those that name this very job
    packs: Mapping[str, Pack] = field(default_factory=built_in_packs)
    bad_packs: Mapping[str, str] = field(default_factory=lambda: built_in_shelf().bad)  # of users: name and why not
    claims: Mapping[tuple[str, str], Claim] = field(default_factory=dict)
    fabric: Fabric = UNKNOWN  # devices and further networks, for jobs that ask for any
    visible_datasets: tuple[str, ...] = ()
    capabilities: frozenset[Capability] = IN_FORCE
    audit_retention_days: int | None = None
    attestations: Mapping[str, str] | None = None
    budgets: tuple[Parsed[PrivacyBudgetSpec], ...] = ()  # all PrivacyBudgets, by name
    registered: tuple[Registered, ...] = ()  # datasets that the ledgers hold, also of budgets that are gone
    rooms: Rooms | None = None  # what the ledgers say of this job; None where there is no ledger to ask
    losses: Mapping[LossKey, LossOutcome] = field(default_factory=dict)  # counted; one that is not there is not known
    custom: Mapping[Key, Outcome] = field(default_factory=dict)  # of custom rules; one that is not there has no answer
