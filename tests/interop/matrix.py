"""Which cell of (dialer, responder, case) passed, and the page of the documentation that says so."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "reference" / "interop.md"

#: (dialer, responder), wherever one of them is ours.
PAIRS = [("ours", "ours"), ("ours", "go"), ("go", "ours"), ("ours", "js"), ("js", "ours")]
PASSED, FAILED, NOT_RUN = "✓", "✗", "–"


@dataclass(frozen=True)
class Case:
    """A row of the matrix."""

    name: str
    meaning: str


@dataclass
class Matrix:
    """Filled by tests, cell by cell; a cell not filled did not run."""

    cases: Sequence[Case]
    pairs: Sequence[tuple[str, str]] = field(default_factory=lambda: PAIRS)
    _cells: dict[tuple[str, str, str], bool] = field(default_factory=dict)

    def record(self, dialer: str, responder: str, case: str, passed: bool) -> None:
        """A cell ran. Raises ``ValueError`` for one that the matrix does not have, or that ran before."""
        cell = (dialer, responder, case)
        if (dialer, responder) not in self.pairs or case not in [case.name for case in self.cases]:
            raise ValueError(f"no such cell: {cell}")
        if cell in self._cells:
            raise ValueError(f"ran before: {cell}")
        self._cells[cell] = passed

    @property
    def ran(self) -> int:
        """How many cells ran, whatever came of them."""
        return len(self._cells)

    @property
    def failed(self) -> list[tuple[str, str, str]]:
        return [cell for cell, passed in self._cells.items() if not passed]

    def rows(self) -> list[list[str]]:
        """The matrix with its head, as text."""
        head = ["", *(f"{dialer} → {responder}" for dialer, responder in self.pairs)]
        return [head, *([case.name, *self._marks(case)] for case in self.cases)]

    def _marks(self, case: Case) -> Iterable[str]:
        for dialer, responder in self.pairs:
            passed = self._cells.get((dialer, responder, case.name))
            yield NOT_RUN if passed is None else PASSED if passed else FAILED

    def as_text(self) -> str:
        """For a terminal."""
        rows = self.rows()
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def as_page(self, versions: Sequence[tuple[str, str]]) -> str:
        """For the documentation: the same for the same results."""
        head, *rows = self.rows()
        lines = [
            "# Interoperability",
            "",
            "This page is written by `nox -s interop`, which puts programs on other libp2p implementations and one",
            "on this package together, over TCP, Noise and yamux: the first of each pair dials, the second responds.",
            "Every mark is a check that ran.",
            "",
            f"| dialer → responder | {' | '.join(head[1:])} |",
            f"|---|{':-:|' * len(head[1:])}",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"{PASSED} passed, {FAILED} failed, {NOT_RUN} did not run; {self.ran} checks in all. The others are",
            "",
            *(f"- **{name}**: {version}" for name, version in versions),
            "",
            "What is checked:",
            "",
        ]
        for case in self.cases:
            lines += [case.name, f": {case.meaning}", ""]
        return "\n".join(lines)


#: Where a session keeps its matrix, to print it at the end.
KEPT = pytest.StashKey[Matrix]()


def versions() -> list[tuple[str, str]]:
    """The implementations beside ours, as pinned here."""
    go = re.search(r"github\.com/libp2p/go-libp2p (v\S+)", (HERE / "go" / "go.mod").read_text())
    packages = json.loads((HERE / "js" / "package-lock.json").read_text())["packages"]
    js = packages["node_modules/libp2p"]["version"]
    yamux, noise = (packages[f"node_modules/@libp2p/{name}"]["version"] for name in ("yamux", "noise"))
    assert go is not None
    return [
        ("go", f"go-libp2p {go[1].removeprefix('v')}"),
        ("js", f"js-libp2p {js} with @libp2p/noise {noise} and @libp2p/yamux {yamux}"),
    ]
