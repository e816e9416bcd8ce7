"""Condition types and reasons: the stable words that programs may match. Each has a comment that is its reference."""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Types of conditions. Those of what jobs refer to are Accepted, Ready and Stalled."""

    ACCEPTED = "Accepted"  # the decision allows the job; False when refused, Unknown while a fact is missing
    RESOLVED_REFS = "ResolvedRefs"  # every name the job refers to exists and is granted
    CONTROLS_READY = "ControlsReady"  # every control was made and read back, and the audit receipt is held
    BUDGET_RESERVED = "BudgetReserved"  # the privacy loss of the attempt is reserved on every block, or none is needed
    GUARANTEE_HOLDS = "GuaranteeHolds"  # of a PrivacyBudget: no block was ever used outside accounting
    DATA_READY = "DataReady"  # the data gate serves the data
    SERVING_READY = "ServingReady"  # the gateway forwards requests
    RUNNING = "Running"  # an attempt, or at least one replica, is running
    COMPLETED = "Completed"  # the training attempt ended well
    READY = "Ready"  # training: the attempt was created under its controls; serving: replicas are available
    STALLED = "Stalled"  # True when nothing will change without a change by people (kstatus, Flux, Argo)
    CUSTOM_RULES_WORK = "CustomRulesWork"  # of a PrivacyPolicy: its custom rules give an answer on sample jobs
    QUEUED = "Queued"  # of a TrainingJob with a queue's name: True while it waits there, False once it is admitted
    SUSPENDED = "Suspended"  # stopped by spec.suspend or because a decision no longer allows it


class Reason(StrEnum):
    """Reasons of findings and of conditions."""

    # Verdicts.
    ALLOWED = "Allowed"  # no rule objects
    ALLOWED_WITH_WARNINGS = "AllowedWithWarnings"  # rules object, and the mode is Warn
    ALLOWED_BY_EXCEPTION = "AllowedByException"  # a rule would refuse it, and an approved PolicyException accepts that
    ALLOWED_WITH_FINDINGS = "AllowedWithFindings"  # Audit: under Enforce rules would refuse, hold or warn about it
    REFUSED = "Refused"  # a rule refuses the job; the findings say which
    PENDING = "Pending"  # not judged yet
    INVALID_SPEC = "InvalidSpec"  # the spec can not be read
    # Holds: one per missing fact. Those of NEEDS_PEOPLE wait for people, the others resolve by themselves.
    NAMESPACE_NOT_GOVERNED = "NamespaceNotGoverned"  # the namespace carries no mlprivacy.dev/enforce label
    NAMESPACE_TOO_SOFT = "NamespaceTooSoft"  # the data's namespace is governed more strictly than the job's
    DATASET_NOT_FOUND = "DatasetNotFound"  # no such Dataset, or not granted to this namespace
    DATA_CLASS_NOT_FOUND = "DataClassNotFound"  # no such DataClass
    CONSENT_SCOPE_NOT_FOUND = "ConsentScopeNotFound"  # no such ConsentScope, or not granted to this namespace
    REF_NOT_PERMITTED = "RefNotPermitted"  # no DatasetGrant allows the reference (says no more than NotFound would)
    PACK_NOT_FOUND = "PackNotFound"  # a policy names a pack that is not installed
    INVALID_POLICY = "InvalidPolicy"  # a policy that applies can not be read
    CUSTOM_RULE_FAILS = "CustomRuleFails"  # a custom rule of the policy gives no answer, so jobs under it hold
    INVALID_REFERENCE = "InvalidReference"  # a referred object exists and its spec can not be read
    FACT_MISSING = "FactMissing"  # a rule needs a fact that is not known yet
    STATEMENT_MISSING = "StatementMissing"  # people owe a statement (an assessment, a review); the remedy says who
    NOT_ENFORCED_HERE = "NotEnforcedHere"  # the spec asks for something that nothing enforces yet
    # Breaches.
    BREACH = "Breach"  # a rule is broken
    # Evidence.
    RECORDED = "Recorded"  # nothing is wrong: a rule writes down what can be shown
    # A PolicyException.
    APPROVED = "Approved"  # it is in force: two people agree, and its time has not come
    WAITING_FOR_APPROVAL = "WaitingForApproval"  # nobody has approved it yet
    REVOKED = "Revoked"  # it was approved, and somebody took that back
    EXPIRED = "Expired"  # its time is over
    NOT_EXCEPTABLE = "NotExceptable"  # its rule knows no exception, or a policy in force allows none
    INVALID_DATES = "InvalidDates"  # it ends too late, or before it began
    NOT_STAMPED = "NotStamped"  # who asked or who approved is not known, is no person, or they are the same
    NOT_BOUND = "NotBound"  # its approval does not name the exception that it stands in
    BEING_DELETED = "BeingDeleted"  # somebody deleted it, and a finalizer still keeps it
    # Conditions after the decision.
    REFS_RESOLVED = "RefsResolved"  # all references resolve
    CONTROLS_IN_PLACE = "ControlsInPlace"  # made and read back, receipt held
    CONTROLS_PENDING = "ControlsPending"  # being made
    CONTROLS_DRIFTED = "ControlsDrifted"  # something changed or removed a control; it is being repaired
    AUDIT_UNAVAILABLE = "AuditUnavailable"  # no receipt from the collector, so nothing is started
    TEMPLATE_REJECTED = "TemplateRejected"  # the API server's strict dry-run refused the rendered Job or Pod
    # The privacy budget of a job.
    NO_BUDGET_NEEDED = "NoBudgetNeeded"  # none of its datasets has a budget
    BUDGET_HELD = "BudgetHeld"  # its loss is reserved, or committed, on every block
    BUDGET_LOCKED = "BudgetLocked"  # a block has the budget, and not enough of it is unlocked yet
    BUDGET_EXHAUSTED = "BudgetExhausted"  # a block has been used; only a release makes room
    QUOTA_REACHED = "QuotaReached"  # the namespace has had its share of a block
    WAITING_FOR_BUDGET = "WaitingForBudget"  # it waits, or is not looked at yet
    BUDGET_TIMEOUT = "BudgetTimeout"  # it waited longer than the budget's timeout
    OUTSIDE_ACCOUNTING = "OutsideAccounting"  # it runs without being counted, and its blocks say so for good
    LEDGER_UNAVAILABLE = "LedgerUnavailable"  # the ledger can not be read or written now
    LEDGER_BROKEN = "LedgerBroken"  # an entry of the ledger is missing or was changed: people have to look
    # A PrivacyBudget.
    PROMISE_KEPT = "PromiseKept"  # the ledger holds every block to the promise
    PROMISE_WAITS = "PromiseWaits"  # spec asks for more than is promised, which waits for a second person
    TAINTED = "Tainted"  # data of blocks was used outside accounting
    LEDGER_RESTORED = "LedgerRestored"  # entries that the cluster's database had lost were written again
    DOMAIN_TAKEN = "DomainTaken"  # another PrivacyBudget has the subject domain or one of the identities
    NO_DATA_GATE = "NoDataGate"  # there is no data gate yet, so mountPath is empty
    NO_GATEWAY_PROXY = "NoGatewayProxy"  # the gateway refuses every request, since it can not proxy yet
    SUSPENDED_BY_USER = "SuspendedByUser"  # spec.suspend is true
    NO_LONGER_ALLOWED = "NoLongerAllowed"  # what the decision rests on changed, and it does not allow the job any more
    ATTEMPT_CREATED = "AttemptCreated"  # the Job or Deployment was created under its controls
    ATTEMPT_RUNNING = "AttemptRunning"  # the pod runs
    SIMULATED = "Simulated"  # a simulated node says so: this proves objects and order, never a process
    SUCCEEDED = "Succeeded"  # the attempt ended well
    FAILED = "Failed"  # the attempt failed
    DEADLINE_EXCEEDED = "DeadlineExceeded"  # activeDeadlineSeconds passed
    SEAL_NOT_ENFORCED = "SealNotEnforced"  # the seal probe found that NetworkPolicy is not enforced for the pod
    SEAL_NOT_CONFIRMED = "SealNotConfirmed"  # the pod looks sealed; the collector did not confirm it in time
    SEAL_FAILED = "SealFailed"  # the seal probe could not do its work; its words or its exit code say why
    # What kubelet or scheduler say of a pod that does not get to run; the message has the rest of their words.
    UNSCHEDULABLE = "Unschedulable"  # the pod fits no node
    ERR_IMAGE_PULL = "ErrImagePull"  # an image could not be pulled
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"  # the same, and the kubelet pauses before it tries again
    INVALID_IMAGE_NAME = "InvalidImageName"  # the name of an image can not be read
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"  # something that a container refers to is missing
    CREATE_CONTAINER_ERROR = "CreateContainerError"  # a container could not be made
    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff"  # a container ends again and again
    POD_WAITING = "PodWaiting"  # another word of theirs, with which the message begins
    SIDECAR_SILENT = "SidecarSilent"  # the collector does not hear the sidecar, so nothing meters what runs
    # A queue of Kueue.
    QUEUED = "Queued"  # its Workload waits for quota or for a check of its queue
    ADMITTED = "Admitted"  # Kueue admitted its Workload, so it may run
    EVICTED = "Evicted"  # Kueue took its quota back, so it was stopped; it queues again
    DEACTIVATED = "Deactivated"  # its Workload was rejected or deactivated: people change the job, or activate it
    QUEUE_NOT_SERVED = "QueueNotServed"  # it names a queue, and the cluster has no Kueue, so the name is ignored
    NOT_SUSPENDED = "NotSuspended"  # nothing suspends it
    PROGRESSING = "Progressing"  # on its way, nothing to do


# A pod is there and does not get to run, for a reason that may last.
POD_WAITS = frozenset(
    {
        Reason.UNSCHEDULABLE,
        Reason.ERR_IMAGE_PULL,
        Reason.IMAGE_PULL_BACK_OFF,
        Reason.INVALID_IMAGE_NAME,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        Reason.CREATE_CONTAINER_ERROR,
        Reason.CRASH_LOOP_BACK_OFF,
        Reason.POD_WAITING,
    }
)
# An attempt is on its way and does not get to run, for a reason that may last.
WAITS = POD_WAITS | {Reason.QUEUED}
# Holds that last until people change the job, a policy, or what they state about the data. The remedy says who.
NEEDS_PEOPLE = frozenset(
    {Reason.NOT_ENFORCED_HERE, Reason.INVALID_POLICY, Reason.PACK_NOT_FOUND, Reason.STATEMENT_MISSING}
)
