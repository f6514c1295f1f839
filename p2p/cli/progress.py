"""Progress: a bar that fills on the terminal while bytes go by, or now and then a JSON line."""

from __future__ import annotations

import sys
import threading
from typing import Final, Never

import trio
from tqdm import tqdm

from p2p.cli.output import Output

# One process, and no thread of a library in it: tqdm would watch its bars with one.
tqdm.monitor_interval = 0
tqdm.set_lock(threading.RLock())

#: Seconds between two lines, at least.
_INTERVAL: Final = 0.5


def progress_bar(output: Output, total: int | None, label: str | None = None) -> tqdm[Never]:
    """A bar on stderr, if that is a terminal and people read it: ``update`` it with each count of bytes."""
    return tqdm(
        desc=label,
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        file=sys.stderr,
        disable=output.as_json or sys.stderr is None or not sys.stderr.isatty(),
        leave=False,
    )


class Progress:
    """Bytes done out of ``total``, on a bar and as the event ``progress``, each at a bounded rate.

    ``early``: before the first line of stdout, which programs wait for; so the events go to stderr.
    """

    def __init__(
        self, output: Output, total: int, what: str, *, early: bool = False, **facts: object
    ) -> None:
        self._output = output
        self._early = early
        self._facts = facts
        self._bar = progress_bar(output, total, what)
        self._told = trio.current_time()
        self.total = total
        self.done = 0

    def reach(self, done: int, total: int | None = None) -> None:
        if total is not None:
            self.total = self._bar.total = total
        self._bar.update(done - self.done)
        self.done = done
        now = trio.current_time()
        if self._output.as_json and now - self._told >= _INTERVAL:
            self._told = now
            facts = {"bytes": done, "total": self.total, **self._facts}
            if self._early:
                self._output.note("progress", "", **facts)
            else:
                self._output.tell("progress", None, **facts)

    def advance(self, size: int) -> None:
        self.reach(self.done + size)

    def close(self) -> None:
        self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
