"""Buffers every connection of a thread shares, so that an idle one owns none. PURE.

Those for receiving are written and used up between two suspensions of the pump, never across one. One for sending is
lent to a connection for as long as sealed bytes lie in it, and comes back when the socket has taken them.
"""

from __future__ import annotations

import threading

#: Four full Noise frames: one system call carries that many, and more was within noise when measured.
SCRATCH_SIZE = 4 * 65_537
#: Batches that nobody has and that are kept: those of the connections that send in turn.
_SPARE_BATCHES = 2


class Scratch:
    """Two buffers of :data:`SCRATCH_SIZE` bytes, and batches of that size for those who ask."""

    __slots__ = ("_batches", "cipher", "plain")

    def __init__(self) -> None:
        self.cipher = memoryview(bytearray(SCRATCH_SIZE))
        self.plain = memoryview(bytearray(SCRATCH_SIZE))
        self._batches = [memoryview(bytearray(SCRATCH_SIZE)) for _ in range(_SPARE_BATCHES)]

    def take_batch(self) -> memoryview:
        """A buffer that is the caller's until it gives it back."""
        return self._batches.pop() if self._batches else memoryview(bytearray(SCRATCH_SIZE))

    def give_batch(self, batch: memoryview) -> None:
        if len(self._batches) < _SPARE_BATCHES:
            self._batches.append(batch)


class _Local(threading.local):
    scratch: Scratch | None = None


_local = _Local()


def scratch() -> Scratch:
    """This thread's buffers."""
    found = _local.scratch
    if found is None:
        found = Scratch()
        _local.scratch = found
    return found
