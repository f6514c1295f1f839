"""*Cancel everywhere*: run an operation, cancelled after its first step, after its second, and so on.

A step is what a task does between two suspensions. Those of all tasks of the run count, the pumps of a connection
for one, so that the cancellation falls between any two things that happen. Under the autojump clock and with
deterministic scheduling, every place where it can strike is struck.
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
    """Counts steps, and cancels at the last one allowed."""

    def __init__(self, allowed: int, scope: trio.CancelScope) -> None:
        self.count = 0
        self._allowed = allowed
        self._scope = scope

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
        if self.count == self._allowed:
            self._scope.cancel()


async def cancelled_after(steps: int, operation: Callable[[], Awaitable[_T]]) -> Outcome[_T]:
    """Run ``operation``, and cancel it after ``steps`` steps, if it has not finished by then (0: from the start)."""
    results: list[_T] = []
    with trio.CancelScope() as scope:
        instrument = _Steps(steps, scope)
        if steps == 0:
            scope.cancel()
        trio.lowlevel.add_instrument(instrument)
        try:
            results.append(await operation())
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return Outcome(instrument.count, tuple(results))


async def cancelled_everywhere(
    operation: Callable[[], Awaitable[_T]], then: Callable[[Outcome[_T]], Awaitable[object]]
) -> int:
    """Run ``operation`` again and again, cancelled one step later each time, until it finishes.

    ``then`` is awaited after each attempt: it looks at what was left, and prepares the next. Returns how
    many steps there were.
    """
    steps = 0
    while True:
        outcome = await cancelled_after(steps, operation)
        await then(outcome)
        if outcome.finished:
            return outcome.steps
        steps += 1
