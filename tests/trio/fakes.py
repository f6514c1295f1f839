"""Transports without bytes on any wire, for tests of the host: what ``p2p.abc`` asks for, and faults on request.

A :class:`FakeNetwork` is where the fake transports of several hosts meet. It knows every end of a connection
that was made and not closed, so a test can ask whether one leaked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from p2p.abc import (
    Connection,
    Direction,
    Incoming,
    Listener,
    ProtocolId,
    Stream,
    StreamRouter,
    Transport,
)
from p2p.errors import ConnectionLost, NoCommonProtocol, PeerIdMismatch, StreamReset
from p2p.flow import DEFAULT_PRIORITY, ConnectionStatistics, Priority, StreamStatistics
from p2p.host import Host
from p2p.identity import Identity, PeerId, PublicKey
from p2p.resources.memory import UNACCOUNTED, MemoryGrant
from p2p.wire.addresses import Multiaddr

Hook = Callable[[], Awaitable[object]]


class FakeNetwork:
    """Listeners by address, faults by address, and the ends of connections that are open."""

    def __init__(self) -> None:
        self.listeners: dict[Multiaddr, FakeListener] = {}
        #: Awaited inside ``dial`` of an address before, and after, there is a connection.
        self.before_dial: dict[Multiaddr, Hook] = {}
        self.after_dial: dict[Multiaddr, Hook] = {}
        #: Awaited inside ``upgrade`` by any listener.
        self.before_upgrade: Hook = trio.lowlevel.checkpoint
        self.open: set[FakeConnection] = set()
        self.dialed: list[Multiaddr] = []
        self.relayed: set[Multiaddr] = set()

    def transport(self, identity: Identity) -> FakeTransport:
        return FakeTransport(self, identity)

    def pair(
        self, addr: Multiaddr, dialer: Identity, listener: Identity
    ) -> tuple[FakeConnection, FakeConnection]:
        back = Multiaddr("/memory/0" if str(addr).startswith("/memory") else "/ip4/10.99.99.99/tcp/9999")
        here = FakeConnection(self, dialer, listener, back, addr, Direction.OUTBOUND)
        there = FakeConnection(self, listener, dialer, addr, back, Direction.INBOUND)
        here.other, there.other = there, here
        return here, there


class FakeTransport(Transport):
    """Dials and listens on ``/memory/N``, and on ``/ip4/10.…`` for tests of what addresses say."""

    def __init__(self, network: FakeNetwork, identity: Identity) -> None:
        self.network = network
        self.identity = identity
        self.running: Hook = trio.sleep_forever

    def can_dial(self, addr: Multiaddr) -> bool:
        return str(addr).startswith(("/memory/", "/ip4/10."))

    can_listen = can_dial

    async def dial(
        self, addr: Multiaddr, *, peer: PeerId | None, memory: MemoryGrant = UNACCOUNTED
    ) -> Connection:
        self.network.dialed.append(addr)
        await self.network.before_dial.get(addr, trio.lowlevel.checkpoint)()
        listener = self.network.listeners.get(addr)
        if listener is None:
            raise ConnectionRefusedError("nobody listens there")
        remote = listener.identity
        if peer is not None and peer != remote.peer_id:
            raise PeerIdMismatch(peer, remote.peer_id)
        here, there = self.network.pair(addr, self.identity, remote)
        listener.queue.append(FakeIncoming(self.network, there))
        listener.arrived.unpark_all()
        done = False
        try:
            await self.network.after_dial.get(addr, trio.lowlevel.checkpoint)()
            done = True
        finally:
            if not done:
                here.end()
        return here

    def listen(self, addr: Multiaddr) -> AbstractAsyncContextManager[Listener]:
        return self._listen(addr)

    @asynccontextmanager
    async def _listen(self, addr: Multiaddr) -> AsyncIterator[Listener]:
        await trio.lowlevel.checkpoint()
        if addr in self.network.listeners:
            raise OSError("address in use")
        listener = self.network.listeners[addr] = FakeListener(addr, self.identity)
        try:
            yield listener
        finally:
            del self.network.listeners[addr]
            for incoming in listener.queue:
                incoming.connection.end()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await self.running()


class FakeListener(Listener):
    def __init__(self, addr: Multiaddr, identity: Identity) -> None:
        self._addr = addr
        self.identity = identity
        self.queue: list[FakeIncoming] = []
        self.arrived = trio.lowlevel.ParkingLot()
        self.fault: BaseException | None = None

    @property
    def addr(self) -> Multiaddr:
        return self._addr

    async def accept(self) -> Incoming:
        await trio.lowlevel.checkpoint()
        while not self.queue:
            if self.fault is not None:
                raise self.fault
            await self.arrived.park()
        return self.queue.pop(0)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class FakeIncoming(Incoming):
    def __init__(self, network: FakeNetwork, connection: FakeConnection) -> None:
        self.network = network
        self.connection = connection

    @property
    def remote_addr(self) -> Multiaddr:
        return self.connection.remote_addr

    async def upgrade(self, *, memory: MemoryGrant = UNACCOUNTED) -> Connection:
        done = False
        try:
            await self.network.before_upgrade()
            done = True
        finally:
            if not done:
                self.connection.end()
        return self.connection

    async def aclose(self) -> None:
        self.connection.end()
        await trio.lowlevel.checkpoint()


class FakeConnection(Connection):
    """One end; the other one is ``other``. ``fault`` is what its pump raises, as soon as it is set."""

    def __init__(
        self,
        network: FakeNetwork,
        local: Identity,
        remote: Identity,
        local_addr: Multiaddr,
        remote_addr: Multiaddr,
        direction: Direction,
    ) -> None:
        self.network = network
        self.local, self.remote = local, remote
        self._local_addr, self._remote_addr, self._direction = local_addr, remote_addr, direction
        self.other: FakeConnection = self
        self.router: StreamRouter | None = None
        self.over = False
        self.goodbye = False
        self.fault: BaseException | None = None
        self.live: list[FakeStream] = []
        self.opened: list[FakeStream] = []  # by the other end, not yet answered
        self.bells = trio.lowlevel.ParkingLot()
        #: How ``open_stream`` was asked: protocols, lazy.
        self.asked: list[tuple[tuple[ProtocolId, ...], bool]] = []
        #: What ``open_stream`` waits for before it opens.
        self.before_open: Hook = trio.lowlevel.checkpoint
        network.open.add(self)

    def __repr__(self) -> str:
        return f"<fake connection {self._direction.value} {self.remote.peer_id}>"

    local_peer = property(lambda self: self.local.peer_id)
    remote_peer = property(lambda self: self.remote.peer_id)
    local_addr = property(lambda self: self._local_addr)
    remote_addr = property(lambda self: self._remote_addr)
    direction = property(lambda self: self._direction)
    streams = property(lambda self: tuple(self.live))

    @property
    def remote_key(self) -> PublicKey:
        return self.remote.public_key

    @property
    def limited(self) -> bool:
        return bool({self._local_addr, self._remote_addr} & self.network.relayed)

    @property
    def closing(self) -> bool:
        return self.over or self.goodbye or self.other.goodbye or self.other.over

    def end(self) -> None:
        """The socket is closed; the other end notices."""
        self.over = True
        self.network.open.discard(self)
        for stream in self.live:
            stream.lost = True
            stream.bells.unpark_all()
        self.live.clear()
        self.bells.unpark_all()
        self.other.bells.unpark_all()

    def fail(self, fault: BaseException) -> None:
        self.fault = fault
        self.bells.unpark_all()

    async def run(self, router: StreamRouter | None = None) -> None:
        assert self.router is None, "run twice"
        self.router = router
        try:
            await trio.lowlevel.checkpoint()
            while not self.over and not ((self.goodbye or self.other.goodbye) and not self.live):
                if self.fault is not None:
                    raise self.fault
                if self.other.over:
                    raise ConnectionLost("the other end is gone")
                while self.opened:
                    self.answer(self.opened.pop(0))
                await self.bells.park()
        finally:
            self.end()

    def answer(self, stream: FakeStream) -> None:
        assert self.router is not None
        chosen = next((protocol for protocol in stream.proposed if self.router.supports(protocol)), None)
        stream.settle(chosen)
        stream.far.settle(chosen)
        if chosen is None:
            self.live.remove(stream)
        else:
            self.router.serve(stream)

    async def open_stream(self, *protocols: ProtocolId, lazy: bool = False) -> Stream:
        self.asked.append((protocols, lazy))
        await self.before_open()
        if self.closing:
            raise ConnectionLost("it is going away")
        here = FakeStream(self, protocols, Direction.OUTBOUND)
        there = FakeStream(self.other, protocols, Direction.INBOUND)
        here.far, there.far = there, here
        self.live.append(here)
        self.other.live.append(there)
        self.other.opened.append(there)
        self.other.bells.unpark_all()
        done = lazy
        try:
            while not (lazy or here.settled):
                here.check()
                await here.bells.park()
            if not lazy:
                here.check()
            done = True
        finally:
            if not done:
                here.reset()
        return here

    async def accept_stream(self) -> Stream:
        raise AssertionError("the host routes")

    def go_away(self) -> None:
        self.goodbye = True
        self.bells.unpark_all()
        self.other.bells.unpark_all()

    def abort(self, code: int = 0) -> None:
        self.end()

    async def aclose(self) -> None:
        self.end()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> ConnectionStatistics:
        return ConnectionStatistics(0, 0, 0, 0, 0, len(self.live), None, 0, 0, 0)


class FakeStream(Stream):
    """No flow control: what is sent is received."""

    def __init__(
        self, connection: FakeConnection, proposed: tuple[ProtocolId, ...], direction: Direction
    ) -> None:
        self._connection = connection
        self._direction = direction
        self._priority = DEFAULT_PRIORITY
        self.proposed = proposed
        self.far: FakeStream = self
        self.chosen: ProtocolId | None = None
        self.settled = False
        self.inbox = bytearray()
        self.ended = self.sent_eof = self.closed = self.lost = False
        self.reset_by: bool | None = None  # remote?
        self.bells = trio.lowlevel.ParkingLot()

    @property
    def protocol(self) -> ProtocolId:
        return self.chosen or self.proposed[0]

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def direction(self) -> Direction:
        return self._direction

    @property
    def priority(self) -> Priority:
        return self._priority

    @priority.setter
    def priority(self, priority: Priority) -> None:
        self._priority = priority

    def statistics(self) -> StreamStatistics:
        return StreamStatistics(None, 0, 0, False, None, 0, None, len(self.inbox))

    def settle(self, chosen: ProtocolId | None) -> None:
        self.settled, self.chosen = True, chosen
        self.bells.unpark_all()

    def check(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError
        if self.reset_by is not None:
            raise StreamReset(remote=self.reset_by)
        if self.lost:
            raise ConnectionLost("the connection is over")
        if self.settled and self.chosen is None:
            raise NoCommonProtocol(self.proposed)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while True:
            if self.closed or not self.inbox:
                self.check()
            if self.inbox:
                n = len(self.inbox) if max_bytes is None else max_bytes
                data = bytes(self.inbox[:n])
                del self.inbox[:n]
                return data
            if self.ended:
                return b""
            await self.bells.park()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.check()
        await trio.lowlevel.checkpoint()
        self.send_nowait(data)

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        self.check()
        if not self.far.closed:
            self.far.inbox += data
            self.far.bells.unpark_all()
        return len(data)

    async def wait_send_all_might_not_block(self) -> None:
        self.check()
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        self.check()
        self.far.ended = True
        self.far.bells.unpark_all()
        await trio.lowlevel.checkpoint()

    def reset(self, code: int = 0) -> None:
        if not self.closed and self.reset_by is None:
            self.reset_by = False
            if not self.lost:
                self.far.reset_by = True
                self.far.leave()
            self.leave()

    async def aclose(self) -> None:
        if not self.closed and self.reset_by is None:
            self.closed = self.far.ended = True
            self.far.bells.unpark_all()
            self.leave()
        await trio.lowlevel.checkpoint()

    def leave(self) -> None:
        self.bells.unpark_all()
        if self in self._connection.live:
            self._connection.live.remove(self)
            if self._connection.router is not None:
                self._connection.router.ended(self)
            self._connection.bells.unpark_all()


def fake_host(network: FakeNetwork, identity: Identity | None = None, **options: object) -> Host:
    """A host on ``network``; ``options`` as for :class:`Host`, ``listen`` in numbers: ``[1]`` is ``/memory/1``."""
    identity = identity or Identity.generate()
    numbers = options.pop("listen", ())
    assert isinstance(numbers, Sequence)
    options.setdefault("transports", [network.transport(identity)])
    options.setdefault("identify", False)  # a fake connection speaks nothing by itself
    return Host(identity, listen=[f"/memory/{number}" for number in numbers], **options)  # type: ignore[arg-type]


def memory(number: int) -> Multiaddr:
    return Multiaddr(f"/memory/{number}")
