"""The page that tells the figures, made of records. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.macro.imports import MODULES
from benchmarks.record import FLOOR, Json
from benchmarks.targets import CPU, OURS, Verdict, figure, judge

#: In the order of the tables; those that took no part are named below them.
ORDER = ("floor-plain", "floor", "floor-aes", "ours", "go", "rust", "js", "py")
NAMES = {
    "floor-plain": "floor, no encryption",
    "floor": "floor",
    "floor-aes": "floor, AES-GCM",
    "py": "py-libp2p",
}
BUSY = 0.1  # share of the processors from which on the figures are said to be disturbed

INTRODUCTION = """\
# Performance

This page is written by `nox -s bench-compare` from what it measured: how things stand, and beside it how they should.
[How it is measured](../explanation/performance.md), what each implementation does differently and what limits ours is
explained apart. Compare figures of one table only: between two runs the same machine may differ two-fold.
"""

TARGETS, MULTIPLES = "What it is to reach", "Ours beside the others"
EXPLAINED = {
    TARGETS: (
        "Every target, judged by the figures of this run. *By how much* is the distance from the bound, as a part of"
        " it. Ratios are of medians, but for the processor's time, which is that of both processes together."
    ),
    MULTIPLES: (
        "How many times as good ours is as each of them, so that more is better in every column but the last: the"
        " processor's time of both of our processes, by that of the floor's."
    ),
}


def summaries(record: Json) -> list[tuple[str, str]]:
    """Heading and table of what a run comes down to: printed at its end, and part of the page."""
    return [(TARGETS, _targets(record)), (MULTIPLES, _multiples(record))]


def page(compare: Json, micro: Json | None, plots: Sequence[tuple[str, str]]) -> str:
    """Markdown; ``plots`` are files beside it and what they show."""
    parts = [
        INTRODUCTION,
        _machine(compare),
        "## What gets done\n\n"
        "Medians, and half of the spread of all repeats in percent. *Ours of the floor* is ours as a part of what a"
        " Trio program without any libp2p does with the same encryption.\n\n" + _figures(compare),
    ]
    parts += [f"![{shows}]({name})\n" for name, shows in plots]
    parts += [f"## {heading}\n\n{EXPLAINED[heading]}\n\n{table}" for heading, table in summaries(compare)]
    parts.append(
        "## What it costs\n\n"
        "CPU time of the dialing and of the listening process, kernel included: seconds for each gigabyte of bulk,"
        " microseconds for each operation else. Where wall time swings this is the steadier figure.\n\n"
        + _costs(compare)
    )
    if loads := list(_loads(compare)):
        parts.append("## Starting\n\n" + "\n".join(loads) + "\n")
    parts.append("## Who took part\n\n" + "\n".join(_participants(compare)) + "\n")
    if micro is not None:
        parts.append(
            "## The pure code by itself\n\n"
            "`nox -s bench-micro`: microseconds a call, without sockets, tasks or Trio. *Three frames a call* for"
            " muxers.\n\n" + _micro(micro)
        )
    return "\n".join(parts)


def _targets(record: Json) -> str:
    rows = []
    for verdict in judge(record):
        margin = verdict.margin
        held = {None: "not measured", True: "held", False: "**missed**"}[verdict.held]
        by = "" if margin is None else f"{abs(margin):.0%}"
        rows.append([verdict.title, _bound(verdict), _judged(verdict), held, by])
    return _table(["work", "target", "figure", "", "by how much"], rows)


def _bound(verdict: Verdict) -> str:
    target = verdict.target
    sign = "≤" if target.at_least is None else "≥"
    if target.relative:
        other = NAMES.get(target.against, target.against) or f"`{target.beside}`"
        return f"{sign} {verdict.bound:g} × {other}"
    return f"{sign} {verdict.bound:g} {verdict.unit}".rstrip()


def _judged(verdict: Verdict) -> str:
    if verdict.value is None:
        return "–"
    return f"{short(verdict.value)} {'×' if verdict.target.relative else verdict.unit}".rstrip()


def _multiples(record: Json) -> str:
    others = [name for name in _participating(record) if name not in (OURS, "floor-plain", "floor-aes")]
    rows = []
    for work in record["works"]:
        cells = [_times(work, name) for name in others]
        ours, floor = figure(work, OURS, CPU), figure(work, FLOOR, CPU)
        cost = f"{ours / floor:.2f} ×" if ours and floor else ""
        if any(cells) or cost:
            rows.append([work["title"], *cells, cost])
    return _table(["work", *(NAMES.get(name, name) for name in others), "CPU, by the floor's"], rows)


def _times(work: Json, name: str) -> str:
    ours, other = figure(work, OURS), figure(work, name)
    if not ours or not other:
        return ""
    return f"{short(ours / other if work['higher_is_better'] else other / ours)} ×"


def _machine(record: Json) -> str:
    machine = record["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    measured = (
        f"Measured {machine['date'][:10]} on {machine['cores']} cores of {machine['cpu']}, {machine['system']},"
        f" {machine['python']} with {packages}, revision `{machine['revision'][:12]}`, over loopback unless a link is"
        " named, everything TCP, Noise and yamux.\n"
    )
    busy = record["busy_before"]
    lines = [measured, f"Before it began, the machine was {busy:.0%} busy.\n"]
    if busy > BUSY:
        lines.append("**It had other work: these figures are disturbed.**\n")
    for name, how in record.get("links", {}).items():
        lines.append(f"Link *{name}*: {how}.\n")
    return "\n".join(lines)


def _participating(record: Json) -> list[str]:
    """Those with figures, in the order of the tables."""
    measured = {
        name for work in record["works"] for name, result in work["results"].items() if "median" in result
    }
    return [name for name in ORDER if name in measured]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _figures(record: Json) -> str:
    names = [name for name in _participating(record) if name != "floor-aes"]
    head = ["work", *(NAMES.get(name, name) for name in names), "ours of the floor"]
    rows = []
    for work in record["works"]:
        cells = [_figure(work["results"].get(name)) for name in names]
        of_floor = work["results"].get("ours", {}).get("of_floor")
        ratio = "" if of_floor is None or FLOOR not in work["results"] else _ratio(of_floor, work)
        rows.append([f"{work['title']}, {work['unit']}", *cells, ratio])
    return _table(head, rows)


def _figure(result: Json | None) -> str:
    if result is None:
        return "–"
    if "failed" in result:
        return "failed"
    if "unmeasured" in result:
        return "–"
    spread = (result["high"] - result["low"]) / 2 / result["median"] if result["median"] else 0
    return f"{short(result['median'])} ±{spread:.0%}"


def _ratio(of_floor: float, work: Json) -> str:
    return f"{of_floor:.0%}" if work["higher_is_better"] else f"{of_floor:.2g} ×"


def short(value: float) -> str:
    """Three digits, as far as that goes."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _costs(record: Json) -> str:
    names = _participating(record)
    rows = []
    for work in record["works"]:
        if any("cpu" in result for result in work["results"].values()):
            cells = []
            for name in names:
                cpu = work["results"].get(name, {}).get("cpu")
                cells.append("–" if cpu is None else f"{short(cpu['dialer'])} + {short(cpu['listener'])}")
            rows.append([f"{work['title']}, {work['cpu_unit']}", *cells])
    return _table(["work", *(NAMES.get(name, name) for name in names)], rows)


def _loads(record: Json) -> Iterator[str]:
    for work in record["works"]:
        if work["name"] == "import":
            for name, result in work["results"].items():
                yield f"- `import {MODULES[name]}`: {result['median']:.0f} ms, {result['extra']['modules']:.0f} modules"


def _participants(record: Json) -> Iterator[str]:
    for name, about in record["implementations"].items():
        if "missing" in about:
            yield f"- **{NAMES.get(name, name)} is missing**: {about['missing'].splitlines()[0]}"
        else:
            yield f"- {NAMES.get(name, name)}: {about['version']}"
    for work in record["works"]:
        for name, result in work["results"].items():
            if "failed" in result:
                yield f"- {NAMES.get(name, name)} failed at “{work['title']}”: {result['failed'].splitlines()[0]}"
        if unasked := [
            NAMES.get(name, name) for name, each in work["results"].items() if "unmeasured" in each
        ]:
            yield f"- Not measured at “{work['title']}”, for want of a command in the peer: {', '.join(unasked)}"


def _micro(record: Json) -> str:
    rows = []
    for work in record["works"]:
        ours: dict[str, Any] = work["results"]["ours"]
        rates = [
            f"{value:,.0f} {unit.replace('_per_second', '/s')}"
            for unit, value in ours.get("extra", {}).items()
        ]
        rows.append([work["title"], f"{ours['median']:.2f}", ", ".join(rates)])
    return _table(["call", "µs", ""], rows)
