"""What every kind shares: the pydantic base, bounded strings, CEL rules, conditions, and parsing of raw objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel


class ApiModel(BaseModel):
    """Frozen, camelCase on the wire. Unknown fields are ignored here and reported by :func:`parse_spec`."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")


def cel(
    rule: str, message: str, *, field_path: str | None = None, reason: str | None = None, optional_old: bool = False
) -> dict[str, Any]:
    """One entry of ``x-kubernetes-validations``: the API server refuses with ``message`` when ``rule`` is false."""
    entry: dict[str, Any] = {"rule": rule, "message": message}
    if field_path:
        entry["fieldPath"] = field_path
    if reason:
        entry["reason"] = reason
    if optional_old:
        entry["optionalOldSelf"] = True
    return entry


def cel_extra(*rules: dict[str, Any], **extra: Any) -> dict[str, Any]:
    """``json_schema_extra`` that carries CEL rules and other Kubernetes schema extensions."""
    schema: dict[str, Any] = dict(extra)
    if rules:
        schema["x-kubernetes-validations"] = list(rules)
    return schema


IMMUTABLE = cel("self == oldSelf", "this field cannot be changed after creation; create a new object instead")

# Strings are ASCII by pattern wherever they are matched, so that no look-alike letter passes for another.
DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
JobName = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
DottedKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$",
    ),
]
LegalReference = Annotated[str, Field(min_length=3, max_length=64, pattern=r"^[a-z]{2}(-[a-z0-9]+)*:[A-Za-z0-9.-]+$")]
ColumnName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
Region = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Duration = Annotated[str, Field(min_length=2, max_length=16, pattern=r"^[1-9][0-9]{0,7}(s|m|h|d)$")]
CalendarDate = Annotated[str, Field(min_length=10, max_length=10, pattern=r"^[0-9]{4}-[01][0-9]-[0-3][0-9]$")]
DateTime = Annotated[str, Field(min_length=20, max_length=35, json_schema_extra={"format": "date-time"})]
HttpsUrl = Annotated[str, Field(min_length=9, max_length=512, pattern=r"^https://[!-~]+$")]
MountPath = Annotated[str, Field(min_length=2, max_length=256, pattern=r"^/[A-Za-z0-9._/-]+$")]
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Jurisdiction = Annotated[str, Field(min_length=2, max_length=32, pattern=r"^[a-z]{2}(-[a-z0-9]+)*$")]

Processing = Literal["Training", "Inference"]
Mode = Literal["Audit", "Warn", "Enforce"]
PrivacyUnit = Literal["Event", "User"]


class Sensitivity(StrEnum):
    """How sensitive a class of data is, weakest first."""

    PUBLIC = "Public"
    INTERNAL = "Internal"
    CONFIDENTIAL = "Confidential"
    RESTRICTED = "Restricted"


class Assurance(StrEnum):
    """How far a privacy claim can be believed, weakest first (design: up to Gated it is recorded, then enforced)."""

    DECLARED = "Declared"
    INSTRUMENTED = "Instrumented"
    GATED = "Gated"
    BY_CONSTRUCTION = "ByConstruction"
    ATTESTED = "Attested"

    @property
    def rank(self) -> int:
        """Position in the order, 0 for the weakest."""
        return list(Assurance).index(self)


class LocalRef(ApiModel):
    """Names an object in the same namespace."""

    name: Annotated[ObjectName, Field(description="name of the object in this namespace.")]


class NamespacedRef(ApiModel):
    """Names an object that may live in another namespace; then a DatasetGrant there must allow it."""

    name: Annotated[ObjectName, Field(description="name of the object.")]
    namespace: Annotated[
        DnsLabel | None,
        Field(
            default=None,
            description="namespace of the object; the referring object's own namespace when left out. Another "
            "namespace needs a DatasetGrant there.",
        ),
    ]


class Condition(ApiModel):
    """metav1.Condition."""

    type: Annotated[
        str,
        Field(
            min_length=1,
            max_length=316,
            pattern=r"^[A-Za-z][A-Za-z0-9]*$",
            description="type of the condition, for example Accepted.",
        ),
    ]
    status: Annotated[
        Literal["True", "False", "Unknown"],
        Field(description="status of the condition: True, False or Unknown."),
    ]
    observed_generation: Annotated[
        int | None,
        Field(default=None, ge=0, description="observedGeneration is the metadata.generation this was computed from."),
    ]
    last_transition_time: Annotated[DateTime, Field(description="lastTransitionTime is when the status last changed.")]
    reason: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            description="reason is a stable word for programs.",
        ),
    ]
    message: Annotated[str, Field(max_length=8192, description="message is a sentence for people.")]


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        default=(),
        max_length=16,
        description="conditions are the state of the object; there is no phase.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


class BasicStatus(ApiModel):
    """Status of a kind that the operator only judges."""

    observed_generation: Annotated[
        int | None,
        Field(default=None, ge=0, description="observedGeneration is the metadata.generation last processed."),
    ]
    conditions: Conditions


SpecT = TypeVar("SpecT", bound=ApiModel)


@dataclass(frozen=True)
class PrinterColumn:
    """One column of ``kubectl get``."""

    name: str
    json_path: str
    type: str = "string"
    description: str = ""
    priority: int = 0


@dataclass(frozen=True)
class KindInfo(Generic[SpecT]):
    """Everything the CRD generator and the parsers need to know of a kind. One per module, as ``KIND``."""

    kind: str
    plural: str
    short_names: tuple[str, ...]
    namespaced: bool
    spec: type[SpecT]
    status: type[ApiModel]
    description: str
    printer_columns: tuple[PrinterColumn, ...] = ()
    selectable_fields: tuple[str, ...] = ()
    name_rules: tuple[dict[str, Any], ...] = ()  # CEL over the whole object, for example on metadata.name

    @property
    def singular(self) -> str:
        """Lower-case kind, as kubectl takes it."""
        return self.kind.lower()


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field: ``path`` is dotted with list indices in brackets."""

    path: str
    message: str
    unknown: bool = False


@dataclass(frozen=True)
class Parsed(Generic[SpecT]):
    """A raw object whose spec was read. ``spec`` is None when ``errors`` is not empty."""

    name: str
    namespace: str | None
    uid: str
    generation: int
    raw: Mapping[str, Any]
    spec: SpecT | None
    errors: tuple[FieldError, ...] = ()
    unknown: tuple[FieldError, ...] = field(default=())

    @property
    def ref(self) -> str:
        """``namespace/name``, or the name alone for a cluster-scoped object."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def dotted(loc: tuple[int | str, ...], root: str = "spec") -> str:
    """A pydantic location as a field path: ``('datasets', 0, 'name')`` -> ``spec.datasets[0].name``."""
    path = root
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path


def parse_spec(kind: KindInfo[SpecT], raw: Mapping[str, Any]) -> Parsed[SpecT]:
    """Read ``raw['spec']``. Never raises on bad content: wrong values are ``errors``, extra fields ``unknown``."""
    metadata = raw.get("metadata")
    meta: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
    errors: list[FieldError] = []
    unknown: list[FieldError] = []
    spec: SpecT | None = None
    body = raw.get("spec")
    if not isinstance(body, Mapping):
        errors.append(FieldError("spec", "is missing; every object of this kind needs a spec"))
    else:
        try:
            spec = kind.spec.model_validate(body, extra="forbid")
        except ValidationError as problem:
            for item in problem.errors(include_url=False, include_context=False, include_input=False):
                # Union member tags are upper-case words in the location; they are no part of the path.
                path = dotted(tuple(p for p in item["loc"] if not (isinstance(p, str) and p.startswith("<"))))
                if item["type"] == "extra_forbidden":
                    unknown.append(FieldError(path, "is not a field of this kind", unknown=True))
                else:
                    errors.append(FieldError(path, item["msg"]))
            if not errors:
                spec = kind.spec.model_validate(body)
    return Parsed(
        name=str(meta.get("name", "")),
        namespace=str(meta["namespace"]) if meta.get("namespace") else None,
        uid=str(meta.get("uid", "")),
        generation=int(meta.get("generation") or 0),
        raw=raw,
        spec=spec,
        errors=tuple(errors),
        unknown=tuple(unknown),
    )
