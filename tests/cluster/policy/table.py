"""The table of `every_rule.yaml`: its entries, their fixtures under names of their own, and the changes that mend them.

Pure: nothing here speaks with a cluster, so a unit test can read the table, too.
"""

import copy
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

import mlprivacy.policy

Object = dict[str, Any]
TABLE: Final = Path(__file__).with_name("every_rule.yaml")
FIXTURES: Final = Path(mlprivacy.policy.__path__[0]) / "fixtures"
JOBS: Final = ("TrainingJob", "InferenceJob")
SHARED: Final = frozenset({"ConfigMap"})  # one for all: the settings of a plugin, a register of people

# Names that objects of several cases have in common, and where in a text they stand.
_PLACES: Final = re.compile(r"\b(research|clinic|gpu-1|rdma-net|mlx_rdma|hca_shared_a)\b")
_LONG_AGO: Final = "20260601T110000Z"  # when the fixtures' probe looked; here it has just looked


@dataclass(frozen=True)
class Entry:
    """One entry of the table."""

    rule: str
    case: str
    action: str
    path: str
    remedy: str
    mend: tuple[Object, ...]
    given: tuple[Object, ...] = ()
    name: str = ""
    take: str = ""
    then: str = ""
    still: tuple[str, ...] = ()
    made: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """What makes its names its own."""
        return self.name or self.rule

    @property
    def folder(self) -> Path:
        """The fixture."""
        return FIXTURES / self.rule / self.case

    def own(self, text: str) -> str:
        """The text with the fixture's names replaced by names that no other entry has."""
        renamed = _PLACES.sub(lambda found: f"{self.slug}-{found[1].replace('_', '-')}", text)
        return renamed.replace(_LONG_AGO, "$stamp")

    def objects(self) -> tuple[list[Object], Object]:
        """The objects of the fixture and its job, renamed, with the changes of `given`."""
        found = [o for o in yaml.safe_load_all((self.folder / "objects.yaml").read_text(encoding="utf-8")) if o]
        (job,) = (o for o in found if o["kind"] in JOBS)
        others = [o for o in found if o is not job]
        for change in self.given:
            if "create" in change:
                others.append(copy.deepcopy(change["create"]))
            else:
                patched(job if "of" not in change else named(others, change["of"]), change)
        clusterwide = {o["metadata"]["name"] for o in others if o["kind"] in ("DataClass", "PrivacyPolicy")}
        renamed = [self._renamed(o, clusterwide) for o in (*others, job)]
        return renamed[:-1], renamed[-1]

    def changes(self, remedy: str, clusterwide: Iterable[str] = ("plain", "health", "office")) -> list[Object]:
        """What follows the printed remedy, in the names of this entry."""
        text = self._text(list(self.mend), clusterwide)
        if self.take:
            found = re.search(self.take, remedy)
            assert found is not None, f"the remedy does not name {self.take}: {remedy}"
            text = text.replace("$1", found[1])
        changes: list[Object] = json.loads(present(text))
        return changes

    def _renamed(self, obj: Object, clusterwide: Iterable[str]) -> Object:
        kind, metadata = obj["kind"], obj["metadata"]
        if kind in SHARED:
            return obj
        one: Object = json.loads(present(self._text(obj, clusterwide)))
        metadata = one["metadata"]
        metadata.pop("uid", None)
        if metadata.get("namespace") == "sriov-network-operator" and self.slug not in metadata["name"]:
            metadata["name"] = f"{self.slug}-{metadata['name']}"
        if kind == "Namespace":
            metadata["labels"].setdefault("mlprivacy.dev/tenant", self.own("research"))
        if kind == "PrivacyPolicy":
            one["spec"].setdefault("namespaceSelector", {"matchLabels": {"mlprivacy.dev/tenant": self.own("research")}})
        if kind == "PersistentVolumeClaim":
            one["spec"].setdefault("resources", {"requests": {"storage": "1Gi"}})
        return one

    def _text(self, value: Any, clusterwide: Iterable[str]) -> str:
        """JSON in the names of this entry. What is the name of a class or policy, and no key, is one of ours."""
        text = self.own(json.dumps(value))
        for name in sorted(clusterwide):
            text = re.sub(rf'"({re.escape(name)})"(?!\s*:)', rf'"{self.slug}-\1"', text)
            text = re.sub(rf'"((?:DataClass|PrivacyPolicy)/){re.escape(name)}"', rf'"\1{self.slug}-{name}"', text)
        # The label by which a pool of nodes is chosen, so that no pool chooses the nodes of another entry.
        return text.replace('"pool": "rdma"', f'"pool": "{self.slug}"')


def entries() -> list[Entry]:
    """The table."""
    return [
        Entry(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})
        for raw in yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    ]


def present(text: str) -> str:
    """The text with the present where it is asked for."""
    now = datetime.now(UTC)
    for name, form in (("$today", "%Y-%m-%d"), ("$now", "%Y-%m-%dT%H:%M:%SZ"), ("$stamp", "%Y%m%dT%H%M%SZ")):
        text = text.replace(name, now.strftime(form))
    return text


def named(objects: Iterable[Object], which: str) -> Object:
    """The object ``KIND/NAME``."""
    kind, name = which.split("/", 1)
    (found,) = (o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)
    return found


def patched(obj: Object, change: Mapping[str, Any]) -> Object:
    """``obj`` after one operation: add, replace or remove as in JSON Patch, or ``edit``; it is changed in place."""
    *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in change["path"].split("/")[1:]]
    place: Any = obj
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    key: Any = int(last) if isinstance(place, list) else last
    match change["op"]:
        case "remove":
            del place[key]
        case "add" if isinstance(place, list):
            place.insert(key, change["value"])
        case "edit":
            assert change["from"] in place[key], f"{change['from']} is not in {place[key]}"
            place[key] = place[key].replace(change["from"], change["to"])
        case _:
            place[key] = change["value"]
    return obj
