"""Where a result was measured: facts that explain it, and none that tell whose machine it was."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("trio", "cryptography", "multiaddr", "protobuf")


def facts() -> dict[str, Any]:
    """Everything a reader needs to judge the figures by. Loads are those of now."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "congestion_control": _read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "load_average": list(os.getloadavg()),
        "revision": _revision(),
    }


def busy(seconds: float) -> float:
    """The share of the processors' time that others take now, while we sleep: 0 on a quiet machine, 1 at most."""
    idle, total = _processor_time()
    time.sleep(seconds)
    idle_after, total_after = _processor_time()
    return 1 - (idle_after - idle) / max(total_after - total, 1)


def _processor_time() -> tuple[int, int]:
    """Idle time and all of it, in the kernel's ticks, of all processors since they started."""
    fields = [int(field) for field in _read("/proc/stat").splitlines()[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or "unknown"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"


def _revision() -> str:
    """The commit, with a plus when the checkout has changes beside it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
