"""What lies between two hosts of a virtual network: routes, and the links of single connections along them.

A byte that was pushed leaves when the rate of its route lets it, arrives a latency later, is delivered in
order into the reader's :class:`~p2p.transports.pipe.Pipe`, and counts against the window of its link until
the reader took it and the word of that came back. So a link carries at most one window per round trip, as
TCP does.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import trio

from p2p.testing.trace import Trace
from p2p.transports.pipe import Bell, Pipe

_MOST_SEGMENT = 64 * 1024


class Loss(Enum):
    """What a lost segment does to a connection, which sees no losses but only their consequences."""

    STALL = "stall"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """One direction between two hosts. Times in seconds, sizes in bytes."""

    #: One way. Each segment takes up to ``jitter`` longer; order is kept.
    latency: float = 0.0
    jitter: float = 0.0
    #: Bytes per second, shared by all connections in this direction; None: no limit.
    bandwidth: float | None = None
    #: What one connection may have sent that was not read yet: the socket buffers of both ends.
    window: int = 256 * 1024
    #: What one connection may have sent that waits for its turn on the route, for which ``bandwidth`` makes it wait:
    #: Linux's ``TCP_NOTSENT_LOWAT``. As there it is writable again once less than half of that waits. None: no bound.
    unsent: int | None = None
    #: Least and most bytes of a segment, and of what one receive returns; None: as much as there is.
    segment: tuple[int, int] | None = None
    #: How often a segment is lost (0 to 1), and what comes of it: resent after ``stall``, or a reset.
    loss: float = 0.0
    on_loss: Loss = Loss.STALL
    stall: float = 0.2

    def __post_init__(self) -> None:
        if self.segment is not None and not 1 <= self.segment[0] <= self.segment[1] <= _MOST_SEGMENT:
            raise ValueError(f"segments of {self.segment} bytes, expected 1 to {_MOST_SEGMENT}")


#: No latency, no loss, no limit but the window.
PERFECT = LinkOptions()


class Agenda:
    """Calls functions when their time has come; one task runs it and owns all that happens by itself."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._earlier = Bell()

    def at(self, time: float, function: Callable[[], None]) -> None:
        self._count += 1  # entries of one time keep their order
        heapq.heappush(self._entries, (time, self._count, function))
        if self._entries[0][1] == self._count:
            self._earlier.ring()

    async def run(self) -> None:
        while True:
            while self._entries and self._entries[0][0] <= trio.current_time():
                heapq.heappop(self._entries)[2]()
            with trio.move_on_at(self._entries[0][0] if self._entries else float("inf")):
                await self._earlier.wait()


class Passage(NamedTuple):
    """When bytes have left, when they arrive, and whether they were lost the first time."""

    leaves: float
    arrives: float
    lost: bool


class Route:
    """The way from one host to another, shared by its connections; ``bytes`` and ``segments`` count it."""

    def __init__(self, source: str, target: str, options: LinkOptions) -> None:
        self.source = source
        self.target = target
        self.options = options
        self.blocked = False
        self.bytes = 0
        self.segments = 0
        self.links: dict[Link, None] = {}  # those that have something to deliver or may get it
        self._healed: trio.Event | None = None
        self._free_at = 0.0  # when the last byte accepted has left

    def __repr__(self) -> str:
        return f"<Route {self.source} to {self.target}{' blocked' * self.blocked}>"

    def passage(self, size: int, rng: random.Random) -> Passage:
        """What becomes of ``size`` bytes that are sent now."""
        self.bytes += size
        self.segments += 1
        options = self.options
        leaves = max(trio.current_time(), self._free_at)
        if options.bandwidth is not None:
            leaves += size / options.bandwidth
            self._free_at = leaves
        lost = options.loss > 0 and rng.random() < options.loss
        late = options.stall if lost and options.on_loss is Loss.STALL else 0.0
        if options.jitter:
            late += rng.uniform(0, options.jitter)
        return Passage(leaves, leaves + options.latency + late, lost)

    async def cross(self, rng: random.Random) -> None:
        """Wait as long as an empty segment takes, resent until it gets through."""
        while True:
            await trio.sleep_until(self.passage(0, rng).arrives)
            if not self.blocked:
                return
            if self._healed is None:
                self._healed = trio.Event()
            await self._healed.wait()

    def block(self) -> None:
        self.blocked = True

    def unblock(self) -> None:
        self.blocked = False
        if self._healed is not None:
            self._healed.set()
            self._healed = None
        for link in list(self.links):
            link.resend()


class Depth:
    """How many one-way trips, each caused by the one before, led to what one end knows."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


class _Kind(Enum):
    OPEN = "open"
    DATA = "data"
    END = "end"
    RESET = "reset"


class _Segment(NamedTuple):
    arrives: float  # but never before those sent earlier
    kind: _Kind
    data: bytes
    depth: int


class _Mark(NamedTuple):
    """Bytes of a stream, from the offset ``start`` up to ``end``, that arrived with one depth."""

    start: int
    end: int
    depth: int


class Link:
    """One direction of one connection: an ``Outlet`` whose bytes reach ``pipe`` later."""

    reverse: Link

    def __init__(
        self,
        name: str,
        route: Route,
        back: Route,
        *,
        agenda: Agenda,
        rng: random.Random,
        depth: Depth,
        trace: Trace | None,
        on_open: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.window = route.options.window
        self._most_unsent = route.options.unsent
        cut = None if route.options.segment is None else self._draw
        self.pipe = Pipe(self.window, cut)
        self._route = route
        self._back = back
        self._agenda = agenda
        self._rng = rng
        self._depth = depth
        self._trace = trace
        self._on_open = on_open
        self._flying: deque[_Segment] = deque()
        self._armed = False
        self._unacknowledged = 0
        self._leaving: deque[tuple[float, int]] = deque()  # kept only where something bounds it
        self._unsent = 0  # the bytes in it
        self._acknowledgements: deque[tuple[float, int]] = deque()
        self._arrived = 0
        self._marks: deque[_Mark] = deque()
        self._end_depth = 0
        self._room = Bell()
        self._broken = False
        self._finished = False
        route.links[self] = None

    # --- the sender's end

    def open(self) -> None:
        """Say to the other host that there is a connection: before anything else."""
        self._fly(_Kind.OPEN)

    def push(self, data: memoryview) -> int:
        if self._broken:
            raise trio.BrokenResourceError("the other host reset the connection")
        n = min(len(data), self.window - self._unacknowledged)
        if self._most_unsent is not None:
            self._let_leave()
            n = min(n, self._most_unsent - self._unsent)
        self._unacknowledged += n
        done = 0
        while done < n:
            size = min(n - done, _MOST_SEGMENT if self._route.options.segment is None else self._draw())
            self._fly(_Kind.DATA, bytes(data[done : done + size]))
            done += size
        return n

    async def wait_room(self) -> None:
        if self._has_room():
            await trio.lowlevel.checkpoint()
        while not self._has_room():
            if self._is_crowded():
                self._agenda.at(self._spacious_at(), self._room.ring)
            await self._room.wait()

    def finish(self) -> None:
        self._fly(_Kind.END)
        self._finished = True
        self._room.ring()

    def break_off(self) -> None:
        self._flying.clear()
        self._fly(_Kind.RESET)
        self.fail()

    def fail(self) -> None:
        """What is sent from now on cannot arrive."""
        self._broken = True
        self._room.ring()

    def _has_room(self) -> bool:
        if self._broken or self._finished:
            return True
        return self._unacknowledged < self.window and not self._is_crowded()

    def _is_crowded(self) -> bool:
        """Whether so much waits to leave that nobody is told to send more."""
        if self._most_unsent is None:
            return False
        self._let_leave()
        return 2 * self._unsent >= self._most_unsent

    def _let_leave(self) -> None:
        now = trio.current_time()
        while self._leaving and self._leaving[0][0] <= now:
            self._unsent -= self._leaving.popleft()[1]

    def _spacious_at(self) -> float:
        """When that will be over."""
        unsent, most = self._unsent, self._most_unsent or 0
        for leaves, size in self._leaving:
            unsent -= size
            if 2 * unsent < most:
                return leaves
        return trio.current_time()

    def _draw(self) -> int:
        least, most = self._route.options.segment or (_MOST_SEGMENT, _MOST_SEGMENT)
        return self._rng.randint(least, most)

    # --- in flight

    def _fly(self, kind: _Kind, data: bytes = b"") -> None:
        if self._broken:
            return
        leaves, arrives, lost = self._route.passage(len(data), self._rng)
        if self._most_unsent is not None and data:
            self._leaving.append((leaves, len(data)))
            self._unsent += len(data)
        if lost and kind is _Kind.DATA and self._route.options.on_loss is Loss.RESET:
            self._note("lost", len(data))
            self._fly(_Kind.RESET)
            self.fail()
            self.reverse.pipe.break_off()
            return
        if lost:
            self._note("stalled", len(data))
        self._route.links[self] = None
        self._flying.append(_Segment(arrives, kind, data, self._depth.value + 1))
        if not self._armed:
            self._arrive()

    def _arrive(self) -> None:
        self._armed = False
        now = trio.current_time()
        while self._flying and self._flying[0].arrives <= now:
            if self._route.blocked:
                return
            self._deliver(self._flying.popleft())
        if self._flying:
            self._armed = True
            self._agenda.at(self._flying[0].arrives, self._arrive)

    def resend(self) -> None:
        """The route works again: what waited starts anew, and so do acknowledgements of the other
        direction.
        """
        if self._flying and not self._armed:
            self._armed = True
            soon = trio.current_time() + self._route.options.latency
            self._agenda.at(max(soon, self._flying[0].arrives), self._arrive)
        self._agenda.at(trio.current_time() + self._route.options.latency, self.reverse._acknowledged)

    def _deliver(self, segment: _Segment) -> None:
        self._note(segment.kind.value, len(segment.data))
        match segment.kind:
            case _Kind.OPEN:
                self.reverse.learn(segment.depth)
                if self._on_open is not None:
                    self._on_open()
            case _Kind.DATA:
                start = self._arrived
                self._arrived += len(segment.data)
                if self._marks and self._marks[-1].depth == segment.depth:
                    start = self._marks.pop().start
                self._marks.append(_Mark(start, self._arrived, segment.depth))
                try:
                    self.pipe.push(memoryview(segment.data))
                except trio.BrokenResourceError:  # nobody reads there any more, and that host says so
                    self.reverse._fly(_Kind.RESET)
                    self.reverse.fail()
            case _Kind.END:
                self._end_depth = segment.depth
                self.pipe.finish()
                self._route.links.pop(self, None)
            case _Kind.RESET:
                if not self.pipe.finished:  # what came before a proper end stays readable
                    self.pipe.break_off()
                self.reverse.fail()
                self._route.links.pop(self, None)

    def _note(self, kind: str, size: int) -> None:
        if self._trace is not None:
            self._trace.note(kind, self.name, size)

    # --- the reader's end

    def learn(self, depth: int) -> None:
        """The host that sends on this link knows what ``depth`` trips led to."""
        self._depth.value = max(self._depth.value, depth)

    def took(self, total: int, n: int) -> None:
        """The reader took ``n`` bytes more, ``total`` in all; none more: it saw the end."""
        if n == 0:
            self.reverse.learn(self._end_depth)
            return
        while self._marks and self._marks[0].start < total:
            self.reverse.learn(self._marks[0].depth)
            if self._marks[0].end > total:
                break
            self._marks.popleft()
        due = trio.current_time() + self._back.options.latency
        if self._acknowledgements and self._acknowledgements[-1][0] == due:
            n += self._acknowledgements.pop()[1]
        else:
            self._agenda.at(due, self._acknowledged)
        self._acknowledgements.append((due, n))

    def _acknowledged(self) -> None:
        now = trio.current_time()
        while self._acknowledgements and self._acknowledgements[0][0] <= now and not self._back.blocked:
            self._unacknowledged -= self._acknowledgements.popleft()[1]
            self._room.ring()
