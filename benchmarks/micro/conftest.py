"""With ``--benchmark-json`` the figures are recorded as those of other runs are: benchmarks/results/DATE-micro.json."""

from __future__ import annotations

import importlib.metadata
import os
from datetime import UTC, datetime
from typing import Any

from benchmarks import machine, record
from benchmarks.command import RESULTS


def pytest_benchmark_update_json(config: object, benchmarks: object, output_json: dict[str, Any]) -> None:
    works = [_work(each) for each in output_json["benchmarks"]]
    result = {
        "schema": record.SCHEMA,
        "kind": "micro",
        "machine": machine.facts(),
        "load_after": list(os.getloadavg()),
        "implementations": {"ours": {"version": importlib.metadata.version("p2p-trio")}},
        "works": sorted(works, key=lambda work: str(work["name"])),
    }
    record.write(RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-micro.json", result)


def _work(measured: dict[str, Any]) -> dict[str, Any]:
    """Microseconds a call; the quartiles stand for its spread, since the extremes are the machine's."""
    stats = measured["stats"]
    micros = {name: round(stats[name] * 1e6, 3) for name in ("median", "q1", "q3")}
    ours = {
        "values": [micros["median"]],
        "median": micros["median"],
        "low": micros["q1"],
        "high": micros["q3"],
    }
    for unit, count in measured["extra_info"].items():
        ours["extra"] = {f"{unit}_per_second": round(count / stats["median"])}
    return {
        "name": measured["name"].removeprefix("test_"),
        "title": measured["name"].removeprefix("test_").replace("_", " "),
        "unit": "µs",
        "cpu_unit": "",
        "higher_is_better": False,
        "link": "",
        "arguments": {},
        "results": {"ours": ours},
    }
