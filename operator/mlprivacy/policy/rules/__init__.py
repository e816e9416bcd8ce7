"""Every rule, found by the folder: each module below that has a ``RULE``. Add a rule by adding a file."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from mlprivacy.policy.rule import Rule


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule in the order of family and id.

    Raises:
        ValueError: when two files hold the same id, or an id does not match its file's name.
    """
    found: dict[str, Rule] = {}
    for module in pkgutil.walk_packages(__path__, prefix=f"{__name__}."):
        if module.ispkg:
            continue
        rule = getattr(importlib.import_module(module.name), "RULE", None)
        if not isinstance(rule, Rule):
            raise TypeError(f"{module.name} holds no RULE")
        if rule.id.replace("-", "_") != module.name.rsplit(".", 1)[-1] or rule.id in found:
            raise ValueError(f"{module.name}: a rule's id is its file's name, once")
        found[rule.id] = rule
    return tuple(sorted(found.values(), key=lambda r: (r.family, r.id)))


@cache
def rules_by_id() -> dict[str, Rule]:
    """Every rule by its id."""
    return {rule.id: rule for rule in all_rules()}
