"""What every kind shares: the pydantic base, bounded strings, CEL rules, conditions, and parsing of raw objects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from mlprivacy.api.constraints import VALIDATIONS, Integer, Rule, calendar_date, date_time, keyed_by
from mlprivacy.api.names import MOUNT_LOG, MOUNT_RUN


class ApiModel(BaseModel):
    """Frozen, camelCase on the wire. Unknown fields are ignored here and reported by :func:`parse_spec`."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")

    object_rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def as_the_api_server_stores_it(cls, value: Any) -> Any:
        """A field that is null is absent and 5.0 is 5: so the API server stores them, and so a file is read here."""
        if type(value) is dict:
            for one in value.values():  # a loop, for most objects need no copy and each model asks
                if one is None or (type(one) is float and one.is_integer()):
                    return {
                        k: int(v) if isinstance(v, float) and v.is_integer() else v
                        for k, v in value.items()
                        if v is not None
                    }
        return value

    @model_validator(mode="after")
    def follow_the_rules(self) -> Self:
        """The object, when each of its rules holds."""
        for rule in self.object_rules:
            rule.check(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        lowered = handler.resolve_ref_schema(handler(schema))
        if cls.object_rules:
            lowered[VALIDATIONS] = [rule.validation() for rule in cls.object_rules]
        return lowered


# Strings are ASCII by pattern wherever they are matched, so that no look-alike letter passes for another.
DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
JobName = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
DottedKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        # Words, with one underscore between two: no second way of writing a key looks like the first.
        pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)*$",
    ),
]
LegalReference = Annotated[str, Field(min_length=3, max_length=64, pattern=r"^[a-z]{2}(-[a-z0-9]+)*:[A-Za-z0-9.-]+$")]
Identity = Annotated[
    str,
    Field(min_length=5, max_length=200, pattern=r"^urn:[a-z0-9][a-z0-9-]{0,31}:[A-Za-z0-9()+,.:=@;$_!*'%/?#-]+$"),
]
ColumnName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]
Region = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Duration = Annotated[str, Field(min_length=2, max_length=16, pattern=r"^[1-9][0-9]{0,7}(s|m|h|d)$")]
CalendarDate = Annotated[
    str,
    Field(
        min_length=10,
        max_length=10,
        pattern=r"^[1-9][0-9]{3}-[01][0-9]-[0-3][0-9]$",
        json_schema_extra={"format": "date"},
    ),
    AfterValidator(calendar_date),
]
DateTime = Annotated[
    str,
    Field(
        min_length=20,
        max_length=35,
        pattern=r"^[1-9][0-9]{3}-[01][0-9]-[0-3][0-9]T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?"
        r"(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$",
        json_schema_extra={"format": "date-time"},
    ),
    AfterValidator(date_time),
]
HttpsUrl = Annotated[str, Field(min_length=9, max_length=512, pattern=r"^https://[!-~]+$")]
MountPath = Annotated[
    str,
    Field(min_length=2, max_length=256, pattern=r"^/[A-Za-z0-9._/-]+$"),
    Rule(
        "!self.contains('/../') && !self.endsWith('/..')",
        "a path must not climb with '..'",
        lambda path: "/../" not in path and not path.endswith("/.."),
    ),
    Rule(
        "!self.startsWith('/var/run/mlprivacy') && !self.startsWith('/var/lib/mlprivacy')",
        "this path belongs to the operator's sidecar; choose another, such as /data",
        lambda path: not path.startswith((MOUNT_RUN, MOUNT_LOG)),
    ),
]
# No control characters but the ends of lines, and none that turn the direction of writing: texts reach terminals.
Text = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\x{2028}-\x{202E}\x{2066}-\x{2069}]*$",
    ),
]
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
        return _RANK[self]


_RANK = {assurance: position for position, assurance in enumerate(Assurance)}


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
        Integer | None,
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
    ),
    keyed_by("type"),
]


class BasicStatus(ApiModel):
    """Status of a kind that the operator only judges."""

    observed_generation: Annotated[
        Integer | None,
        Field(default=None, ge=0, description="observedGeneration is the metadata.generation last processed."),
    ]
    conditions: Conditions


# References are of this form; an object under another name could never be referred to.
NAME_RULE = Rule(
    "size(self.metadata.name) <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name must be at most 63 characters of a-z, 0-9 and '-', because other objects refer to it by name",
    lambda name: re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name) is not None,
)

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
    name_rules: tuple[Rule, ...] = (NAME_RULE,)  # CEL over the whole object; `holds` takes metadata.name
    served: bool = True  # False: nothing in a cluster acts on it yet, so its definition is not shipped

    @property
    def singular(self) -> str:
        """Lower-case kind, as kubectl takes it."""
        return self.kind.lower()


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field: ``path`` is dotted with list indices in brackets.

    ``remedy`` is what to do, where the message does not say it already.
    """

    path: str
    message: str
    unknown: bool = False
    remedy: str = ""

    @property
    def sentence(self) -> str:
        """The message and what to do, as people are told."""
        return f"{self.message}. To fix it: {self.remedy}" if self.remedy else self.message


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
        path += f".{part}" if isinstance(part, str) and _PLAIN.fullmatch(part) else f"[{part}]"
    return path


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


_KINDS_OF_VALUE = {
    "model_type": "a map of fields",
    "dict_type": "a map of fields",
    "tuple_type": "a list",
    "string_type": "a string; put it in quotes",
    "int_type": "a whole number, without quotes",
    "float_type": "a number, without quotes",
    "bool_type": "true or false, without quotes",
}


def _words(item: Mapping[str, Any]) -> str:
    """What pydantic found, in the words of YAML instead of Python's."""
    kind, context = item["type"], item.get("ctx", {})
    if kind in _KINDS_OF_VALUE:
        return f"must be {_KINDS_OF_VALUE[kind]}"
    if kind in ("too_short", "too_long"):
        most = kind == "too_long"
        count = context["max_length" if most else "min_length"]
        return f"needs at {'most' if most else 'least'} {count} {'entry' if count == 1 else 'entries'}"
    if kind == "missing":
        return "is missing, and is required"
    return str(item["msg"]).replace("Input should be", "must be").replace("String should", "must")


def _validate(
    model: type[SpecT], body: Mapping[str, Any], extra: Literal["forbid", "ignore"]
) -> tuple[SpecT | None, list[FieldError]]:
    """The spec, or what is wrong with it. Names are those of the wire: a Python name is an unknown field."""
    try:
        return model.model_validate(body, extra=extra, by_alias=True, by_name=False), []
    except ValidationError as problem:
        found = []
        for item in problem.errors(include_url=False):
            if item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]:
                continue  # pydantic counts the entries that are good; what is wrong with the others is said already
            path = dotted(item["loc"]) + item.get("ctx", {}).get("field_path", "")
            if item["type"] == "extra_forbidden":
                found.append(FieldError(path, "is not a field of this kind", unknown=True))
            else:
                found.append(FieldError(path, _words(item)))
        return None, found


def parse_spec(kind: KindInfo[SpecT], raw: Mapping[str, Any]) -> Parsed[SpecT]:
    """Read ``raw['spec']``. Never raises on bad content: wrong values are ``errors``, extra fields ``unknown``."""
    whole: Mapping[str, Any] = raw if isinstance(raw, (dict, Mapping)) else {}
    metadata = whole.get("metadata")
    meta: Mapping[str, Any] = metadata if isinstance(metadata, (dict, Mapping)) else {}
    body = whole.get("spec")
    spec: SpecT | None = None
    unknown: list[FieldError] = []
    if isinstance(body, (dict, Mapping)):
        spec, errors = _validate(kind.spec, body, "forbid")
        unknown = [error for error in errors if error.unknown]
        if unknown:  # which hide what the rest is worth: rules are not asked about an object with fields too many
            spec, errors = _validate(kind.spec, body, "ignore")
    else:
        errors = [FieldError("spec", "is missing; every object of this kind needs a spec")]
    name = meta.get("name")
    if isinstance(name, str) and name:
        broken = [rule for rule in kind.name_rules if rule.holds is not None and not rule.holds(name)]
        errors += [FieldError("metadata.name", rule.message) for rule in broken]
    generation = meta.get("generation")
    return Parsed(
        name=str(meta.get("name") or ""),
        namespace=str(meta["namespace"]) if meta.get("namespace") else None,
        uid=str(meta.get("uid") or ""),
        generation=generation if type(generation) is int else 0,
        raw=whole,
        spec=None if errors else spec,
        errors=tuple(errors),
        unknown=tuple(unknown),
    )
