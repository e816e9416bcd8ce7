"""The job store, whatever the order of news; and the index of what jobs rest on."""

from hypothesis import given
from hypothesis import strategies as st

from mlprivacy.controller.store import DependencyIndex, JobKey, JobStore
from mlprivacy.policy.model import Dependency

KEY = JobKey("TrainingJob", "research", "study")


def raw(version, **more):
    metadata = {"name": "study", "namespace": "research", "resourceVersion": str(version), "uid": "u"}
    return {"apiVersion": "v", "kind": "TrainingJob", "metadata": metadata, **more}


NEWS = st.lists(st.tuples(st.sampled_from(["put", "drop"]), st.integers(1, 9)), max_size=20)


@given(NEWS)
def test_the_newest_news_wins_whatever_the_order(news):
    store = JobStore()
    for what, version in news:
        if what == "put":
            store.put(raw(version))
        else:
            store.drop(KEY, version)
    newest = max((version for _, version in news), default=0)
    deleted = ("drop", newest) in news
    expected = None if not news or deleted else newest
    found = store.get(KEY)
    # At one version both can not be true; the end is what stays.
    assert (int(found["metadata"]["resourceVersion"]) if found else None) == expected


def test_a_late_answer_does_not_bring_a_deleted_job_back():
    store = JobStore()
    assert store.put(raw(5)) == KEY
    store.drop(KEY, 8)
    assert store.put(raw(7)) is None
    assert store.get(KEY) is None
    assert store.put(raw(9)) == KEY


def test_the_echo_of_our_own_write_is_no_news():
    store = JobStore()
    store.put(raw(5))
    assert store.put(raw(5)) is None
    assert store.put(raw(4)) is None


def test_each_access_gives_a_copy_and_field_owners_are_not_kept():
    store = JobStore()
    job = raw(1, spec={"a": [1]})
    job["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    store.put(job)
    store.get(KEY)["spec"]["a"].append(2)
    assert store.get(KEY)["spec"] == {"a": [1]}
    assert "managedFields" not in store.get(KEY)["metadata"]
    assert "managedFields" in job["metadata"]
    assert list(store) == [KEY]
    assert len(store) == 1


DEPENDENCIES = [Dependency("Dataset", "clinic", name) for name in "abc"]
JOBS = [JobKey("TrainingJob", "research", name) for name in "xyz"]
SETS = st.frozensets(st.sampled_from(DEPENDENCIES))


@given(st.lists(st.tuples(st.sampled_from(JOBS), st.one_of(st.none(), SETS)), max_size=20))
def test_the_index_is_the_inverse_of_what_was_put(changes):
    index, model = DependencyIndex(), {}
    for key, rests_on in changes:
        if rests_on is None:
            index.drop(key)
            model.pop(key, None)
        else:
            index.put(key, rests_on)
            model[key] = rests_on
    for dependency in DEPENDENCIES:
        assert index.resting_on([dependency]) == {key for key, rests_on in model.items() if dependency in rests_on}
    assert index.resting_on(DEPENDENCIES) == {key for key, rests_on in model.items() if rests_on}
