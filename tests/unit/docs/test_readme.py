"""The job that README.md shows is accepted as printed, with the clinic's examples around it."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlprivacy.cli.main import cli

ROOT = Path(__file__).parents[3]


def readme_job() -> str:
    """The YAML below the heading ``A job``."""
    found = re.search(r"^## A job\n\n```yaml\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.M)
    assert found is not None
    return found[1]


def test_the_job_of_the_readme_is_allowed_beside_the_clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job.yaml").write_text(readme_job(), encoding="utf-8")
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(cli, ["check", "examples/clinic", str(tmp_path / "job.yaml")])
    assert "ALLOWED   TrainingJob research/prognosis" in done.output
    assert "is given twice" not in done.output, "a name of its own"
