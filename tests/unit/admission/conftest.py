"""The server's handler over facts in memory: reviews are dicts, answers are dicts."""

import base64
import copy
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlprivacy.admission.handler import Handler, Reply
from mlprivacy.admission.pods import PodJudge
from mlprivacy.budget.ledger.admissible import Held, holding_of
from mlprivacy.budget.ledger.registrations import Registration
from mlprivacy.controls.render import render
from mlprivacy.policy.engine import evaluate, parse_job
from mlprivacy.policy.facts import Facts
from mlprivacy.policy.gather import select_facts
from mlprivacy.policy.lookup import ObjectLookup
from mlprivacy.policy.model import Dependency
from mlprivacy.policy.packs import Shelf
from mlprivacy.workloads.context import RenderContext, RenderSettings

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OBJECTS = yaml.safe_load((Path(__file__).parent / "objects.yaml").read_text(encoding="utf-8"))["items"]
IMAGE = "registry.example/dataplane@sha256:" + "d" * 64
SETTINGS = RenderSettings("mlprivacy-system", IMAGE, "192.0.2.1:15019:15019", "a2V5")


class World:
    """Objects of a cluster that is not there, and a handler that decides on them."""

    def __init__(self) -> None:
        self.objects: list[dict[str, Any]] = copy.deepcopy(OBJECTS)
        self.rested_on: set[Dependency] = set()
        self.arriving: list[dict[str, Any]] = []
        self.version = 0
        self.now = NOW
        self.fresh: str | None = None
        self.recorded: list[str] = []
        self.logged: list[dict[str, Any]] = []
        self.reads: list[str] = []
        self.hidden: set[str] = set()
        self.gathered = 0
        self.deadlines: list[float | None] = []
        self.settings: tuple[RenderSettings, ...] = (SETTINGS,)
        self.judge = PodJudge(self, self, lambda _: self.settings, images=(IMAGE,))
        self.handler = Handler(
            self,
            self.judge,
            namespace="mlprivacy-system",
            fresh=lambda: self.fresh,
            log=self.logged.append,
            record=lambda review, answer: self.recorded.append(f"{review.name} {answer.verdict}"),
            clock=lambda: self.now,
        )

    # -- facts and jobs, as the handler asks for them --------------------------------------------------------------

    async def gather(self, raw: Mapping[str, Any], now: datetime, *, deadline: float | None = None) -> Facts:
        self.gathered += 1
        self.deadlines.append(deadline)
        return select_facts(raw, ObjectLookup(self.objects), now)

    async def settle(self, rests_on: Collection[Dependency]) -> bool:
        self.rested_on = set(rests_on)
        arriving, self.arriving = self.arriving, []
        self.objects += arriving
        return bool(arriving)

    async def known(self, keys: list[tuple[str, str, str]], *, asker: str = "") -> set[tuple[str, str, str]]:
        there = {(o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in self.objects}
        return there & set(keys)

    async def expression_errors(self, texts: Sequence[str]) -> Mapping[str, str]:
        return {text: "at 1:4: Syntax error" for text in texts if text == "1 +"}

    async def expression_trial(self, texts: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        return {text: {"TrainingJob": "no such key"} for text in texts if "misspelt" in text}

    def governed(self) -> Mapping[str, Mapping[str, str]]:
        names = [o["metadata"]["name"] for o in self.objects if o["kind"] == "Namespace"]
        found = {name: self.labels(name) or {} for name in names}
        return {name: labels for name, labels in found.items() if "mlprivacy.dev/enforce" in labels}

    def packs(self) -> Shelf:
        return ObjectLookup(self.objects).packs()

    def held(self) -> Held:
        lookup = ObjectLookup(self.objects)
        ledgers = tuple(Registration(one.domain, one.identity, one.source) for one in lookup.registrations())
        holdings = [one for o in self.objects if o["kind"] == "Dataset" and (one := holding_of(o)) is not None]
        return Held(tuple(lookup.budgets()), ledgers, holdings)

    def labels(self, name: str) -> Mapping[str, str] | None:
        return ObjectLookup(self.objects).namespace_labels(name)

    def cached(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return None if name in self.hidden else self._job(kind, namespace, name)

    async def read(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        self.reads.append(name)
        return self._job(kind, namespace, name)

    def _job(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        found = [o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == name]
        return next((o for o in found if o["metadata"]["namespace"] == namespace), None)

    # -- what tests do ---------------------------------------------------------------------------------------------

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return next(o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == name)

    def job(self) -> dict[str, Any]:
        """A copy of the compliant TrainingJob `diagnosis` of namespace research, as the API server would store it."""
        job = copy.deepcopy(self.get("TrainingJob", "diagnosis"))
        job["metadata"]["uid"] = "11111111-1111-4111-8111-111111111111"
        return job

    def serving(self) -> dict[str, Any]:
        """A lawful InferenceJob of namespace research, which rests on a contract."""
        return {
            "apiVersion": "mlprivacy.dev/v1alpha1",
            "kind": "InferenceJob",
            "metadata": {"name": "api", "namespace": "research", "uid": "33333333-3333-4333-8333-333333333333"},
            "spec": {
                "model": {"image": "registry.example/server@sha256:" + "c" * 64},
                "purpose": "provide_diagnosis",
                "dataClasses": ["demographic"],
                "legalBasis": "eu-gdpr:A6-1-b",
                "template": {"spec": {"containers": [{"name": "server", "command": ["serve"]}]}},
            },
        }

    def store(self, obj: dict[str, Any]) -> None:
        """Put an object in the cluster, in place of its namesake."""
        key = (obj["kind"], obj["metadata"].get("namespace"), obj["metadata"]["name"])
        self.objects = [
            o for o in self.objects if (o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) != key
        ]
        self.objects.append(obj)
        if obj["kind"] in ("TrainingJob", "InferenceJob"):
            self.judge.forget(*[key[0], key[1] or "", key[2]])
        else:
            self.version += 1

    def digest(self, job: dict[str, Any]) -> str:
        return evaluate(job, select_facts(job, ObjectLookup(self.objects), self.now)).digest

    def pod(self, job: dict[str, Any], **labels: str | None) -> dict[str, Any]:
        """The pod that the operator would make for this job, with labels changed (None: left out)."""
        decision = evaluate(job, select_facts(job, ObjectLookup(self.objects), self.now))
        kind, parsed = parse_job(job)
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        assert parsed.spec is not None
        made = render(
            RenderContext(kind, name, namespace, job["metadata"]["uid"], parsed.spec, decision, 1, self.settings[0])
        )
        pod = made.pod
        maker = {"TrainingJob": ("batch/v1", "Job"), "InferenceJob": ("apps/v1", "ReplicaSet")}[kind]
        owner = {"apiVersion": maker[0], "kind": maker[1], "name": f"mlp-{name}-1", "uid": "o", "controller": True}
        pod["metadata"] |= {"name": f"mlp-{name}-1-x", "ownerReferences": [owner]}
        own = pod["metadata"]["labels"] | {
            f"mlprivacy.dev/{key.replace('_', '-')}": value for key, value in labels.items()
        }
        pod["metadata"]["labels"] = {key: value for key, value in own.items() if value is not None}
        return pod

    async def send(
        self, path: str, review: Any, *, trusted: bool = True, content_type: str = "application/json"
    ) -> Reply:
        body = review if isinstance(review, bytes) else json.dumps(review).encode()
        return await self.handler.handle(path, content_type, body, trusted=trusted)

    async def ask(
        self, path: str, obj: dict[str, Any], old: dict[str, Any] | None = None, **options: Any
    ) -> dict[str, Any]:
        """The `response` to a review of this object; with `old` it is an UPDATE."""
        trusted = options.pop("trusted", True)
        sent = review(obj, old, **options)
        reply = await self.send(path, sent, trusted=trusted)
        assert reply.status == 200
        answer = json.loads(reply.body)
        assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
        assert answer["response"]["uid"] == sent["request"]["uid"]
        return answer["response"]


def review(
    obj: dict[str, Any], old: dict[str, Any] | None = None, *, user: str = "alice", dry_run: bool = False
) -> dict[str, Any]:
    """An AdmissionReview as the API server sends it."""
    group, _, version = obj["apiVersion"].rpartition("/")
    kind = {"group": group, "version": version, "kind": obj["kind"]}
    plural = {"PrivacyPolicy": "privacypolicies", "DataClass": "dataclasses"}.get(
        obj["kind"], obj["kind"].lower() + "s"
    )
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": kind,
            "resource": {"group": group, "version": version, "resource": plural},
            "name": obj["metadata"].get("name", ""),
            "namespace": obj["metadata"].get("namespace", ""),
            "operation": "CREATE" if old is None else "UPDATE",
            "userInfo": {"username": user, "groups": ["system:authenticated"]},
            "object": obj,
            "oldObject": old,
            "dryRun": dry_run,
            "options": {},
        },
    }


def patched(obj: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """The object after the patch of a response; understands what a JSON patch of annotations needs."""
    result = copy.deepcopy(obj)
    if "patch" not in answer:
        return result
    assert answer["patchType"] == "JSONPatch"
    for operation in json.loads(base64.b64decode(answer["patch"])):
        *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
        target = result
        for part in parents:
            target = target[part]
        if operation["op"] == "remove":
            del target[last]
        else:
            assert operation["op"] == "add"
            target[last] = operation["value"]
    return result


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def review_of() -> Callable[..., dict[str, Any]]:
    return review


@pytest.fixture
def apply_patch() -> Callable[..., dict[str, Any]]:
    return patched
