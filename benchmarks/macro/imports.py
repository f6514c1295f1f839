"""What a program pays before it talks to anybody: importing, and entering a host, each in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import record

TIMEOUT = 60  # seconds
MODULES = {record.FLOOR: "trio", "ours": "p2p", "py": "libp2p"}
PROGRAM = """
import resource, sys, time
begin = time.perf_counter()
import {name}
seconds = time.perf_counter() - begin
used = resource.getrusage(resource.RUSAGE_SELF)
print([seconds * 1000, used.ru_utime + used.ru_stime, len(sys.modules)])
"""


#: A host that listens, again and again: the first of a process finds everything cold.
HOSTS = """
import json, time, trio
from p2p import Host, Identity

async def main():
    took = []
    for _ in range(21):
        identity = Identity.generate()
        begin = time.perf_counter()
        async with Host(identity, listen=["/ip4/127.0.0.1/tcp/0"]):
            took.append((time.perf_counter() - begin) * 1000)
    print(json.dumps(took))

trio.run(main)
"""


def measure(pythons: Mapping[str, Sequence[str]], repeats: int) -> dict[str, Any]:
    """What ``import`` takes. ``pythons``: by implementation, the start of a command line.

    Everybody has their bytecode, as installed packages have: a checkout has none where ``PYTHONDONTWRITEBYTECODE`` is
    set, and compiling it would be measured as importing it.
    """
    runs: dict[str, list[list[float]]] = {name: [] for name in pythons}
    with tempfile.TemporaryDirectory() as bytecode:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}
        for repeat in range(repeats + 1):  # the first fills the page cache and writes the bytecode
            for name, python in pythons.items():
                told = _run(python, PROGRAM.format(name=MODULES[name]), env)
                if repeat:
                    runs[name].append(told)
    results = {}
    for name, each in runs.items():
        extra = [{"cpu_seconds": cpu, "modules": modules} for _, cpu, modules in each]
        results[name] = record.summary([millis for millis, _, _ in each], [], extra)
    return _told("import", "import (the floor: `import trio`)", results)


def hosts(python: Sequence[str], repeats: int) -> list[dict[str, Any]]:
    """From ``async with Host(…)`` to its body, listening on one address of TCP."""
    first, later = [], []
    for _ in range(repeats):
        took = _run(python, HOSTS)
        first.append(took[0])
        later.append(statistics.median(took[1:]))
    return [
        _told("host-start", "`async with Host()` until it listens", {"ours": record.summary(later, [], [])}),
        _told(
            "host-start-first",
            "`async with Host()` until it listens, the first of a process",
            {"ours": record.summary(first, [], [])},
        ),
    ]


def _run(python: Sequence[str], program: str, env: Mapping[str, str] = os.environ) -> list[float]:
    done = subprocess.run([*python, "-c", program], capture_output=True, check=True, env=env, timeout=TIMEOUT)
    told: list[float] = json.loads(done.stdout)
    return told


def _told(name: str, title: str, results: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "unit": "ms",
        "cpu_unit": "",
        "higher_is_better": False,
        "link": "",
        "arguments": {},
        "results": results,
    }
