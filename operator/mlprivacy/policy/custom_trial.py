"""Tries a custom rule on sample jobs that have every field, so that a misspelt one is seen before a job holds. Pure.

A sample is no job: its values are of the right type and nothing more. What gives no answer there gives none for any job
of the kind, unless the values matter; so it is told, and refuses nothing.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from mlprivacy.api.data_class import DataClassSpec
from mlprivacy.api.dataset import DatasetSpec
from mlprivacy.api.inference_job import InferenceJobSpec
from mlprivacy.api.names import API_VERSION
from mlprivacy.api.training_job import DatasetUse, TrainingJobSpec
from mlprivacy.policy.custom import CustomRules, Expression, Key, NoAnswer

NOW: Final = "2027-01-04T12:00:00+00:00"
KINDS: Final[Mapping[str, type[BaseModel]]] = {"TrainingJob": TrainingJobSpec, "InferenceJob": InferenceJobSpec}
_WORDS: Final = re.compile(r"""'([^'\\]{1,80})'|"([^"\\]{1,80})"|(?:labels|annotations)\.\??([A-Za-z_]\w{0,62})""")
_TEMPLATE: Final = {
    "metadata": {"labels": {}, "annotations": {}},
    "spec": {"containers": [{"name": "x", "image": "x", "command": ["x"], "args": ["x"], "env": [], "resources": {}}]},
}


def trial(rules: CustomRules, texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Of each expression that gives no answer on a sample: the kinds of job, with why."""
    asked = [Expression(Key("", text), text) for text in dict.fromkeys(texts)]
    found: dict[str, dict[str, str]] = {}
    for kind in KINDS if asked else ():
        outcomes = rules.evaluate(asked, sample(kind, "\n".join(item.text for item in asked)))
        for item in asked:
            outcome = outcomes.get(item.key)
            if isinstance(outcome, NoAnswer) and outcome.kind == "failed":
                found.setdefault(item.text, {})[kind] = outcome.why
    return found


def sentence(failed: Mapping[str, str]) -> str:
    """What a trial found of one expression, for people."""
    kind, why = next(iter(failed.items()))
    kinds = " and ".join(f"{kind}s" for kind in failed)
    return f"on a sample {kind} that has every field it gives no answer ({why}), so {kinds} under this policy hold"


def sample(kind: str, text: str) -> dict[str, Any]:
    """The document of a job of this kind with every field; labels and annotations are the words in ``text``."""
    named = {next(filter(None, groups)): "1" for groups in _WORDS.findall(text)}
    job = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "sample", "namespace": "sample", "labels": named, "annotations": named},
        "spec": {k: v for k, v in _filled(KINDS[kind]).items() if k != "suspend"},
    }
    asked = _filled(DatasetUse)
    datasets = [{"name": "sample", "namespace": "sample", "asked": asked, "spec": _filled(DatasetSpec)}]
    return {
        "job": job,
        "datasets": datasets if kind == "TrainingJob" else [],
        "classes": [{"name": "sample", "spec": _filled(DataClassSpec)}],
        "namespaceObject": {"metadata": {"name": "sample", "labels": named}},
        "now": NOW,
    }


@lru_cache(maxsize=16)
def _filled(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: _value(field.annotation, name) for name, field in model.model_fields.items()}


def _value(kind: Any, name: str) -> Any:
    """A value of this type, as JSON."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _value(arguments[0], name)
    if origin in (Union, types.UnionType):
        return _value(next(a for a in arguments if a is not type(None)), name)
    if origin is Literal:
        return arguments[0]
    if origin is tuple or origin is list:
        return [_value(arguments[0], name)]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _filled(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind)).value
    if kind in (bool, int, float):
        return {bool: False, int: 1, float: 1.5}[kind]
    if kind is str:
        return NOW if name.endswith(("_at", "since")) else "1"
    return _TEMPLATE if name == "template" else {}
