"""Parameters: read with their type; where packs and policies disagree the stricter value is in force."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.policy.durations import parse_duration
from mlprivacy.policy.model import Action
from mlprivacy.policy.parameters import EVERYTHING, Sources, loosens, merge, read_parameter, stricter, strictest_of
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
        ("int", "١٢"),
        ("int", "1_0"),
        ("int", "-5"),
        ("int", -5),
        ("int", "+5"),
        ("int", "1000000001"),
        ("int", "9" * 5000),
        ("float", "١٢"),
        ("float", "1_0"),
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


def test_a_pack_is_stricter_than_the_default_or_says_nothing():
    values, _ = merge([rule(parameter("int", default=7))], [], [{"r.p": 9}])
    assert values == {("r", "p"): 7}
    values, _ = merge([rule(parameter("int", default=7))], [{"r.p": 9}], [{"r.p": 6}])
    assert values == {("r", "p"): 6}


def test_a_namespace_that_sets_nothing_keeps_its_default_against_another():
    loose, bare = Sources(({"r.p": 9},)), Sources()
    for groups in ([loose, bare], [bare, loose]):
        assert strictest_of([rule(parameter("int", default=7))], groups)[0] == {("r", "p"): 7}


def test_no_namespace_at_all_means_defaults():
    assert strictest_of([rule(parameter("int", default=7))], [])[0] == {("r", "p"): 7}


def test_unknown_and_unreadable_parameters_are_told_once():
    source = {"r.p": "x", "r.q": 1, "s.p": 1}
    values, bad = strictest_of([rule(parameter("int", default=7))], [Sources((source,)), Sources(packs=(source,))])
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


NAMES = ("a", "b", "research=100", "research=200", "clinic=100", "*")
DEFINITIONS = [pytest.param(r.id, p, id=f"{r.id}.{p.name}") for r in all_rules() for p in r.parameters]


def values_of(definition):
    """Any value that a policy or a pack may set."""
    raw = {
        "int": st.integers(0, 5000),
        "float": st.integers(0, 5000).map(str),
        "bool": st.sampled_from(["true", "false"]),
        "duration": st.sampled_from(["90m", "1h", "2h", "1d", "36500d"]),
        "list": st.lists(st.sampled_from(NAMES)).map(",".join).filter(lambda t: "*" not in t or t == "*"),
        "choice": st.sampled_from(definition.choices or ("-",)),
        "str": st.sampled_from(NAMES),
    }[definition.type]
    return st.just(definition.default) | raw.map(lambda text: read_parameter(definition, text))


def at_least_as_strict(definition, one, two):
    """What ``stricter`` promises, said anew and independent of it."""
    if definition.stricter == "union":
        return set(one) >= set(two)
    if definition.stricter == "intersection":
        return (definition.default == EVERYTHING and two == EVERYTHING) or set(one) <= set(two)
    if definition.stricter in ("first", "last"):
        order = definition.choices.index
        return order(one) <= order(two) if definition.stricter == "first" else order(one) >= order(two)

    def size(value):
        return parse_duration(value) / timedelta(seconds=1) if definition.type == "duration" else float(value)

    return size(one) <= size(two) if definition.stricter == "smaller" else size(one) >= size(two)


@pytest.mark.parametrize(("rule_id", "definition"), DEFINITIONS)
@given(data=st.data())
def test_folding_is_never_looser_than_either(rule_id, definition, data):
    one, two = data.draw(values_of(definition)), data.draw(values_of(definition))
    for folded in (stricter(definition, one, two), stricter(definition, two, one)):
        assert at_least_as_strict(definition, folded, one)
        assert at_least_as_strict(definition, folded, two)


@pytest.mark.parametrize(("rule_id", "definition"), DEFINITIONS)
@given(data=st.data())
def test_what_a_pack_sets_is_never_looser_than_what_was_in_force(rule_id, definition, data):
    """Adding a pack is free, so it weakens neither a default nor a policy."""

    def raw(value):
        return ",".join(value) if isinstance(value, tuple) else str(value).lower() if value in (True, False) else value

    name = f"{rule_id}.{definition.name}"
    policies = [] if data.draw(st.booleans()) else [{name: raw(data.draw(values_of(definition)))}]
    pack = data.draw(values_of(definition))
    before, _ = merge(all_rules(), policies)
    after, bad = merge(all_rules(), policies, [{name: raw(pack)}])
    key = (rule_id, definition.name)
    assert not bad
    assert at_least_as_strict(definition, after[key], before[key])
    if not loosens(definition, pack):
        assert at_least_as_strict(definition, after[key], pack)
    else:
        assert not at_least_as_strict(definition, pack, definition.default)


@pytest.mark.parametrize(("rule_id", "definition"), DEFINITIONS)
def test_an_empty_list_that_takes_away_is_nothing_and_not_everything(rule_id, definition):
    if definition.stricter == "intersection":
        assert stricter(definition, ("x",), ("y",)) == ()
        assert stricter(definition, (), EVERYTHING) == ()
        assert definition.type == "list"


def test_everything_stands_alone():
    vlans = next(p for r in all_rules() for p in r.parameters if p.name == "vlans")
    assert read_parameter(vlans, " * ") == EVERYTHING
    with pytest.raises(ValueError, match="stands alone"):
        read_parameter(vlans, "research=100,*")


def test_every_word_has_an_order():
    """A word without an order could not be folded: of two, the one that came first would count."""
    assert not [p.name for r in all_rules() for p in r.parameters if p.type == "str"]
