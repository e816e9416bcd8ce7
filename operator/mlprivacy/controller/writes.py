"""Every API write of a reconcile, by name, so that a test can end the process after each of them."""

from __future__ import annotations

from enum import StrEnum


class Write(StrEnum):
    """The API writes of a reconcile, in the order in which they happen in a job's life."""

    FINALIZER = "finalizer"  # our finalizer is put on the job
    FLOOR = "floor"  # the namespace's default-deny policy
    CONTROL = "control"  # a control: account, policy, ConfigMap, Service
    RECEIPT = "receipt"  # the collector's fsynced receipt is held
    CLAIM = "claim"  # status: the attempt's number is taken
    WORKLOAD = "workload"  # the Job or the Deployment, last
    LET_GO = "let-go"  # the scheduling gate is taken off a pod that is bound to its budget
    STATUS = "status"  # any other status write
    SUSPEND = "suspend"  # the workload is stopped
    END_ATTEMPT = "end-attempt"  # a stopped attempt is deleted
    DELETE_WORKLOAD = "delete-workload"  # teardown: the workload goes first
    DELETE_CONTROL = "delete-control"  # teardown: controls go when the pods are gone
    RELEASE = "release"  # our finalizer is taken off
