"""trained-personnel: whoever asks for a job has a current attestation of privacy training.

Switched on by a pack or a policy. The requester is the user whom the API server authenticated at the job's creation, as
admission stamped it. A ServiceAccount is no person: whoever may mint its tokens asks through it, so an entry for one
never counts, and a job that a program applies is a breach. Attestations are the ConfigMaps labelled
``mlprivacy.dev/training-attestations: "true"`` in the operator's namespace: the key is the user
(``policy.people.attestation_key``), the value the last day of validity.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlprivacy.api.names import LABEL_TRAINING_ATTESTATIONS, SERVICE_ACCOUNT
from mlprivacy.policy.case import Case
from mlprivacy.policy.model import Action, Obligation
from mlprivacy.policy.people import attestation_key, end_of_attestation
from mlprivacy.policy.rule import Raised, Rule, breach, missing, owed

PATH = "metadata.annotations[mlprivacy.dev/requested-by]"


def check(case: Case) -> Iterator[Raised | Obligation]:
    """The requester is known, the register is known, and the requester's entry is not past."""
    user = case.requester
    if user is None:
        yield missing(
            PATH,
            "it is not known who asks for this job",
            "create the job through the API server, which stamps its requester (offline: --requester)",
        )
        return
    if user.startswith(SERVICE_ACCOUNT):
        yield breach(
            PATH,
            f"{user} asked for this job, and no person: whoever may use a ServiceAccount asks through it, so an "
            "attestation for it does not count",
            "let a person who took the training create the job; for jobs that programs apply, ask the privacy office "
            "to set the action of trained-personnel in a PrivacyPolicy",
        )
        return
    if not case.has_attestations:
        yield owed(
            PATH,
            "there is no register of privacy training",
            "ask the privacy office for a ConfigMap in the operator's namespace labelled "
            f'{LABEL_TRAINING_ATTESTATIONS}: "true"',
        )
        return
    key = attestation_key(user)
    entry = f"the entry {key} of a ConfigMap labelled {LABEL_TRAINING_ATTESTATIONS} in the operator's namespace"
    written = case.attestation(key)
    if written is None:
        yield breach(
            PATH,
            f"{user} has no attestation of privacy training",
            f"take the training, and ask the privacy office to write its last day, YYYY-MM-DD, into {entry}",
        )
        return
    try:
        ends = end_of_attestation(written)
    except ValueError:
        yield owed(
            PATH,
            f"the attestation of {user} can not be read: {written[:40]!r} is no day",
            f"ask the privacy office to write the last day, YYYY-MM-DD, into {entry}",
        )
        return
    if ends <= case.facts.now:
        yield breach(
            PATH,
            f"the attestation of {user}'s privacy training ended ({written.strip()})",
            f"take the training again, and ask the privacy office to write its last day into {entry}",
        )
    else:
        case.expires(ends)


RULE = Rule(
    id="trained-personnel",
    family="accountability",
    action=Action.DENY,
    reason="People who work with personal data know how to.",
    citations=("GDPR 39(1)(b)", "GDPR 32(4)"),
    remedy="take the privacy training",
    check=check,
    baseline=False,
)
