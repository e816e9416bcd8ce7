"""URL paths: core and named groups, cluster scope and namespaces, subresources, names that try to climb out."""

import pytest

from mlprivacy.kube import resources
from mlprivacy.kube.resources import CONFIGMAPS, DATACLASSES, NAMESPACES, TRAININGJOBS, resource_of


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (CONFIGMAPS.path(), "/api/v1/configmaps"),
        (CONFIGMAPS.path("a"), "/api/v1/namespaces/a/configmaps"),
        (CONFIGMAPS.path("a", "b"), "/api/v1/namespaces/a/configmaps/b"),
        (NAMESPACES.path(name="a"), "/api/v1/namespaces/a"),
        (NAMESPACES.path(name="a", subresource="finalize"), "/api/v1/namespaces/a/finalize"),
        (DATACLASSES.path(name="h"), "/apis/mlprivacy.dev/v1alpha1/dataclasses/h"),
        (TRAININGJOBS.path("n", "j", "status"), "/apis/mlprivacy.dev/v1alpha1/namespaces/n/trainingjobs/j/status"),
    ],
)
def test_paths(path, expected):
    assert path == expected


@pytest.mark.parametrize("name", ["../secrets/x", "a/b", "a?dryRun=All", "a#b", "a%2fb"])
def test_a_name_can_not_leave_its_place_in_the_url(name):
    path = CONFIGMAPS.path("a", name)
    assert path.startswith("/api/v1/namespaces/a/configmaps/")
    rest = path.removeprefix("/api/v1/namespaces/a/configmaps/")
    assert not set("/?#") & set(rest)


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_names_that_mean_another_path_are_refused(name):
    with pytest.raises(ValueError, match="Kubernetes name"):
        CONFIGMAPS.path("a", name)
    with pytest.raises(ValueError, match="Kubernetes name"):
        CONFIGMAPS.path(name, "a")


def test_scope_is_checked():
    with pytest.raises(ValueError, match="cluster scoped"):
        DATACLASSES.path("a", "b")
    with pytest.raises(ValueError, match="give the namespace"):
        TRAININGJOBS.path(name="b")
    with pytest.raises(ValueError, match="needs a name"):
        TRAININGJOBS.path("a", subresource="status")


def test_resource_of_an_object_is_found_by_its_kind():
    assert resource_of({"apiVersion": "batch/v1", "kind": "Job"}) is resources.JOBS
    assert resource_of({"apiVersion": "mlprivacy.dev/v1alpha1", "kind": "Dataset"}) is resources.DATASETS
    with pytest.raises(KeyError, match="Cron"):
        resource_of({"apiVersion": "batch/v1beta1", "kind": "CronJob"})
