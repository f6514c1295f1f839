"""Every advisory and every attack class has its test here, or the capability that will close it."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = tomllib.loads((ROOT / "docs" / "advisories.toml").read_text())

#: How many there are: a lost entry is seen.
ADVISORIES = 154
ROWS = 40


def names_of_tests(path: Path) -> set[str]:
    """The names of the tests of a file, methods as ``Class::name``."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}::{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return {name for name in found if name.rpartition("::")[2].startswith("test")}


def faults(source: dict[str, Any], root: Path) -> list[str]:
    """What is wrong with the list, one line for each fault."""
    found = []
    capabilities = set(source["capabilities"])
    entries = [(" ".join(entry["ids"]), entry) for entry in source["advisory"]]
    entries += [(f"row {entry['number']}", entry) for entry in source["row"]]
    for name, entry in entries:
        if not entry.get("test") and not entry.get("closed_by"):
            found.append(f"{name}: neither a test nor what will close it")
        unknown = set(entry) - {"ids", "number", "what", "test", "closed_by"}
        found += [f"{name}: {key}?" for key in sorted(unknown)]
        found += [
            f"{name}: {c} is no capability" for c in entry.get("closed_by", ()) if c not in capabilities
        ]
        for test in entry.get("test", ()):
            path, _, function = test.partition("::")
            if not (root / path).is_file() or function not in names_of_tests(root / path):
                found.append(f"{name}: there is no {test}")
    ids = [identifier for entry in source["advisory"] for identifier in entry["ids"]]
    found += [f"{name}: twice" for name in sorted(set(ids)) if ids.count(name) > 1]
    return found


def test_every_advisory_and_row_has_a_test_or_what_will_close_it() -> None:
    found = faults(SOURCE, ROOT)
    assert not found, "\n".join(found)


def test_none_was_lost() -> None:
    assert sum(len(entry["ids"]) for entry in SOURCE["advisory"]) == ADVISORIES
    assert [entry["number"] for entry in SOURCE["row"]] == list(range(1, ROWS + 1))


def test_what_exists_is_not_put_off() -> None:
    """The rows whose protocols exist have a test; what will close the rest of them is said beside it."""
    now = {*range(1, 10), *range(11, 16), *range(17, 21), 35, 36, 39, 40}
    assert {entry["number"] for entry in SOURCE["row"] if entry.get("test")} >= now


BAD = {
    "neither a test nor what will close it": {"ids": ["CVE-1"], "what": ""},
    "there is no tests/nowhere.py::test_it": {"ids": ["CVE-1"], "test": ["tests/nowhere.py::test_it"]},
    "there is no tests/test_advisories.py::test_it": {
        "ids": ["CVE-1"],
        "test": ["tests/test_advisories.py::test_it"],
    },
    "there is no tests/test_advisories.py::faults": {
        "ids": ["CVE-1"],
        "test": ["tests/test_advisories.py::faults"],
    },
    "hope is no capability": {"ids": ["CVE-1"], "closed_by": ["hope"]},
    "CVE-1: twice": {"ids": ["CVE-1", "CVE-1"], "closed_by": ["tls"]},
    "CVE-1: tests?": {"ids": ["CVE-1"], "closed_by": ["tls"], "tests": []},
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_entry_is_found(fault: str) -> None:
    source = {"capabilities": ["tls"], "advisory": [BAD[fault]], "row": []}
    assert any(fault in line for line in faults(source, ROOT))


def test_a_good_entry_is_good() -> None:
    entry = {"number": 1, "what": "", "test": ["tests/test_advisories.py::test_none_was_lost"]}
    assert not faults({"capabilities": ["tls"], "advisory": [], "row": [entry]}, ROOT)
