"""The reference and the picture are what the code says, and their maker complains about what it can not describe."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from docsgen.__main__ import AGAIN, main
from docsgen.audit_records import kinds_in
from docsgen.chart_values import page as chart_values
from docsgen.comments import constants
from docsgen.markdown import code, sentence, table
from docsgen.metrics import Metric, defined_in
from docsgen.pages import PAGES, DocsError, differences, generated
from mlprivacy.api.kinds import all_kinds
from mlprivacy.api.reasons import ConditionType, Reason
from mlprivacy.cli.main import COMMANDS
from mlprivacy.policy.planned import planned
from mlprivacy.policy.rules import all_rules


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Every page, made once."""
    return generated()


def test_the_pages_are_what_the_code_says(pages: dict[str, str]) -> None:
    stale = differences(pages)
    assert not stale, f"{', '.join(stale)} under docs/ differ from the code. Run: {AGAIN}"


def test_two_runs_give_the_same_bytes(pages: dict[str, str]) -> None:
    assert generated() == pages


def test_check_names_what_differs_and_writing_mends_it(
    pages: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docsgen.__main__.generated", lambda: pages)
    assert main(["--docs", str(tmp_path)]) == 0
    page = tmp_path / "reference" / "rules.md"
    page.write_text(page.read_text(encoding="utf-8").replace("Deny", "Allow", 1), encoding="utf-8")
    (tmp_path / "reference" / "old.md").write_text("# Old\n", encoding="utf-8")
    capsys.readouterr()

    assert main(["--check", "--docs", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "docs/reference/rules.md differs from the code" in said
    assert "docs/reference/old.md" in said
    assert AGAIN in said

    assert main(["--docs", str(tmp_path)]) == 0
    assert main(["--check", "--docs", str(tmp_path)]) == 0
    assert not (tmp_path / "reference" / "old.md").exists()


def test_nothing_is_left_out(pages: dict[str, str]) -> None:
    for rule in all_rules():
        assert f"## {rule.id}\n" in pages["reference/rules.md"]
        for parameter in rule.parameters:
            assert code(f"{rule.id}.{parameter.name}") in pages["reference/rules.md"]
    for item in planned():
        assert f"| {code(item.id)} | {item.family} |" in pages["reference/rules.md"]
    for kind in all_kinds():
        assert f"## {kind.kind}\n" in pages["reference/kinds.md"]
        for name in kind.spec.model_fields.values():
            assert f"`spec.{name.alias}`" in pages["reference/kinds.md"]
    for word in (*ConditionType, *Reason):
        assert code(word.value) in pages["reference/conditions.md"]
    for command in COMMANDS:
        assert f"## {command}\n" in pages["reference/commands.md"]


def test_every_page_is_linked_from_the_index() -> None:
    index = (Path(__file__).parents[3] / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        if page.startswith("reference/"):
            assert f"({page})" in index


def test_comments_belong_to_their_constant_and_group() -> None:
    source = '"""Words."""\n\n# Ports: of a pod.\nONE = 1  # the first\nTWO = 2\n\nTHREE = 3  # alone  # noqa: S105\n'
    found = [(c.name, c.comment, c.group) for c in constants(source)]
    assert found == [("ONE", "the first", "Ports: of a pod."), ("TWO", "", "Ports: of a pod."), ("THREE", "alone", "")]


def test_metrics_are_found_where_they_are_made() -> None:
    source = 'NAME = "a_total"\nx = Counter(NAME, "Things", ["kind"])\n\ndef f(r):\n    Gauge("b", "Age", registry=r)\n'
    assert list(defined_in(source, "here")) == [
        Metric("a_total", "counter", ("kind",), "Things"),
        Metric("b", "gauge", (), "Age"),
    ]


def test_a_metric_without_a_description_is_an_error() -> None:
    with pytest.raises(DocsError, match="has no description"):
        list(defined_in('x = Gauge("a")\n', "here"))


def test_kinds_of_records_are_found_also_behind_a_variable() -> None:
    source = 'KIND_SEAL = "seal"\n\ndef f(a):\n    what = "one" if a else "two"\n    return Event(time=1, kind=what)\n'
    assert sorted(kinds_in(source)) == ["one", "seal", "two"]


def test_a_value_takes_the_comment_above_it(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("# A group.\ngroup:\n  # How many.\n  count: 2\n\n  bare: {}\n", encoding="utf-8")
    page = chart_values(values)
    assert "## group\n\nA group.\n" in page
    assert "| `group.count` | `2` | How many. |" in page
    assert "| `group.bare` | `{}` |  |" in page


def test_names_keep_their_form_in_a_sentence() -> None:
    assert sentence("the first") == "The first."
    assert sentence("spec.suspend is true") == "spec.suspend is true."
    assert sentence("activeDeadlineSeconds passed") == "activeDeadlineSeconds passed."


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert table(("A",), [("x|y",)]).endswith("| x\\|y |")


def test_the_picture_is_whole_and_fetches_nothing(pages: dict[str, str]) -> None:
    text = pages["images/job-path.svg"]
    root = ElementTree.fromstring(text)  # noqa: S314 - made here
    assert root.tag.endswith("svg")
    assert "prefers-color-scheme: dark" in text
    assert text.count("http") == 1, "the name space, and no address besides"
    for wanted in ("Admission decides", "Seal probe", "Refused at apply", "Collector"):
        assert wanted in text
