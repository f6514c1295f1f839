"""Plots of a record, as small SVG files whose text is text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.page import NAMES, ORDER, short
from benchmarks.record import Json

matplotlib.use("svg")

COLOURS = {
    "floor-plain": "#cccccc",
    "floor": "#888888",
    "floor-aes": "#aaaaaa",
    "ours": "#c4421a",
    "go": "#1f9ac0",
    "rust": "#8c5a2b",
    "js": "#d8b400",
    "py": "#3b6ea5",
}
#: Write sizes of the works that differ in nothing else.
BY_WRITE = {"bulk-1k": 1, "bulk-64k": 64, "bulk-1m": 1024}
LATENCY = ("p5_micros", "p95_micros", "p99_micros")
#: Works that tell these, what they are called, and how many microseconds their figure's unit has.
LATENCIES = {"round-trip": ("nothing beside it", 1), "ping-beside-bulk": ("beside bulk", 1000)}
TITLE = 46  # characters in a line of a title
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "p2p",  # the same record gives the same file
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(record: Json, into: Path) -> list[tuple[str, str]]:
    """Write the plots there is something for; returns (file name, what it shows) for each."""
    into.mkdir(parents=True, exist_ok=True)
    works = {work["name"]: work["results"] for work in record["works"]}
    drawn = []
    with matplotlib.rc_context(STYLE):
        for name, shows, plot in (
            ("performance-works.svg", "every work, by everyone, beside the floor", _works(record)),
            ("performance-writes.svg", "bulk by size of the writes", _by_write(works)),
            (
                "performance-latency.svg",
                "round trips on an open stream, alone and beside bulk: 5th to 99th percentile",
                _latency(works),
            ),
        ):
            if plot is not None:
                plot.savefig(into / name, metadata={"Date": None}, bbox_inches="tight")
                pyplot.close(plot)
                drawn.append((name, shows))
    return drawn


def _medians(results: Mapping[str, Json]) -> dict[str, float]:
    return {name: results[name]["median"] for name in ORDER if "median" in results.get(name, {})}


def _works(record: Json) -> Figure | None:
    works = [work for work in record["works"] if len(_medians(work["results"])) > 1]
    if not works:
        return None
    columns = 3
    rows = -(-len(works) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(10, 1.7 * rows), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(works) :]:
        ax.axis("off")
    for ax, work in zip(axes.flat, works, strict=False):
        medians = _medians(work["results"])
        names = list(medians)[::-1]
        bars = ax.barh(
            [NAMES.get(name, name) for name in names],
            [medians[name] for name in names],
            color=[COLOURS[name] for name in names],
        )
        ax.bar_label(bars, [f" {short(medians[name])}" for name in names], fontsize=6)
        better = "" if work["higher_is_better"] else ", less is better"
        title = textwrap.fill(f"{work['title']} ({work['unit']}{better})", TITLE)
        ax.set_title(title, fontsize=7, loc="left")
        ax.tick_params(labelsize=6)
        ax.set_xticks([])  # every bar says how long it is
        ax.spines["bottom"].set_visible(False)
        ax.margins(x=0.15)
    return figure


def _by_write(works: Mapping[str, Mapping[str, Json]]) -> Figure | None:
    figure, ax = pyplot.subplots(figsize=(5, 3.2), layout="constrained")
    for name in ORDER:
        points = {
            size: works[work][name]["median"]
            for work, size in BY_WRITE.items()
            if "median" in works.get(work, {}).get(name, {})
        }
        if len(points) > 1:
            ax.plot(
                list(points),
                list(points.values()),
                marker="o",
                color=COLOURS[name],
                label=NAMES.get(name, name),
            )
    if not ax.lines:
        pyplot.close(figure)
        return None
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(list(BY_WRITE.values()), [f"{size} KiB" for size in BY_WRITE.values()])
    ax.set_ylabel("MB/s")
    ax.set_xlabel("size of one write")
    ax.legend(fontsize=6)
    return figure


def _latency(works: Mapping[str, Mapping[str, Json]]) -> Figure | None:
    panels = {work: _named(works.get(work, {})) for work in LATENCIES}
    panels = {work: names for work, names in panels.items() if names}
    if not panels:
        return None
    most = max(map(len, panels.values()))
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(5 * len(panels), 0.6 + 0.35 * most), squeeze=False, layout="constrained"
    )
    for ax, (work, names) in zip(axes.flat, panels.items(), strict=True):
        title, micros = LATENCIES[work]
        for row, name in enumerate(names):
            result = works[work][name]
            low, high, highest = (result["extra"][key] for key in LATENCY)
            ax.plot([low, highest], [row, row], color=COLOURS[name], linewidth=1)
            ax.plot([low, high], [row, row], color=COLOURS[name], linewidth=5, solid_capstyle="butt")
            ax.plot([result["median"] * micros], [row], "|", color="black", markersize=9)
        ax.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
        ax.set_xscale("log")
        ax.set_title(title, fontsize=8, loc="left")
        ax.set_xlabel("µs: median, 5th to 95th percentile (thick), 99th (thin)")
    return figure


def _named(results: Mapping[str, Json]) -> list[str]:
    """Those that tell percentiles, the first of the tables at the top."""
    return [name for name in ORDER if LATENCY[0] in results.get(name, {}).get("extra", {})][::-1]
