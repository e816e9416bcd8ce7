"""Worlds and jobs by a seed: clusters of two to four namespaces with much of what decides, and jobs that use them.

Every choice is made by one ``random.Random``, so that a world that fails is named by its number.
"""

from __future__ import annotations

import copy
import random
from typing import Any

from builders import (
    IMAGE,
    Raw,
    asked,
    budget,
    consent_scope,
    consent_use,
    data_class,
    dataset,
    exception,
    grant,
    grant_to,
    health_class,
    inference_job,
    policy,
    selecting,
    training_job,
    triage_scope,
    use,
)
from fabric_objects import ISOLATED, RESOURCE, rdma_job

from mlprivacy.policy.packs import built_in_packs
from mlprivacy.policy.rules import rules_by_id

OPERATOR = "mlprivacy-system"
PLACES = ("clinic", "research", "archive")
PEOPLE = ("alice", "bob", "eve@example.org")
# Around the moment at which the tests decide: over, to come, and on that very moment.
MOMENTS = ("2026-05-30T00:00:00Z", "2026-06-01T12:00:00Z", "2026-06-02T00:00:00Z", "2027-12-02T00:00:00Z")
DAYS = ("2026-05-30", "2026-06-01", "2026-06-02", "2028-01-01")
EVENT_OF_FIXED_SIZE = '{"class_name": "SampledWithoutReplacementDpEvent"}'
CUSTOM = (
    "job.spec.purpose == 'train_ai_system'",
    "datasets.all(d, d.spec.columns.size() > 2)",
    "job.metadata.labels.exists(k, k == 'team')",
    "classes.all(c, c.spec.sensitivity != 'Restricted')",
    "namespaceObject.metadata.labels['mlprivacy.dev/enforce'] == 'enforce'",
    "datasets[0].spec.nosuch == 1",
)
PACK = """
name: acme
version: "1"
title: Ours
notice: Not legal advice.
rules:
  - {id: retention, action: Warn, changes: [{from: "FROM", action: Deny}], citations: [ours]}
  - {id: high-risk-ai, action: Warn, changes: [{from: "FROM", action: Deny}], citations: [ours]}
"""


class Maker:
    """Makes one world and its jobs."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a world, not a secret
        self.spending = random.Random(f"budgets {seed}")  # noqa: S311 - its own, so that the rest stays as it is

    def likely(self, chance: float = 0.5) -> bool:
        return self.random.random() < chance

    def one(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def some(self, choices: Any, most: int = 3) -> list[Any]:
        given = list(choices)
        return self.random.sample(given, self.random.randint(0, min(most, len(given))))

    def fields(self, **choices: tuple[float, Any]) -> Raw:
        """Of these fields those that chance picks: name to (chance, value)."""
        return {name: value for name, (chance, value) in choices.items() if self.likely(chance)}

    # -- what jobs rest on -----------------------------------------------------------------------------------------

    def objects(self) -> list[Raw]:
        """All objects but the jobs."""
        found = [self.namespace(name) for name in PLACES] + [namespace(OPERATOR, "enforce")]
        found += self.classes()
        found += [self.dataset(name, place) for place in PLACES for name in ("visits", "scans") if self.likely(0.9)]
        found += [s for place in PLACES for s in self.scopes(place)]
        found += [self.grant(f"grant-{n}", place) for place in PLACES for n in range(self.random.randint(0, 3))]
        found += [self.policy(f"policy-{n}") for n in range(self.random.randint(0, 3))]
        found += self.config_maps()
        found += [self.exception(n) for n in range(self.random.randint(40, 120))]
        found += self.budgets()
        found += [claim(name, self.one("encrypted", "plain", None)) for name in ("models", "cache") if self.likely()]
        return [copy.deepcopy(one) for one in (*found, *ISOLATED)]

    def namespace(self, name: str) -> Raw:
        mode = self.one(*["enforce"] * 8, "warn", "audit", "nonsense", None)
        return namespace(name, mode, **({"mlprivacy.dev/role": "processor"} if self.likely(0.2) else {}))

    def classes(self) -> list[Raw]:
        regions = self.fields(regions=(0.3, self.one(["eu-west"], ["eu-west", "us-east"])))
        network = {"egress": self.one("Sealed", "Allowlist"), "rdma": self.one("Allow", "ExclusiveOnly", "Deny")}
        more = self.fields(
            encryption=(0.3, {"atRest": "Required"}),
            retention=(0.3, {"maxDays": 30}),
            minimumAssurance=(0.3, {"training": self.one("Declared", "Gated")}),
            specialCategory=(0.5, False),
        )
        plain = data_class(categories=self.one(["user.demographic"], ["user.location"], ["user"]), **regions)
        every = [plain, data_class("direct-identifier", categories=["user.unique_id"], identifiers="Drop")]
        return [c for c in [*every, health_class(**{"network": network} | regions | more)] if self.likely(0.97)]

    def dataset(self, name: str, place: str) -> Raw:
        uses = self.some([use(), use(purpose="advertising"), consent_use(), use(processing="Inference")])
        uses += [use(condition="eu-gdpr:A9-2-a")] if self.likely(0.6) else []
        more = self.fields(
            region=(0.4, self.one("eu-west", "cn-north")),
            retention=(0.4, {"until": self.one(*DAYS)}),
            jurisdictions=(0.3, self.one(["eu-gdpr"], ["us-hipaa"], ["cn-pipl"])),
            deidentification=(0.1, {"method": "SafeHarbor"}),
            incident=(0.1, {"openedAt": self.one(*MOMENTS), "reference": "https://clinic.example/incidents/1"}),
            processorContract=(0.3, self.contract()),
        )
        if self.likely(0.2):
            kept = {"reference": "https://clinic.example/expert", "expiresAt": self.one(*MOMENTS)}
            more["deidentification"] = {"method": "ExpertDetermination"} | kept
        for given in uses:
            given.update(self.fields(objections=(0.4, {"handling": "Excluded", "reviewedOn": self.one(*DAYS)})))
        more |= self.fields()
        subjects = {"column": "patient_id", "kind": "patient", "atLeast": self.one(100, 200_000)}
        return dataset(name, place, uses=uses or [consent_use()], subjects=subjects, **more)

    def contract(self) -> Raw:
        return {"reference": "https://clinic.example/contract", "expiresAt": self.one(*MOMENTS)}

    def scopes(self, place: str) -> list[Raw]:
        more = self.fields(state=(0.15, "Withdrawn"), maxSnapshotAge=(0.3, "24h"))
        found = [consent_scope(namespace=place, **more), triage_scope()]
        found[1]["metadata"]["namespace"] = place
        if self.likely(0.4):
            found[0]["status"] = {"snapshot": {"takenAt": self.one(*MOMENTS)}}
        return [s for s in found if self.likely(0.85)]

    def grant(self, name: str, place: str) -> Raw:
        kind = self.one("TrainingJob", "TrainingJob", "InferenceJob")
        to = [grant_to(name=n, columns=self.one(["age"], ["age", "diagnosis"])) for n in ("visits", "scans")]
        if kind == "InferenceJob" or self.likely(0.2):
            to.append({"kind": "ConsentScope", "name": "triage"})
        more = self.fields(expiresAt=(0.4, self.one(*MOMENTS)), maxUses=(0.1, 3))
        more |= self.fields(processorContract=(0.3, self.contract()))
        return grant(name, place, **{"from": [{"namespace": self.one(*PLACES), "kind": kind}], "to": to} | more)

    def policy(self, name: str) -> Raw:
        packs = [{"name": p} for p in self.some([*built_in_packs(), "acme"], self.one(0, 1, 4)) if p != "baseline"]
        packs += [{"name": "acme"}] if self.likely(0.4) and {"name": "acme"} not in packs else []
        overrides = [{"id": r, "action": self.one("Deny", "Warn")} for r in self.some(rules_by_id(), self.one(0, 0, 3))]
        parameters = {
            "special-category.minimumAssurance": self.one("Declared", "Declared", "Gated"),
            "pod-hardening.extendedResources": f"nvidia.com/gpu,{RESOURCE}",
            "pod-hardening.secondaryNetworks": self.one("true", "false"),
        } | self.fields(**{"encryption.storageClasses": (0.5, "encrypted")})
        custom = [
            {"id": f"ours-{n}", "expression": text, "message": "Ours.", "action": self.one("Deny", "Warn")}
            for n, text in enumerate(self.some(CUSTOM, 2))
        ]
        more = self.fields(
            namespaceSelector=(0.6, selecting(self.one(*PLACES))),
            custom=(0.4, custom),
            exceptions=(0.3, {"maxDuration": self.one("10d", "90d"), "allow": self.some(rules_by_id(), 20)}),
        )
        mode = self.one("Enforce", "Enforce", "Warn", "Audit")
        return policy(name, **{"packs": packs, "rules": overrides, "parameters": parameters, "mode": mode} | more)

    def config_maps(self) -> list[Raw]:
        people = {"alice": self.one(*DAYS), "bob": self.one(*DAYS)}
        found = [
            configmap("acme", "pack", {"pack.yaml": PACK.replace("FROM", self.one(*DAYS))}),
            configmap("staff", "training-attestations", people),
        ]
        return [c for c in found if self.likely(0.8)]

    def exception(self, number: int) -> Raw:
        workload = {"kind": "TrainingJob", "namespace": self.one(*PLACES), "name": f"job-{self.random.randrange(8)}"}
        return exception(
            f"exception-{number}",
            made=self.one(*["2026-05-25T12:00:00Z"] * 4, "2026-04-01T00:00:00Z"),
            requested_by=self.one(*["alice"] * 6, None),
            approved_by=self.one(*["dave"] * 6, "alice", None),
            rule=self.one("dp-required", "consent-valid", "assurance", "special-category", "retention", "dp-budget"),
            workload=workload,
            expiresAt=self.one(*MOMENTS[:3], *["2026-06-20T00:00:00Z"] * 5),
            approved=self.likely(0.8),
        )

    def budgets(self) -> list[Raw]:
        """Some that go together, and some that do not: two of a domain, one of an identity that another has."""
        chance = self.spending
        found = []
        for name in chance.sample(("people", "guests", "staff"), chance.randint(0, 3)):
            places = chance.sample(PLACES, chance.randint(1, 2))
            limits = {
                "quotas": [{"namespace": place, "share": chance.choice([0.01, 1])} for place in PLACES[:2]],
                "minimumAssurance": "Instrumented",
                "reviewedImages": [chance.choice([IMAGE.rpartition("@")[2], "sha256:" + "1" * 64])],
                "orders": [1.5, 4, 16, 64],
                "delta": 1e-5,
            }
            more = {key: value for key, value in limits.items() if chance.random() < 0.15}
            found.append(
                budget(
                    name,
                    made=chance.choice(MOMENTS),
                    subjectDomain=chance.choice([name, name, "people"]),
                    identities=[f"urn:{place}:{chance.choice(['visits', 'scans'])}" for place in places],
                    epsilon=chance.choice([0.5, 10, 10]),
                    **more,
                )
            )
        return found

    # -- jobs ------------------------------------------------------------------------------------------------------

    def job(self, number: int) -> Raw:
        """One job; its name and place may be those that an exception names."""
        place = self.one(*PLACES)
        made = self._inference(place) if self.likely(0.2) else self._training(place)
        made["metadata"] |= {"name": f"job-{number % 8}", "namespace": place, "uid": f"uid-{number}"}
        if self.likely(0.8):
            made["metadata"]["annotations"] = {"mlprivacy.dev/requested-by": self.one(*PEOPLE)}
        made["metadata"] |= self.fields(labels=(0.4, {"team": "a"}))
        spec = made["spec"]
        if made["kind"] == "TrainingJob" or self.likely(0.3):
            spec["purpose"] = self.one(*["train_ai_system"] * 4, "train_ai_system.vision", "advertising", "x")
        spec |= self.fields(
            assurance=(0.1, "Gated"),
            highRisk=(0.3, {}),
            suspend=(0.1, True),
            ttlSecondsAfterFinished=(0.1, 60),
        )
        if made["kind"] == "InferenceJob":
            spec.pop("ttlSecondsAfterFinished", None)
        return copy.deepcopy(made)

    def _training(self, place: str) -> Raw:
        base = rdma_job() if self.likely(0.1) else training_job()
        columns = [["age"]] * 5 + [["age", "diagnosis"]] * 3 + [["age", "diagnosis", "patient_id"], ["nosuch"]]
        names = self.random.sample(("visits", "scans"), self.one(1, 1, 2)) if self.likely(0.95) else ["missing"]
        base["spec"]["datasets"] = [
            asked(name=n, namespace=self.one(place, place, *PLACES), columns=self.one(*columns), mountPath=f"/data/{n}")
            for n in names
        ]
        privacy = base["spec"]["privacy"]
        privacy |= self.fields(epsilon=(0.3, self.one(0.5, 5, 50)), delta=(0.2, 1e-5), unit=(0.1, "Event"))
        if self.likely(0.1):
            base["spec"]["privacy"] = {"mechanism": "None"}
        if self.likely(0.03):
            base["spec"]["privacy"] = {"mechanism": "Nonsense"}
        self._spending(base["spec"])
        pod = base["spec"]["template"]["spec"]
        pod |= self.fields(hostNetwork=(0.1, True), nodeSelector=(0.1, {"topology.kubernetes.io/region": "eu-west"}))
        if self.likely(0.2):
            named = self.one("models", "cache", "none")
            pod["volumes"] = [{"name": "m", "persistentVolumeClaim": {"claimName": named, "readOnly": True}}]
        if self.likely(0.1):
            pod["containers"][0]["image"] = IMAGE.split("@", maxsplit=1)[0] + ":latest"
        return base

    def _spending(self, spec: Raw) -> None:
        """Noise, trials, rows of a person, blocks, and serialised events, few of each so that few are counted."""
        chance, privacy = self.spending, spec["privacy"]
        if privacy["mechanism"] == "DPSGD" and chance.random() < 0.2:
            privacy["noiseMultiplier"] = chance.choice([0.5, 5])
        elif chance.random() < 0.1:
            event = chance.choice(['{"class_name": "GaussianDpEvent", "noise_multiplier": 9}', EVENT_OF_FIXED_SIZE])
            spec["privacy"] = {"mechanism": "Event", "event": event, "epsilon": 2, "delta": 1e-8}
        spec.update({"trials": 3} if chance.random() < 0.05 else {})
        for asked_for in spec["datasets"]:
            more = {"blocks": {"from": chance.choice(["2026-W10", "nonsense"])}, "maxRecordsPerUnit": 3}
            asked_for.update({key: value for key, value in more.items() if chance.random() < 0.1})

    def _inference(self, place: str) -> Raw:
        scope = {"name": self.one("triage", "triage", "missing"), "namespace": self.one(place, *PLACES)}
        classes = self.one(["demographic"], ["demographic"], ["health"], ["health", "missing"])
        return inference_job(dataClasses=classes, **self.fields(consentScope=(0.6, scope)))


def namespace(name: str, mode: str | None, **labels: str) -> Raw:
    governed = {"mlprivacy.dev/enforce": mode} if mode else {}
    labels = {"kubernetes.io/metadata.name": name} | governed | labels
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def configmap(name: str, label: str, data: Raw) -> Raw:
    metadata = {"name": name, "namespace": OPERATOR, "labels": {f"mlprivacy.dev/{label}": "true"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def claim(name: str, storage: str | None, place: str = "research") -> Raw:
    spec = {"accessModes": ["ReadOnlyMany"]} | ({"storageClassName": storage} if storage else {})
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": place},
        "spec": spec,
    }
