"""rdma-encryption: where a class demands encryption in transit, a probe has lately seen the node encrypt RDMA."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from mlprivacy.policy.case import Case
from mlprivacy.policy.durations import later, parse_duration
from mlprivacy.policy.fabric.objects import labels, name_of
from mlprivacy.policy.fabric.use import names, rdma_of, sentences
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.rule import Parameter, Raised, Rule, breach, missing

SKEW = timedelta(minutes=5)  # how far the node's clock may be ahead of ours


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The label's value is the moment of the probe, as 20270131T120000Z, or ``false``; settings are never looked at."""
    use = rdma_of(case)
    demanding = tuple(c for c in case.classes if c.spec.encryption.in_transit == "Required")
    if use is None or not demanding:
        return
    nodes = case.fabric_nodes
    if not nodes:
        yield missing(
            use.path,
            f"{names(demanding)} must be encrypted in transit, and the nodes that may run the job are not known",
            "wait until a node offers the device; offline, add the Nodes",
        )
        return
    probes = case.words("rdma-encryption", "label")
    limit = min(timedelta(hours=24), parse_duration(case.text("rdma-encryption", "maxAge")))
    refuted = [n for n in nodes if any(labels(n).get(label) == "false" for label in probes)]
    moments = [(name_of(n), _moment(str(labels(n).get(label) or ""))) for n in nodes for label in probes]
    # Without any label nothing can be shown. With several, each must be there and young: none makes up for another.
    stale = sorted(
        {
            name
            for name, moment in moments
            if moment is None or moment > case.facts.now + SKEW or later(moment, limit) <= case.facts.now
        }
        or ({name_of(n) for n in nodes} if not probes else set())
    )
    for _, moment in moments:
        if moment is not None:  # a clock that is ahead is caught up with; then the probe grows old
            case.expires(moment - SKEW if moment > case.facts.now + SKEW else later(moment, limit))
    if refuted:
        yield breach(
            use.path,
            f"{names(demanding)} must be encrypted in transit, and a probe found that RDMA is in the clear on "
            f"{sentences(name_of(n) for n in refuted)}",
            "leave the device out, or choose nodes that encrypt by nodeSelector",
        )
    elif stale:
        yield missing(
            use.path,
            f"{names(demanding)} must be encrypted in transit, and no probe of the last "
            f"{int(limit.total_seconds() // 3600)} h says that {sentences(iter(stale))} encrypts RDMA",
            f"leave the device out, or have the probe label the nodes with {sentences(iter(probes))}",
        )


@lru_cache(maxsize=1024)
def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


RULE = Rule(
    id="rdma-encryption",
    family="rdma",
    action=Action.DENY,
    reason="RDMA carries memory over the wire, and no TLS of a program covers it.",
    citations=("organisation",),
    remedy="leave the device out",
    check=check,
    yields_to="pod-hardening",
    parameters=(
        Parameter(
            "label",
            "list",
            ("mlprivacy.node-restriction.kubernetes.io/ipsec-packet-offload",),
            "label by which a probe says when it last saw packet offload at work; a prefix that kubelets may not set. "
            "Of several, each must say it.",
            "union",
        ),
        Parameter("maxAge", "duration", "24h", "the oldest probe that counts; more than 24h counts as 24h.", "smaller"),
    ),
)
