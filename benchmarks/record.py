"""What a run leaves behind: one JSON file, its shape, and how to read it back. PURE but for the files.

::

    {"schema": 1, "kind": "compare", "machine": {…}, "implementations": {"go": {"version": …}, "py": {"missing": why}},
     "busy_before": share of the processors others had, "links": {"50ms": how it was made, or why not},
     "works": [{"name", "title", "unit", "cpu_unit", "higher_is_better", "link",
                "results": {"go": {"values": […], "median", "low", "high", "of_floor",
                                   "cpu": {"dialer", "listener"}, "extra": {…}}, "js": {"failed": why},
                            "py": {"unmeasured": why}}}]}

``of_floor`` is the figure as a ratio to the encrypted floor's of the same run.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SCHEMA = 1
FLOOR = "floor"

Json = dict[str, Any]


class BadRecord(Exception):
    """A file that is no result of ours."""


def summary(values: Sequence[float], cpu: Sequence[tuple[float, float]], extra: Sequence[Json]) -> Json:
    """Of repeats: the median beside all of them; CPU time of the dialing and of the listening process."""
    result: Json = {
        "values": [round(value, 3) for value in values],
        "median": round(statistics.median(values), 3),
        "low": round(min(values), 3),
        "high": round(max(values), 3),
    }
    if cpu:
        dialer, listener = zip(*cpu, strict=True)
        result["cpu"] = {
            "dialer": round(statistics.median(dialer), 3),
            "listener": round(statistics.median(listener), 3),
        }
    if extra and extra[0]:
        result["extra"] = {
            name: round(statistics.median([each[name] for each in extra]), 3) for name in extra[0]
        }
    return result


def add_ratios(works: Sequence[Json]) -> None:
    """Say of every result what part of the floor's figure it is, or how many times it."""
    for work in works:
        floor = work["results"].get(FLOOR, {}).get("median")
        if floor:
            for result in work["results"].values():
                if "median" in result:
                    result["of_floor"] = round(result["median"] / floor, 3)


def check(record: Any) -> Json:
    """The same record, when it has the shape above; raises :exc:`BadRecord` with the first thing that is wrong."""
    _need(isinstance(record, dict), "not an object")
    _need(record.get("schema") == SCHEMA, f"schema {record.get('schema')!r}, not {SCHEMA}")
    for name, kind in (("kind", str), ("machine", dict), ("implementations", dict), ("works", list)):
        _need(isinstance(record.get(name), kind), f"no {name}")
    for fact in ("date", "cpu", "cores", "system", "python", "load_average", "revision"):
        _need(fact in record["machine"], f"the machine's {fact} is not told")
    for work in record["works"]:
        _need(isinstance(work, dict), "a work that is no object")
        name = work.get("name")
        for key in ("name", "title", "unit"):
            _need(isinstance(work.get(key), str), f"{name}: no {key}")
        _need(isinstance(work.get("results"), dict), f"{name}: no results")
        for implementation, result in work["results"].items():
            _need(implementation in record["implementations"], f"{name}: {implementation} is not introduced")
            _need(_is_result(result), f"{name}: {implementation}: neither figures nor a reason")
    return dict(record)


def _is_result(result: Any) -> bool:
    if not isinstance(result, Mapping):
        return False
    if any(isinstance(result.get(reason), str) for reason in ("failed", "unmeasured")):
        return True
    values = result.get("values")
    return isinstance(values, list) and bool(values) and isinstance(result.get("median"), int | float)


def _need(fine: bool, problem: str) -> None:
    if not fine:
        raise BadRecord(problem)


def write(path: Path, record: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(check(record), indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Json:
    try:
        return check(json.loads(path.read_text()))
    except ValueError as error:
        raise BadRecord(f"{path}: {error}") from error
