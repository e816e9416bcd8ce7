"""Parameters: read with their type; where packs and policies disagree the stricter value is in force."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.policy.model import Action
from mlprivacy.policy.parameters import merge, read_parameter, stricter, strictest_of
from mlprivacy.policy.rule import Parameter, Rule
from mlprivacy.policy.rules import all_rules

CHOICES = ("Declared", "Gated", "Attested")


def parameter(type_, stricter_="smaller", default=0, choices=()):
    return Parameter("p", type_, default, "a parameter.", stricter_, choices)


def rule(*parameters):
    return Rule("r", "f", Action.DENY, "why", (), "remedy", lambda case: iter(()), parameters)


@pytest.mark.parametrize(
    ("type_", "raw", "value"),
    [
        ("int", "5", 5),
        ("int", 5, 5),
        ("float", "0.5", 0.5),
        ("bool", "True", True),
        ("bool", "false", False),
        ("duration", "24h", "24h"),
        ("list", "a, b,,c ", ("a", "b", "c")),
        ("list", "", ()),
        ("choice", "Gated", "Gated"),
        ("str", " x ", "x"),
    ],
)
def test_a_value_of_the_type_is_read(type_, raw, value):
    assert read_parameter(parameter(type_, choices=CHOICES), raw) == value


@pytest.mark.parametrize(
    ("type_", "raw"),
    [
        ("int", "5.0"),
        ("int", "five"),
        ("int", ""),
        ("float", "nan"),
        ("float", "inf"),
        ("float", "-1"),
        ("float", "1e999"),
        ("bool", "yes"),
        ("bool", 1),
        ("duration", "24"),
        ("duration", "-1h"),
        ("duration", "1w"),
        ("duration", "٣h"),
        ("duration", "9" * 200 + "d"),
        ("choice", "gated"),
        ("choice", ""),
    ],
)
def test_any_other_value_is_refused_with_a_sentence(type_, raw):
    with pytest.raises(ValueError, match=r"\w"):
        read_parameter(parameter(type_, choices=CHOICES), raw)


@pytest.mark.parametrize(
    ("definition", "one", "two", "expected"),
    [
        (parameter("int", "smaller"), 3, 5, 3),
        (parameter("int", "larger"), 3, 5, 5),
        (parameter("float", "smaller"), 0.5, 0.25, 0.25),
        (parameter("bool", "smaller"), True, False, False),
        (parameter("duration", "smaller"), "90m", "1h", "1h"),
        (parameter("duration", "larger"), "1d", "25h", "25h"),
        (parameter("choice", "last", choices=CHOICES), "Gated", "Declared", "Gated"),
        (parameter("choice", "first", choices=CHOICES), "Gated", "Declared", "Declared"),
        (parameter("list", "intersection"), ("a", "b"), ("b", "c"), ("b",)),
        (parameter("list", "union"), ("a", "b"), ("b", "c"), ("a", "b", "c")),
    ],
)
def test_the_stricter_of_two(definition, one, two, expected):
    assert stricter(definition, one, two) == expected
    both = stricter(definition, two, one)
    assert set(both) == set(expected) if isinstance(expected, tuple) else both == expected


def test_what_nobody_sets_has_its_default():
    values, bad = merge([rule(parameter("int", default=7))], [{}])
    assert (values, bad) == ({("r", "p"): 7}, ())


def test_what_one_source_sets_is_in_force_and_may_be_laxer_than_the_default():
    values, _ = merge([rule(parameter("int", default=7))], [{"r.p": 9}, {}])
    assert values == {("r", "p"): 9}


def test_of_two_sources_the_stricter_is_in_force():
    values, _ = merge([rule(parameter("int", default=7))], [{"r.p": 9}, {"r.p": "8"}])
    assert values == {("r", "p"): 8}


def test_a_namespace_that_sets_nothing_keeps_its_default_against_another():
    for groups in ([[{"r.p": 9}], [{}]], [[{}], [{"r.p": 9}]]):
        assert strictest_of([rule(parameter("int", default=7))], groups)[0] == {("r", "p"): 7}


def test_no_namespace_at_all_means_defaults():
    assert strictest_of([rule(parameter("int", default=7))], [])[0] == {("r", "p"): 7}


def test_unknown_and_unreadable_parameters_are_told_once():
    source = {"r.p": "x", "r.q": 1, "s.p": 1}
    values, bad = strictest_of([rule(parameter("int", default=7))], [[source], [source]])
    assert [b.name for b in bad] == ["r.p", "r.q", "s.p"]
    assert values == {("r", "p"): 7}


@given(st.text(max_size=256) | st.integers(-(2**63), 2**63))
def test_reading_never_raises_anything_but_a_sentence(raw):
    for item in all_rules():
        for definition in item.parameters:
            try:
                value = read_parameter(definition, raw)
            except ValueError:
                continue
            assert stricter(definition, value, value) == value or isinstance(value, tuple)


@pytest.mark.parametrize("definition", [p for r in all_rules() for p in r.parameters], ids=lambda p: p.name)
def test_every_default_is_a_value_of_its_type(definition):
    default = definition.default
    raw = ",".join(default) if isinstance(default, tuple) else str(default)
    assert read_parameter(definition, raw) == default
