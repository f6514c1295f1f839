"""Parking tasks until the books of a session say what they wait for. Trio.

An Event per wake-up costs more than the books do; here a task leaves a question, and whoever changes the books
asks all questions again. There are few: senders out of credit, openers out of slots, closers.
"""

from __future__ import annotations

from collections.abc import Callable

import trio


class Waiters:
    """Tasks of one connection, each with the question that must be answered yes before it runs again."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: dict[trio.lowlevel.Task, Callable[[], bool]] = {}

    async def wait(self, ready: Callable[[], bool]) -> None:
        """Park until somebody calls :meth:`ask` and ``ready()`` is true then. Cancelled: nothing is left."""
        task = trio.lowlevel.current_task()
        self.waiting[task] = ready

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            del self.waiting[task]
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def ask(self) -> None:
        """Wake those whose question is answered."""
        for task, ready in tuple(self.waiting.items()):
            if ready():
                del self.waiting[task]
                trio.lowlevel.reschedule(task)
