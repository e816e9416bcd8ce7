"""The core reads no clock, no environment and no files but its own: the same facts give the same answer everywhere."""

import ast
from pathlib import Path

import pytest

import mlprivacy.api
import mlprivacy.policy

FILES = sorted(p for package in (mlprivacy.policy, mlprivacy.api) for p in Path(package.__path__[0]).rglob("*.py"))
FORBIDDEN_MODULES = {
    *("os", "sys", "time", "io", "pathlib", "random", "secrets", "uuid", "socket", "ssl", "subprocess", "threading"),
    *(
        "asyncio",
        "tempfile",
        "shutil",
        "logging",
        "requests",
        "urllib",
        "http",
        "locale",
        "platform",
        "getpass",
        "ctypes",
    ),
}
FORBIDDEN_CALLS = {
    "open",
    "print",
    "input",
    "eval",
    "exec",
    "compile",
    "__import__",
    "breakpoint",
    "globals",
    "id",
    "hash",
}
FORBIDDEN_ATTRIBUTES = {"now", "utcnow", "today", "environ", "getenv", "read_bytes", "write_text"}


def relative(path: Path) -> str:
    return str(path.relative_to(path.parents[2] if path.parent.name in ("policy", "api") else path.parents[1]))


def impurities(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
            found.append(node.func.id)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in FORBIDDEN_ATTRIBUTES
        ):
            found.append(node.func.attr)
        elif isinstance(node, ast.Attribute) and node.attr == "environ":
            found.append("environ")
        elif isinstance(node, ast.Global):
            found.append("global")
    return found


@pytest.mark.parametrize("path", [p for p in FILES if "schema" not in p.parts], ids=relative)
def test_a_module_of_the_core_is_pure(path):
    assert impurities(ast.parse(path.read_text(encoding="utf-8"))) == []


def test_only_what_ships_in_the_package_is_read_from_files():
    readers = [
        p.name if p.name != "__init__.py" else f"{p.parent.name}/{p.name}"
        for p in FILES
        if "schema" not in p.parts and "read_text" in p.read_text(encoding="utf-8")
    ]
    assert readers == ["classes/__init__.py", "packs/__init__.py", "taxonomy/__init__.py"]


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "from time import time",
        "datetime.now()",
        "date.today()",
        "open('x')",
        "x = os.environ['A']",
        "def f():\n global x",
    ],
)
def test_the_test_would_notice(code):
    assert impurities(ast.parse(code))
