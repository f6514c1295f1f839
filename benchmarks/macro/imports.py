"""What importing costs: seconds and modules, each in a process that imports nothing else."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import record

TIMEOUT = 60  # seconds
MODULES = {record.FLOOR: "trio", "ours": "p2p", "py": "libp2p"}
PROGRAM = """
import json, resource, sys, time
begin = time.perf_counter()
import {name}
seconds = time.perf_counter() - begin
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([seconds * 1000, used.ru_utime + used.ru_stime, len(sys.modules)]))
"""


def measure(pythons: Mapping[str, Sequence[str]], repeats: int) -> dict[str, Any]:
    """``pythons``: by implementation, the start of a command line."""
    runs: dict[str, list[list[float]]] = {name: [] for name in pythons}
    for repeat in range(repeats + 1):  # the first fills the page cache and writes the bytecode
        for name, python in pythons.items():
            done = subprocess.run(
                [*python, "-c", PROGRAM.format(name=MODULES[name])],
                capture_output=True,
                check=True,
                timeout=TIMEOUT,
            )
            if repeat:
                runs[name].append(json.loads(done.stdout))
    results = {}
    for name, each in runs.items():
        extra = [{"cpu_seconds": cpu, "modules": modules} for _, cpu, modules in each]
        results[name] = record.summary([millis for millis, _, _ in each], [], extra)
    return {
        "name": "import",
        "title": "import (the floor: `import trio`)",
        "unit": "ms",
        "cpu_unit": "",
        "higher_is_better": False,
        "link": "",
        "arguments": {},
        "results": results,
    }
