"""Every example of the documentation runs, warns of nothing, and prints what it says it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)


def run_python(program: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=45,
    )


def promised_output(source: str) -> str:
    """The comment at the end of an example."""
    _, mark, comment = source.partition("\n# Output:\n")
    assert mark, "an example ends with what it prints"
    return "".join(line.removeprefix("#").removeprefix(" ") for line in comment.splitlines(keepends=True))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_does_what_it_says(example: Path) -> None:
    result = run_python(example)
    assert result.stdout == promised_output(example.read_text()), result.stderr
    assert (result.returncode, result.stderr) == (0, "")


def test_every_example_is_shown_somewhere() -> None:
    shown = {name for page in PAGES for name in re.findall(r"examples/(\w+\.py)", page.read_text())}
    assert {example.name for example in EXAMPLES} == shown


BLOCK = re.compile(r"^```(?:python|py)\n", re.MULTILINE)


def test_pages_hold_no_code_that_nobody_runs() -> None:
    """Python in a page comes from an example, by ``literalinclude``."""
    assert not [str(page.relative_to(ROOT)) for page in PAGES if BLOCK.search(page.read_text())]
