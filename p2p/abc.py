"""The vocabulary: what the parts of a host are to each other.

Nothing here does anything. A class of another package that has these methods is as good as ours, and
``p2p.testing`` holds the suites that tell whether it keeps their laws.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from enum import Enum
from typing import TYPE_CHECKING, NewType, Protocol, runtime_checkable

import trio

from p2p.flow import ConnectionStatistics, Priority, StreamStatistics
from p2p.frozen import frozen
from p2p.identity import Identity, PeerId, PublicKey
from p2p.limits import Limits
from p2p.resources.memory import UNACCOUNTED, MemoryGrant
from p2p.wire.addresses import Multiaddr

if TYPE_CHECKING:
    from p2p.events import Event
    from p2p.muxers.session import MuxerSession
    from p2p.peerstore import Peerstore

ProtocolId = NewType("ProtocolId", str)


class Role(Enum):
    """Which side of a connection, of a negotiation or of a handshake this is."""

    DIALER = "dialer"
    RESPONDER = "responder"


class Direction(Enum):
    """Who made a connection or a stream."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


# --- below security -----------------------------------------------------------------------------------


class RawStream(Protocol):
    """A two-way byte stream below security: what tcp, unix, memory and relayed circuits give."""

    @property
    def local_addr(self) -> Multiaddr: ...

    @property
    def remote_addr(self) -> Multiaddr: ...

    async def receive_into(self, buffer: memoryview) -> int:
        """Wait for bytes, put them at the start of ``buffer``, return how many; 0 at the end, for ever.

        The buffer is written only after the last suspension, so one scratch buffer serves every connection
        of a thread. Cancelled: nothing consumed. Raises ``trio.BrokenResourceError`` when the peer vanished,
        ``trio.ClosedResourceError`` after ``aclose``. Always a checkpoint.
        """
        ...

    def try_send(self, data: memoryview) -> int:
        """Hand over what fits now, never waiting, and return how many bytes that was (0: none fit).

        Raises as ``receive_into`` does.
        """
        ...

    async def wait_writable(self) -> None:
        """Wait until ``try_send`` may take something. Raises as ``receive_into`` does; always a checkpoint."""
        ...

    async def aclose(self) -> None:
        """Close at once, dropping what the kernel has not sent only if it must; a checkpoint; idempotent."""
        ...


class RawListener(Protocol):
    """Accepts raw streams at ``addr``, the address really bound (port 0 resolved)."""

    @property
    def addr(self) -> Multiaddr: ...

    async def accept(self) -> RawStream:
        """Wait for the next raw stream. Faults of single sockets are retried inside, never raised."""
        ...

    async def aclose(self) -> None: ...


class StreamTransport(Protocol):
    """A transport that gives raw streams; :class:`p2p.transports.Upgraded` makes it a :class:`Transport`."""

    def can_dial(self, addr: Multiaddr) -> bool: ...

    def can_listen(self, addr: Multiaddr) -> bool: ...

    async def dial(self, addr: Multiaddr) -> RawStream:
        """Connect. Raises ``OSError``, or ``InvalidAddress`` for an address it cannot use."""
        ...

    def listen(self, addr: Multiaddr) -> AbstractAsyncContextManager[RawListener]: ...


# --- security -----------------------------------------------------------------------------------------


class SealedChannel(Protocol):
    """After the handshake a secure channel is a codec, not a stream. PURE."""

    def open_into(self, cipher: memoryview, plain: memoryview) -> tuple[int, int]:
        """Open as many whole frames of ``cipher`` as ``plain`` has room for.

        Returns (bytes of ``cipher`` consumed, bytes of ``plain`` written); (0, 0) when no frame is whole.
        ``plain`` of :attr:`frame_plain` bytes always has room for one. Raises ``RemoteProtocolError`` for a
        frame that does not authenticate or cannot be; the channel is then dead.
        """
        ...

    def room(self, out: memoryview) -> memoryview:
        """The part of ``out`` where the plaintext of the next frame belongs (empty: ``out`` is too small)."""
        ...

    def seal(self, out: memoryview, n: int) -> int:
        """Seal, in place, the ``n`` bytes put into ``room(out)``; returns the size of the frame in ``out``."""
        ...

    @property
    def frames(self) -> tuple[int, int]:
        """How many frames were sealed, and opened."""
        ...

    @property
    def frame_plain(self) -> int:
        """The most plaintext one frame carries."""
        ...

    @property
    def frame_cipher(self) -> int:
        """The most bytes one sealed frame takes."""
        ...


@frozen
class Secured:
    """What a security handshake gives."""

    channel: SealedChannel
    remote_peer: PeerId
    remote_key: PublicKey
    #: The muxer both sides settled on inside the handshake, or None: negotiate it.
    early_muxer: ProtocolId | None
    #: Bytes received beyond the handshake: sealed, for ``channel``.
    leftover: bytes
    #: Bytes of the last handshake message not yet handed to the socket: they leave with the first sealed frame.
    unsent: bytes


class HandshakeStream(Protocol):
    """A raw stream as a handshake sees it: exact reads, whole writes, and one write that may wait for the next.

    Made by ``p2p.negotiation.select`` from a :class:`RawStream`; it keeps what it read too much.
    """

    async def read_exactly(self, n: int) -> bytes:
        """Raises ``HandshakeFailed`` when the remote ends early."""
        ...

    async def write(self, data: bytes) -> None:
        """Send all of it, together with what was held back before."""
        ...

    def hold(self, data: bytes) -> None:
        """Send it with the next ``write``, or leave it in ``take_unsent``."""
        ...

    def take_leftover(self) -> bytes:
        """What came behind the handshake."""
        ...

    def take_unsent(self) -> bytes:
        """What is held still, an answer of the negotiation included: it belongs into ``Secured.unsent``."""
        ...


class Security(Protocol):
    """Makes a secure channel of a raw stream."""

    @property
    def protocol(self) -> ProtocolId: ...

    async def secure(
        self, raw: HandshakeStream, *, role: Role, peer: PeerId | None, muxers: Sequence[ProtocolId]
    ) -> Secured:
        """Shake hands; ``peer`` is whom we expect (the dialer's), ``muxers`` what to offer early.

        Raises ``SecurityError``. No deadline of its own: the caller has one. Cancelled: the raw stream is
        unusable and must be closed.
        """
        ...


# --- muxers -------------------------------------------------------------------------------------------


class Muxer(Protocol):
    """Names a multiplexing protocol and makes its sessions."""

    @property
    def protocol(self) -> ProtocolId: ...

    def session(self, role: Role, *, now: float, memory: MemoryGrant = UNACCOUNTED) -> MuxerSession:
        """``memory`` is asked before a stream begins, for what it may receive, and before a window grows."""
        ...


# --- connections and streams --------------------------------------------------------------------------


class Stream(trio.abc.HalfCloseableStream):
    """One two-way channel of a connection. Its laws are the table *laws of streams* in the docs."""

    __slots__ = ()

    @property
    @abstractmethod
    def protocol(self) -> ProtocolId:
        """What was negotiated; for a lazy stream what was proposed."""

    @property
    @abstractmethod
    def connection(self) -> Connection: ...

    @property
    @abstractmethod
    def direction(self) -> Direction: ...

    @property
    @abstractmethod
    def priority(self) -> Priority:
        """When what is sent here goes, among the streams of the connection. Whoever has the stream may set it at
        any time, from the next frame on; it is this side's alone, and after the stream's end it says nothing.
        """

    @priority.setter
    @abstractmethod
    def priority(self, priority: Priority) -> None: ...

    @abstractmethod
    def reset(self, code: int = 0) -> None:
        """End both directions at once, dropping what is buffered. Synchronous: never waits; idempotent."""

    @abstractmethod
    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Take what fits now and return how many bytes that was (0: none). Raises as ``send_all`` does."""

    @abstractmethod
    def statistics(self) -> StreamStatistics:
        """What is buffered each way, and what it waits for. Never raises: what is over holds nothing."""


class StreamRouter(Protocol):
    """Says which protocols inbound streams may speak, and serves them. Called by the pump: never waits."""

    def supports(self, protocol: ProtocolId) -> bool: ...

    def protocols(self) -> Sequence[ProtocolId]:
        """What ``ls`` is answered with."""
        ...

    def serve(self, stream: Stream) -> None:
        """Start the handler of a stream just negotiated, or reset it when there is no room. Never raises."""
        ...

    def ended(self, stream: Stream) -> None:
        """A stream of either direction is over for this side: closed, reset, or failed. Called once."""


class Connection(trio.abc.AsyncResource):
    """Secure and multiplexed."""

    __slots__ = ()

    @property
    @abstractmethod
    def local_peer(self) -> PeerId: ...

    @property
    @abstractmethod
    def remote_peer(self) -> PeerId: ...

    @property
    @abstractmethod
    def remote_key(self) -> PublicKey: ...

    @property
    @abstractmethod
    def local_addr(self) -> Multiaddr: ...

    @property
    @abstractmethod
    def remote_addr(self) -> Multiaddr: ...

    @property
    @abstractmethod
    def direction(self) -> Direction: ...

    @property
    @abstractmethod
    def limited(self) -> bool:
        """Whether a relay bounds its time and bytes."""

    @property
    @abstractmethod
    def closing(self) -> bool:
        """Whether GoAway was sent or received, or the connection is dead: no new stream belongs on it."""

    @property
    @abstractmethod
    def streams(self) -> Sequence[Stream]: ...

    @abstractmethod
    async def run(self, router: StreamRouter | None = None) -> None:
        """The pump. Returns when either side said goodbye and all is drained, or after ``abort``.

        Raises ``RemoteProtocolError`` (already told to the remote) or ``ConnectionLost``. However it ends,
        streams then raise ``ConnectionLost`` and the raw stream is closed. With no ``router``, inbound streams
        come out of ``accept_stream`` un-negotiated.
        """

    @abstractmethod
    async def open_stream(self, *protocols: ProtocolId, lazy: bool = False) -> Stream:
        """Open a stream and negotiate one of ``protocols``; with none it is bare, for tests and other muxings.

        Waits for a slot of the remote, which is the backpressure, and for its answer, ``limits.open_stream`` in all;
        then raises ``NegotiationError``. Lazy (one protocol): the proposal leaves with the first bytes sent and a
        refusal surfaces at the first receive. Raises ``NoCommonProtocol``, ``ConnectionLost``. Cancelled: the stream
        is reset and nothing is left.
        """

    @abstractmethod
    async def accept_stream(self) -> Stream:
        """The next inbound stream when no router serves them; ``trio.EndOfChannel`` after the remote's goodbye."""

    @abstractmethod
    def go_away(self) -> None:
        """Say that no new streams are taken; those open go on. Synchronous; idempotent."""

    @abstractmethod
    def abort(self, code: int = 0) -> None:
        """End it now: one attempt to say GoAway, then the raw stream is closed by the pump. Synchronous."""

    @abstractmethod
    def statistics(self) -> ConnectionStatistics: ...


# --- transports ---------------------------------------------------------------------------------------


class Incoming(trio.abc.AsyncResource):
    """Accepted, and not yet shaken hands."""

    __slots__ = ()

    @property
    @abstractmethod
    def remote_addr(self) -> Multiaddr: ...

    @abstractmethod
    async def upgrade(self, *, memory: MemoryGrant = UNACCOUNTED) -> Connection:
        """Raises ``SecurityError``, ``NegotiationError``, ``trio.BrokenResourceError``; then it is closed.

        The connection holds what ``memory`` grants; ``ResourceLimitExceeded`` when that is too little for any.
        """


class Listener(trio.abc.AsyncResource):
    """Pull: ``accept`` is the whole interface."""

    __slots__ = ()

    @property
    @abstractmethod
    def addr(self) -> Multiaddr: ...

    @abstractmethod
    async def accept(self) -> Incoming: ...


@runtime_checkable
class Transport(Protocol):
    """Dials and listens for connections that are secure and multiplexed already."""

    def can_dial(self, addr: Multiaddr) -> bool: ...

    def can_listen(self, addr: Multiaddr) -> bool: ...

    async def dial(
        self, addr: Multiaddr, *, peer: PeerId | None, memory: MemoryGrant = UNACCOUNTED
    ) -> Connection:
        """Raises ``OSError``, ``SecurityError``, ``NegotiationError``, ``trio.BrokenResourceError``, and
        ``ResourceLimitExceeded`` of ``memory``, which grants what the connection holds.

        The connection's pump is not running yet: the caller runs it. Cancelled: the socket is closed.
        """
        ...

    def listen(self, addr: Multiaddr) -> AbstractAsyncContextManager[Listener]: ...

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """What the transport does all the while (QUIC: the UDP pump; TCP: nothing)."""
        ...


# --- the host as services see it ----------------------------------------------------------------------

Handler = Callable[[Stream], Awaitable[object]]


class Service(Protocol):
    """Something that speaks protocols for a host; its handlers are registered exactly while ``run`` runs."""

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]: ...

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Calls ``task_status.started()`` once it serves. A raise crashes the host; a return ends the service."""
        ...


class HostView(Protocol):
    """What a service may see of its host."""

    @property
    def peer_id(self) -> PeerId: ...

    @property
    def identity(self) -> Identity:
        """Who signs for this host."""
        ...

    @property
    def limits(self) -> Limits: ...

    @property
    def addrs(self) -> Sequence[Multiaddr]:
        """Full addresses, /p2p/ID included."""
        ...

    @property
    def protocols(self) -> Sequence[ProtocolId]:
        """What this host takes streams for now: the ids that have a handler."""
        ...

    @property
    def peerstore(self) -> Peerstore: ...

    @property
    def connections(self) -> Mapping[PeerId, Sequence[Connection]]: ...

    async def dial(self, peer: PeerId | Multiaddr | str) -> Connection: ...

    async def open_stream(
        self, peer: PeerId | Multiaddr | str, *protocols: str, allow_limited: bool = False
    ) -> Stream: ...

    def handle(
        self, protocol: str | Callable[[str], bool], handler: Handler
    ) -> AbstractContextManager[None]: ...

    async def attempt(self, stream: Stream, handler: Handler) -> bool:
        """Run ``handler`` on a stream this side opened, behind the wall inbound streams have; close it after.

        Whatever a remote makes it raise ends the stream and is logged: then False. Cancellation passes.
        """
        ...

    def reserve_memory(self, stream: Stream, n: int) -> AbstractContextManager[None]:
        """Charge ``n`` bytes, held for a remote, while the context lasts; see :class:`p2p.host.Host`."""
        ...

    def events(self) -> AbstractAsyncContextManager[trio.abc.ReceiveChannel[Event]]: ...

    def emit(self, event: Event) -> None:
        """Tell all who read ``events``. Never waits."""
        ...
