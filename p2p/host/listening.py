"""Listening: loud when it fails, and accepting apart from shaking hands.

Every inbound handshake is a task of the host with one absolute deadline, and at most ``limits.pending_upgrades``
run at once: one more ends the oldest, so that sockets which stay silent cannot keep others out. The task becomes
the connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from p2p.abc import Connection, Direction, Incoming, Listener, Transport
from p2p.errors import InvalidAddress, ListenError, P2PError, ResourceLimitExceeded
from p2p.host.connections import Connections, Slot, contain
from p2p.host.reports import Reports
from p2p.limits import Limits
from p2p.wire.addresses import Multiaddr


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

    def __init__(self, *, connections: Connections, reports: Reports, limits: Limits) -> None:
        self._connections = connections
        self._limits = limits
        self._strangers = reports.log("inbound")
        #: Upgrades under way, the oldest first.
        self._pending: dict[trio.CancelScope, None] = {}

    @property
    def pending(self) -> int:
        return len(self._pending)

    async def accept(self, listener: Listener, nursery: trio.Nursery) -> None:
        """Accept for ever; what is accepted becomes tasks of ``nursery``."""
        while True:
            incoming = await listener.accept()
            try:
                slot = self._connections.reserve(Direction.INBOUND)
            except ResourceLimitExceeded as error:
                self._strangers.refused(error.scope)
                await trio.aclose_forcefully(incoming)
                continue
            if len(self._pending) >= self._limits.pending_upgrades:
                oldest = next(iter(self._pending))
                del self._pending[oldest]
                oldest.cancel()
                self._strangers.refused("pending_upgrades")
            scope = trio.CancelScope(deadline=trio.current_time() + self._limits.upgrade)
            self._pending[scope] = None
            nursery.start_soon(self._upgrade, incoming, slot, scope, name=f"inbound {incoming.remote_addr}")

    def close(self) -> None:
        """End the upgrades under way: nobody is accepted any more."""
        for scope in self._pending:
            scope.cancel()

    async def _upgrade(self, incoming: Incoming, slot: Slot, scope: trio.CancelScope) -> None:
        """The task: first the upgrade, then the connection."""
        connection: Connection | None = None
        taken_over = False
        try:
            with contain(self._strangers, "upgrade") as outcome:
                with scope:
                    connection = await incoming.upgrade()
                self._pending.pop(scope, None)
                if connection is None:
                    raise trio.TooSlowError("the upgrade took too long, or had to make room")
                self._connections.admit(connection, slot)
            if connection is not None and outcome.error is None:
                taken_over = True
                await self._connections.run(connection)
        finally:
            self._pending.pop(scope, None)
            if not taken_over:
                await trio.aclose_forcefully(incoming if connection is None else connection)
            slot.release()
