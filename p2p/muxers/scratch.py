"""Buffers every connection of a thread shares, so that an idle one owns none. PURE.

They are written and used up between two suspensions of the pump, never across one; what must outlive a
suspension (half a sealed frame, bytes the socket refused) is copied into the connection that owns it.
"""

from __future__ import annotations

import threading

from p2p.frozen import frozen

#: Four full Noise frames: one system call carries that many, and more was within noise when measured.
SCRATCH_SIZE = 4 * 65_537


@frozen
class Scratch:
    """Three buffers of :data:`SCRATCH_SIZE` bytes."""

    cipher: memoryview
    plain: memoryview
    out: memoryview


class _Local(threading.local):
    scratch: Scratch | None = None


_local = _Local()


def scratch() -> Scratch:
    """This thread's buffers."""
    found = _local.scratch
    if found is None:
        found = Scratch(*(memoryview(bytearray(SCRATCH_SIZE)) for _ in range(3)))
        _local.scratch = found
    return found
