"""Cutting mplex messages: which of those that wait leave in which order. PURE.

Resets go first; they are all the control messages there are. Then the streams, as ``Turns`` has them, until the
buffer is full.
"""

from __future__ import annotations

from collections import deque

from p2p.limits import MplexLimits
from p2p.muxers.mplex.frames import CLOSE, MAX_HEADER, NEW_STREAM, RESET, header
from p2p.muxers.mplex.stream import MplexStream
from p2p.muxers.sending import MIN_ROOM, SendQueue
from p2p.resources.memory import MemoryGrant
from p2p.wire import varint

_NO_BODY = b"\0"


class Outgoing(SendQueue[MplexStream]):
    """What one session has to write."""

    __slots__ = ("_max_body", "_max_control", "_resets")

    def __init__(self, limits: MplexLimits, memory: MemoryGrant) -> None:
        super().__init__(limits, memory)
        self._max_body = limits.max_own_message
        self._max_control = limits.max_control_frames
        self._resets: deque[bytes] = deque()

    @property
    def empty(self) -> bool:
        """Whether ``gather`` would write nothing: always, once the remote broke the rules. It cannot be told."""
        return self.only_goodbye or not (any(self.queues) or self._resets)

    @property
    def congested(self) -> bool:
        """Whether too many resets wait."""
        return len(self._resets) > self._max_control

    def reset(self, key: int, code: int) -> None:
        """A reset; no code crosses."""
        self._resets.append(header(RESET, key) + _NO_BODY)

    def gather(self, out: memoryview, now: float, ended: list[MplexStream]) -> int:
        """Fill ``out`` with messages; returns the bytes written. Streams whose end went are added to ``ended``."""
        size = len(out)
        if size < MIN_ROOM or self.only_goodbye:
            return 0
        pos = self.write_control(out, 0, now)
        max_body = self._max_body
        for queue in self.queues:
            while queue:
                if size - pos <= MAX_HEADER:  # else there is room for any header and one byte of its body
                    return pos
                stream, _ = queue.popitem(last=False)
                if stream.unknown:
                    # With no name: go and js send the number, and nobody reads it.
                    pos = _put(out, pos, header(NEW_STREAM, stream.key) + _NO_BODY)
                    stream.unknown = False
                    stream.takes_data = not stream.abandoned
                elif waiting := stream.waiting:
                    n = min(waiting, max_body, size - pos - MAX_HEADER)
                    pos = _put(out, pos, stream.message + varint.encode(n))
                    self.move(stream, out, pos, n)
                    pos += n
                else:
                    pos = _put(out, pos, header(CLOSE, stream.key) + _NO_BODY)
                    stream.fin_written = True
                    ended.append(stream)
                if stream.sendable:
                    queue[stream] = None
                    if not stream.incremental:
                        queue.move_to_end(stream, last=False)
        return pos

    def write_control(self, out: memoryview, pos: int, now: float) -> int:
        """Put resets into ``out`` from ``pos`` on; returns where they end."""
        resets = self._resets
        if not self.only_goodbye:
            while resets and len(resets[0]) <= len(out) - pos:
                pos = _put(out, pos, resets.popleft())
        return pos


def _put(out: memoryview, pos: int, data: bytes) -> int:
    end = pos + len(data)
    out[pos:end] = data
    return end
