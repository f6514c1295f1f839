"""Dials in flight. A flight is a task of the host, and becomes the connection that it makes.

Callers wait for a flight under deadlines of their own. Who wants the same peer joins the flight that is under
way, bringing further addresses; the last one to leave cancels it, and each gets its own ``DialError``. All
addresses are tried side by side, ``limits.parallel_dials`` at once and with no pause between; the first
connection wins, and the others are closed. With no socket to be had for an address, it has its turn when another
attempt has ended (``sockets.py``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import trio

from p2p.abc import Connection, Transport
from p2p.errors import AllAttemptsFailed, Denied, DialError, InvalidAddress, NoAddresses
from p2p.host.connections import Connections, Contained, network_ip, takes_descriptor
from p2p.host.reports import RemoteLog, Reports
from p2p.host.sockets import Sockets
from p2p.identity import PeerId
from p2p.limits import Limits
from p2p.peerstore import Peerstore
from p2p.resources.resources import Resources
from p2p.resources.scopes import Attempt, ConnectionScope
from p2p.wire.addresses import Multiaddr, protocols, split_peer, text

if TYPE_CHECKING:
    from p2p.routing import PeerRouting

Find = Callable[[PeerId], Awaitable[Sequence[Multiaddr]]]


class Dialing:
    """All flights of one host, one for each peer, or for each address whose peer is not known."""

    def __init__(
        self,
        transports: Sequence[Transport],
        *,
        connections: Connections,
        resources: Resources,
        peerstore: Peerstore,
        routing: PeerRouting | None,
        reports: Reports,
        limits: Limits,
    ) -> None:
        self._transports = transports
        self._connections = connections
        self._resources = resources
        self._peerstore = peerstore
        self._routing = routing
        self._reports = reports
        self._limits = limits
        self._sockets = Sockets()
        self._flights: dict[PeerId | Multiaddr, Flight] = {}
        self._nursery: trio.Nursery | None = None

    def open(self, nursery: trio.Nursery) -> None:
        """From here on flights are tasks of ``nursery``."""
        self._nursery = nursery

    def close(self) -> None:
        """End those under way and refuse others."""
        self._nursery = None
        for flight in self._flights.values():
            flight.shut_down = True
            flight.scope.cancel()

    def __len__(self) -> int:
        return len(self._flights)

    async def dial(
        self, peer: PeerId | None, addrs: Sequence[Multiaddr], *, direct: bool = False
    ) -> Connection:
        """A new connection, the one of a flight under way included.

        ``addrs``, without ``/p2p``, are tried; with none those the peerstore has or routing finds. With no
        ``peer``, who answers is whom it leads to. ``direct`` brings no relayed addresses along; those of others
        on the same flight may win all the same.

        Raises ``DialError`` and ``ResourceLimitExceeded``. Cancelled: the flight goes on for those who still
        wait, and ends when nobody does.
        """
        key = addrs[0] if peer is None else peer
        flight = self._flights.get(key) or self._launch(key, peer)
        if not addrs and peer is not None:
            addrs = self._peerstore.addrs(peer, now=trio.current_time())
        flight.direct = flight.direct and direct
        flight.add(addrs, direct=direct)
        try:
            await flight.done.wait()
        finally:
            if not flight.waiters and not flight.done.is_set():
                self._forget(key, flight)
                flight.scope.cancel()
        if flight.connection is None:
            raise flight.failure()
        return flight.connection

    def _launch(self, key: PeerId | Multiaddr, peer: PeerId | None) -> Flight:
        if self._nursery is None:
            raise Denied(key, "shutdown")
        scope = self._resources.outbound(peer, network_ip(key) if isinstance(key, Multiaddr) else None)
        log = self._reports.log(f"dialing {key}")
        flight = Flight(
            key, peer, self._transports, self._connections, scope, self._sockets, log, self._limits
        )
        self._flights[key] = flight
        self._nursery.start_soon(self._fly, key, flight, name=log.name)
        return flight

    async def _fly(self, key: PeerId | Multiaddr, flight: Flight) -> None:
        """The task: first the flight, then the connection, for as long as which nothing is kept of the flight."""
        with flight.resources as resources:
            living = None
            try:
                with flight.scope:
                    flight.scope.deadline = trio.current_time() + self._limits.dial
                    await flight.fly(None if self._routing is None else self._routing.find_peer)
                flight.landed()
                # From here to the entry in the table nothing waits, so nobody can leave in between.
                self._forget(key, flight)
                connection = flight.winner
                if connection is not None and flight.waiters and not flight.shut_down:
                    self._remember(connection.remote_peer, flight)
                    living = self._connections.run(connection, resources, flight.started)
            finally:
                self._forget(key, flight)
                if living is None:
                    try:
                        if flight.winner is not None:
                            await trio.aclose_forcefully(flight.winner)
                    finally:  # those who wait may be no tasks of this host, and are told even if that was cancelled
                        resources.close()
                        flight.started(None)
            del key, flight, connection
            if living is not None:
                await living

    def _remember(self, peer: PeerId, flight: Flight) -> None:
        if flight.address is not None:
            now = trio.current_time()
            self._peerstore.add_addrs(peer, [flight.address], ttl=self._limits.peerstore.address_ttl, now=now)

    def _forget(self, key: PeerId | Multiaddr, flight: Flight) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


class Flight:
    """One dial: which addresses are left, which are being tried, and what came of the others."""

    def __init__(
        self,
        target: PeerId | Multiaddr,
        peer: PeerId | None,
        transports: Sequence[Transport],
        connections: Connections,
        resources: ConnectionScope,
        sockets: Sockets,
        log: RemoteLog,
        limits: Limits,
    ) -> None:
        self.target = target
        self.peer = peer
        #: What it may use, and the connection it makes.
        self.resources = resources
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        #: Nobody who waits would take a relayed connection.
        self.direct = True
        self.shut_down = False
        #: The connection made, as long as it is the flight's; ``connection`` once it is the host's.
        self.winner: Connection | None = None
        self.connection: Connection | None = None
        #: Where the winner was found.
        self.address: Multiaddr | None = None
        self._transports = transports
        self._connections = connections
        self._sockets = sockets
        self._log = log
        self._limits = limits
        self._nursery: trio.Nursery | None = None
        self._seen: set[Multiaddr] = set()
        self._untried: deque[tuple[Multiaddr, Transport]] = deque()
        self._trying: dict[Multiaddr, None] = {}
        self._queued = 0
        self._tasks = 0
        self._landed = False
        self._attempts: list[tuple[Multiaddr | str, Exception]] = []

    @property
    def waiters(self) -> int:
        """How many wait now. Who was cancelled does not count, even if that is news to him still."""
        return self.done.statistics().tasks_waiting

    def started(self, connection: Connection | None) -> None:
        """The winner is the host's now: hand it to those who wait. None: there is none."""
        self.connection = connection
        self.done.set()

    def failure(self) -> DialError:
        """What to raise at one of those who waited: a new exception each time."""
        if self.shut_down or not self._landed:
            return Denied(self.target, "shutdown")
        kind = AllAttemptsFailed if self._queued else NoAddresses
        return kind(self.target, self._attempts)

    def add(self, addrs: Iterable[Multiaddr], *, direct: bool) -> None:
        """Try these too: direct ones, then (or not) relayed ones, each once, ``limits.dial_addresses`` in all."""
        for full in sorted(addrs, key=_is_relayed):
            addr, named = split_peer(full)
            if addr in self._seen or (direct and _is_relayed(addr)) or not addr.to_bytes():
                continue
            if named is not None and named != str(self.peer):
                continue
            transport = next((transport for transport in self._transports if transport.can_dial(addr)), None)
            if transport is None:
                if len(self._attempts) < self._limits.dial_addresses:
                    self._seen.add(addr)
                    self._attempts.append((addr, InvalidAddress("no transport of this host dials it")))
            elif self._queued < self._limits.dial_addresses:
                self._seen.add(addr)
                self._queued += 1
                self._untried.append((addr, transport))
        self._start()

    async def fly(self, find: Find | None) -> None:
        """Return when there is a winner, or when every attempt failed."""
        asked = find is None or self.peer is None or bool(self._untried)
        while self.winner is None and (self._untried or not asked):
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if not asked and find is not None and self.peer is not None:
                    asked = True
                    self._tasks += 1
                    nursery.start_soon(self._find, find, self.peer)
                first = self._next()
                self._start()
                if first is not None:  # mostly the only one, which needs no task of its own
                    await self._attempt(*first)

    def landed(self) -> None:
        """The flight is over. What it left unfinished without a connection was too slow."""
        self._landed = True
        if self.winner is None:
            late = f"no connection within {self._limits.dial:g} seconds, all addresses together"
            for addr in (*self._trying, *(addr for addr, _ in self._untried)):
                self._attempts.append((addr, trio.TooSlowError(late)))

    def _start(self) -> None:
        while self._nursery is not None and (turn := self._next()) is not None:
            self._nursery.start_soon(self._attempt, *turn, name=f"dialing {text(turn[0])}")

    def _next(self) -> tuple[Multiaddr, Transport] | None:
        """Whose turn it is; None while nobody is left, or no more may be tried at once."""
        if self.winner is not None or not self._untried or len(self._trying) >= self._limits.parallel_dials:
            return None
        addr, transport = self._untried.popleft()
        self._trying[addr] = None
        self._tasks += 1
        return addr, transport

    def _task_ends(self) -> None:
        """The last act of each attempt and search; the nursery is closed to more after the last one."""
        self._tasks -= 1
        self._start()
        if not self._tasks:
            self._nursery = None

    async def _find(self, find: Find, peer: PeerId) -> None:
        try:
            with Contained(self._log, "routing") as outcome:
                self.add(await find(peer), direct=self.direct)
            if outcome.error is not None:
                self._attempts.append(("routing", outcome.error))
        finally:
            self._task_ends()

    async def _attempt(self, addr: Multiaddr, transport: Transport) -> None:
        connection: Connection | None = None
        socket: Attempt | None = None
        try:
            with Contained(self._log, "dial") as outcome:
                if takes_descriptor(addr):
                    socket = await self._sockets.take(self.resources)
                with trio.move_on_after(self._limits.dial_address):
                    connection = await transport.dial(addr, peer=self.peer, memory=self.resources)
                if connection is None:
                    raise trio.TooSlowError(f"no connection within {self._limits.dial_address:g} seconds")
                if self.winner is None:
                    self._connections.admit(connection, self.resources, socket)
            if outcome.error is not None:
                self._attempts.append((addr, outcome.error))
            elif self.winner is None and self._nursery is not None:
                self.winner, self.address = connection, addr
                if self._tasks > 1:  # else this is the last, and the nursery ends with it
                    self._nursery.cancel_scope.cancel()
            del self._trying[addr]
            if connection is not None and connection is not self.winner:
                await trio.aclose_forcefully(connection)
        finally:
            if socket is not None:
                self._sockets.give_back(socket)
            self._task_ends()


def _is_relayed(addr: Multiaddr) -> bool:
    return "p2p-circuit" in protocols(addr)
