"""A TCP proxy that counts round trips by what depends on what, not by the clock.

Every chunk that a side sends gets a *depth*: one more than the deepest chunk that had been delivered to that
side when it sent. The first words of a dialer have depth 1, the answer to them depth 2, and so on, however
many chunks each flight is cut into. The deepest chunk that reached the dialer, halved, is the number of round
trips on the connection; the TCP handshake below the proxy adds one.

Each chunk is held back for ``delay`` seconds, so that what a side says of itself (without having to wait for
the other) is seen to be said before anything reaches it; and before a chunk is delivered, what its receiver
has already written is taken up. So a count can come out too high only where a side dawdles for longer than
``delay``, and never too low.
"""

from __future__ import annotations

import math
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import trio

CHUNK = 64 * 1024  # bytes, of one recv
MAX_HELD = 1 << 20  # bytes held back per direction; beyond them the sender meets TCP's backpressure
LOG_LENGTH = 200  # chunks remembered, for failure messages
DELAY = 0.02  # seconds, one way


class Side(Enum):
    DIALER = "dialer"
    RESPONDER = "responder"

    @property
    def other(self) -> Side:
        return Side.RESPONDER if self is Side.DIALER else Side.DIALER


@dataclass
class CausalDepths:
    """Which flight each chunk belongs to. Pure: told what is sent and delivered, in that order."""

    reached: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))

    def sent(self, side: Side) -> int:
        """The depth of a chunk that ``side`` sends now."""
        return self.reached[side] + 1

    def delivered(self, side: Side, depth: int) -> None:
        """A chunk of that depth has reached ``side``."""
        self.reached[side] = max(self.reached[side], depth)

    @property
    def round_trips(self) -> int:
        """Whole round trips that the dialer has seen the end of, without the one of TCP itself."""
        return math.ceil(self.reached[Side.DIALER] / 2)


class _Held(NamedTuple):
    due: float  # trio time
    depth: int
    data: bytes  # b"" is EOF


class Flow:
    """One proxied connection."""

    def __init__(self, dialer: socket.socket, responder: socket.socket, delay: float) -> None:
        self.log: deque[str] = deque(maxlen=LOG_LENGTH)
        self._depths = CausalDepths()
        self._delay = delay
        self._sockets = {Side.DIALER: dialer, Side.RESPONDER: responder}
        self._held: dict[Side, deque[_Held]] = {side: deque() for side in Side}  # by sender
        self._held_bytes = dict.fromkeys(Side, 0)
        self._said_eof = dict.fromkeys(Side, False)
        self._changed = {side: trio.Event() for side in Side}  # something was held, or let go

    @property
    def round_trips(self) -> int:
        """Round trips that the dialer has seen the end of so far, TCP's own handshake included."""
        return 1 + self._depths.round_trips

    async def _run(self) -> None:
        """Carry bytes both ways until both sides said EOF or one broke the connection."""
        try:
            async with trio.open_nursery() as nursery:
                for side in Side:
                    nursery.start_soon(self._listen_to, side)
                async with trio.open_nursery() as deliveries:
                    for side in Side:
                        deliveries.start_soon(self._deliver_from, side)
                nursery.cancel_scope.cancel()
        except* OSError as errors:
            self.log.append(f"broken: {errors.exceptions[0]!r}")
            for sock in self._sockets.values():  # an RST for the other side too
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _listen_to(self, side: Side) -> None:
        while not self._said_eof[side]:
            if self._held_bytes[side] >= MAX_HELD:
                await self._changed[side].wait()
            else:
                await trio.lowlevel.wait_readable(self._sockets[side])
                self._take_up(side)

    def _take_up(self, side: Side) -> None:
        """Stamp and hold what ``side`` has written by now."""
        while self._held_bytes[side] < MAX_HELD and not self._said_eof[side]:
            try:
                data = self._sockets[side].recv(CHUNK)
            except BlockingIOError:
                return
            depth = self._depths.sent(side)
            self._held[side].append(_Held(trio.current_time() + self._delay, depth, data))
            self._held_bytes[side] += len(data)
            self._said_eof[side] = not data
            self._announce(side)
            self.log.append(f"{side.value} sent {len(data)} bytes at depth {depth}")

    async def _deliver_from(self, side: Side) -> None:
        receiver = self._sockets[side.other]
        while True:
            while not self._held[side]:
                await self._changed[side].wait()
            due, depth, data = self._held[side][0]
            await trio.sleep_until(due)
            self._take_up(side.other)
            if not data:
                receiver.shutdown(socket.SHUT_WR)
                return
            self._depths.delivered(side.other, depth)
            view = memoryview(data)
            while view:
                try:
                    view = view[receiver.send(view) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(receiver)
            self._held[side].popleft()
            self._held_bytes[side] -= len(data)
            self._announce(side)

    def _announce(self, side: Side) -> None:
        self._changed[side].set()
        self._changed[side] = trio.Event()


class Flights:
    """The proxy: dial :attr:`port` on 127.0.0.1 to reach the target; :attr:`flows` are its connections."""

    def __init__(self, listener: socket.socket, target: tuple[str, int], delay: float) -> None:
        self.port: int = listener.getsockname()[1]
        self.flows: list[Flow] = []
        self._listener = listener
        self._target = target
        self._delay = delay

    def addr_for(self, addr: str) -> str:
        """The multiaddr that leads through the proxy to the target's ``/ip4/…/tcp/…[/p2p/…]``."""
        _, ip4, _, tcp, _, *rest = addr.split("/")
        if (ip4, tcp) != ("ip4", "tcp"):
            raise ValueError(f"not /ip4/…/tcp/…: {addr}")
        return "/".join(["", "ip4", "127.0.0.1", "tcp", str(self.port), *rest])

    async def _accept(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._listener)
                try:
                    dialer, _ = self._listener.accept()
                except BlockingIOError:
                    continue
                nursery.start_soon(self._carry, dialer)

    async def _carry(self, dialer: socket.socket) -> None:
        with dialer, socket.socket() as responder:
            for sock in (dialer, responder):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                responder.connect(self._target)
            except BlockingIOError:
                await trio.lowlevel.wait_writable(responder)
            if responder.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
                return
            flow = Flow(dialer, responder, self._delay)
            self.flows.append(flow)
            await flow._run()


@asynccontextmanager
async def open_flights(host: str, port: int, *, delay: float = DELAY) -> AsyncGenerator[Flights, None]:
    """Proxy a free port of 127.0.0.1 to ``host:port`` (IPv4), each way held back for ``delay`` seconds.

    Leaving the block drops every connection. Wants a real clock.
    """
    with socket.socket() as listener:
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        flights = Flights(listener, (host, port), delay)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flights._accept)
            yield flights
            nursery.cancel_scope.cancel()
