"""Small builders of raw objects and of facts. ``clinic_world()`` is a cluster in which ``training_job()`` is allowed.

A builder's keywords replace whole fields of the spec (``dataset(columns=[...])``); ``change`` and ``without`` give a
copy with one field set or removed, named by the field path that findings use.
"""

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mlprivacy.api.base import Parsed, parse_spec
from mlprivacy.api.kinds import kind_named
from mlprivacy.api.names import LABEL_ROLE
from mlprivacy.policy.engine import evaluate, losses_asked
from mlprivacy.policy.facts import IN_FORCE, Capability, Claim, Facts
from mlprivacy.policy.loss import remembered
from mlprivacy.policy.model import Decision, Finding

Raw = dict[str, Any]

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64
IMAGE = f"registry.example/trainer@{DIGEST}"
ALL_CAPABILITIES = frozenset(Capability)


def _object(kind: str, name: str, namespace: str | None, spec: Raw) -> Raw:
    metadata: Raw = {"name": name, "uid": f"uid-{kind.lower()}-{name}", "generation": 1}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": "mlprivacy.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def data_class(name: str = "demographic", **spec: Any) -> Raw:
    """A class of little sensitivity that demands nothing."""
    base: Raw = {"categories": ["user.demographic"], "sensitivity": "Internal"}
    return _object("DataClass", name, None, base | spec)


def health_class(**spec: Any) -> Raw:
    """A special category that demands differential privacy."""
    return data_class(
        "health",
        **{
            "categories": ["user.health_and_medical"],
            "sensitivity": "Restricted",
            "specialCategory": True,
            "differentialPrivacy": {"required": True, "maxEpsilonPerJob": 4, "unit": "User"},
        }
        | spec,
    )


def use(**fields: Any) -> Raw:
    """A lawful use for training, on another basis than consent."""
    return {"purpose": "train_ai_system", "processing": "Training", "legalBasis": "eu-gdpr:A6-1-f"} | fields


def consent_use(**fields: Any) -> Raw:
    """A lawful use for training that rests on consent."""
    return use(
        **{"legalBasis": "eu-gdpr:A6-1-a", "condition": "eu-gdpr:A9-2-a", "consentScope": "research-consent"} | fields
    )


def dataset(name: str = "visits", namespace: str = "clinic", **spec: Any) -> Raw:
    """200,000 patients; training rests on consent."""
    base: Raw = {
        "identity": f"urn:{namespace}:{name}",
        "source": {"uri": f"s3://{namespace}/{name}/*.parquet", "format": "Parquet"},
        "subjects": {"column": "patient_id", "kind": "patient", "atLeast": 200_000},
        "columns": [
            {"name": "patient_id", "dataClass": "direct-identifier"},
            {"name": "age", "dataClass": "demographic"},
            {"name": "diagnosis", "dataClass": "health"},
        ],
        "uses": [consent_use()],
    }
    return _object("Dataset", name, namespace, base | spec)


def grant(name: str = "to-research", namespace: str = "clinic", **spec: Any) -> Raw:
    """Lets TrainingJobs of ``research`` use age and diagnosis of ``visits`` for training."""
    base: Raw = {"from": [{"namespace": "research", "kind": "TrainingJob"}], "to": [grant_to()]}
    return _object("DatasetGrant", name, namespace, base | spec)


def grant_to(**fields: Any) -> Raw:
    """What the grant names."""
    return {
        "kind": "Dataset",
        "name": "visits",
        "columns": ["age", "diagnosis"],
        "purposes": ["train_ai_system"],
        "processing": ["Training"],
    } | fields


def consent_scope(name: str = "research-consent", namespace: str = "clinic", **spec: Any) -> Raw:
    """People agreed to training on health and demographic data."""
    base: Raw = {
        "purposes": ["train_ai_system"],
        "processing": ["Training"],
        "dataClasses": ["health", "demographic"],
        "version": "2026-03",
        "noticeURL": f"https://{namespace}.example/notice",
        "registry": {"embedded": {}},
        "acceptedVersions": ["2026-03"],
    }
    return _object("ConsentScope", name, namespace, base | spec)


def policy(name: str = "eu", **spec: Any) -> Raw:
    """A policy for all governed namespaces that accepts declared assurance, and names no law: the baseline."""
    base: Raw = {
        "mode": "Enforce",
        "parameters": {"special-category.minimumAssurance": "Declared"},
    }
    return _object("PrivacyPolicy", name, None, base | spec)


def only(rule: str, action: str = "Deny", **parameters: Any) -> Raw:
    """The policy with no pack: beside the baseline ``rule`` is on, with this action and these of its parameters."""
    values = {f"{rule}.{name}": value for name, value in parameters.items()}
    return policy(
        packs=[],
        rules=[{"id": rule, "action": action}],
        parameters={"special-category.minimumAssurance": "Declared", **values},
    )


def exception(
    name: str = "visits-dp",
    *,
    made: str = "2026-05-25T12:00:00Z",
    requested_by: str | None = "alice",
    approved_by: str | None = "dave",
    **spec: Any,
) -> Raw:
    """An exception from dp-required for ``training_job()``, asked for by alice and approved by dave for a month."""
    base: Raw = {
        "rule": "dp-required",
        "workload": {"kind": "TrainingJob", "namespace": "research", "name": "diagnosis"},
        "reason": "The noise is added upstream.",
        "ticket": "PRIV-17",
        "expiresAt": "2026-06-20T12:00:00Z",
        "approved": True,
    }
    if (base | spec)["approved"]:
        base["approval"] = {"uid": f"uid-policyexception-{name}", "generation": 1}
    made_of = _object("PolicyException", name, None, base | spec)
    stamps = {"mlprivacy.dev/requested-by": requested_by, "mlprivacy.dev/approved-by": approved_by}
    made_of["metadata"] |= {
        "creationTimestamp": made,
        "annotations": {key: value for key, value in stamps.items() if value is not None},
    }
    return made_of


def selecting(namespace: str) -> Raw:
    """A namespaceSelector for one namespace by name."""
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}


def budget(name: str = "patients", *, made: str = "2026-01-01T00:00:00Z", **spec: Any) -> Raw:
    """A promise of epsilon 10 to the people of ``visits``, in weekly cohorts."""
    base: Raw = {
        "subjectDomain": f"clinic-{name}",
        "identities": ["urn:clinic:visits"],
        "epsilon": 10,
        "delta": 1e-8,
        "unit": "User",
        "neighbours": "AddOrRemoveOne",
        "blocks": {"by": "SubjectCohort", "period": "Week"},
    }
    made_of = _object("PrivacyBudget", name, None, base | spec)
    made_of["metadata"]["creationTimestamp"] = made
    return made_of


def asked(**fields: Any) -> Raw:
    """One entry of spec.datasets."""
    return {
        "name": "visits",
        "namespace": "clinic",
        "columns": ["age", "diagnosis"],
        "mountPath": "/data/visits",
    } | fields


def template(**spec: Any) -> Raw:
    """A pod template with one container."""
    return {
        "spec": {"containers": [{"name": "trainer", "image": IMAGE, "command": ["python", "/app/train.py"]}]} | spec
    }


def training_job(name: str = "diagnosis", namespace: str = "research", **spec: Any) -> Raw:
    """A job that ``clinic_world()`` allows."""
    base: Raw = {
        "purpose": "train_ai_system",
        "datasets": [asked()],
        "privacy": {
            "mechanism": "DPSGD",
            "unit": "User",
            "epsilon": 3,
            "delta": 1e-8,
            "batchSize": 256,
            "epochs": 10,
            "maxGradNorm": 1.0,
        },
        "template": template(),
    }
    return _object("TrainingJob", name, namespace, base | spec)


def inference_job(name: str = "diagnosis-api", namespace: str = "research", **spec: Any) -> Raw:
    """A served model that ``clinic_world()`` allows, on a basis other than consent."""
    base: Raw = {
        "model": {"image": f"registry.example/server@{DIGEST}"},
        "purpose": "provide_diagnosis",
        "dataClasses": ["demographic"],
        "legalBasis": "eu-gdpr:A6-1-b",
        "template": {"spec": {"containers": [{"name": "server", "command": ["serve"]}]}},
    }
    return _object("InferenceJob", name, namespace, base | spec)


def triage_scope(**spec: Any) -> Raw:
    """What people agreed to for inference."""
    return consent_scope(
        "triage", **{"purposes": ["provide_diagnosis"], "processing": ["Inference"], "dataClasses": ["health"]} | spec
    )


def triage_grant(**fields: Any) -> Raw:
    """Lets InferenceJobs of ``research`` rely on the scope ``triage``."""
    return grant(
        "triage-to-research",
        **{
            "from": [{"namespace": "research", "kind": "InferenceJob"}],
            "to": [{"kind": "ConsentScope", "name": "triage"} | fields],
        },
    )


def parsed(raw: Mapping[str, Any]) -> Parsed[Any]:
    """The object as an adapter parses it."""
    kind = kind_named(str(raw["kind"]))
    if kind is None:
        raise ValueError(f"{raw['kind']} is no kind of ours")
    return parse_spec(kind, raw)


def labels(namespace: str, mode: str | None = "enforce", **more: str) -> dict[str, str]:
    """Labels of a namespace as the API server has them; no ``mode`` is an ungoverned namespace."""
    governed = {} if mode is None else {"mlprivacy.dev/enforce": mode}
    return {"kubernetes.io/metadata.name": namespace} | governed | more


def facts_of(
    objects: Iterable[Mapping[str, Any]],
    *,
    modes: Mapping[str, str | None] | None = None,
    now: datetime = NOW,
    claims: Mapping[tuple[str, str], Claim] | None = None,
    visible_datasets: Iterable[str] = (),
    capabilities: frozenset[Capability] = IN_FORCE,
    roles: Mapping[str, str] | None = None,
    **more: Any,
) -> Facts:
    """Facts of raw objects, in the order given. ``modes``: namespace to label value, None for one without a label;
    ``roles``: namespace to the value of its label mlprivacy.dev/role; other keywords are fields of Facts.
    """
    of: dict[str, list[Parsed[Any]]] = {}
    for raw in objects:
        of.setdefault(str(raw["kind"]), []).append(parsed(raw))
    grants: dict[str, tuple[Parsed[Any], ...]] = {}
    for item in of.get("DatasetGrant", ()):
        grants[str(item.namespace)] = (*grants.get(str(item.namespace), ()), item)
    given = {"clinic": "enforce", "research": "enforce"} if modes is None else modes
    return Facts(
        now=now,
        namespaces={
            name: labels(name, mode, **({LABEL_ROLE: roles[name]} if roles and name in roles else {}))
            for name, mode in given.items()
        },
        data_classes={p.name: p for p in of.get("DataClass", ())},
        datasets={(str(p.namespace), p.name): p for p in of.get("Dataset", ())},
        grants=grants,
        consent_scopes={(str(p.namespace), p.name): p for p in of.get("ConsentScope", ())},
        policies=tuple(of.get("PrivacyPolicy", ())),
        exceptions=tuple(of.get("PolicyException", ())),
        budgets=tuple(of.get("PrivacyBudget", ())),
        claims=claims or {},
        visible_datasets=tuple(visible_datasets),
        capabilities=capabilities,
        **more,
    )


def clinic_world(*changed: Raw, leave_out: Iterable[str] = ()) -> list[Raw]:
    """Every object the jobs above rest on. ``changed`` objects replace those of their kind, namespace and name, or are
    added; ``leave_out`` names objects that are not there, as ``Kind/name``.
    """
    world = [
        data_class(),
        data_class("direct-identifier", categories=["user.unique_id"], identifiers="Drop"),
        health_class(),
        dataset(),
        consent_scope(),
        grant(),
        policy(),
        triage_scope(),
        triage_grant(),
    ]
    gone = set(leave_out)
    by_key = {_key(item): item for item in (*world, *changed)}
    return [item for item in by_key.values() if f"{item['kind']}/{item['metadata']['name']}" not in gone]


def _key(raw: Raw) -> tuple[str, str, str]:
    return raw["kind"], raw["metadata"].get("namespace", ""), raw["metadata"]["name"]


def decide(job: Raw, *changed: Raw, leave_out: Iterable[str] = (), **facts: Any) -> Decision:
    """The decision on ``job`` in the clinic's world with these changes; keywords go to :func:`facts_of`."""
    return evaluate(job, counted(job, facts_of(clinic_world(*changed, leave_out=leave_out), **facts)))


def counted(job: Raw, facts: Facts) -> Facts:
    """The facts with the losses that the decision on ``job`` asks for, as every adapter adds them."""
    return replace(facts, losses={key: remembered(key) for key in losses_asked(job, facts)})


def finding(decision: Decision, rule: str, path: str | None = None) -> Finding:
    """The one finding of ``rule`` (at ``path``). Raises AssertionError that shows all when there is not just one."""
    found = [f for f in decision.findings if f.rule == rule and path in (None, f.path)]
    if len(found) != 1:
        shown = "\n".join(f"{f.action.value}: {f.sentence()}" for f in decision.findings) or "no finding at all"
        raise AssertionError(f"{len(found)} findings of {rule} at {path or 'any path'}, expected one; all:\n{shown}")
    return found[0]


def rules_of(decision: Decision) -> list[str]:
    """Ids of the rules that found something, worst first."""
    return [f.rule for f in decision.findings]


def change(raw: Raw, path: str, value: Any) -> Raw:
    """A copy with the field at ``path`` set: ``change(job, "spec.datasets[0].columns", ["age"])``."""
    copied = copy.deepcopy(raw)
    holder, last = _holder(copied, path)
    holder[last] = value
    return copied


def without(raw: Raw, path: str) -> Raw:
    """A copy without the field, or the list entry, at ``path``."""
    copied = copy.deepcopy(raw)
    holder, last = _holder(copied, path)
    del holder[last]
    return copied


def _holder(raw: Any, path: str) -> tuple[Any, Any]:
    steps = [int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]
    for step in steps[:-1]:
        if isinstance(raw, dict) and step not in raw:
            raw[step] = {}
        raw = raw[step]
    return raw, steps[-1]
