"""The plots of a small record. Run by ``nox -s bench-micro``, since the tests do without a plotting library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import plots

WORKS = {
    "bulk-1k": "MB/s",
    "bulk-64k": "MB/s",
    "bulk-1m": "MB/s",
    "round-trip": "µs",
    "ping-beside-bulk": "ms",
}
LARGEST = 200_000  # bytes a plot may have in the repository


def small() -> dict[str, Any]:
    result = {"median": 100.0, "extra": {"p5_micros": 90, "p95_micros": 120, "p99_micros": 300}}
    works = [
        {
            "name": name,
            "title": name,
            "unit": unit,
            "higher_is_better": unit == "MB/s",
            "results": {"ours": result, "go": result},
        }
        for name, unit in WORKS.items()
    ]
    return {"works": works}


def test_every_plot_is_drawn_and_the_same_record_gives_the_same_files(tmp_path: Path) -> None:
    first = plots.draw(small(), tmp_path / "first")
    assert len(first) == 3
    plots.draw(small(), tmp_path / "second")
    for name, _ in first:
        content = (tmp_path / "first" / name).read_bytes()
        assert b">ours<" in content
        assert len(content) < LARGEST
        assert content == (tmp_path / "second" / name).read_bytes()


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    assert plots.draw({"works": []}, tmp_path) == []
