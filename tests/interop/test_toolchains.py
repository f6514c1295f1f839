"""Where builds come from: found again when unchanged, and a missing tool is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop import toolchains
from tests.interop.toolchains import BuildFailed, MissingToolchain, build


@pytest.mark.parametrize(("name", "tool"), [("go", "go"), ("rust", "cargo"), ("js", "npm"), ("py", "cc")])
def test_a_missing_toolchain_is_named(
    name: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingToolchain, match=f"{tool}: not found on PATH"):
        build(name)


def test_a_missing_header_is_named() -> None:
    compiler = toolchains._find("cc")
    toolchains._expect_headers(compiler, "stdio.h")
    with pytest.raises(MissingToolchain, match=r"no_such\.h: not found"):
        toolchains._expect_headers(compiler, "stdio.h", "no_such.h")


def test_an_unchanged_source_is_built_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    builds = []

    def make(into: Path) -> None:
        builds.append(source.read_text())
        (into / "made").write_text("done")

    for content in ("one", "one", "two", "one"):
        source.write_text(content)
        place = toolchains._cached("thing", [source], make, parent=tmp_path / "cache")
        assert (place / "made").read_text() == "done"
    assert builds == ["one", "two"]
    assert not list((tmp_path / "cache").glob("*.building"))


def test_of_a_failed_build_nothing_stays_and_its_output_is_told(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("")

    def make(into: Path) -> None:
        toolchains._run(["sh", "-c", "echo no such luck; exit 4"], cwd=into, environment={})

    for _ in range(2):
        with pytest.raises(BuildFailed, match="exit code 4\nno such luck"):
            toolchains._cached("thing", [source], make, parent=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_two_builds_at_once_agree(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("")

    def quicker(into: Path) -> None:
        (into / "made").write_text("quicker")

    def slower(into: Path) -> None:
        (into / "made").write_text("slower")
        toolchains._cached("thing", [source], quicker, parent=tmp_path / "cache")

    place = toolchains._cached("thing", [source], slower, parent=tmp_path / "cache")
    assert (place / "made").read_text() == "quicker"
