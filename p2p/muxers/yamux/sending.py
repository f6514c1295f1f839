"""Cutting yamux frames: which of those that wait leave in which order. PURE.

Control frames go first: GoAway, pong, ping, RSTs, window updates. All but the RSTs are kept as facts and not as
frames, so that a remote that makes us answer without end finds one pong and one update per stream waiting. Then the
streams, as ``Turns`` has them, until the buffer is full.
"""

from __future__ import annotations

from p2p.limits import YamuxLimits
from p2p.muxers.sending import MIN_ROOM, SendQueue
from p2p.muxers.yamux.frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_SIZE,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
)
from p2p.muxers.yamux.keepalive import KeepAlive
from p2p.muxers.yamux.stream import YamuxStream
from p2p.resources.memory import MemoryGrant


class Outgoing(SendQueue[YamuxStream]):
    """What one session has to write."""

    __slots__ = (
        "_keepalive",
        "_max_body",
        "_max_control",
        "_resets",
        "_updates",
        "goodbye",
        "pong",
    )

    def __init__(self, limits: YamuxLimits, keepalive: KeepAlive, memory: MemoryGrant) -> None:
        super().__init__(limits, memory)
        self._max_body = limits.max_frame - HEADER_SIZE
        self._max_control = limits.max_control_frames
        self._keepalive = keepalive
        self._updates: dict[int, YamuxStream] = {}
        self._resets = bytearray()
        #: The code of a GoAway that waits.
        self.goodbye: int | None = None
        #: The value of the ping to answer; a newer one takes its place.
        self.pong: int | None = None

    @property
    def empty(self) -> bool:
        """Whether ``gather`` would write nothing."""
        if self.goodbye is not None:
            return False
        if self.only_goodbye:
            return True
        return not (
            any(self.queues)
            or self._updates
            or self._resets
            or self.pong is not None
            or self._keepalive.waiting
        )

    @property
    def _opening(self) -> bool:
        """Whether streams wait that the remote has not heard of: it refuses those that come behind a GoAway."""
        return any(stream.opening == SYN for stream in self.turns)

    @property
    def congested(self) -> bool:
        """Whether too many control frames wait."""
        return len(self._updates) + len(self._resets) // HEADER_SIZE > self._max_control

    def credited(self, stream: YamuxStream) -> None:
        """The remote gave it credit: what is sent whole goes on before what came since it had to stop."""
        goes_on = stream.waiting and not stream.incremental and stream not in stream.queue
        self.schedule(stream)
        if goes_on:
            stream.queue.move_to_end(stream, last=False)

    def update(self, stream: YamuxStream) -> bool:
        """Let a window update go out; False when one waits already."""
        if stream.stream_id in self._updates:
            return False
        self._updates[stream.stream_id] = stream
        return True

    def forget_update(self, stream: YamuxStream) -> None:
        """The remote will send no more: it needs no credit."""
        self._updates.pop(stream.stream_id, None)

    def reset(self, key: int, code: int) -> None:
        """RST, with the code in the length of a WINDOW_UPDATE (go-yamux's convention)."""
        self._resets += HEADER.pack(WINDOW_UPDATE, RST, key, code)

    def forget(self, stream: YamuxStream) -> None:
        """Nothing more is written for this stream, but for an RST that waits."""
        super().forget(stream)
        self._updates.pop(stream.stream_id, None)

    def gather(self, out: memoryview, now: float, ended: list[YamuxStream]) -> int:
        """Fill ``out`` with frames; returns the bytes written. Streams whose FIN went are added to ``ended``."""
        size = len(out)
        if size < MIN_ROOM:
            return 0
        pos = self.write_control(out, 0, now)
        if self.only_goodbye:
            return pos
        max_body = self._max_body
        pack_into = HEADER.pack_into
        for queue in self.queues:
            while queue:
                room = size - pos - HEADER_SIZE
                if room <= 0:
                    return pos
                stream, _ = queue.popitem(last=False)
                waiting = stream.waiting
                n = stream.send_window if stream.send_window < waiting else waiting
                if n > max_body:
                    n = max_body
                if n > room:
                    n = room
                flags = stream.opening
                # FIN has a frame of its own: js hands it on before the data of the frame that carries it, and loses
                # that. It is a DATA frame, as rust sends it: go, js and rust take it on either, others look for it
                # nowhere else.
                if not waiting and stream.eof_sent:
                    flags |= FIN
                pack_into(out, pos, DATA if n or flags & FIN else WINDOW_UPDATE, flags, stream.stream_id, n)
                pos += HEADER_SIZE
                if n:
                    stream.send_window -= n
                    self.move(stream, out, pos, n)
                    pos += n
                if flags:
                    stream.opening = 0
                    if flags & SYN:
                        stream.unknown = False
                        stream.takes_data = not stream.abandoned
                        stream.granted_at = now
                    if flags & FIN:
                        stream.fin_written = True
                        ended.append(stream)
                if stream.send_window if n < waiting else n and stream.eof_sent:
                    queue[stream] = None
                    if not stream.incremental:
                        queue.move_to_end(stream, last=False)
        return pos

    def write_control(self, out: memoryview, pos: int, now: float) -> int:
        """Put control frames into ``out`` from ``pos`` on; returns where they end."""
        pack_into = HEADER.pack_into
        last = len(out) - HEADER_SIZE
        if self.goodbye is not None and pos <= last and (self.only_goodbye or not self._opening):
            pack_into(out, pos, GO_AWAY, 0, 0, self.goodbye)
            self.goodbye = None
            pos += HEADER_SIZE
        if self.only_goodbye:
            return pos
        if self.pong is not None and pos <= last:
            pack_into(out, pos, PING, ACK, 0, self.pong)
            self.pong = None
            pos += HEADER_SIZE
        if self._keepalive.waiting and pos <= last:
            pack_into(out, pos, PING, SYN, 0, self._keepalive.send(now))
            pos += HEADER_SIZE
        if self._resets:
            n = min(len(self._resets), (len(out) - pos) // HEADER_SIZE * HEADER_SIZE)
            out[pos : pos + n] = self._resets[:n]
            del self._resets[:n]
            pos += n
        updates = self._updates
        while updates and pos <= last:
            stream_id, stream = updates.popitem()
            delta = stream.receive_window - stream.credit - len(stream.received)
            stream.credit += delta
            pack_into(out, pos, WINDOW_UPDATE, stream.opening, stream_id, delta)
            pos += HEADER_SIZE
            if stream.opening:
                stream.opening = 0
                self.schedule(stream)
        return pos
