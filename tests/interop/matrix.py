"""Which cell of (dialer, responder, case) passed, and the page of the documentation that says so."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "reference" / "interop.md"

OTHERS = ("go", "rust", "js", "py")
MUXERS = ("yamux", "mplex")
PASSED, FAILED, CANNOT, NOT_RUN = "✓", "✗", "∅", "–"


class Pair(NamedTuple):
    """A column of the matrix: who dials, who responds, and the one muxer that both offer."""

    dialer: str
    responder: str
    muxer: str

    def __str__(self) -> str:
        return f"{self.dialer}-{self.responder}-{self.muxer}"


def _pairs() -> Iterator[Pair]:
    """Wherever one of them is ours."""
    for muxer in MUXERS:
        yield Pair("ours", "ours", muxer)
        for other in OTHERS:
            yield Pair("ours", other, muxer)
            yield Pair(other, "ours", muxer)


PAIRS = tuple(_pairs())


@dataclass(frozen=True)
class Case:
    """A row of the matrix."""

    name: str
    meaning: str


@dataclass
class Matrix:
    """Filled by tests, cell by cell; a cell not filled did not run."""

    cases: Sequence[Case]
    pairs: Sequence[Pair] = PAIRS
    #: Cells that fail by the fault of the other, and why: each is seen to fail still.
    cannot: Mapping[tuple[Pair, str], str] = field(default_factory=dict)
    _cells: dict[tuple[Pair, str], bool] = field(default_factory=dict)

    def record(self, pair: Pair, case: str, passed: bool) -> None:
        """A cell ran, and did what it should: pass, or fail where it cannot pass.

        Raises ``ValueError`` for one that the matrix does not have, or that ran before.
        """
        cell = (pair, case)
        if pair not in self.pairs or case not in [case.name for case in self.cases]:
            raise ValueError(f"no such cell: {cell}")
        if cell in self._cells:
            raise ValueError(f"ran before: {cell}")
        self._cells[cell] = passed

    @property
    def ran(self) -> int:
        """How many cells ran, whatever came of them."""
        return len(self._cells)

    @property
    def failed(self) -> list[tuple[Pair, str]]:
        return [cell for cell, passed in self._cells.items() if not passed]

    def rows(self, muxer: str) -> list[list[str]]:
        """The part of one muxer with its head, as text."""
        pairs = [pair for pair in self.pairs if pair.muxer == muxer]
        head = [muxer, *(f"{pair.dialer} → {pair.responder}" for pair in pairs)]
        return [head, *([case.name, *self._marks(case, pairs)] for case in self.cases)]

    def _marks(self, case: Case, pairs: Sequence[Pair]) -> Iterable[str]:
        for pair in pairs:
            passed = self._cells.get((pair, case.name))
            well = CANNOT if (pair, case.name) in self.cannot else PASSED
            yield NOT_RUN if passed is None else well if passed else FAILED

    def as_text(self) -> str:
        """For a terminal."""
        return "\n\n".join(_aligned(self.rows(muxer)) for muxer in MUXERS)

    def as_page(self, versions: Sequence[tuple[str, str]]) -> str:
        """For the documentation: the same for the same results."""
        lines = [
            "# Interoperability",
            "",
            "This page is written by `nox -s interop`, which puts programs on other libp2p implementations and one",
            "on this package together, over TCP and Noise, with the one muxer that heads a table: the first of each",
            "pair dials, the second responds. Every mark is a check that ran: one that must fail too.",
            "",
        ]
        for muxer in MUXERS:
            head, *rows = self.rows(muxer)
            lines += [
                f"| {' | '.join(head)} |",
                f"|---|{':-:|' * len(head[1:])}",
                *(f"| {' | '.join(row)} |" for row in rows),
                "",
            ]
        lines += [
            f"{PASSED} passed, {FAILED} failed, {NOT_RUN} did not run; {self.ran} checks in all.",
            "",
            f"{CANNOT} failed, as it must:",
            "",
            *(f"- {reason}" for reason in dict.fromkeys(self.cannot.values())),
            "",
            "The others are",
            "",
            *(f"- **{name}**: {version}" for name, version in versions),
            "",
            "What is checked:",
            "",
        ]
        for case in self.cases:
            lines += [case.name, f": {case.meaning}", ""]
        return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


#: Where a session keeps its matrix, to print it at the end.
KEPT = pytest.StashKey[Matrix]()


def versions() -> list[tuple[str, str]]:
    """The implementations beside ours, as pinned here."""
    modules = (HERE / "go" / "go.mod").read_text()
    crates = tomllib.loads((HERE / "rust" / "Cargo.lock").read_text())["package"]
    rust = {package["name"]: package["version"] for package in crates}
    packages = json.loads((HERE / "js" / "package-lock.json").read_text())["packages"]
    js = {name: packages[f"node_modules/{name}"]["version"] for name in _JS_PACKAGES}
    requirements = dict(_REQUIREMENT.findall((HERE / "py" / "requirements.txt").read_text()))
    return [
        (
            "go",
            f"go-libp2p {_go_version(modules, 'go-libp2p')}, and go-mplex {_go_version(modules, 'go-mplex')}",
        ),
        (
            "rust",
            f"rust-libp2p {rust['libp2p']} with yamux {rust['yamux']} and libp2p-mplex {rust['libp2p-mplex']}",
        ),
        (
            "js",
            "js-libp2p "
            + ", ".join(f"{name} {version}" for name, version in js.items()).removeprefix("libp2p "),
        ),
        ("py", f"py-libp2p {requirements['libp2p']}"),
    ]


_JS_PACKAGES = ("libp2p", "@libp2p/noise", "@libp2p/yamux", "@libp2p/mplex")
_REQUIREMENT = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)


def _go_version(modules: str, name: str) -> str:
    found = re.search(rf"github\.com/libp2p/{name} v(\S+)", modules)
    assert found is not None
    return found[1]
