"""What waits to be written, whatever the protocol: streams in turn, and the bytes accepted for them. PURE.

Each protocol adds its control frames and the cutting of frames (``gather``). A stream stands in its queue of
``turns`` exactly while a frame can be cut for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic

from p2p.errors import LocalProtocolError
from p2p.flow import MOST_URGENT, Priority
from p2p.limits import MuxerLimits
from p2p.muxers.books import S, StreamBooks
from p2p.resources.memory import MemoryGrant

#: Bytes that may be copied without asking for memory: they are granted with the connection.
COPIED_AT_FIRST = 64 * 1024
#: What is left of a held write when most of it is framed: copied, so that its writer need not wait for the rest.
SMALL_REST = 4 * 1024
#: A buffer smaller than this is not written to: headers would be most of it.
MIN_ROOM = 64


class Turns(Generic[S]):
    """Whose turn it is: the streams of one session that have a frame to send, in the order they will.

    There is a queue for every urgency in use, and each stream knows its own: to be scheduled is to be put at its end.
    Whoever cuts frames goes through the queues, most urgent first, takes a stream from the front of one until it is
    empty, and puts back what has more to send: at the end if it is incremental, else at the front.

    A stream begins among the most urgent, whatever its priority. What opens and negotiates it is little, is no
    application's, and must not starve: who opens a stream can say that it is urgent only once it is open.
    """

    __slots__ = ("_first", "_urgencies", "queues")

    def __init__(self) -> None:
        self._first: OrderedDict[S, None] = OrderedDict()
        #: Most urgent first; they may be empty.
        self.queues = [self._first]
        self._urgencies = [MOST_URGENT.urgency]  # of each

    def __iter__(self) -> Iterator[S]:
        """Those that wait for their turn, the next one first."""
        for queue in self.queues:
            yield from queue

    def begin(self, stream: S) -> None:
        """A stream is new."""
        stream.queue = self._first
        stream.incremental = True

    def place(self, stream: S, priority: Priority) -> None:
        """Give a stream its place, behind those that wait there already, if it waits."""
        stream.incremental = priority.incremental
        urgencies, urgency = self._urgencies, priority.urgency
        if urgency not in urgencies:
            at = bisect(urgencies, urgency)
            urgencies.insert(at, urgency)
            self.queues.insert(at, OrderedDict())
        queue = self.queues[urgencies.index(urgency)]
        before, stream.queue = stream.queue, queue
        if queue is not before and stream in before:
            del before[stream]
            queue[stream] = None


class SendQueue(ABC, Generic[S]):
    """What one session has to write."""

    __slots__ = ("_granted", "_max_copied", "_memory", "copied", "only_goodbye", "queues", "turns")

    def __init__(self, limits: MuxerLimits, memory: MemoryGrant) -> None:
        self._memory = memory
        self._max_copied = limits.send_buffers
        #: How much of that there is memory for now.
        self._granted = min(COPIED_AT_FIRST, limits.send_buffers)
        self.turns: Turns[S] = Turns()
        #: The queues of ``turns``, at hand for every gathering.
        self.queues = self.turns.queues
        #: Bytes copied from applications and not yet framed, of all streams.
        self.copied = 0
        #: The remote broke the rules: nothing but a goodbye is for it.
        self.only_goodbye = False

    # --- what the protocol adds -----------------------------------------------------------------------

    @property
    @abstractmethod
    def empty(self) -> bool:
        """Whether ``gather`` would write nothing."""

    @property
    @abstractmethod
    def congested(self) -> bool:
        """Whether too many control frames wait."""

    @abstractmethod
    def gather(self, out: memoryview, now: float, ended: list[S]) -> int:
        """Fill ``out`` with frames; returns the bytes written. Streams whose FIN went are added to ``ended``."""

    @abstractmethod
    def write_control(self, out: memoryview, pos: int, now: float) -> int:
        """Put control frames into ``out`` from ``pos`` on; returns where they end."""

    @abstractmethod
    def reset(self, key: int, code: int) -> None:
        """Let a reset of the stream go out."""

    # --- taking from applications ---------------------------------------------------------------------

    def send(self, stream: S, data: memoryview) -> int:
        """Copy what fits whole, or hold it; see :meth:`p2p.muxers.session.MuxerSession.send`."""
        size = len(data)
        _check_sending(stream)
        if size <= stream.send_room and (self.copied + size <= self._granted or self._room_for(size) == size):
            stream.pending += data
            self.copied += size
            if stream not in stream.queue:
                self.schedule(stream)
            return size
        if stream.held is not None:
            return 0
        stream.held = data
        self.schedule(stream)
        return size

    def send_copy(self, stream: S, data: memoryview) -> int:
        """Copy what fits, of this stream and of all."""
        size = len(data)
        if size <= stream.send_room and self.copied + size <= self._granted:
            return self.send(stream, data)  # nearly always: all of it does
        return self._copy(stream, data, self._room_for(min(len(data), stream.send_room)))

    @property
    def crowded(self) -> bool:
        """Whether nothing more may be copied."""
        return not self._room_for(1)

    def _room_for(self, size: int) -> int:
        """How much of that may be copied: all, or as much as there is memory for."""
        wanted = self.copied + size
        if wanted <= self._granted:
            return size
        more = min(max(wanted, self._granted + COPIED_AT_FIRST), self._max_copied) - self._granted
        if more and self._memory.reserve(more):
            self._granted += more
        return min(size, self._granted - self.copied)

    def give_back(self) -> None:
        """Let go of the memory for more than a little, when nothing copied is left."""
        if self._granted > COPIED_AT_FIRST and not self.copied:
            self._memory.release(self._granted - COPIED_AT_FIRST)
            self._granted = COPIED_AT_FIRST

    def _copy(self, stream: S, data: memoryview, size: int) -> int:
        _check_sending(stream)
        if size:
            stream.pending += data[:size]
            self.copied += size
            if stream not in stream.queue:
                self.schedule(stream)
        return size

    def withdraw(self, stream: S) -> int:
        """Give back what is left of a held write."""
        if stream.held is None:
            return 0
        left = len(stream.held)
        stream.held = None
        self.schedule(stream)
        return left

    # --- letting go -----------------------------------------------------------------------------------

    def begin(self, stream: S) -> None:
        """A stream is new."""
        self.turns.begin(stream)
        self.schedule(stream)

    def schedule(self, stream: S) -> None:
        """Let a stream take its turn, if there is a frame to cut for it."""
        if stream.sendable:
            stream.queue[stream] = None
        else:
            stream.queue.pop(stream, None)

    def move(self, stream: S, out: memoryview, pos: int, n: int) -> None:
        """Move the next ``n`` of the stream's ``waiting`` bytes into ``out`` at ``pos``."""
        pending = stream.pending
        copied = len(pending)
        if n < copied:
            with memoryview(pending) as view:
                out[pos : pos + n] = view[:n]
            del pending[:n]
            self.copied -= n
            return
        if copied:
            out[pos : pos + copied] = pending
            pending.clear()
            self.copied -= copied
        held = stream.held
        if held is not None:
            part = n - copied
            out[pos + copied : pos + n] = held[:part]
            left = len(held) - part
            if not left:
                stream.held = None
            elif left <= SMALL_REST and left <= stream.send_buffer and self.copied + left <= self._granted:
                stream.held = None
                pending += held[part:]
                self.copied += left
            else:
                stream.held = held[part:]

    def forget(self, stream: S) -> None:
        """Nothing more is written for this stream, but for a reset that waits."""
        stream.queue.pop(stream, None)
        if not stream.queue:
            stream.queue.clear()  # an emptied dict keeps its table

    def drop(self, stream: S) -> None:
        """Let go of what is buffered for sending, a held write included."""
        self.copied -= len(stream.pending)
        stream.pending = bytearray()
        stream.held = None
        self.give_back()


def _check_sending(stream: StreamBooks) -> None:
    if stream.eof_sent or stream.over:
        how = "ended" if stream.eof_sent else "reset"
        raise LocalProtocolError(f"{stream!r} was {how}: it sends no more")
