"""What is wrong with a PrivacyPolicy beyond its schema: rules, parameters and packs that do not exist here. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mlprivacy.api.base import FieldError
from mlprivacy.api.names import LABEL_ENFORCE
from mlprivacy.api.privacy_policy import PrivacyPolicySpec
from mlprivacy.policy.exceptions import why_not_exceptable
from mlprivacy.policy.modes import LEVELS
from mlprivacy.policy.packs import Shelf, built_in_shelf
from mlprivacy.policy.parameters import merge
from mlprivacy.policy.rules import all_rules, rules_by_id
from mlprivacy.policy.suggest import instead


def policy_errors(spec: PrivacyPolicySpec, expressions: Mapping[str, str] | None = None) -> tuple[FieldError, ...]:
    """Rules and parameters that can not be: a policy with one would hold every job under it, so it is refused.

    ``expressions`` are those of its custom rules that can not be compiled, with the reason.
    """
    errors = [
        FieldError(f"spec.rules[{index}].id", f"{override.id} is no rule; {instead(override.id, rules_by_id())}")
        for index, override in enumerate(spec.rules)
        if override.id not in rules_by_id()
    ]
    errors += [
        FieldError(f"spec.exceptions.allow[{index}]", why)
        for index, rule in enumerate(spec.exceptions.allow or ())
        if (why := why_not_exceptable(rule)) is not None
    ]
    level = spec.namespace_selector.match_labels.get(LABEL_ENFORCE)
    if level is not None and level not in LEVELS:
        errors.append(
            FieldError(
                f"spec.namespaceSelector.matchLabels[{LABEL_ENFORCE}]",
                f"{level} is no level, so it selects no namespace; {instead(level, LEVELS)}",
            )
        )
    _, bad = merge(all_rules(), [dict(spec.parameters)])
    for problem in bad:
        names = [f"{rule.id}.{p.name}" for rule in all_rules() for p in rule.parameters]
        same_rule = [n for n in names if n.split(".", 1)[0] == problem.name.split(".", 1)[0]] or names
        known_here = problem.name in names
        errors.append(
            FieldError(
                f"spec.parameters[{problem.name[:80]}]",
                problem.why if known_here else f"{problem.why}; {instead(problem.name, same_rule)}",
            )
        )
    errors += [
        FieldError(f"spec.custom[{index}].expression", f"can not be compiled: {expressions[rule.expression]}")
        for index, rule in enumerate(spec.custom)
        if expressions and rule.expression in expressions
    ]
    return tuple(errors)


def policy_warnings(spec: PrivacyPolicySpec, shelf: Shelf | None = None) -> tuple[FieldError, ...]:
    """What can be mended without changing the policy (a pack may be installed later), and holds jobs until then."""
    there = built_in_shelf() if shelf is None else shelf
    found = []
    for index, ref in enumerate(spec.packs):
        if ref.name in there.packs:
            continue
        why = (
            f"the pack {ref.name} can not be used ({there.bad[ref.name]}); jobs under this policy hold until it can"
            if ref.name in there.bad
            else f"the pack {ref.name} is not installed, so jobs under this policy hold until it is; "
            f"{instead(ref.name, there.packs)}"
        )
        found.append(FieldError(f"spec.packs[{index}].name", why))
    return tuple(found)
