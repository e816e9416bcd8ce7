"""One request in, one answer out, whatever HTTP engine carries it: reads, decides, logs, counts. Fails closed."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from prometheus_client import Counter

from mlprivacy.admission import metrics
from mlprivacy.admission.changes import RECORDED
from mlprivacy.admission.kinds import JOB_KINDS, judge_kind, refuse
from mlprivacy.admission.pods import Facts, Jobs, PodJudge
from mlprivacy.admission.review import Answer, Malformed, Review, parse_review, response
from mlprivacy.admission.stamp import operator_users, stamp
from mlprivacy.api.names import GROUP
from mlprivacy.policy.custom import PREFIX

logger = logging.getLogger(__name__)

STAMP: Final = "/mutate/stamp"
KINDS: Final = "/validate/kinds"
PODS: Final = "/validate/pods"
PATHS: Final = frozenset({STAMP, KINDS, PODS})
JSON: Final = "application/json"

_RECORDED: Final = JOB_KINDS | RECORDED
LARGE: Final = 256 << 10  # bytes of a body; what people write has a few thousand
LARGE_AT_ONCE: Final = 2  # the others wait for their turn, so that small ones are answered in between

QUIET: Final = frozenset({"NotGoverned", "Unchanged", "Stamped"})  # answers that no log line tells of

Record = Callable[[Review, Answer], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer: its status, and a JSON body."""

    status: int
    body: bytes


class Handler:
    """Answers admission reviews.

    ``fresh`` says why nothing can be decided now (a sentence), or None. ``log`` takes the fields of one line for each
    decision; there is no person's name among them. ``record`` is called for each decision, and each change of what
    decisions rest on, that is no dry run, and must not block.
    """

    def __init__(
        self,
        facts: Facts,
        pods: PodJudge,
        *,
        namespace: str,
        fresh: Callable[[], str | None],
        log: Callable[[dict[str, Any]], None],
        record: Record | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._facts = facts
        self._pods = pods
        self._operators = operator_users(namespace)
        self._fresh = fresh
        self._log = log
        self._record = record
        self._clock = clock
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._seconds = {path: metrics.SECONDS.labels(path) for path in PATHS}

    async def handle(self, path: str, content_type: str, body: bytes, *, trusted: bool) -> Reply:
        """The answer to one POST. Never raises, and never allows what it could not read or decide."""
        if len(body) <= LARGE:
            return await self._handle(path, content_type, body, trusted=trusted)
        async with self._large:
            await asyncio.sleep(0)  # what came meanwhile goes first
            return await self._handle(path, content_type, body, trusted=trusted)

    async def _handle(self, path: str, content_type: str, body: bytes, *, trusted: bool) -> Reply:
        begun = time.perf_counter()
        if path not in PATHS:
            return self.refusal("path", 404, "there is nothing at this path")
        if content_type.partition(";")[0].strip().lower() != JSON:
            return self.refusal("content-type", 415, f"send {JSON}")
        uid: str | None = None
        try:
            review = parse_review(body)
            uid = review.uid
            answer = await self._answer(path, review, trusted=trusted)
            reply = Reply(200, response(review.uid, answer))
            self._tell(path, review, answer, time.perf_counter() - begun)
        except Malformed as problem:
            return self.refusal("malformed", 400, str(problem), problem.uid)
        except Exception as error:  # whatever went wrong, the answer is no
            identity = secrets.token_hex(6)
            logger.exception(
                "request %s failed (%s); it was refused", identity, type(error).__name__, extra={"id": identity}
            )
            metrics.REFUSED.labels("internal").inc()
            refused = _internal(identity)
            return Reply(500, _sentence(refused.message)) if uid is None else Reply(200, response(uid, refused))
        return reply

    def refusal(self, why: str, status: int, sentence: str, uid: str | None = None) -> Reply:
        """The answer to what is no review that may be answered: a sentence and an id that is in the log.

        Without a review's uid it is no AdmissionReview at all, which the API server takes for a failure.
        """
        identity = secrets.token_hex(6)
        metrics.REFUSED.labels(why).inc()
        logger.warning("request refused: %s", sentence, extra={"id": identity, "why": why})
        text = f"mlprivacy refuses this request: {sentence} (id {identity})"
        if uid is not None:
            return Reply(200, response(uid, refuse(text, status, "BadRequest")))
        return Reply(status, _sentence(text))

    async def _answer(self, path: str, review: Review, *, trusted: bool) -> Answer:
        if path == STAMP:
            if review.group != GROUP:
                return refuse("only kinds of this product are stamped; mend the webhook's rules", 400, "BadRequest")
            return stamp(review, self._operators, self._clock())
        if path == PODS:
            return await self._pods.judge(review, self._clock(), fresh=self._fresh)
        return await judge_kind(review, self._facts, self._clock(), trusted=trusted, fresh=self._fresh)

    def _tell(self, path: str, review: Review, answer: Answer, seconds: float) -> None:
        """Metrics, one log line, and the audit record of a decision. Nobody's name is in it, only those of objects."""
        self._seconds[path].observe(seconds)
        _count(metrics.ANSWERS, path, answer.verdict)
        for rule, action in answer.rules:
            # Custom rules have names that people chose, as many as they like: they are counted together.
            _count(metrics.FINDINGS, "custom" if rule.startswith(PREFIX) else rule, action)
        if answer.verdict in QUIET:
            return
        self._log(
            {
                "message": "decision",
                "path": path,
                "operation": review.operation,
                "kind": review.kind,
                "namespace": review.namespace,
                "object": review.name,
                "review": review.uid,
                "dryRun": review.dry_run,
                "allowed": answer.allowed,
                "verdict": answer.verdict,
                "rules": sorted({rule for rule, _ in answer.rules}),
                "digest": answer.digest,
                "milliseconds": round(seconds * 1000, 3),
            }
        )
        if self._record is not None and not review.dry_run and (path == PODS or review.kind in _RECORDED):
            self._record(review, answer)


@cache
def _child(counter: Counter, *labels: str) -> Counter:
    """The sample with these labels: of all paths, verdicts, rules and actions there are few, and finding it is slow."""
    return counter.labels(*labels)


def _count(counter: Counter, *labels: str) -> None:
    _child(counter, *labels).inc()


def _internal(identity: str) -> Answer:
    return refuse(
        f"mlprivacy could not decide because of an error of its own, so it refuses. Try again; if it stays, give the "
        f"operators of the cluster the id {identity}, which is in the log of mlprivacy-admission",
        500,
        "InternalError",
        verdict="Error",
    )


def _sentence(text: str) -> bytes:
    # Written without a serialiser, since it also answers where one failed; text holds no quote and no backslash.
    return b'{"error":"' + text.replace("\\", " ").replace('"', "'").encode("utf-8", "replace") + b'"}'


__all__ = ["KINDS", "PATHS", "PODS", "STAMP", "Facts", "Handler", "Jobs", "PodJudge", "Reply"]
