"""Written pages: links lead somewhere, tests and paths they name exist, and the guide's rule works as pasted."""

import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from builders import change, decide, finding, training_job

from mlprivacy.policy import standing
from mlprivacy.policy.model import Action
from mlprivacy.policy.rule import Rule
from mlprivacy.policy.rules import all_rules

ROOT = Path(__file__).parents[3]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`[^`]*`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def words(path: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def links(path: Path) -> list[str]:
    """Where a page leads; what stands in backticks is no link."""
    return LINK.findall(CODE.sub("", words(path)))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for line in FENCE.sub("", path.read_text(encoding="utf-8")).splitlines():
        if heading := re.fullmatch(r"#+ (.+)", line):
            plain = re.sub(r"[`*]", "", heading[1]).lower()
            found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), f"{page.relative_to(ROOT)}: {target} leads nowhere"
        if anchor:
            assert anchor in anchors(other), f"{page.relative_to(ROOT)}: {target} names no heading"


def test_every_page_is_reached_from_the_index() -> None:
    docs = ROOT / "docs"
    reached, waiting = set(), [docs / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        waiting += [
            (page.parent / link.partition("#")[0]).resolve()
            for link in links(page)
            if "://" not in link and link.partition("#")[0]
        ]
    lost = {p for p in docs.rglob("*.md") if "decisions" not in p.parts} - reached
    assert not lost


def test_tests_that_pages_name_exist() -> None:
    tests = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def (test_\w+)", tests))
    for page in (ROOT / "docs").rglob("*.md"):
        for name in re.findall(r"`(test_\w+)`", words(page)):
            assert name in defined, f"{page.relative_to(ROOT)} names {name}, which is no test; correct the page"


def test_files_that_the_architecture_names_exist() -> None:
    page = words(ROOT / "docs" / "architecture.md")
    package = ROOT / "operator" / "mlprivacy"
    for name in re.findall(r"`([a-z_]+/[a-z_/]*\.py)`", page):
        assert (package / name).exists(), f"docs/architecture.md names {name}, which is not there"


def test_every_way_around_has_its_row() -> None:
    rows = re.findall(r"^\| (\d+) \|", (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(n) for n in rows] == list(range(1, 50))


def test_guards_that_the_threat_model_names_exist() -> None:
    text = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "charts/mlprivacy/templates/guards").iterdir())
    policies = set(re.findall(r'\$name := "mlprivacy-([a-z-]+)"', text))
    page = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    for group in re.findall(r"guards? (`[a-z-]+`(?:, `[a-z-]+`)*)", page):
        assert set(re.findall(r"`([a-z-]+)`", group)) <= policies


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in (r for group in groups for r in group):
        name = re.split(r"[<>=!~\[ ]", requirement, maxsplit=1)[0]
        assert re.search(rf"\b{re.escape(name)}\b", page), f"docs/dependencies.md does not say why {name} is there"


def test_no_page_says_that_anything_is_compliant() -> None:
    for page in PAGES:
        assert not re.search(r"\b(is|are|was|makes? you) compliant\b", page.read_text(encoding="utf-8"), re.IGNORECASE)


def test_the_rule_of_the_guide_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's own code and its own test, as a reader would paste them."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/rules-guide.md").read_text(encoding="utf-8"), re.DOTALL)
    rule_file, test_file = blocks
    module = ModuleType("deadline_set")
    exec(compile(rule_file, "rules-guide.md", "exec"), module.__dict__)  # noqa: S102 - our own page
    rule = module.__dict__["RULE"]
    assert isinstance(rule, Rule)
    everything = tuple(sorted((*all_rules(), rule), key=lambda r: (r.family, r.id)))
    monkeypatch.setattr(standing, "all_rules", lambda: everything)

    job = change(training_job(), "spec.datasets[0].columns", ["diagnosis"])
    assert finding(decide(job), "deadline-set").action is Action.DENY
    pasted = ModuleType("test_deadline_set")
    exec(compile(test_file, "rules-guide.md", "exec"), pasted.__dict__)  # noqa: S102
    pasted.__dict__["test_a_job_without_a_deadline_is_refused_and_the_remedy_passes"]()
