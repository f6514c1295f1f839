"""The scopes of one host: system ▸ transient ▸ peer ▸ connection ▸ stream, and per protocol and service. PURE.

::

    system ─┬─ transient ── connection            until it is known whose it is
            └─ peer ─────── connection ── stream  from then on
                                            │
        protocol, protocol_peer, service, service_peer

What is charged to one is charged to all around it, or to none. A connection and a stream are ``with`` blocks: leaving
gives everything back, whatever happened inside. Scopes of peers, protocols and services are there while something is
in them. Peers and networks on the allow-list have a system and a transient scope of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from p2p.errors import LocalProtocolError, ResourceLimitExceeded
from p2p.identity import PeerId
from p2p.resources.amounts import (
    DESCRIPTOR,
    INBOUND_STREAMS,
    MEMORY,
    OUTBOUND_STREAMS,
    Charge,
)
from p2p.resources.ledger import (
    Scope,
    charge,
    charge_each,
    charge_memory,
    charge_stream,
    held,
    release,
    release_stream,
)
from p2p.resources.subnets import IPAddress, Subnet

if TYPE_CHECKING:
    from p2p.resources.resources import Resources


class Held(Scope):
    """A scope that somebody holds: what it has goes back, everywhere, when the ``with`` block is left."""

    __slots__ = ("around", "closed")

    def __init__(self, kind: str, limits: tuple[int, ...]) -> None:
        super().__init__(kind, limits)
        #: Every scope that is charged with this one.
        self.around: tuple[Scope, ...] = ()
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back. Idempotent."""
        if not self.closed:
            self.closed = True
            amount = held(self)
            release(self.around, amount)
            release((self,), amount)

    def charge(self, amount: Charge) -> None:
        """Raises ``ResourceLimitExceeded``, having changed nothing; and ``LocalProtocolError`` once it is closed."""
        if self.closed:
            raise LocalProtocolError(f"{self!r} was closed: nothing is charged to it any more")
        charge((self, *self.around), amount)

    def discharge(self, amount: Charge) -> None:
        """Take back what was charged; nothing once it is closed, since then all was."""
        if not self.closed:
            release((self, *self.around), amount)


class StreamScope(Held):
    """One stream with a protocol, until its end. Handlers may charge it with memory, too."""

    __slots__ = ("_connection", "_direction")

    def __init__(self, connection: ConnectionScope, around: tuple[Scope, ...], direction: int) -> None:
        """Raises ``ResourceLimitExceeded``."""
        super().__init__("stream", connection.resources.rows["stream"])
        self.around = around
        self._connection = connection
        self._direction = direction
        charge_stream((self, *around), direction)
        connection.streams[self] = None

    def close(self) -> None:
        if not self.closed:
            if self.used[MEMORY]:
                self.discharge(((MEMORY, self.used[MEMORY]),))
            self.closed = True
            release_stream((self, *self.around), self._direction)
            streams = self._connection.streams
            streams.pop(self, None)
            if not streams:
                streams.clear()  # an emptied dict keeps its table, as long as the connection lives


class ConnectionScope(Held):
    """One connection, from before it is made until after it is gone. A :class:`p2p.resources.memory.MemoryGrant`."""

    __slots__ = (
        "_evict",
        "_ip",
        "_known",
        "_subnets",
        "_transient",
        "listed",
        "peer",
        "resources",
        "streams",
        "system",
    )

    def __init__(
        self,
        resources: Resources,
        ip: IPAddress | None,
        system: Scope,
        transient: Scope,
        *,
        subnets: tuple[Subnet, ...] = (),
        evict: Callable[[], None] | None = None,
        listed: bool = False,
    ) -> None:
        super().__init__("connection", resources.rows["connection"])
        self.resources = resources
        self._ip = ip
        self._subnets = subnets
        self._evict = evict
        #: Whether it came from a network on the allow-list.
        self.listed = listed
        #: The scope of the whole host, or the one of those on the allow-list.
        self.system = system
        #: The scope it waits in until it is known whose it is.
        self._transient: Scope | None = transient
        #: Whose it is, as far as that is known, and that peer's scope once it is charged.
        self.peer: PeerId | None = None
        self._known: Scope | None = None
        #: Its streams, which end with it.
        self.streams: dict[StreamScope, None] = {}
        self._surround()

    @property
    def transient(self) -> bool:
        """Whether it is not known yet whose it is."""
        return self._transient is not None

    def close(self) -> None:
        if not self.closed:
            for stream in tuple(self.streams):
                stream.close()
            super().close()
            self.resources.subnets.leave(self._subnets)
            self.resources.forget(self)

    def evict(self) -> None:
        """Make room for another: give back what it has, and tell its owner."""
        self.close()
        if self._evict is not None:
            self._evict()

    def expect(self, peer: PeerId) -> None:
        """It is to be of ``peer``: have its place among that peer's now. Raises ``ResourceLimitExceeded``."""
        scope = self.resources.named("peer", peer)
        charge((scope,), held(self))
        self.peer, self._known = peer, scope
        self.name = (peer,)
        self._surround()

    def assign(self, peer: PeerId, socket: Attempt | None = None) -> None:
        """It is known whose it is: from the transient scope to that peer's. The ``socket`` of a dial becomes its own.

        Who is on the allow-list has its scope from here on, and everybody else has to fit among the others. Raises
        ``ResourceLimitExceeded``, having changed nothing.
        """
        if self.closed or self._transient is None:
            how = "closed" if self.closed else "assigned"
            raise LocalProtocolError(f"{self!r} cannot be assigned: it is {how}")
        if self.peer is not None and self.peer != peer:
            raise LocalProtocolError(f"{self!r} was made for {self.peer}, not for {peer}")
        resources = self.resources
        before = self.system
        allowed = resources.allows(peer, self._ip)
        has = held(self)
        more = () if socket is None else DESCRIPTOR
        scope = self._known or resources.named("peer", peer)

        def move_to(system: Scope) -> None:
            charge_each(
                (
                    (scope, more if self._known else (*has, *more)),
                    (self, more),
                    (system, () if system is before else (*has, *more)),
                )
            )
            self.system = system

        try:
            move_to(resources.allowed_system if allowed else resources.system)
        except ResourceLimitExceeded:
            if not allowed or before is resources.allowed_system:
                raise
            move_to(before)  # no room is left for those on the list, but there is among the others
        if self.system is not before:
            release((before,), has)
        release((self._transient,), has)
        if socket is not None:
            socket.hand_over(self.system)
        self._transient = self._evict = None
        self.peer, self._known = peer, scope
        self.name = (peer,)
        self._surround()
        resources.waiting.pop(self, None)

    def open_stream(self, *, inbound: bool, protocol: str, service: str = "") -> StreamScope:
        """One more stream, of ``protocol`` and, if it has one, of ``service``. Raises ``ResourceLimitExceeded``."""
        if self._known is None or self.closed:
            raise LocalProtocolError(f"{self!r} takes no streams")
        resources = self.resources
        named, peer = resources.named, self.peer
        around = (self, *self.around, named("protocol", protocol), named("protocol_peer", protocol, peer))
        if service:
            around = (*around, named("service", service), named("service_peer", service, peer))
        return StreamScope(self, around, INBOUND_STREAMS if inbound else OUTBOUND_STREAMS)

    def attempt(self) -> Attempt:
        """One more socket for the dial. Raises ``ResourceLimitExceeded``."""
        return Attempt((self.system,) if self._transient is None else (self.system, self._transient))

    def require(self, n: int) -> None:
        """``n`` more bytes of memory. Raises ``ResourceLimitExceeded``."""
        self.charge(((MEMORY, n),))

    def reserve(self, n: int, *, nice_to_have: bool = False) -> bool:
        """``n`` more bytes of memory, or none; ``nice_to_have`` ones leave room for what is needed."""
        return not self.closed and charge_memory((self, *self.around), n, nice_to_have=nice_to_have)

    def release(self, n: int) -> None:
        """``n`` bytes fewer."""
        self.discharge(((MEMORY, n),))

    def _surround(self) -> None:
        scopes = (self._known, self._transient, self.system)
        self.around = tuple(scope for scope in scopes if scope is not None)


class Attempt:
    """A socket on its way to become a connection's: counted for the host, and not for the peer yet."""

    __slots__ = ("_scopes",)

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        charge(scopes, DESCRIPTOR)
        self._scopes = scopes

    def hand_over(self, system: Scope) -> None:
        """It is a connection's, which is in ``system``: that goes on counting it, if it did."""
        self._scopes = tuple(scope for scope in self._scopes if scope is not system)
        self.close()

    def close(self) -> None:
        """Idempotent."""
        release(self._scopes, DESCRIPTOR)
        self._scopes = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
