"""What a value must satisfy beyond its type: CEL rules with their twin in Python, lists, dates, strict scalars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AllowInfNan, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class Rule:
    """One entry of ``x-kubernetes-validations``: the API server refuses with ``message`` when ``cel`` is false.

    ``holds`` says the same in Python, for files that no API server has seen; a rule about a change (``oldSelf``) has
    none. Written into ``Annotated[...]`` it is about that field, in ``ApiModel.object_rules`` about the whole object.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None = None
    field_path: str = ""  # relative to the value, for example ".subjects.column"

    def validation(self) -> dict[str, str]:
        """The entry as the CRD has it."""
        entry = {"rule": self.cel, "message": self.message}
        return {**entry, "fieldPath": self.field_path} if self.field_path else entry

    def check(self, value: Any) -> Any:
        """The value, when the rule holds. Raises PydanticCustomError with the message and the field path."""
        if self.holds is not None and not self.holds(value):
            raise PydanticCustomError("rule", "{message}", {"message": self.message, "field_path": self.field_path})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = handler(source)
        return inner if self.holds is None else core_schema.no_info_after_validator_function(self.check, inner)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        lowered = handler(schema)
        return {**lowered, VALIDATIONS: [*lowered.get(VALIDATIONS, []), self.validation()]}


VALIDATIONS = "x-kubernetes-validations"
IMMUTABLE = Rule("self == oldSelf", "this field cannot be changed after creation; create a new object instead")


@dataclass(frozen=True)
class ListType:
    """How server-side apply merges a list. In a set no entry comes twice, in a map no entry's key does."""

    kind: Literal["set", "map", "atomic"]
    key: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = handler(source)
        return inner if self.kind == "atomic" else core_schema.no_info_after_validator_function(self.distinct, inner)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        lowered = {**handler(schema), "x-kubernetes-list-type": self.kind}
        if self.kind == "map":
            lowered["x-kubernetes-list-map-keys"] = [self.key]
        return lowered

    def distinct(self, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        """The entries, when none comes twice. Raises PydanticCustomError with the first that does."""
        seen: set[Any] = set()
        for entry in entries:
            mark = getattr(entry, self.key) if self.key else entry
            if mark in seen:
                what = f"{self.key} {mark!s}" if self.key else str(mark)
                raise PydanticCustomError("duplicate", "Duplicate value: {what} is listed twice", {"what": what})
            seen.add(mark)
        return entries


UNIQUE = ListType("set")
ATOMIC = ListType("atomic")


def keyed_by(key: str) -> ListType:
    """A list that server-side apply merges entry by entry; ``key`` names the required field that tells them apart."""
    return ListType("map", key)


def calendar_date(text: str) -> str:
    """The text, when it is a day that exists, as YYYY-MM-DD. Raises PydanticCustomError."""
    try:
        date.fromisoformat(text)
    except ValueError:
        raise PydanticCustomError("date", "Must be a day of the calendar, as YYYY-MM-DD") from None
    return text


def date_time(text: str) -> str:
    """The text, when it is a moment that exists, as RFC 3339. Raises PydanticCustomError."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise PydanticCustomError("date-time", "Must be a moment as RFC 3339, such as 2029-01-01T00:00:00Z") from None
    return text


# No coercion: the API server takes neither "5" nor true for a number, and NaN is no number anywhere.
Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Boolean = Annotated[bool, Strict()]


def integral(value: Any) -> Any:
    """5.0 is 5, as the API server stores it; for entries of lists, since fields are read so by ``ApiModel``."""
    return int(value) if type(value) is float and value.is_integer() else value


def without_nulls(value: Any) -> Any:
    """A map without its null values, which the API server drops; anything else as it is."""
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
