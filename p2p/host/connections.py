"""The connections of a host, each one task, and the wall between each and everything else.

Whatever ``Exception`` comes out of a pump, a session or a handshake ends here and costs that connection (or that
attempt at one): failures that remotes cause are told quietly, all others with their traceback, and every one is
counted. ``Cancelled`` and ``KeyboardInterrupt`` pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType, TracebackType
from typing import Self

import trio

from p2p.abc import Connection, ProtocolId, Stream
from p2p.errors import ConnectionLost, Denied, LocalProtocolError, P2PError
from p2p.events import Connected, Disconnected
from p2p.host.reports import RemoteLog, Reports
from p2p.host.serving import Router, Serving, as_raised, first_of
from p2p.host.subscriptions import Subscriptions
from p2p.identity import PeerId
from p2p.limits import Limits
from p2p.peerstore import Peerstore
from p2p.resources.scopes import Attempt, ConnectionScope
from p2p.resources.subnets import IPAddress
from p2p.wire.addresses import Multiaddr, leading_ip, protocols

_EXPECTED = (P2PError, OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


class Contained:
    """The wall, around a ``with`` block: no ``Exception`` passes, all are counted, told and left in ``error``.

    A class and no generator, since every connection lives inside of one.
    """

    __slots__ = ("_doing", "_log", "error")

    def __init__(self, log: RemoteLog, doing: str) -> None:
        self._log = log
        self._doing = doing
        self.error: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception | BaseExceptionGroup):
            return False
        try:
            raise error
        except* Exception as group:
            self.error = as_raised(group)
            expected, bugs = group.split(_is_expected)
            if expected is not None:
                self._log.quiet(self._doing, first_of(expected))
            if bugs is not None:
                self._log.loud(self._doing, as_raised(bugs))
        return True


def _is_expected(error: BaseException) -> bool:
    """Whether a remote, or the network between, can make it happen without a bug of ours."""
    return isinstance(error, _EXPECTED) and not isinstance(error, LocalProtocolError)


def network_ip(addr: Multiaddr) -> IPAddress | None:
    """Whose address it is, for limits of subnets; None where a relay or no IP network lies between."""
    return None if "p2p-circuit" in protocols(addr) else leading_ip(addr)


def takes_descriptor(addr: Multiaddr) -> bool:
    """Whether a connection there has a socket of its own."""
    names = protocols(addr)
    return ("tcp" in names or "unix" in names) and "p2p-circuit" not in names


class Connections:
    """Which connections there are. ``by_peer`` is the truth, and a live view."""

    def __init__(
        self,
        local_peer: PeerId,
        *,
        serving: Serving,
        peerstore: Peerstore,
        subscriptions: Subscriptions,
        ended: Callable[[Connection], None],
        reports: Reports,
        limits: Limits,
    ) -> None:
        self._local_peer = local_peer
        self._serving = serving
        self._peerstore = peerstore
        self._subscriptions = subscriptions
        self._ended = ended
        self._reports = reports
        self._limits = limits
        self._routers: dict[Connection, Router] = {}
        self._by_peer: dict[PeerId, tuple[Connection, ...]] = {}
        self.by_peer: Mapping[PeerId, Sequence[Connection]] = MappingProxyType(self._by_peer)
        self._tasks = 0
        self._leaving = False
        self._over = False
        self._changed = trio.lowlevel.ParkingLot()

    # --- which one ------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Connection]:
        for connections in tuple(self._by_peer.values()):
            yield from connections

    def best(self, peer: PeerId, *, allow_limited: bool) -> Connection | None:
        """Unlimited before limited, then the most streams, then the oldest; none that is going away."""
        usable = [
            connection
            for connection in self._by_peer.get(peer, ())
            if not connection.closing and (allow_limited or not connection.limited)
        ]
        if len(usable) < 2:
            return usable[0] if usable else None
        return max(usable, key=lambda connection: (not connection.limited, len(connection.streams)))

    async def wait_connected(self, peer: PeerId) -> Connection:
        await trio.lowlevel.checkpoint()
        while (connection := self.best(peer, allow_limited=True)) is None:
            await self._wait_change()
        return connection

    async def wait_disconnected(self, peer: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        while peer in self._by_peer:
            await self._wait_change()

    async def _wait_change(self) -> None:
        if self._over:
            raise trio.ClosedResourceError("the host is not running")
        await self._changed.park()

    # --- the life of one ------------------------------------------------------------------------------

    def admit(self, connection: Connection, scope: ConnectionScope, socket: Attempt | None = None) -> None:
        """May it live? Raises ``Denied`` for one to ourselves, ``ResourceLimitExceeded``; then close it.

        Raises ``RemoteProtocolError`` when the key shown is not that of the peer.
        """
        if connection.remote_peer == self._local_peer:
            raise Denied(connection.remote_peer, "self-dial")
        scope.assign(connection.remote_peer, socket)
        self._peerstore.set_public_key(connection.remote_peer, connection.remote_key)

    def log_of(self, connection: Connection) -> RemoteLog:
        router = self._routers.get(connection)
        return self._reports.log(str(connection.remote_peer)) if router is None else router.log

    async def open_stream(
        self, connection: Connection, protocols: Sequence[ProtocolId], *, lazy: bool
    ) -> Stream:
        """As ``connection.open_stream``, within the limits of all scopes: may raise ``ResourceLimitExceeded``."""
        router = self._routers.get(connection)
        if router is None:
            raise ConnectionLost("it is over")
        return await router.open_stream(connection, protocols, lazy=lazy)

    def reserve_memory(self, stream: Stream, n: int) -> AbstractContextManager[None]:
        router = self._routers.get(stream.connection)
        if router is None:
            raise ConnectionLost("it is over")
        return router.reserve_memory(stream, n)

    async def run(
        self,
        connection: Connection,
        scope: ConnectionScope,
        started: Callable[[Connection | None], None] | None = None,
    ) -> None:
        """The rest of the task that made ``connection``: it is in ``by_peer`` exactly while its pump runs.

        Calls ``started(connection)`` once it is, or ``started(None)`` should it never be, and lets go of it. Every
        scope that made the connection must be closed by now. After its end its handlers are given
        ``limits.shutdown_grace``.
        """
        reason = "closed"
        log = self._reports.log(str(connection.remote_peer))
        self._tasks += 1
        try:
            async with trio.open_nursery() as handlers:
                router = self._routers[connection] = self._serving.router(handlers, log, scope)
                with Contained(log, "connection") as outcome:
                    try:
                        self._add(connection)
                        if started is not None:
                            started(connection)
                            started = None
                        await connection.run(router)
                    finally:
                        self._remove(connection)
                if outcome.error is not None:
                    reason = str(outcome.error)
                self._tell_end(connection, reason)
                if handlers.child_tasks:
                    handlers.cancel_scope.deadline = trio.current_time() + self._limits.shutdown_grace
        finally:
            self._tasks -= 1
            self._routers.pop(connection, None)
            self._changed.unpark_all()
            if started is not None:
                started(None)

    async def drain(self) -> None:
        """Say goodbye to all and wait ``limits.shutdown_grace``, at most, for them to end."""
        self._leaving = True
        for connection in self:
            connection.go_away()
        with trio.move_on_after(self._limits.shutdown_grace):
            while self._tasks:
                await self._changed.park()

    def finish(self) -> None:
        """No connection will come or go any more."""
        self._over = True
        self._changed.unpark_all()

    def _add(self, connection: Connection) -> None:
        peer = connection.remote_peer
        self._peerstore.connected(peer, now=trio.current_time())
        self._by_peer[peer] = (*self._by_peer.get(peer, ()), connection)
        self._subscriptions.emit(Connected(peer, connection))
        self._changed.unpark_all()
        if self._leaving:
            connection.go_away()

    def _remove(self, connection: Connection) -> None:
        peer = connection.remote_peer
        rest = tuple(other for other in self._by_peer.pop(peer, ()) if other is not connection)
        if rest:
            self._by_peer[peer] = rest
        else:
            self._peerstore.disconnected(peer, now=trio.current_time())
        self._ended(connection)
        self._changed.unpark_all()

    def _tell_end(self, connection: Connection, reason: str) -> None:
        peer = connection.remote_peer
        self._subscriptions.emit(Disconnected(peer, connection, peer not in self._by_peer, reason))
