"""Taking messages apart, and holding the remote to the rules. PURE.

One loop over the bytes as they come, in any slicing. A header is judged before any of its body is taken, and a body
goes into the buffer of its stream as it comes: no message is ever held whole. What is tolerated, beyond the letter
of the spec, and why:

- messages of streams that are over, as both sides may end a stream at once, and a sender without windows may have
  much on its way: dropped. After a reset of ours data costs nothing and the end of the stream is free once; all
  others are counted as resets are, and too many end the connection;
- a close or reset of a stream never opened: js may reset a stream before its opening has left; counted too;
- a close repeated: go forgets a stream at its close and takes anything after that.
"""

from __future__ import annotations

from p2p.errors import RemoteProtocolError
from p2p.limits import MplexLimits
from p2p.muxers.mplex.frames import (
    CLOSE,
    FLAGS,
    MAX_HEADER,
    MESSAGE,
    NEW_STREAM,
    describe,
    key_of,
)
from p2p.muxers.mplex.stream import MplexStream
from p2p.muxers.mplex.table import MplexTable
from p2p.muxers.session import Touched
from p2p.wire import varint

_DATA = Touched.DATA


class Receiver:
    """Reads messages into the books of a session."""

    __slots__ = (
        "_body_left",
        "_body_stream",
        "_head",
        "_limits",
        "_round",
        "_table",
        "_touched",
        "closed_by_us",
    )

    def __init__(self, limits: MplexLimits, table: MplexTable) -> None:
        self._limits = limits
        self._table = table
        #: The beginning of a header.
        self._head = b""
        #: What is to come of a body, and whose it is (None, or no longer live: nobody's).
        self._body_left = 0
        self._body_stream: MplexStream | None = None
        self._round = 0
        self._touched: list[MplexStream] = []
        self.closed_by_us = False

    def receive(self, data: memoryview, now: float) -> list[MplexStream]:
        """Take bytes in; returns the streams touched. Raises ``RemoteProtocolError``."""
        self._round = round_ = self._round + 1
        touched: list[MplexStream] = []
        self._touched = touched
        most = self._limits.receive_buffer
        pos, end = 0, len(data)
        if self._head:
            begun = len(self._head)
            self._head += data[:MAX_HEADER]
            taken = self._take_header(self._head, 0, now)
            if taken is None:
                return touched
            self._head = b""
            pos = taken - begun
        live, answered = self._table.live, self._table.answered
        while pos < end:
            if self._body_left:
                pos = self._take_body(data, pos, end, now)
                continue
            # Messages may be small and many: the same as below, without the calls. A varint below 128 is its own byte.
            head, at = data[pos], pos + 1
            if head >= 0x80 and (first := varint.decode_partial(data, pos, max_value=varint.MAX_VALUE)):
                head, at = first
            flag = head & 7
            if (flag == 2 or flag == 1) and at < end and 0 < (length := data[at]) < 0x80:
                start = at + 1
                stop = start + length
                if stop <= end:
                    key = head >> 3 << 1 | flag >> 1
                    stream = live.get(key)
                    if stream is None:
                        if key in answered:
                            pos = stop
                            continue
                    elif stream.takes_data:
                        if not stream.received:
                            stream.unread_since = now
                        stream.received += data[start:stop]
                        stream.empty_frames = 0
                        stream.touched |= _DATA
                        if stream.seen != round_:
                            stream.seen = round_
                            touched.append(stream)
                        if len(stream.received) > most:
                            self._table.received(stream)
                        pos = stop
                        continue
            taken = self._take_header(data, pos, now)
            if taken is None:
                self._head = bytes(data[pos:])
                break
            pos = taken
        return touched

    def _take_header(self, data: memoryview | bytes, pos: int, now: float) -> int | None:
        """Act on the header at ``pos``; returns where it ends, or None when that is not here yet."""
        first = varint.decode_partial(data, pos, max_value=varint.MAX_VALUE)
        if first is None:
            return None
        head, pos = first
        flag, stream_id = head & 7, head >> 3
        if flag >= FLAGS:
            raise RemoteProtocolError(f"expected a flag of the spec, got {flag} on stream {stream_id}")
        kind = flag + (flag & 1)
        most = self._limits.max_message if kind == MESSAGE else self._limits.max_name
        second = varint.decode_partial(data, pos, max_value=most)
        if second is None:
            return None
        length, pos = second
        self._body_left = length
        self._body_stream = None
        # An initiator flag is about a stream that the remote opened.
        inbound = flag == kind
        stream = self._table.live.get(key_of(stream_id, inbound=inbound))
        if kind == NEW_STREAM:
            self._take_new(stream, stream_id, length, now)
        elif stream is None:
            self._take_stray(flag, stream_id, length, now, inbound=inbound)
        elif stream.unknown:
            raise _violation("a stream it knows of", flag, stream_id, length)
        elif kind == MESSAGE:
            self._take_message(stream, flag, length)
        elif kind == CLOSE:
            self._take_close(stream, flag, length)
        else:
            self._table.was_reset(stream, 0, now)
            self._touch(stream, Touched.RESET)
        return pos

    def _take_new(self, stream: MplexStream | None, stream_id: int, length: int, now: float) -> None:
        table = self._table
        if stream is not None or not table.remote_ids.open(stream_id):
            raise _violation("a new stream's id", NEW_STREAM, stream_id, length)
        if self.closed_by_us or not table.make_room():
            table.refuse(key_of(stream_id, inbound=True), now)
        else:
            self._touch(table.accept(stream_id), Touched.OPENED)

    def _take_message(self, stream: MplexStream, flag: int, length: int) -> None:
        if not length:
            self._count_empty(stream, flag)
        elif stream.eof_received:
            raise _violation("no data after a close", flag, stream.stream_id, length)
        else:
            self._body_stream = stream

    def _take_close(self, stream: MplexStream, flag: int, length: int) -> None:
        if stream.eof_received:
            self._count_empty(stream, flag)
            return
        stream.eof_received = True
        stream.takes_data = False
        self._table.overfull.pop(stream.key, None)  # it is all there, and gets no larger
        if stream.fin_written:
            self._table.end(stream)
        else:
            self._table.settle(stream)
        self._touch(stream, Touched.EOF)

    def _count_empty(self, stream: MplexStream, flag: int) -> None:
        stream.empty_frames += 1
        if stream.empty_frames > self._limits.max_empty_frames:
            raise _violation("messages that say something", flag, stream.stream_id, 0)

    def _take_stray(self, flag: int, stream_id: int, length: int, now: float, *, inbound: bool) -> None:
        """A message of a stream that is over, or never was."""
        table = self._table
        ends = flag > MESSAGE
        if not table.was_opened(stream_id, inbound=inbound) and not (ends and inbound):
            raise _violation("a stream that was opened", flag, stream_id, length)
        answered = table.answered
        key = key_of(stream_id, inbound=inbound)
        if not (answered.discard(key) if ends else length and key in answered):
            table.spend_reset(now)

    def _take_body(self, data: memoryview, pos: int, end: int, now: float) -> int:
        """Take what is there of a body; returns where that ends."""
        stop = min(end, pos + self._body_left)
        self._body_left -= stop - pos
        stream = self._body_stream
        if stream is None or stream.over:
            self._body_stream = None
        elif stream.takes_data:
            stream.empty_frames = 0
            if not stream.received:
                stream.unread_since = now
            stream.received += data[pos:stop]
            self._table.received(stream)
            self._touch(stream, _DATA)
        elif not stream.reset_after_fin:
            self._table.stop_remote(stream)
        return stop

    def _touch(self, stream: MplexStream, flag: int) -> None:
        stream.touched |= flag
        if stream.seen != self._round:
            stream.seen = self._round
            self._touched.append(stream)


def _violation(expected: str, flag: int, stream_id: int, length: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"expected {expected}, got {describe(flag, stream_id, length)}")
