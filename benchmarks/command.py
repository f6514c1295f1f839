"""``python -m benchmarks.macro`` and ``python -m benchmarks.compare``: measure, write the record, say what failed."""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import trio

from benchmarks import implementations, machine, page, ratios, record
from benchmarks.macro import imports, links, processes, runner, virtual
from benchmarks.macro.works import MPLEX, WORKS, Work, shrunk

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PARTS = ROOT / ".cache" / "benchmarks"  # records of runs that were not whole
IDLE = (200, 1000)  # connections
LOOK = 3.0  # seconds of looking what else the machine does
FILES = 16_384  # open files a process may want: two for each connection, and some
ONLY = "a work, or idle, start, import, host-start, window; may be given again"
SHRINK = 64  # by how much --quick makes all of it smaller


def main(kind: str, names: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 when a ratio that is asserted does not hold, or ours failed at something."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{kind}")
    parser.add_argument("--repeats", type=int, default=5, help="of each work; the median counts")
    parser.add_argument("--only", action="append", default=[], metavar="WORK", help=ONLY)
    parser.add_argument("--peers", help="comma-separated, in place of all", default=",".join(names))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, once: only to see that it runs")
    parser.add_argument("--virtual", action="store_true", help="make no links, even where that is allowed")
    where = "the file to write, in place of one in benchmarks/results, or in .cache/benchmarks for a part"
    parser.add_argument("--out", type=Path, help=where)
    flags = parser.parse_args(arguments)
    if not flags.quick:
        _raise_files()
    begin = time.monotonic()
    facts = machine.facts()
    busy = machine.busy(0.1 if flags.quick else LOOK)
    found, missing = implementations.gather(flags.peers.split(","))
    for name, why in missing.items():
        say(f"{name} is missing: {why.splitlines()[0]}")
    works, how = trio.run(_measure, found, flags)
    record.add_ratios(works)
    result = {
        "schema": record.SCHEMA,
        "kind": kind,
        "machine": facts,
        "busy_before": round(busy, 3),
        "load_after": list(os.getloadavg()),
        "links": {name: f"{link.in_words}: {how}" for name, link in links.LINKS.items()},
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "implementations": {
            **{each.name: {"version": each.version} for each in found},
            **{name: {"missing": why} for name, why in missing.items()},
        },
        "works": works,
    }
    whole = not flags.quick and not flags.only and flags.peers == parser.get_default("peers")
    out = flags.out or (RESULTS if whole else PARTS) / f"{datetime.now(UTC):%Y-%m-%d}-{kind}.json"
    record.write(out, result)
    for heading, table in page.summaries(result):
        say(f"\n{heading}\n\n{table}")
    say(f"{out}, after {result['minutes']} minutes")
    problems = ratios.broken(result, timed=not flags.quick)
    for problem in problems:
        say(f"FAILED: {problem}")
    return 1 if problems else 0


async def _measure(
    found: Sequence[runner.Implementation], flags: argparse.Namespace
) -> tuple[list[dict[str, Any]], str]:
    """All results, and how links were made."""
    repeats = 1 if flags.quick else flags.repeats
    wanted = [work for work in [*WORKS, MPLEX] if not flags.only or work.name in flags.only]
    if flags.quick:
        wanted = [shrunk(work, SHRINK) for work in wanted]
    told = await runner.run([work for work in wanted if not work.link], found, repeats=repeats, say=say)
    afar, how = await _over_links(
        [work for work in wanted if work.link], found, min(repeats, 3), flags.virtual
    )
    told += afar
    real = [each for each in found if each.name not in implementations.FLOORS]
    plain = [each for each in found if each.name == "floor-plain"]
    counts = [max(count // SHRINK, 1) for count in IDLE] if flags.quick else IDLE
    pings = 1 if flags.quick else processes.PINGS

    def asked(name: str) -> bool:
        return not flags.only or name in flags.only

    if asked("idle"):
        told += await processes.listening(
            [*plain, *real], counts, pings=pings, repeats=min(repeats, 2), say=say
        )
        told += await processes.dialing(real, counts, repeats=min(repeats, 2), say=say)
    if asked("start"):
        told.append(await processes.starts(real, repeats=repeats, say=say))
    pythons = {each.name: each.python for each in found if each.python}
    if asked("import"):
        say("import")
        told.append(await trio.to_thread.run_sync(imports.measure, pythons, repeats))
    if "ours" in pythons and asked("host-start"):
        say("entering a host")
        told += await trio.to_thread.run_sync(imports.hosts, pythons["ours"], repeats)
    if "ours" in pythons and asked("window"):
        say("how a window opens, in virtual time")
        opening = await trio.to_thread.run_sync(virtual.opening, 1 if flags.quick else virtual.ROUND_TRIPS)
        told += virtual.rows(opening)
    return told, how


async def _over_links(
    works: Sequence[Work], found: Sequence[runner.Implementation], repeats: int, all_virtual: bool
) -> tuple[list[dict[str, Any]], str]:
    if not works:
        return [], "not used"
    try:
        if all_virtual:
            raise links.Unavailable("the virtual network was asked for")
        how = links.how()
    except links.Unavailable as why:
        say(f"links: {virtual.HOW} ({why})")
        # In a thread, since it is a Trio of its own with a clock of its own.
        told = [await trio.to_thread.run_sync(virtual.measure, work) for work in works]
        for each in told:
            say(f"{each['title']}: {each['results']['ours']['median']:.1f} {each['unit']}")
        return told, f"{virtual.HOW} ({why})"
    say(f"links: {how}")
    told = []
    for work in works:
        async with links.made(links.LINKS[work.link]) as place:
            told += await runner.run([work], found, repeats=repeats, say=say, place=place)
    return told, how


def say(text: str) -> None:
    print(text, flush=True)


def _raise_files() -> None:
    """The soft limit of open files; whoever is started by us inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
