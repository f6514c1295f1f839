"""Things that must be over within the same time each, oldest first. PURE."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Every entry gets ``timeout`` seconds from when it is added, so the order of adding is the order of ending."""

    __slots__ = ("_deadlines", "_timeout")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._deadlines: dict[T, float] = {}

    def add(self, entry: T, now: float) -> float:
        """Start the entry's time; returns its deadline."""
        deadline = now + self._timeout
        self._deadlines[entry] = deadline
        return deadline

    def discard(self, entry: T) -> None:
        """The entry is over in time, or was never here."""
        self._deadlines.pop(entry, None)
        if not self._deadlines:
            self._deadlines.clear()  # an emptied dict keeps its table

    def first(self) -> float:
        """The next deadline; infinite when there is none."""
        return next(iter(self._deadlines.values()), float("inf"))

    def expired(self, now: float) -> Iterator[T]:
        """Take out the entries whose time is up."""
        while self.first() <= now:
            entry = next(iter(self._deadlines))
            del self._deadlines[entry]
            yield entry
