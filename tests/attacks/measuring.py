"""What a victim measures of itself: the longest step of its event loop, pauses of the collector, its log."""

from __future__ import annotations

import gc
import logging
import os
import statistics
import time
from collections import Counter, deque
from dataclasses import dataclass

import trio

#: Thread CPU seconds that :func:`calibration_loop` takes on the machine the bounds were written for. A step is
#: compared with its bound after scaling by what the loop takes here and now.
REFERENCE = 0.0055


def calibration_loop() -> float:
    """Thread CPU seconds of a fixed piece of work, bytecode and memory both."""
    started = time.thread_time()
    table = {}
    value = 1
    for turn in range(40_000):
        value = (value * 1_103_515_245 + turn) & 0x7FFFFFFF
        table[value & 1023] = value
    return time.thread_time() - started


def slowness() -> float:
    """How many times slower than the reference this process runs now."""
    return statistics.median(calibration_loop() for _ in range(5)) / REFERENCE


class StepWatch(trio.abc.Instrument):
    """Keeps the longest step of any task in thread CPU time, without the collector's pauses in it.

    Thread CPU time, so that what else the machine does is not counted; pauses apart, since they depend on all
    that is alive and not on what a peer made this task do.
    """

    def __init__(self, ignore: str) -> None:
        self._ignore = ignore
        self._started = 0
        self._collecting = 0
        self._collected_in_step = 0
        gc.callbacks.append(self._collector)
        self.begin()

    def begin(self) -> None:
        """Forget what was."""
        self.longest = 0
        self.longest_task = ""
        self.pauses = 0
        self.longest_pause = 0

    def close(self) -> None:
        gc.callbacks.remove(self._collector)

    def _collector(self, phase: str, info: dict[str, int]) -> None:
        now = time.thread_time_ns()
        if phase == "start":
            self._collecting = now
        else:
            pause = now - self._collecting
            self.pauses += 1
            self.longest_pause = max(self.longest_pause, pause)
            self._collected_in_step += pause

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._collected_in_step = 0
        self._started = time.thread_time_ns()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        took = time.thread_time_ns() - self._started - self._collected_in_step
        if took > self.longest and task.name != self._ignore:
            self.longest = took
            self.longest_task = task.name


@dataclass(frozen=True)
class LogLine:
    level: str
    name: str
    text: str
    traceback: str


class LogWatch(logging.Handler):
    """Counts lines per second and tracebacks, and keeps the first and the last few lines."""

    KEPT = 40

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.begin()

    def begin(self) -> None:
        self._per_second: Counter[int] = Counter()
        self.tracebacks = 0
        self.first: list[LogLine] = []
        self.last: deque[LogLine] = deque(maxlen=self.KEPT)

    @property
    def busiest_second(self) -> int:
        return max(self._per_second.values(), default=0)

    def emit(self, record: logging.LogRecord) -> None:
        self._per_second[int(record.created)] += 1
        traceback = ""
        if record.exc_info and record.exc_info[0] is not None:
            self.tracebacks += 1
            traceback = logging.Formatter().formatException(record.exc_info)
        line = LogLine(record.levelname, record.name, record.getMessage(), traceback[-2000:])
        (self.first if len(self.first) < self.KEPT else self.last).append(line)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
