"""README keeps its word: its program runs as pasted, its commands are those of CI, its links lead somewhere."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

from tests.docs.test_examples import ROOT, promised_output, run_python

README = (ROOT / "README.md").read_text()
EXAMPLE = (ROOT / "docs" / "examples" / "echo.py").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [code for tag, code in BLOCKS if tag == language]


def test_its_program_runs_as_pasted(tmp_path: Path) -> None:
    (program,) = blocks("python")
    pasted = tmp_path / "pasted.py"
    pasted.write_text(program)
    result = run_python(pasted)
    assert (result.stdout, result.stderr) == (promised_output(EXAMPLE), "")


def test_its_program_has_twenty_lines_at_the_most() -> None:
    (program,) = blocks("python")
    assert len([line for line in program.splitlines() if line.strip()]) <= 20


def test_it_has_two_commands_and_ci_runs_the_second_to_the_letter() -> None:
    demo, tests = (block.strip() for block in blocks("sh"))
    assert demo.endswith("nox -s demo")
    assert tests.endswith("nox -s tests")
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    assert tests in lines


def test_each_command_installs_what_it_needs() -> None:
    for command in blocks("sh"):
        assert "-m venv" in command and "pip install -q nox" in command


def test_ci_is_valid_bash_that_swallows_nothing() -> None:
    for script in ["run", "cold"]:
        path = ROOT / ".ci" / script
        subprocess.run(["bash", "-n", str(path)], check=True)
        text = path.read_text()
        assert "set -euo pipefail" in text
        assert not re.search(r"\|\| *(true|:)", text)


LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#(\w+))?\)")


def test_its_links_lead_to_files_that_exist() -> None:
    for target, _ in LINK.findall(README):
        assert (ROOT / target).exists(), target


def test_three_promises_each_name_the_test_that_keeps_them() -> None:
    promises = re.findall(r"^\d\. .*?(?=^\d\. |^$)", README, re.MULTILINE | re.DOTALL)
    assert len(promises) == 3
    for promise in promises:
        ((name, path),) = re.findall(r"\[`(test_\w+)`\]\((tests/[\w/]+\.py)\)", promise)
        tree = ast.parse((ROOT / path).read_text())
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert any(isinstance(node, functions) and node.name == name for node in ast.walk(tree)), name


def test_its_first_paragraph_is_one_sentence() -> None:
    title, first, *_ = README.split("\n\n")
    assert title.startswith("# ")
    assert first.count(". ") == 0 and first.endswith(".")
