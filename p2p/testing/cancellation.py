"""*Cancel everywhere*: run an operation, cancelled after its first step, after its second, and so on.

A step is what a task does between two suspensions; those of all tasks of the operation count. Under the
autojump clock and with deterministic scheduling, every place where a cancellation can strike is struck.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[_T]):
    """How one attempt ended: ``results`` holds what the operation returned, and nothing when it was
    cancelled.
    """

    steps: int
    results: tuple[_T, ...]

    @property
    def finished(self) -> bool:
        return bool(self.results)


class _Steps(trio.abc.Instrument):
    """Counts the steps of some tasks and their children, and cancels at the last one allowed."""

    def __init__(self, allowed: int, scope: trio.CancelScope) -> None:
        self.tasks: set[trio.lowlevel.Task] = set()
        self.count = 0
        self._allowed = allowed
        self._scope = scope

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        if task.parent_nursery is not None and task.parent_nursery.parent_task in self.tasks:
            self.tasks.add(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task in self.tasks:
            self.count += 1
            if self.count == self._allowed:
                self._scope.cancel()


async def cancelled_after(steps: int, operation: Callable[[], Awaitable[_T]]) -> Outcome[_T]:
    """Run ``operation`` in a task of its own, and cancel it after ``steps`` steps, if it has not finished
    by then.
    """
    results: list[_T] = []
    with trio.CancelScope() as scope:
        instrument = _Steps(steps, scope)

        async def run() -> None:
            instrument.tasks.add(trio.lowlevel.current_task())
            results.append(await operation())

        if steps == 0:
            scope.cancel()
        trio.lowlevel.add_instrument(instrument)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return Outcome(instrument.count, tuple(results))


async def cancelled_everywhere(
    operation: Callable[[], Awaitable[_T]], then: Callable[[Outcome[_T]], Awaitable[object]]
) -> int:
    """Run ``operation`` again and again, cancelled one step later each time, until it finishes.

    ``then`` is awaited after each attempt: it looks at what was left, and prepares the next. Returns how
    many steps the operation takes.
    """
    steps = 0
    while True:
        outcome = await cancelled_after(steps, operation)
        await then(outcome)
        if outcome.finished:
            return outcome.steps
        steps += 1
