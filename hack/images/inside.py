"""Runs under the image's own Python, so that the machine's Python and its zlib leave no trace in the images."""

import importlib.metadata
import importlib.util
import os
import py_compile
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

_CHUNK = 1 << 20


def compile_all(root: str) -> int:
    """Compile every module below `root`. The bytecode says the paths of the image and trusts its source unseen."""
    warnings.simplefilter("ignore")
    failed = 0
    for path in sorted(Path(root).rglob("*.py")):
        if path.is_symlink():
            continue
        inside = "/" + path.relative_to(root).as_posix()
        target = importlib.util.cache_from_source(str(path))
        try:
            py_compile.compile(
                str(path), target, inside, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )
        except (py_compile.PyCompileError, UnicodeDecodeError):
            failed += 1
            sys.stderr.write(f"{inside} is not a module of this Python; it stays uncompiled\n")
    return failed


def compress(source: str, target: str) -> None:
    """gzip without a name and without a time."""
    packer = zlib.compressobj(level=9, wbits=31)
    with open(source, "rb") as read, open(target, "wb") as write:
        while chunk := read.read(_CHUNK):
            write.write(packer.compress(chunk))
        write.write(packer.flush())


def build_wheel(project: str, tools: str, output: str) -> None:
    """Build the wheel of the project with the build tools in the folder `tools`; prints the wheel's name."""
    sys.path.insert(0, tools)
    from hatchling.build import build_wheel as build  # type: ignore[import-not-found]  # noqa: PLC0415

    os.chdir(project)
    sys.stdout.write(build(output) + "\n")


def check_requirements(folder: str, tools: str) -> None:
    """Say on stdout what a distribution in `folder` asks for and does not find there, one line each."""
    sys.path.insert(0, tools)
    from packaging.requirements import Requirement  # noqa: PLC0415 - found on the path set above
    from packaging.utils import canonicalize_name  # noqa: PLC0415

    found = {canonicalize_name(d.name): d for d in importlib.metadata.distributions(path=[folder])}
    for name, distribution in sorted(found.items()):
        for line in distribution.requires or []:
            requirement = Requirement(line)
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            there = found.get(canonicalize_name(requirement.name))
            if there is None or not requirement.specifier.contains(there.version, prereleases=True):
                sys.stdout.write(f"{name} {distribution.version} needs {requirement}\n")


_COMMANDS: dict[str, Callable[..., object]] = {
    "compile": compile_all,
    "compress": compress,
    "wheel": build_wheel,
    "check": check_requirements,
}

if __name__ == "__main__":
    _COMMANDS[sys.argv[1]](*sys.argv[2:])
