"""Taking frames apart, and holding the remote to the rules. PURE.

One loop over the bytes as they come, in any slicing. Bodies go straight into the buffer of their stream; a header
is judged whole, and before any state is made of it. What is tolerated, beyond the letter of the spec, and why:

- frames of streams that are over, as both sides may end a stream at once: dropped, DATA answered by one RST;
- RST for a stream never opened: rust sends it for a stream dropped before its first byte;
- PING and GO_AWAY with a stream id, pongs nobody asked for, GO_AWAY repeated or with an unknown code, ACK or FIN
  repeated: harmless, and go takes them too.

Streams the remote opens after its own GoAway are refused: a session that is being terminated begins nothing.
"""

from __future__ import annotations

from p2p.errors import RemoteProtocolError
from p2p.limits import YamuxLimits
from p2p.muxers.session import Touched
from p2p.muxers.yamux.frames import (
    ACK,
    ALL_FLAGS,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_SIZE,
    MAX_U32,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    describe,
)
from p2p.muxers.yamux.keepalive import KeepAlive
from p2p.muxers.yamux.sending import Outgoing
from p2p.muxers.yamux.stream import YamuxStream
from p2p.muxers.yamux.table import YamuxTable

_DATA = Touched.DATA
_NOBODY: list[YamuxStream] = []


class Receiver:
    """Reads frames into the books of a session."""

    __slots__ = (
        "_body_fin",
        "_body_left",
        "_body_stream",
        "_head",
        "_keepalive",
        "_limits",
        "_outgoing",
        "_round",
        "_table",
        "_touched",
        "closed_by_remote",
        "closed_by_us",
    )

    def __init__(
        self, limits: YamuxLimits, table: YamuxTable, outgoing: Outgoing, keepalive: KeepAlive
    ) -> None:
        self._limits = limits
        self._table = table
        self._outgoing = outgoing
        self._keepalive = keepalive
        #: The beginning of a header, at most 11 bytes.
        self._head = b""
        #: What is to come of a body, whose it is (None, or no longer live: nobody's), and whether FIN follows.
        self._body_left = 0
        self._body_stream: YamuxStream | None = None
        self._body_fin = 0
        self._round = 0
        self._touched: list[YamuxStream] = []
        self.closed_by_us = False
        self.closed_by_remote: int | None = None

    def receive(self, data: memoryview, now: float) -> list[YamuxStream]:
        """Take bytes in; returns the streams touched. Raises ``RemoteProtocolError``."""
        self._round += 1
        round_ = self._round
        touched: list[YamuxStream] = []
        self._touched = touched
        pos, end = 0, len(data)
        if self._body_left:
            pos = self._take_body(data, 0, end)
        elif self._head:
            pos = HEADER_SIZE - len(self._head)
            head = self._head + data[:pos]
            if len(head) < HEADER_SIZE:
                self._head = head
                return touched
            self._head = b""
            kind, flags, stream_id, length = HEADER.unpack(head)
            self._take_frame(kind, flags, stream_id, length, now)
            pos = self._take_body(data, pos, end)
        live = self._table.live
        unpack_from = HEADER.unpack_from
        while end - pos >= HEADER_SIZE:
            kind, flags, stream_id, length = unpack_from(data, pos)
            pos += HEADER_SIZE
            if not flags and kind == DATA:
                # Nearly every byte of a connection comes this way: the same as below, without the calls.
                stream = live.get(stream_id)
                if stream is not None and stream.takes_data and 0 < length <= stream.credit and pos < end:
                    stop = pos + length
                    if stop > end:
                        self._body_left = stop - end
                        self._body_stream = stream
                        self._body_fin = 0
                        stop = end
                    stream.received += data[pos:stop]
                    stream.credit -= stop - pos
                    stream.empty_frames = 0
                    stream.touched |= _DATA
                    if stream.seen != round_:
                        stream.seen = round_
                        touched.append(stream)
                    pos = stop
                    continue
            self._take_frame(kind, flags, stream_id, length, now)
            if self._body_left:
                pos = self._take_body(data, pos, end)
        if pos < end:
            self._head = bytes(data[pos:])
        self._touched = _NOBODY  # what is over need not live until more arrives
        return touched

    def _take_frame(self, kind: int, flags: int, stream_id: int, length: int, now: float) -> None:
        if kind > GO_AWAY or flags & ~ALL_FLAGS:
            raise _violation("a frame of the spec", kind, flags, stream_id, length)
        if kind == PING:
            self._take_ping(flags, stream_id, length, now)
            return
        if kind == GO_AWAY:
            self.closed_by_remote = length
            return
        stream = self._table.live.get(stream_id)
        if flags & SYN:
            if stream is not None:
                raise _violation("a new stream's id", kind, flags, stream_id, length)
            stream = self._take_syn(kind, flags, stream_id, length, now)
            if stream is None:
                return
        elif stream is None:
            self._take_stray(kind, flags, stream_id, length, now)
            return
        elif stream.unknown:
            raise _violation("a stream it knows of", kind, flags, stream_id, length)
        if flags & RST:
            self._take_reset(stream, length if kind == WINDOW_UPDATE else 0, now)
            if kind == DATA:
                self._discard(length)
            return
        if flags & (ACK | FIN) and not stream.acknowledged:
            self._table.acknowledge(stream)
            self._touch(stream, Touched.SLOT)
        if not length and not flags:
            stream.empty_frames += 1
            if stream.empty_frames > self._limits.max_empty_frames:
                raise _violation("frames that say something", kind, flags, stream_id, length)
        if kind == WINDOW_UPDATE:
            self._take_credit(stream, flags, length)
        elif length:
            if stream.eof_received:
                raise _violation("no data after FIN", kind, flags, stream_id, length)
            if length > stream.credit:
                raise _violation(
                    f"at most the {stream.credit} bytes of the window", kind, flags, stream_id, length
                )
            stream.empty_frames = 0
            self._body_left = length
            self._body_stream = stream
            self._body_fin = flags & FIN
            return
        if flags & FIN:
            self._take_fin(stream)

    def _take_syn(self, kind: int, flags: int, stream_id: int, length: int, now: float) -> YamuxStream | None:
        table = self._table
        if not table.remote_ids.belongs(stream_id):
            raise _violation("a stream id of the remote's parity", kind, flags, stream_id, length)
        if flags & RST:
            raise _violation("SYN without RST", kind, flags, stream_id, length)
        initial = self._limits.initial_window
        if length > (initial if kind == DATA else MAX_U32 - initial):
            raise _violation("no more than a window holds", kind, flags, stream_id, length)
        if not table.remote_ids.open(stream_id):
            raise _violation("a new stream's id", kind, flags, stream_id, length)
        if self.closed_by_us or self.closed_by_remote is not None or not table.make_room():
            table.refuse(stream_id, now)
            if kind == DATA:
                self._discard(length)
            return None
        stream = table.accept(stream_id, now)
        self._touch(stream, Touched.OPENED)
        return stream

    def _take_stray(self, kind: int, flags: int, stream_id: int, length: int, now: float) -> None:
        """A frame of a stream that is over, or never was."""
        table = self._table
        if not stream_id:
            raise _violation("a stream id above 0", kind, flags, stream_id, length)
        remotes = table.remote_ids.belongs(stream_id)
        if remotes and flags & RST:
            table.remote_ids.drop(stream_id)
        elif not table.was_opened(stream_id):
            raise _violation("a stream that was opened", kind, flags, stream_id, length)
        if kind == DATA and length:
            if length > self._limits.max_window:
                raise _violation("no more than a window holds", kind, flags, stream_id, length)
            self._discard(length)
            if not flags & RST and stream_id not in table.answered:
                table.refuse(stream_id, now)

    def _take_reset(self, stream: YamuxStream, code: int, now: float) -> None:
        self._table.was_reset(stream, code, now)
        self._touch(stream, Touched.RESET)

    def _take_credit(self, stream: YamuxStream, flags: int, length: int) -> None:
        if length > MAX_U32 - stream.send_window:
            raise _violation("a window below 2^32", WINDOW_UPDATE, flags, stream.stream_id, length)
        if length:
            stream.send_window += length
            stream.empty_frames = 0
            self._outgoing.credited(stream)
            self._touch(stream, Touched.WRITABLE)

    def _take_fin(self, stream: YamuxStream) -> None:
        if stream.eof_received:
            return
        stream.eof_received = True
        stream.takes_data = False
        self._outgoing.forget_update(stream)
        if stream.fin_written:
            self._table.end(stream)
        else:
            self._table.settle(stream)
        self._touch(stream, Touched.EOF)

    def _take_ping(self, flags: int, stream_id: int, value: int, now: float) -> None:
        if flags == SYN:
            self._outgoing.pong = value
        elif flags == ACK:
            self._keepalive.answered(value, now)
        else:
            raise _violation("SYN or ACK on a ping", PING, flags, stream_id, value)

    def _take_body(self, data: memoryview, pos: int, end: int) -> int:
        """Take what is there of a body; returns where that ends."""
        stop = min(end, pos + self._body_left)
        if stop == pos:
            return pos
        self._body_left -= stop - pos
        stream = self._body_stream
        if stream is None or stream.over:
            self._body_stream = None
            return stop
        stream.credit -= stop - pos
        if stream.takes_data:
            stream.received += data[pos:stop]
            self._touch(stream, _DATA)
        elif not stream.reset_after_fin:
            self._table.stop_remote(stream)
        if not self._body_left:
            self._body_stream = None
            if self._body_fin and not stream.over:
                self._take_fin(stream)
        return stop

    def _discard(self, length: int) -> None:
        self._body_left = length
        self._body_stream = None

    def _touch(self, stream: YamuxStream, flag: int) -> None:
        stream.touched |= flag
        if stream.seen != self._round:
            stream.seen = self._round
            self._touched.append(stream)


def _violation(expected: str, kind: int, flags: int, stream_id: int, length: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"expected {expected}, got {describe(kind, flags, stream_id, length)}")
