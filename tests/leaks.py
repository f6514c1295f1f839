"""What a test may leave behind: nothing.

Descriptors, threads and resource scopes are compared before and after a test; tasks are watched by an
instrument in every ``trio.run``. Looking is cheap. Only when something seems left is the garbage collected
and looked at once more, since what a cycle still holds is not a leak of ours.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FrameType

import pytest
import trio

from p2p.resources.resources import Resources
from p2p.resources.table import ResourceLimits

_TRIO_CORE = os.path.join(os.path.dirname(trio.__file__), "_core")
_THREAD_CACHE = os.path.join(_TRIO_CORE, "_thread_cache.py")

#: Every ledger of this process that is still referred to.
_ledgers: weakref.WeakSet[Resources] = weakref.WeakSet()
_plain_init = Resources.__init__


def _noted_init(self: Resources, limits: ResourceLimits) -> None:
    _plain_init(self, limits)
    _ledgers.add(self)


Resources.__init__ = _noted_init  # type: ignore[method-assign]


def scopes_in_use() -> int:
    """Over all hosts: connections that have something in their scope, and whatever is charged without one."""
    return sum(max(1, len(ledger.connections)) for ledger in _ledgers if not ledger.empty)


class TaskWatch(trio.abc.Instrument):
    """Names the tasks that outlive the main task of a run: those that nobody in it owned."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self._main: trio.lowlevel.Task | None = None
        self._others: dict[trio.lowlevel.Task, None] = {}

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        nursery = task.parent_nursery
        if nursery is None or nursery.parent_task.parent_nursery is not None:
            return  # the root, or below the main task and thus in a nursery of the run
        code = getattr(task.coro, "cr_code", None)
        if code is not None and os.path.dirname(code.co_filename) == _TRIO_CORE:
            return  # Trio's own
        if self._main is None:
            self._main = task
        else:
            self._others[task] = None

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._others.pop(task, None)
        if task is self._main:
            self.left += [f"task {other.name}" for other in self._others]


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the process holds at one moment."""

    descriptors: dict[int, str]
    threads: dict[int, str]
    scopes: int

    @classmethod
    def now(cls) -> Footprint:
        descriptors = {}
        for name in os.listdir("/proc/self/fd"):
            try:
                descriptors[int(name)] = os.readlink(f"/proc/self/fd/{name}")
            except FileNotFoundError:  # the one that listed the directory
                continue
        frames = sys._current_frames()
        threads = {
            thread.ident or 0: thread.name
            for thread in threading.enumerate()
            if not _is_cached(frames.get(thread.ident or 0))
        }
        return cls(descriptors, threads, scopes_in_use())

    def left_since(self, before: Footprint) -> list[str]:
        """What is here now and was not ``before``, in words."""
        found = [
            f"descriptor {number} ({target})"
            for number, target in self.descriptors.items()
            if before.descriptors.get(number) != target
        ]
        found += [f"thread {name}" for ident, name in self.threads.items() if ident not in before.threads]
        if self.scopes > before.scopes:
            found.append(f"{self.scopes - before.scopes} resource scope(s)")
        return found


def _is_cached(frame: FrameType | None) -> bool:
    """Whether a thread is one that Trio keeps for a while, idle: nobody's work is on its stack."""
    return frame is not None and frame.f_code.co_filename == _THREAD_CACHE


def left_behind(before: Footprint) -> list[str]:
    found = Footprint.now().left_since(before)
    if found:
        gc.collect()
        found = Footprint.now().left_since(before)
    return found


_plain_run = trio.run
_left_tasks: list[str] = []


def watched_run(
    async_fn: Callable[..., Awaitable[object]],
    *args: object,
    instruments: Iterable[trio.abc.Instrument] = (),
    clock: trio.abc.Clock | None = None,
    restrict_keyboard_interrupt_to_checkpoints: bool = False,
    strict_exception_groups: bool = True,
) -> object:
    """``trio.run`` with a task watch: for tests that are async, and for what they run themselves."""
    watch = TaskWatch()
    try:
        return _plain_run(
            async_fn,
            *args,
            instruments=[*instruments, watch],
            clock=clock,
            restrict_keyboard_interrupt_to_checkpoints=restrict_keyboard_interrupt_to_checkpoints,
            strict_exception_groups=strict_exception_groups,
        )
    finally:
        _left_tasks.extend(watch.left)


trio.run = watched_run


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fails a test that leaves a task, a descriptor, a thread or a resource scope."""
    before = Footprint.now()
    _left_tasks.clear()
    yield
    found = left_behind(before) + _left_tasks
    assert not found, f"left behind: {'; '.join(found)}"
