"""PrivacyPolicy: which rules apply to which governed namespaces, how hard, and with which parameters."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from mlprivacy.api.base import (
    ApiModel,
    BasicStatus,
    Duration,
    KindInfo,
    Mode,
    PrinterColumn,
    Text,
)
from mlprivacy.api.constraints import UNIQUE, Integer, Rule, keyed_by, without_nulls
from mlprivacy.api.names import GROUP

RuleId = Annotated[str, Field(min_length=2, max_length=63, pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$")]


def parameter_value(value: Any) -> int | str:
    """The value, when it is a whole number or a short string. Raises PydanticCustomError."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if (isinstance(value, str) and len(value) <= 256) or (type(value) is int and abs(value) < 2**63):
        return value
    raise PydanticCustomError("parameter", "Must be a whole number or a string of at most 256 characters")


# One validator instead of a union: a union would put its members' names into the path of an error.
ParameterValue = Annotated[
    int | str,
    PlainValidator(parameter_value),
    WithJsonSchema(
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}], "maxLength": 256}
    ),
]
GUARDED_SELECTOR_KEYS = (f"{GROUP}/enforce", f"{GROUP}/region", f"{GROUP}/tenant", "kubernetes.io/metadata.name")


class PackRef(ApiModel):
    """Names a law pack."""

    name: Annotated[RuleId, Field(description="name of the pack, such as eu-gdpr; `baseline` is always on.")]


class GuardedSelector(ApiModel):
    """Selects namespaces by labels that only the privacy office can change, or by name."""

    match_labels: Annotated[
        dict[str, LabelValue],
        Field(
            default_factory=dict,
            max_length=4,
            description="matchLabels must all hold. Keys: mlprivacy.dev/enforce, mlprivacy.dev/region, "
            "mlprivacy.dev/tenant or kubernetes.io/metadata.name; other labels can be moved by namespace owners.",
        ),
        Rule(
            "self.all(k, k in [" + ", ".join(f"'{key}'" for key in GUARDED_SELECTOR_KEYS) + "])",
            "only guarded labels select: " + ", ".join(GUARDED_SELECTOR_KEYS),
            lambda labels: set(labels) <= set(GUARDED_SELECTOR_KEYS),
        ),
        BeforeValidator(without_nulls),
    ]


class RuleOverride(ApiModel):
    """Changes the action of one rule."""

    id: Annotated[RuleId, Field(description="id of the rule, as `mlprivacy explain` prints it.")]
    action: Annotated[
        Literal["Deny", "Warn", "Evidence"],
        Field(description="action on a breach: Deny, Warn, or Evidence (recorded only)."),
    ]


class CustomRule(ApiModel):
    """A rule of your own, in CEL. True lets a job pass; without an answer the job holds."""

    id: Annotated[RuleId, Field(max_length=48, description="id of the rule; findings have it behind `custom/`.")]
    expression: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4096,
            description="expression in CEL over job, datasets, classes, namespaceObject and now; true is fine, false "
            "is a breach. It is compiled when the policy is applied.",
        ),
    ]
    message: Annotated[Text, Field(description="message for the person whose job it refuses.")]
    remedy: Annotated[Text | None, Field(default=None, description="remedy names the field to change.")]
    action: Annotated[
        Literal["Deny", "Warn", "Evidence"],
        Field(default="Deny", description="action on a breach: Deny, Warn, or Evidence (recorded only)."),
    ]


_MOST_OF = {"d": 366, "h": 366 * 24, "m": 366 * 24 * 60, "s": 366 * 24 * 3600}
ExceptionDuration = Annotated[
    Duration,
    Rule(
        "int(self.substring(0, size(self) - 1)) <= {"
        + ", ".join(f"'{unit}': {most}" for unit, most in _MOST_OF.items())
        + "}[self.substring(size(self) - 1)]",
        "an exception lasts at most 366d",
        lambda text: int(text[:-1]) <= _MOST_OF[text[-1]],
    ),
]


class ExceptionTerms(ApiModel):
    """What PolicyExceptions may do under the policy. Of several policies the strictest holds."""

    max_duration: Annotated[
        ExceptionDuration,
        Field(
            default="30d",
            description="maxDuration is how long after it was made an exception may last, 366d at most.",
        ),
    ]
    allow: Annotated[
        tuple[RuleId, ...] | None,
        Field(
            default=None,
            max_length=64,
            description="allow lists the rules that can be excepted; none can with an empty list. Left out, all can "
            "but egress, pod-hardening, prohibited-use and the rdma- rules, which never can.",
        ),
        UNIQUE,
    ]


class PrivacyPolicySpec(ApiModel):
    """Which rules apply where, and how hard."""

    packs: Annotated[
        tuple[PackRef, ...],
        Field(
            default=(),
            max_length=16,
            description="packs switched on besides baseline.",
        ),
        keyed_by("name"),
    ]
    namespace_selector: Annotated[
        GuardedSelector,
        Field(
            default_factory=GuardedSelector,
            description="namespaceSelector chooses governed namespaces; empty is all governed namespaces.",
        ),
    ]
    mode: Annotated[
        Mode,
        Field(
            default="Enforce",
            description="mode: Audit, Warn or Enforce. The namespace's label is the ceiling: a policy can be softer, "
            "never harder.",
        ),
    ]
    parameters: Annotated[
        dict[str, ParameterValue],
        Field(
            default_factory=dict,
            max_length=64,
            description="parameters of rules, as RULE.PARAMETER; write numbers with a fraction and words as strings.",
        ),
        BeforeValidator(without_nulls),
    ]
    rules: Annotated[
        tuple[RuleOverride, ...],
        Field(
            default=(),
            max_length=64,
            description="rules overrides the action of single rules.",
        ),
        keyed_by("id"),
    ]
    custom: Annotated[
        tuple[CustomRule, ...],
        Field(
            default=(),
            max_length=16,
            description="custom rules in CEL, beside the built-in ones.",
        ),
        keyed_by("id"),
    ]
    exceptions: Annotated[
        ExceptionTerms,
        Field(default_factory=ExceptionTerms, description="exceptions says how far PolicyExceptions reach here."),
    ]


class PrivacyPolicyStatus(BasicStatus):
    """What the policy comes to in this cluster."""

    packs: Annotated[
        str | None,
        Field(
            default=None,
            max_length=1024,
            description="packs are the names of the packs that it switches on besides baseline, for tables.",
        ),
    ]
    namespaces: Annotated[
        Integer | None,
        Field(default=None, ge=0, description="namespaces counts the governed namespaces that it selects."),
    ]


KIND = KindInfo(
    kind="PrivacyPolicy",
    plural="privacypolicies",
    short_names=("mlpp",),
    namespaced=False,
    spec=PrivacyPolicySpec,
    status=PrivacyPolicyStatus,
    description="PrivacyPolicy says which rules apply to which governed namespaces, and how hard.",
    printer_columns=(
        PrinterColumn("Mode", ".spec.mode"),
        PrinterColumn("Packs", ".status.packs"),  # of a list in the spec a table shows the first entry, or JSON
        PrinterColumn("Namespaces", ".status.namespaces", "integer"),
        PrinterColumn("Ready", ".status.conditions[?(@.type=='Ready')].status"),
        PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
    ),
    selectable_fields=(".spec.mode",),
)
