"""``python -m taxonomy``: writes operator/mlprivacy/policy/taxonomy/{fideslang,dpv}.json anew.

Fideslang's own package is read from a folder (``pip install --no-deps --target FOLDER fideslang==VERSION``), so that
neither the operator nor its tests depend on it.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from taxonomy import dpv

FIDESLANG: Final = "3.1.4"
FOLDER: Final = Path(__file__).resolve().parents[2] / "operator" / "mlprivacy" / "policy" / "taxonomy"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fideslang", type=Path, help="folder that holds the package; installed anew unless given")
    arguments = parser.parse_args()
    if arguments.fideslang is not None:
        _write("fideslang.json", fideslang(arguments.fideslang))
    else:
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
            subprocess.run([*pip, f"fideslang=={FIDESLANG}"], check=True)
            _write("fideslang.json", fideslang(Path(folder)))
    _write("dpv.json", dpv.document())


def fideslang(folder: Path) -> dict[str, Any]:
    """The keys, their parents and their names."""
    sys.path.insert(0, str(folder))
    taxonomy = importlib.import_module("fideslang.default_taxonomy").DEFAULT_TAXONOMY
    version = next(d.version for d in importlib.metadata.distributions(path=[str(folder)]) if d.name == "fideslang")
    return {
        "source": {
            "title": "Fideslang, the Fides taxonomy",
            "version": version,
            "creator": "Ethyca, Inc.",
            "url": "https://github.com/ethyca/fideslang",
            "license": "CC-BY-4.0",
            "licenseUrl": "https://creativecommons.org/licenses/by/4.0/",
            "changes": "Only the keys, the parents, the names and the successors of deprecated keys are taken.",
        },
        "dataCategories": _terms(taxonomy.data_category),
        "dataUses": _terms(taxonomy.data_use),
        "dataSubjects": _terms(taxonomy.data_subject),
    }


def _terms(found: list[Any]) -> dict[str, dict[str, str]]:
    terms = {}
    for term in sorted(found, key=lambda t: str(t.fides_key)):
        entry = {"name": str(term.name)}
        for field, key in (("parent_key", "parent"), ("replaced_by", "replacedBy")):
            if getattr(term, field, None):
                entry[key] = str(getattr(term, field))
        if getattr(term, "version_deprecated", None):
            entry["deprecated"] = str(term.version_deprecated)
        terms[str(term.fides_key)] = entry
    return terms


def _write(name: str, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{name}: {len(text.encode())} bytes")


if __name__ == "__main__":
    main()
