"""The host: transports, connections, services and listeners in nested nurseries.

::

    endpoints ⊃ connections ⊃ services ⊃ listeners

Leaving from the inside out stops accepting, stops the services, drains the streams and closes the sockets: the
nesting of :meth:`Host._run` is the shutdown order. The body of ``async with Host(…)`` is no part of it: its
exception never passes a nursery, so it leaves as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

import trio

from p2p.abc import (
    Connection,
    Handler,
    Listener,
    Muxer,
    ProtocolId,
    Security,
    Service,
    Stream,
    StreamTransport,
    Transport,
)
from p2p.errors import ConnectionLost, Denied
from p2p.events import AddressesChanged, Event, Listening, PeerIdentified, ProtocolsChanged
from p2p.host.addresses import Addresses
from p2p.host.connections import Connections
from p2p.host.crashes import Crashing, Unwrapping, failures_in
from p2p.host.dialing import Dialing
from p2p.host.listening import Accepting, open_listeners
from p2p.host.reports import HostStatistics, Reports
from p2p.host.serving import Serving, check_protocol, serve_behind_wall
from p2p.host.subscriptions import Subscriptions
from p2p.identity import Identity, PeerId
from p2p.limits import DEFAULT_LIMITS, Limits
from p2p.muxers.yamux import Yamux
from p2p.peerstore import Peerstore
from p2p.protocols.identify import Identify
from p2p.resources.resources import Resources
from p2p.resources.snapshot import ResourceSnapshot
from p2p.security.noise import Noise
from p2p.transports.tcp import TCP
from p2p.transports.upgraded import Upgraded
from p2p.wire.addresses import Multiaddr, parse_user_addr, split_peer

if TYPE_CHECKING:
    from p2p.routing import PeerRouting


class Host:
    """A libp2p host, alive inside ``async with``.

    ``transports`` (TCP if none are given) may be stream transports, which then get ``security`` (Noise) and
    ``muxers`` (Yamux) in order of preference, or complete transports. ``listen`` are the addresses to listen
    on; entering raises ``ListenError`` unless all of them work. ``announce``, when given, is what ``addrs`` says
    in place of what is found out. ``routing`` is asked about peers of which no address is known.
    ``peerstore`` is what is known of peers already, as :class:`p2p.peerstore.sqlite.SQLitePeerstore`; for one host at
    a time. A host runs
    :class:`p2p.protocols.identify.Identify`, unless ``services`` has one or ``identify`` is false.

    How it ends: left normally, it stops accepting, cancels its services, says goodbye and gives open streams
    ``limits.shutdown_grace``. The body's exception comes out as the same object; a service or transport that
    fails ends the host with a bare ``HostCrashed``; several failures come out in one exception group.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        transports: Sequence[StreamTransport | Transport] | None = None,
        security: Sequence[Security] | None = None,
        muxers: Sequence[Muxer] | None = None,
        listen: Sequence[str | Multiaddr] = (),
        services: Sequence[Service] = (),
        routing: PeerRouting | None = None,
        announce: Sequence[str | Multiaddr] | None = None,
        identify: bool = True,
        peerstore: Peerstore | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._identity = identity
        self._limits = limits
        self._listen = [parse_user_addr(addr) for addr in listen]
        # What a peer said of itself decides how streams to it are proposed, so every host asks.
        own = any(isinstance(service, Identify) for service in services)
        self._services = tuple(services) if own or not identify else (Identify(), *services)
        if security is None:
            security = [Noise(identity, limits.noise)]
        if muxers is None:
            muxers = [Yamux(limits.yamux)]
        self._transports: list[Transport] = []
        for transport in [TCP()] if transports is None else transports:
            if not isinstance(transport, Transport):
                transport = Upgraded(
                    transport, local_peer=identity.peer_id, security=security, muxers=muxers, limits=limits
                )
            self._transports.append(transport)
        self._peerstore = Peerstore(limits.peerstore) if peerstore is None else peerstore
        self._resources = Resources(limits.resources)
        self._reports = Reports(limits)
        self._subscriptions = Subscriptions(limits.event_backlog)
        self._addresses = Addresses(
            identity.peer_id,
            limits,
            None if announce is None else [parse_user_addr(addr) for addr in announce],
            lambda addrs: self.emit(AddressesChanged(addrs)),
        )
        self._serving = Serving(limits, lambda: self.emit(ProtocolsChanged(self.protocols)))
        self._connections = Connections(
            identity.peer_id,
            serving=self._serving,
            peerstore=self._peerstore,
            subscriptions=self._subscriptions,
            ended=self._addresses.forget,
            reports=self._reports,
            limits=limits,
        )
        self._dialing = Dialing(
            self._transports,
            connections=self._connections,
            resources=self._resources,
            peerstore=self._peerstore,
            routing=routing,
            reports=self._reports,
            limits=limits,
        )
        self._accepting = Accepting(
            connections=self._connections,
            resources=self._resources,
            reports=self._reports,
            limits=limits,
        )
        self._leaving = trio.Event()
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None

    def __repr__(self) -> str:
        return f"<Host {self.peer_id}>"

    # --- what it is -----------------------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def peer_id(self) -> PeerId:
        return self._identity.peer_id

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def addrs(self) -> Sequence[Multiaddr]:
        """Where to dial this host: full addresses, ``/p2p/ID`` included."""
        return self._addresses.full

    @property
    def protocols(self) -> Sequence[ProtocolId]:
        """The ids it has handlers for now."""
        return self._serving.protocols()

    @property
    def peerstore(self) -> Peerstore:
        return self._peerstore

    @property
    def connections(self) -> Mapping[PeerId, Sequence[Connection]]:
        """A live view; a peer is in it while it has a connection."""
        return self._connections.by_peer

    @property
    def resources(self) -> ResourceSnapshot:
        """What is in use now, of what there may be; ``print`` it for a table."""
        return self._resources.snapshot()

    def statistics(self) -> HostStatistics:
        connections = tuple(self._connections)
        return HostStatistics(
            connections=len(connections),
            reserved=len(self._resources.connections),
            streams=sum(len(connection.streams) for connection in connections),
            handlers=self._serving.running,
            pending_upgrades=self._accepting.pending,
            dials=len(self._dialing),
            refusals=dict(self._reports.counts),
        )

    # --- connections and streams ----------------------------------------------------------------------

    async def dial(self, peer: PeerId | Multiaddr | str) -> Connection:
        """A connection to ``peer``: the best there is, or a new one.

        ``peer`` is a peer id or an address; in an address ``/p2p/ID`` says who must answer, without it whoever
        answers is taken. The connection is the host's and shared: do not close it.

        Raises ``DialError`` (with the reason for each address), ``ResourceLimitExceeded``, ``InvalidAddress`` and
        ``InvalidPeerId``. Cancelled: nothing is left, unless another task dials the same peer.
        """
        who, addrs = _target(peer)
        await trio.lowlevel.checkpoint_if_cancelled()
        if who is not None and self._connections.best(who, allow_limited=True) is not None:
            await trio.lowlevel.checkpoint()  # making one waits, and is a checkpoint by itself
        return await self._connection(who, addrs, allow_limited=True)

    async def open_stream(
        self, peer: PeerId | Multiaddr | str, *protocols: str, allow_limited: bool = False
    ) -> Stream:
        """A new stream to ``peer`` that speaks the first of ``protocols`` which the remote speaks too.

        Dials when there is no usable connection; one that a relay limits is used only with ``allow_limited``.
        Where one candidate remains after what identify told, it is proposed with the first bytes sent, and a
        refusal surfaces as ``NoCommonProtocol`` at the first receive.

        Dialing apart, waits at most ``limits.open_stream`` for a slot of the remote and its answer, then raises
        ``NegotiationError``. Raises ``NoCommonProtocol``, ``ConnectionLost``, and as :meth:`dial`. Cancelled:
        the stream is reset and nothing is left.
        """
        checked = [check_protocol(protocol, self._limits) for protocol in protocols]
        if not checked:
            raise ValueError("a stream needs at least one protocol to speak")
        target = _target(peer)
        connection = await self._connection(*target, allow_limited=allow_limited)
        try:
            return await self._open_on(connection, checked)
        except ConnectionLost:
            if not connection.closing:
                raise
        # It was going away already, or went while we waited: nothing was said on it yet.
        connection = await self._connection(*target, allow_limited=allow_limited)
        return await self._open_on(connection, checked)

    async def _connection(
        self, peer: PeerId | None, addrs: Sequence[Multiaddr], *, allow_limited: bool
    ) -> Connection:
        if peer == self.peer_id:
            raise Denied(peer, "self-dial")
        while True:
            known = None if peer is None else self._connections.best(peer, allow_limited=allow_limited)
            if known is not None:
                return known
            made = await self._dialing.dial(peer, addrs, direct=not allow_limited)
            if allow_limited or not made.limited:
                return made
            # Somebody on the same flight was content with less.

    async def _open_on(self, connection: Connection, protocols: list[ProtocolId]) -> Stream:
        known = self._peerstore.protocols(connection.remote_peer)
        common = protocols if known is None else [protocol for protocol in protocols if protocol in known]
        lazy = len(common) == 1
        if not lazy:
            # What it speaks first; what we know of it may be old, so the rest is proposed too.
            common = [*common, *(protocol for protocol in protocols if protocol not in common)]
        return await self._connections.open_stream(connection, common, lazy=lazy)

    async def wait_connected(self, peer: PeerId) -> Connection:
        """Wait until there is a usable connection to ``peer``. Raises ``trio.ClosedResourceError`` after the end."""
        return await self._connections.wait_connected(peer)

    async def wait_disconnected(self, peer: PeerId) -> None:
        """Wait until there is no connection to ``peer``."""
        await self._connections.wait_disconnected(peer)

    # --- serving, and being told ----------------------------------------------------------------------

    def handle(self, protocol: str | Callable[[str], bool], handler: Handler) -> AbstractContextManager[None]:
        """Serve ``protocol`` (or every id a predicate accepts) while the context is entered.

        Leaving it refuses new streams and lets running handlers finish. A handler that returns closes its
        stream, one that raises resets it. Entering raises ``ValueError`` for an id that has a handler.
        """
        return self._serving.handle(protocol, handler)

    async def attempt(self, stream: Stream, handler: Handler) -> bool:
        """Run ``handler`` on a stream this side opened, behind the wall inbound streams have; close it after.

        Whatever a remote makes it raise ends the stream and is logged: then False. Cancellation passes.
        """
        return await serve_behind_wall(handler, stream, self._connections.log_of(stream.connection))

    def reserve_memory(self, stream: Stream, n: int) -> AbstractContextManager[None]:
        """``n`` bytes that are held for a remote, from entering the context until it is left or the stream is over.

        They are charged to the stream, its connection, peer, protocol and service, and to the host. Entering raises
        ``ResourceLimitExceeded``: do it before there is something in memory.
        """
        return self._connections.reserve_memory(stream, n)

    def events(self) -> AbstractAsyncContextManager[trio.abc.ReceiveChannel[Event]]:
        """What happens from entering the context on; ends (``trio.EndOfChannel``) with the host."""
        return self._subscriptions.subscribe()

    def emit(self, event: Event) -> None:
        """Tell all subscribers. For services; what identify learns comes to the host this way too."""
        if isinstance(event, PeerIdentified) and event.observed_addr is not None:
            if event.connection in self.connections.get(event.peer, ()):
                self._addresses.observed(event.connection, event.observed_addr)
        self._subscriptions.emit(event)

    # --- its life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Host:
        if self._manager is not None:
            raise RuntimeError("a Host is entered once")
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        try:
            await self._nursery.start(self._run)
        except BaseException as error:
            self._nursery.cancel_scope.cancel()
            failures = failures_in(error)
            await self._end(failures, None if failures else error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            self._leaving.set()
            return await self._end([], None)
        # What Trio cancelled with goes back to Trio; all else is the body's own and never passes a nursery.
        cancelled: BaseException | None = None
        own: BaseException | None = error
        if isinstance(error, trio.Cancelled):
            cancelled, own = error, None
        elif isinstance(error, BaseExceptionGroup):
            cancelled, rest = error.split(trio.Cancelled)
            own = error if cancelled is None else rest
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()
        return await self._end([] if own is None else [own], cancelled, error)

    async def _end(
        self,
        failures: list[BaseException],
        cancelled: BaseException | None,
        body: BaseException | None = None,
    ) -> bool:
        """Wait for all tasks, then raise all failures, theirs included: one bare, several in a group.

        Returns instead of raising ``body`` again, and whether Trio took ``cancelled`` back.
        """
        assert self._manager is not None
        kind, traceback = (None, None) if cancelled is None else (type(cancelled), cancelled.__traceback__)
        swallowed: bool | None = False
        with Unwrapping(failures, body):
            try:
                swallowed = await self._manager.__aexit__(kind, cancelled, traceback)
            finally:
                self._subscriptions.finish()
                self._connections.finish()
        # Trio says True of a nursery that ended well, too.
        return bool(swallowed) and cancelled is not None

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as endpoints:
            for transport in self._transports:
                with Crashing(transport):
                    await endpoints.start(self._run_transport, transport)
            async with trio.open_nursery() as connections:
                self._dialing.open(connections)
                try:
                    async with trio.open_nursery() as services:
                        for service in self._services:
                            with Crashing(service):
                                await services.start(self._run_service, service)
                        await self._listen_until_left(connections, task_status)
                        services.cancel_scope.cancel()
                finally:
                    self._dialing.close()
                await self._connections.drain()
                connections.cancel_scope.cancel()
            endpoints.cancel_scope.cancel()

    async def _listen_until_left(self, connections: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        async with (
            open_listeners(self._transports, self._listen) as listeners,
            trio.open_nursery() as nursery,
        ):
            for listener in listeners:
                self.emit(Listening(listener.addr))
                self._addresses.listened(listener.addr)
                nursery.start_soon(self._run_listener, listener, connections)
            try:
                task_status.started()
                await self._leaving.wait()
            finally:
                self._accepting.close()
                self._addresses.unlistened()
            nursery.cancel_scope.cancel()

    async def _run_transport(self, transport: Transport, *, task_status: trio.TaskStatus[None]) -> None:
        with Crashing(transport):
            await transport.run(task_status=task_status)

    async def _run_service(self, service: Service, *, task_status: trio.TaskStatus[None]) -> None:
        with Crashing(service), ExitStack() as handlers:
            for protocol, handler in service.handlers.items():
                handlers.enter_context(
                    self._serving.handle(protocol, handler, service=type(service).__name__)
                )
            await service.run(self, task_status=task_status)

    async def _run_listener(self, listener: Listener, connections: trio.Nursery) -> None:
        with Crashing(listener):
            await self._accepting.accept(listener, connections)


def _target(peer: PeerId | Multiaddr | str) -> tuple[PeerId | None, tuple[Multiaddr, ...]]:
    """Whom to dial, if that is known, and where, if that was said."""
    if isinstance(peer, PeerId):
        return peer, ()
    if isinstance(peer, str) and not peer.startswith("/"):
        return PeerId.from_text(peer), ()
    addr, named = split_peer(parse_user_addr(peer))
    return None if named is None else PeerId.from_text(named), (addr,) if addr.to_bytes() else ()
