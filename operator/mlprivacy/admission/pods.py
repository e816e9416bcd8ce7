"""/validate/pods: a governed pod belongs to a job that exists, is accepted now, and was rendered from this decision."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from mlprivacy.admission import wording
from mlprivacy.admission.kinds import FactSource, deadline_of_review, in_time, refuse
from mlprivacy.admission.rendered import difference, owner_problem
from mlprivacy.admission.review import Answer, Review, annotations_of, labels_of
from mlprivacy.api.names import (
    ANNOTATION_DECISION,
    CONTAINER_ACCOUNTANT,
    CONTAINER_GATEWAY,
    CONTAINER_SEAL,
    ENV_ATTEMPT,
    LABEL_ATTEMPT,
    LABEL_INFERENCE_JOB,
    LABEL_JOB_UID,
    LABEL_RENDERED,
    LABEL_TRAINING_JOB,
)
from mlprivacy.controls.render import render
from mlprivacy.policy.engine import evaluate, parse_job
from mlprivacy.policy.gather import claims_of
from mlprivacy.policy.model import Decision, Verdict
from mlprivacy.policy.modes import ceiling_of
from mlprivacy.workloads.context import RenderContext, RenderSettings

_OF: Final[Mapping[str, tuple[str, str]]] = {
    "training": ("TrainingJob", LABEL_TRAINING_JOB),
    "inference": ("InferenceJob", LABEL_INFERENCE_JOB),
}
_OURS: Final = frozenset({CONTAINER_SEAL, CONTAINER_ACCOUNTANT, CONTAINER_GATEWAY})
_REMEMBERED: Final = 4096
_RENDERINGS: Final = 4  # kept of one decision
_ONLY: Final = "only what the operator renders runs as a governed pod"
_ATTEMPT: Final = re.compile(r"[1-9][0-9]{0,8}")
_RETRIED: Final = "whoever made the pod tries again; a decision that changed is rendered anew within seconds"


class Namespaces(Protocol):
    """Facts, and the version they are of."""

    version: int

    def labels(self, name: str) -> Mapping[str, str] | None:
        """Labels of a namespace, None when it is not known."""


class Facts(FactSource, Namespaces, Protocol):
    """What a pod is judged by, besides its job."""


class Jobs(Protocol):
    """Where jobs come from."""

    def cached(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The job from the copy."""

    async def read(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The job from the API server."""


@dataclass(frozen=True, slots=True)
class _Accepted:
    """A decision that a pod of the same job can rest on while nothing changed and its time has not come."""

    uid: str
    digest: str
    version: int
    decision: Decision
    job: Mapping[str, Any]
    pods: dict[tuple[RenderSettings, int], Mapping[str, Any]] = field(default_factory=dict)  # as rendered


@dataclass(frozen=True, slots=True)
class _Asked:
    """A pod, and what it says of itself."""

    review: Review
    uid: str
    digest: str
    attempt: int | None


class PodJudge:
    """Judges pods, and remembers decisions between pods of one job."""

    def __init__(
        self,
        facts: Facts,
        jobs: Jobs,
        settings: Callable[[datetime], tuple[RenderSettings, ...]],
        *,
        images: tuple[str, ...] = (),
    ) -> None:
        """`settings` are those that a pod may be rendered with, newest first.

        `images` of the operator's containers that are accepted; empty leaves them to the guard policies.
        """
        self._settings = settings
        self._facts = facts
        self._jobs = jobs
        self._images = frozenset(images)
        self._accepted: dict[tuple[str, str, str], _Accepted] = {}

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """A job changed: decide on its next pod anew."""
        self._accepted.pop((kind, namespace, name), None)

    async def judge(self, review: Review, now: datetime, *, fresh: Callable[[], str | None]) -> Answer:
        """The answer on a pod. ``fresh`` as for kinds.

        The label of the namespace is the ceiling: a refusal is a warning under `warn`, and only an audit annotation
        under `audit`.
        """
        if review.resource != "pods" or review.group or review.subresource or review.operation != "CREATE":
            return refuse("only the creation of pods is decided on here; mend the webhook's rules", 400, "BadRequest")
        labels = labels_of(review.object)
        if not (LABEL_RENDERED in labels or LABEL_TRAINING_JOB in labels or LABEL_INFERENCE_JOB in labels):
            return Answer(allowed=True, verdict="NotGoverned")
        if (stale := fresh()) is not None:
            return refuse(f"{stale}; try again shortly", 503, "ServiceUnavailable", verdict="NotReady")
        answer = await self._judge(review, labels, now)
        if answer.allowed:
            return answer
        known = self._facts.labels(review.namespace)
        ceiling = ceiling_of(known) if known is not None else None
        if ceiling in ("Warn", "Audit"):
            said = (wording.clean(answer.message, wording.MAX_WARNING),) if ceiling == "Warn" else ()
            return Answer(
                allowed=True, warnings=said, annotations={"would-refuse": answer.message[:1024]}, verdict="Softened"
            )
        return answer

    async def _judge(self, review: Review, labels: Mapping[str, Any], now: datetime) -> Answer:
        if LABEL_RENDERED not in labels:
            return refuse(
                f"the label {LABEL_TRAINING_JOB if LABEL_TRAINING_JOB in labels else LABEL_INFERENCE_JOB} asks for a "
                "workload to be adopted, which is not enforced here yet, so the pod would run without its controls. To "
                "fix it: give the job a spec.template and let the operator make the pods"
            )
        rendered = str(labels[LABEL_RENDERED])
        if rendered not in _OF:
            return refuse(f"the label {LABEL_RENDERED} is the operator's, and {rendered[:63]!r} is not a value of it")
        kind, label = _OF[rendered]
        name, uid = str(labels.get(label, "")), str(labels.get(LABEL_JOB_UID, ""))
        digest = str(annotations_of(review.object).get(ANNOTATION_DECISION, ""))
        if not name or not uid or not digest:
            return refuse(
                f"a pod with the label {LABEL_RENDERED} names its job ({label}, {LABEL_JOB_UID}) and its decision "
                f"({ANNOTATION_DECISION}); only the operator makes such pods"
            )
        if self._images and (wrong := self._foreign_image(review.object)):
            return refuse(f"{wrong} is not of an image of this release or the one before; {_RETRIED}")
        key = (kind, review.namespace, name)
        asked = _Asked(review, uid, digest, _attempt(kind, labels, review.object))
        known = self._accepted.get(key)
        if (
            known is not None
            and known.uid == uid
            and known.digest == digest
            and known.version == self._facts.version
            and (known.decision.valid_until is None or now < known.decision.valid_until)
        ):
            return self._as_rendered(known, asked, now)
        deadline = deadline_of_review()
        job = self._jobs.cached(*key)
        if job is not None:
            answer = await self._against(key, job, asked, now, deadline, remember=True)
            if answer.allowed:
                return answer
        # The copy may lag behind the controller that just rendered this pod: once more with the job as it is now.
        current = await in_time(deadline, self._jobs.read(*key), None)
        if current is not None:
            return await self._against(key, current, asked, now, deadline, remember=False)
        if job is not None:
            return answer
        return refuse(f"the {kind} {name} that this pod names does not exist in namespace {review.namespace}")

    async def _against(
        self,
        key: tuple[str, str, str],
        job: Mapping[str, Any],
        asked: _Asked,
        now: datetime,
        deadline: float,
        *,
        remember: bool,
    ) -> Answer:
        kind, _, name = key
        metadata, spec = job["metadata"], job.get("spec")
        if metadata.get("uid") != asked.uid:
            return refuse(f"the {kind} {name} is another one than the pod was made for; {_RETRIED}")
        if metadata.get("deletionTimestamp"):
            return refuse(f"the {kind} {name} is being deleted")
        if isinstance(spec, Mapping) and spec.get("suspend") is True:
            return refuse(f"the {kind} {name} is suspended; set spec.suspend to false to resume it")
        version = self._facts.version
        decision = evaluate(job, await self._facts.gather(job, now, deadline=deadline))
        if decision.verdict is not Verdict.ALLOW:
            return _not_allowed(kind, name, decision)
        if decision.digest != asked.digest:
            return refuse(f"the pod was made from another decision on the {kind} {name} than is in force; {_RETRIED}")
        # Claims are read anew for each decision and so are not covered by the version of the facts.
        accepted = _Accepted(asked.uid, asked.digest, version, decision, job)
        template = spec.get("template") if isinstance(spec, Mapping) else None
        if remember and not any(True for _ in claims_of(template)):
            if len(self._accepted) >= _REMEMBERED:
                del self._accepted[next(iter(self._accepted))]
            self._accepted[key] = accepted
        return self._as_rendered(accepted, asked, now)

    def _as_rendered(self, accepted: _Accepted, asked: _Asked, now: datetime) -> Answer:
        """Whether the pod is what the decision is rendered to, made by what the operator made for it.

        The guarded labels alone do not say so: before a namespace is governed, anybody may make a ReplicaSet whose
        template carries them, with a program of their own.
        """
        kind, name = accepted.decision.subject[0], accepted.decision.subject[2]
        known = self._settings(now)
        if not known:
            sentence = "mlprivacy-controller has not written down yet what pods are rendered with; try again shortly"
            return refuse(sentence, 503, "ServiceUnavailable", verdict="NotReady")
        if asked.attempt is None:
            return refuse(f"the pod does not say which attempt of the {kind} {name} it is; {_ONLY}")
        pod = asked.review.object
        # The operator tries a pod in a dry run, where nothing owns it yet.
        if not asked.review.dry_run and (problem := owner_problem(pod, kind, name, asked.attempt)):
            return refuse(f"the pod is not one of the {kind} {name}: {problem}; {_ONLY}")
        problems = []
        for settings in known:
            wanted = accepted.pods.get((settings, asked.attempt))
            if wanted is None:
                wanted = _rendered(accepted, settings, asked.attempt)
                if len(accepted.pods) >= _RENDERINGS:
                    accepted.pods.clear()
                accepted.pods[(settings, asked.attempt)] = wanted
            found = difference(wanted, pod)
            if found is None:
                return _allowed(asked.digest)
            problems.append(found)
        return refuse(
            f"the pod is not as it is rendered for the {kind} {name}: {problems[0][:200]} is another; {_ONLY}. If "
            f"the operator made it, {_RETRIED}"
        )

    def _foreign_image(self, pod: Mapping[str, Any]) -> str | None:
        spec = pod.get("spec")
        for group in ("initContainers", "containers", "ephemeralContainers"):
            items = spec.get(group) if isinstance(spec, Mapping) else None
            for item in items if isinstance(items, list) else ():
                ours = isinstance(item, Mapping) and item.get("name") in _OURS
                if ours and item.get("image") not in self._images:
                    return f"the container {item['name']}"
        return None


def _attempt(kind: str, labels: Mapping[str, Any], pod: Mapping[str, Any]) -> int | None:
    """The number of the attempt: of training by its label, of inference by what its seal probe is told."""
    text = str(labels.get(LABEL_ATTEMPT, ""))
    if kind == "InferenceJob":
        spec = pod.get("spec")
        containers = spec.get("initContainers") if isinstance(spec, Mapping) else None
        first = containers[0] if isinstance(containers, list) and containers else None
        env = first.get("env") if isinstance(first, Mapping) else None
        told = [e.get("value") for e in env if isinstance(e, Mapping) and e.get("name") == ENV_ATTEMPT] if env else []
        text = str(told[0]).rpartition("/")[2] if told else ""
    return int(text) if _ATTEMPT.fullmatch(text) else None


def _rendered(accepted: _Accepted, settings: RenderSettings, attempt: int) -> Mapping[str, Any]:
    kind, parsed = parse_job(accepted.job)
    if parsed.spec is None:
        raise ValueError("a job was allowed although its spec can not be read")
    _, namespace, name, uid = accepted.decision.subject
    context = RenderContext(kind, name, namespace, uid, parsed.spec, accepted.decision, attempt, settings)
    return render(context).pod


def _allowed(digest: str) -> Answer:
    return Answer(
        allowed=True, annotations={"verdict": "Allow", "digest": digest}, verdict=Verdict.ALLOW.value, digest=digest
    )


def _not_allowed(kind: str, name: str, decision: Decision) -> Answer:
    """The pod's maker is a controller of the cluster; people read the findings on the job."""
    verdict = decision.verdict.value
    rules = sorted({f.rule for f in decision.blocking})
    return Answer(
        allowed=False,
        message=f"the {kind} {name} may not run now ({verdict}: {', '.join(rules)[:200]}); its status says why",
        annotations={"verdict": verdict, "digest": decision.digest, "rules": ",".join(rules)[:512]},
        verdict=verdict,
        rules=tuple((f.rule, f.action.value) for f in decision.findings),
        digest=decision.digest,
    )
