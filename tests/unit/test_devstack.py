"""The operator of `make dev-up` and `make demo` is started as the chart starts it."""

from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import devstack.__main__ as command
from devstack import DevStack, demo

ROOT = Path(__file__).parents[2]


class Started(Exception):
    """A stack would be made with these settings."""


class Recorder:
    """Stands in for DevStack."""

    def __init__(self, *_: Any, **settings: Any) -> None:
        raise Started(settings)

    @staticmethod
    def stop_in(_: Path) -> int:
        return 0


def test_the_classes_that_ship_are_made_where_asked_for_with_the_chart_s_option(tmp_path: Path) -> None:
    chart = (ROOT / "charts/mlprivacy/templates/controller/deployment.yaml").read_text(encoding="utf-8")
    assert "--default-classes" in chart
    for wanted in (True, False):
        stack = DevStack(cast(Any, SimpleNamespace()), tmp_path, default_classes=wanted)
        assert ("--default-classes" in stack._arguments("controller")) is wanted


def test_dev_up_and_demo_ask_for_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "use_existing_cluster", lambda: True)
    for module in (command, demo):
        monkeypatch.setattr(module, "DevStack", Recorder)
        monkeypatch.setattr(module, "ExistingCluster", SimpleNamespace)
    for start in (lambda: command._up(Namespace(dir=tmp_path)), lambda: demo._on(cast(Any, None), print, None, False)):
        with pytest.raises(Started) as settings:
            start()
        assert settings.value.args[0]["default_classes"] is True
