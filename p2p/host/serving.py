"""Who serves which protocol, and the wall between a handler and everything that is not its stream.

A handler runs in a task of its connection. Whatever ``Exception`` it raises ends here and costs its stream:
the failures a remote causes are told quietly, all others with their traceback. ``Cancelled`` and
``KeyboardInterrupt`` pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import trio

from p2p.abc import Connection, Direction, Handler, ProtocolId, Stream
from p2p.errors import ConnectionLost, RemoteProtocolError, ResourceLimitExceeded, StreamReset
from p2p.host.reports import RemoteLog
from p2p.limits import Limits
from p2p.resources.amounts import MEMORY
from p2p.resources.scopes import ConnectionScope, StreamScope

_QUIET = (StreamReset, ConnectionLost, RemoteProtocolError, ResourceLimitExceeded)


class Serving:
    """The handlers of one host, by exact protocol id and by predicate."""

    def __init__(self, limits: Limits, changed: Callable[[], None]) -> None:
        self.limits = limits
        self._changed = changed
        self._exact: dict[ProtocolId, Handler] = {}
        #: The services whose protocols these are: streams of both directions count as theirs.
        self._services: dict[ProtocolId, str] = {}
        self._predicates: dict[object, tuple[Callable[[str], bool], Handler]] = {}
        #: Handlers running now.
        self.running = 0

    @contextmanager
    def handle(
        self, protocol: str | Callable[[str], bool], handler: Handler, *, service: str = ""
    ) -> Iterator[None]:
        """Serve ``protocol`` while the context is entered; leaving it lets running handlers finish.

        A predicate is asked about ids nobody serves exactly, in the order of registration. Raises
        ``ValueError`` for an id that is served already, or that cannot be negotiated.
        """
        if callable(protocol):
            token = object()
            self._predicates[token] = (protocol, handler)
            try:
                yield
            finally:
                del self._predicates[token]
            return
        checked = check_protocol(protocol, self.limits)
        if checked in self._exact:
            raise ValueError(f"{protocol} has a handler already")
        self._exact[checked] = handler
        if service:
            self._services[checked] = service
        self._changed()
        try:
            yield
        finally:
            del self._exact[checked]
            self._services.pop(checked, None)
            self._changed()

    def protocols(self) -> Sequence[ProtocolId]:
        """Ids with a handler, in the order of registration; predicates name none."""
        return tuple(self._exact)

    def service(self, protocol: ProtocolId) -> str:
        """The name of the service that handles ``protocol``; "" when none does."""
        return self._services.get(protocol, "")

    def router(self, nursery: trio.Nursery, log: RemoteLog, scope: ConnectionScope) -> Router:
        """What one connection asks; its handlers run in ``nursery``, and its streams are charged to ``scope``."""
        return Router(self, nursery, log, scope)

    def handler(self, protocol: ProtocolId, log: RemoteLog) -> Handler | None:
        exact = self._exact.get(protocol)
        if exact is not None:
            return exact
        for predicate, handler in tuple(self._predicates.values()):
            if _matches(predicate, protocol, log):
                return handler
        return None


class Router:
    """The :class:`p2p.abc.StreamRouter` of one connection, and the account of its streams."""

    __slots__ = ("_nursery", "_scope", "_scopes", "_serving", "log")

    def __init__(
        self, serving: Serving, nursery: trio.Nursery, log: RemoteLog, scope: ConnectionScope
    ) -> None:
        self._serving = serving
        self._nursery = nursery
        self._scope = scope
        #: Of streams that we opened, until they are over, and of those that have a handler, until that has ended.
        self._scopes: dict[Stream, StreamScope] = {}
        self.log = log

    def supports(self, protocol: ProtocolId) -> bool:
        return self._serving.handler(protocol, self.log) is not None

    def protocols(self) -> Sequence[ProtocolId]:
        return self._serving.protocols()

    def serve(self, stream: Stream) -> None:
        handler = self._serving.handler(stream.protocol, self.log)
        if handler is None:  # its registration ended while the stream was negotiated
            stream.reset()
            return
        try:
            scope = self._charge(stream.protocol, inbound=True)
        except ResourceLimitExceeded as error:
            self.log.refused(error.scope)
            stream.reset()
            return
        self._scopes[stream] = scope
        self._serving.running += 1
        self._nursery.start_soon(self._handle, handler, stream, scope, name=f"handler of {stream.protocol}")

    async def _handle(self, handler: Handler, stream: Stream, scope: StreamScope) -> None:
        try:
            with scope:
                await serve_behind_wall(handler, stream, self.log)
        finally:
            self._forget(stream)
            self._serving.running -= 1

    async def open_stream(
        self, connection: Connection, protocols: Sequence[ProtocolId], *, lazy: bool
    ) -> Stream:
        """Charge it, and open it. Which protocol it will be is a guess at first, and put right once it is known."""
        scope = self._charge(protocols[0], inbound=False)
        kept = False
        try:
            stream = await connection.open_stream(*protocols, lazy=lazy)
            if stream.protocol != protocols[0]:
                scope.close()
                try:
                    scope = self._charge(stream.protocol, inbound=False)
                except ResourceLimitExceeded:
                    stream.reset()
                    raise
            self._scopes[stream] = scope
            kept = True
            return stream
        finally:
            if not kept:
                scope.close()

    def ended(self, stream: Stream) -> None:
        if stream.direction is Direction.OUTBOUND and (scope := self._scopes.get(stream)) is not None:
            self._forget(stream)
            scope.close()

    @contextmanager
    def reserve_memory(self, stream: Stream, n: int) -> Iterator[None]:
        """See :meth:`p2p.abc.HostView.reserve_memory`."""
        scope = self._scopes.get(stream)
        if scope is None:
            raise trio.ClosedResourceError("this stream is over: nothing is held for it")
        amount = ((MEMORY, n),)
        scope.charge(amount)
        try:
            yield
        finally:
            scope.discharge(amount)

    def _forget(self, stream: Stream) -> None:
        del self._scopes[stream]
        if not self._scopes:
            self._scopes.clear()  # an emptied dict keeps its table, as long as the connection lives

    def _charge(self, protocol: ProtocolId, *, inbound: bool) -> StreamScope:
        return self._scope.open_stream(
            inbound=inbound, protocol=protocol, service=self._serving.service(protocol)
        )


async def serve_behind_wall(handler: Handler, stream: Stream, log: RemoteLog) -> bool:
    """The wall. Whether ``handler`` returned: then its stream was closed; else it was reset."""
    served = False
    try:
        await handler(stream)
        await stream.aclose()
        served = True
    except* _QUIET as group:
        log.quiet("handler", first_of(group))
    except* Exception as group:
        log.loud("handler", as_raised(group))
    finally:
        if not served:
            stream.reset()
    return served


def check_protocol(protocol: str, limits: Limits) -> ProtocolId:
    """Raises ``ValueError`` for an id that multistream-select cannot carry."""
    if not protocol or "\n" in protocol or len(protocol.encode()) >= limits.negotiation.max_message:
        raise ValueError(f"{protocol[:64]!r} cannot be a protocol id")
    return ProtocolId(protocol)


def first_of(error: BaseException) -> BaseException:
    """The failure itself: the first one inside groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def as_raised(group: ExceptionGroup[Exception]) -> Exception:
    """What was raised before ``except*`` made a group of it, if that was a single failure."""
    alone: Exception = group
    while isinstance(alone, ExceptionGroup) and len(alone.exceptions) == 1:
        alone = alone.exceptions[0]
    return alone


def _matches(predicate: Callable[[str], bool], protocol: ProtocolId, log: RemoteLog) -> bool:
    """The wall around predicates: one that raises knows nothing of ``protocol``."""
    try:
        return predicate(protocol)
    except* Exception as group:
        log.loud("predicate", as_raised(group))
    return False
