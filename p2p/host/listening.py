"""Listening: loud when it fails, and accepting apart from shaking hands.

Every inbound handshake is a task of the host with one absolute deadline. It waits in the transient scope of the
host's resources; where that is full the one that has waited longest ends, so that sockets which stay silent cannot
keep others out. The task becomes the connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import trio

from p2p.abc import Connection, Incoming, Listener, Transport
from p2p.errors import InvalidAddress, ListenError, P2PError, ResourceLimitExceeded
from p2p.host.connections import Connections, Contained, network_ip, takes_descriptor
from p2p.host.reports import Reports
from p2p.limits import Limits
from p2p.resources.resources import Resources
from p2p.resources.scopes import ConnectionScope
from p2p.wire.addresses import Multiaddr, text


@asynccontextmanager
async def open_listeners(
    transports: Sequence[Transport], addrs: Sequence[Multiaddr]
) -> AsyncIterator[list[Listener]]:
    """Listen at all ``addrs`` until the context is left.

    Raises ``ListenError`` with the reason of each that failed; then none is left open.
    """
    failures: list[tuple[Multiaddr, Exception]] = []
    listeners = []
    async with AsyncExitStack() as stack:
        for addr in addrs:
            transport = next((transport for transport in transports if transport.can_listen(addr)), None)
            if transport is None:
                failures.append((addr, InvalidAddress("no transport of this host listens on it")))
                continue
            try:
                listeners.append(await stack.enter_async_context(transport.listen(addr)))
            except (OSError, P2PError) as error:
                failures.append((addr, error))
        if failures:
            raise ListenError(failures)
        yield listeners


class Accepting:
    """Accepts at every listener, and upgrades what comes."""

    def __init__(
        self, *, connections: Connections, resources: Resources, reports: Reports, limits: Limits
    ) -> None:
        self._connections = connections
        self._resources = resources
        self._limits = limits
        self._strangers = reports.log("inbound")
        #: Upgrades under way.
        self._pending: dict[trio.CancelScope, None] = {}

    @property
    def pending(self) -> int:
        return len(self._pending)

    async def accept(self, listener: Listener, nursery: trio.Nursery) -> None:
        """Accept for ever; what is accepted becomes tasks of ``nursery``."""
        while True:
            incoming = await listener.accept()
            addr = incoming.remote_addr
            now = trio.current_time()
            upgrading = trio.CancelScope(deadline=now + self._limits.upgrade)
            try:
                scope = self._resources.inbound(
                    network_ip(addr),
                    now=now,
                    descriptor=takes_descriptor(addr),
                    evict=partial(self._make_room, upgrading),
                )
            except ResourceLimitExceeded as error:
                self._strangers.refused(error.scope)
                await trio.aclose_forcefully(incoming)
                continue
            self._pending[upgrading] = None
            nursery.start_soon(self._upgrade, incoming, scope, upgrading, name=f"inbound {text(addr)}")

    def close(self) -> None:
        """End the upgrades under way: nobody is accepted any more."""
        for upgrading in self._pending:
            upgrading.cancel()

    def _make_room(self, upgrading: trio.CancelScope) -> None:
        self._pending.pop(upgrading, None)
        self._strangers.refused("evicted")
        upgrading.cancel()

    async def _upgrade(self, incoming: Incoming, scope: ConnectionScope, upgrading: trio.CancelScope) -> None:
        """The task: first the upgrade, then the connection."""
        connection: Connection | None = None
        taken_over = False
        with scope:
            try:
                with Contained(self._strangers, "upgrade") as outcome:
                    if not scope.closed:  # nor has it made room before it began
                        with upgrading:
                            connection = await incoming.upgrade(memory=scope)
                    self._pending.pop(upgrading, None)
                    if connection is None or scope.closed:
                        raise trio.TooSlowError("the upgrade took too long, or had to make room")
                    self._connections.admit(connection, scope)
                if connection is not None and outcome.error is None:
                    taken_over = True
            finally:
                self._pending.pop(upgrading, None)
                if not taken_over:
                    await trio.aclose_forcefully(incoming if connection is None else connection)
            del incoming, upgrading, outcome  # a connection may live long
            if taken_over and connection is not None:
                await self._connections.run(connection, scope)
