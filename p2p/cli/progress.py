"""A bar that fills on the terminal while bytes go by."""

from __future__ import annotations

import sys
import threading
from typing import Never

from tqdm import tqdm

from p2p.cli.output import Output

# One process, and no thread of a library in it: tqdm would watch its bars with one.
tqdm.monitor_interval = 0
tqdm.set_lock(threading.RLock())


def progress_bar(output: Output, total: int | None, label: str | None = None) -> tqdm[Never]:
    """A bar on stderr, if that is a terminal and people read it: ``update`` it with each count of bytes."""
    return tqdm(
        desc=label,
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        file=sys.stderr,
        disable=output.as_json or not sys.stderr.isatty(),
        leave=False,
    )
