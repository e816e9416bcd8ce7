"""missing_part and surplus: what is stored against what was applied."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.controller.compare import added, missing_part, surplus

VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-3, 3), st.sampled_from(["a", "b"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(["spec", "data", "other"]), VALUES, max_size=3)


def merged(found, patch):
    """RFC 7386."""
    result = dict(found)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


@given(OBJECTS)
def test_what_is_as_wanted_lacks_nothing_and_has_nothing_more(wanted):
    found = copy.deepcopy(wanted)
    assert missing_part(wanted, found) is None
    assert surplus(wanted, found) == {}


@given(OBJECTS, OBJECTS)
def test_fields_of_the_servers_own_do_not_lack(wanted, more):
    assert missing_part(wanted, {**more, **copy.deepcopy(wanted)}) is None


@given(OBJECTS, OBJECTS)
def test_without_the_surplus_nothing_more_is_there(wanted, found):
    cleaned = merged(found, surplus(wanted, found))
    assert surplus(wanted, cleaned) == {}


@given(VALUES, VALUES)
def test_no_part_missing_in_either_direction_means_equal_but_for_empties(one, two):
    if missing_part(one, two) is None and missing_part(two, one) is None:
        assert bare(one) == bare(two)


def bare(value):
    if isinstance(value, dict):
        kept = {k: bare(v) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v not in (None, {}, [])}
    if isinstance(value, list):
        return [bare(v) for v in value]
    return value


@pytest.mark.parametrize(
    ("wanted", "found", "path"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "a[0].b"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        ({"a": 1}, None, "the object"),
        ({"egress": []}, {}, None),
        ({"egress": []}, {"egress": [{}]}, "egress"),
    ],
)
def test_the_path_names_the_field(wanted, found, path):
    assert missing_part(wanted, found) == path


def policy(**spec):
    return {"kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": {"podSelector": {}, **spec}}


def test_a_rule_that_others_added_is_taken_out():
    assert added(policy(), policy(egress=[{}])) == {"spec": {"egress": None}}
    assert added(policy(ingress=[]), policy(ingress=[{}])) == {"spec": {"ingress": []}}


def test_a_selector_that_others_narrowed_is_widened_again():
    narrowed = policy(podSelector={"matchLabels": {"app": "other"}})
    assert added(policy(), narrowed) == {"spec": {"podSelector": {"matchLabels": None}}}


def test_what_the_server_fills_in_stays():
    wanted = {"kind": "Service", "metadata": {}, "spec": {"ports": [{"port": 80}]}}
    found = copy.deepcopy(wanted)
    found["spec"] |= {"clusterIP": "10.0.0.1", "sessionAffinity": "None", "ports": [{"port": 80, "protocol": "TCP"}]}
    assert added(wanted, found) == {}


def test_a_further_owner_is_taken_off():
    wanted, found = policy(), policy()
    found["metadata"]["ownerReferences"] = [{"uid": "gone"}]
    assert added(wanted, found) == {"metadata": {"ownerReferences": None}}
