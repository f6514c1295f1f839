"""The one pump: it drives every muxer session over every secure channel. Trio.

Two tasks own a connection. The *reader* receives into the thread's scratch, opens the frames in place, hands the
plaintext to the session and lets each touched stream act. The *writer* (``writing.py``) sends what the socket refused
and what waited for more, and keeps the timers. Everybody else calls ``flush``, ``push`` or ``soon`` of
:class:`~p2p.muxers.writing.Writing`, which never wait; so a lone write leaves at once, and nobody's cancellation can
tear a frame. Applications are never waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import trio

from p2p.abc import (
    Connection,
    Direction,
    ProtocolId,
    RawStream,
    Role,
    SealedChannel,
    StreamRouter,
)
from p2p.errors import (
    NORMAL_TERMINATION,
    ConnectionLost,
    LocalProtocolError,
    NegotiationError,
    NoCommonProtocol,
    RemoteProtocolError,
)
from p2p.flow import ConnectionStatistics
from p2p.identity import PeerId, PublicKey
from p2p.limits import Limits
from p2p.muxers.deadlines import Deadlines
from p2p.muxers.ending import Ending
from p2p.muxers.inbox import Inbox
from p2p.muxers.outbox import Outbox
from p2p.muxers.session import MuxerSession, SessionStream, Touched
from p2p.muxers.stream import MuxedStream
from p2p.muxers.waiting import Waiters
from p2p.muxers.writing import Writing
from p2p.negotiation.multistream import Dialer, Responder
from p2p.resources.memory import Allowance
from p2p.wire.addresses import Multiaddr

#: Of :class:`Touched`: what the remote may wait for an answer to.
_SAYS = Touched.OPENED | Touched.DATA | Touched.EOF


class MuxedConnection(Connection):
    """A raw stream, the secure channel over it, and the muxer session inside.

    ``leftover``: sealed bytes received with the end of the handshake; ``opened``: plaintext that came with the muxer's
    negotiation; ``unsent``: handshake bytes still to go out first. With ``preface`` the muxer was proposed lazily: what
    it says is the first plaintext sent, its answer the first received, and ``refused`` is called when that is no.
    ``memory`` is what the session holds. Once the pump has run it is for the owner of its source to take back: streams
    may be read after the end.
    """

    def __init__(
        self,
        raw: RawStream,
        channel: SealedChannel,
        session: MuxerSession,
        *,
        local_peer: PeerId,
        remote_peer: PeerId,
        remote_key: PublicKey,
        role: Role,
        limits: Limits,
        leftover: bytes = b"",
        opened: bytes = b"",
        unsent: bytes = b"",
        preface: Dialer | None = None,
        refused: Callable[[], None] | None = None,
        limited: bool = False,
        memory: Allowance | None = None,
    ) -> None:
        self._raw = raw
        self._channel = channel
        self._local_peer = local_peer
        self._remote_peer = remote_peer
        self._remote_key = remote_key
        self._direction = Direction.OUTBOUND if role is Role.DIALER else Direction.INBOUND
        self._limited = limited
        self._refused = refused
        self._memory = memory or Allowance()
        self._inbox = Inbox(channel, session, sealed=leftover, opened=opened, preface=preface)
        self._outbox = Outbox(
            raw, channel, session, prefix=unsent, preface=preface.data_to_send() if preface else b""
        )
        self._fronts: dict[SessionStream, MuxedStream] = {}
        #: Streams whose negotiation is outstanding.
        self._negotiating: Deadlines[MuxedStream] = Deadlines(limits.negotiation.timeout)
        #: For want of a router. Mostly none, and few at most, so this is no deque: an empty one takes 700 bytes.
        self._accepted: list[MuxedStream] = []
        #: Who waits for a slot; made when somebody does.
        self._openers: trio.lowlevel.ParkingLot | None = None
        self._router: StreamRouter | None = None
        #: Whether the pump waits for overfull streams to be read.
        self._yielding = False
        self.limits = limits
        self.session = session
        self.waiters = Waiters()
        self._ending = Ending(raw, session, self._outbox, limits=limits, changed=self.changed)
        self.writing = Writing(
            raw,
            session,
            self._outbox,
            self._ending,
            self,
            limits=limits,
        )
        #: Whether a handler was started for what arrived: it may have an answer in a moment.
        self._served = False

    def __repr__(self) -> str:
        return f"<connection {self._direction.value} {self._remote_peer}>"

    @property
    def local_peer(self) -> PeerId:
        return self._local_peer

    @property
    def remote_peer(self) -> PeerId:
        return self._remote_peer

    @property
    def remote_key(self) -> PublicKey:
        return self._remote_key

    @property
    def local_addr(self) -> Multiaddr:
        return self._raw.local_addr

    @property
    def remote_addr(self) -> Multiaddr:
        return self._raw.remote_addr

    @property
    def direction(self) -> Direction:
        return self._direction

    @property
    def limited(self) -> bool:
        return self._limited

    @property
    def closing(self) -> bool:
        return self._ending.closing

    @property
    def lost(self) -> str | None:
        """Why the connection is over, for people; None while it lives."""
        return self._ending.lost

    @property
    def streams(self) -> Sequence[MuxedStream]:
        return [stream for stream in self._fronts.values() if not stream.closed]

    @property
    def queued(self) -> int:
        """Sealed bytes the socket has not taken."""
        return self._outbox.queued

    def statistics(self) -> ConnectionStatistics:
        streams = self.streams
        sent, received = self._channel.frames
        inbound = sum(stream.direction is Direction.INBOUND for stream in streams)
        return ConnectionStatistics(
            bytes_sent=self._outbox.bytes_sent,
            bytes_received=self._inbox.bytes_received,
            frames_sent=sent,
            frames_received=received,
            inbound=inbound,
            outbound=len(streams) - inbound,
            round_trip=self.session.round_trip,
            queued=self.queued,
            unsent=sum(stream.books.waiting for stream in streams),
            unread=sum(len(stream.books.received) for stream in streams),
        )

    async def open_stream(self, *protocols: ProtocolId, lazy: bool = False) -> MuxedStream:
        """Open a stream and negotiate one of ``protocols``; see :meth:`p2p.abc.Connection.open_stream`."""
        negotiation = Dialer(protocols, lazy=lazy, limits=self.limits.negotiation) if protocols else None
        if self.session.can_open and (lazy or negotiation is None):
            # There is nothing to wait for, so no time to limit: that would be a tenth of what a request costs.
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_open()
            stream = self._open(negotiation)
            await trio.lowlevel.cancel_shielded_checkpoint()
            return stream
        with trio.move_on_after(self.limits.open_stream):
            await trio.lowlevel.checkpoint()
            await self._until_slot()
            stream = self._open(negotiation)
            if negotiation is not None and not lazy:
                self.flush()
                await self._until_answered(stream)
            return stream
        raise NegotiationError(
            f"{self._remote_peer} gave no stream within {self.limits.open_stream:g} seconds"
        )

    async def _until_slot(self) -> None:
        self._check_open()
        while not self.session.can_open:
            self.flush()  # the opening of a lazy stream may be held back still, and its answer is what gives a slot
            if self._openers is None:
                self._openers = trio.lowlevel.ParkingLot()
            await self._openers.park()
            self._check_open()

    def _open(self, negotiation: Dialer | None) -> MuxedStream:
        try:
            books = self.session.open_stream()
        finally:
            self.changed()  # with another slot left, or for want of memory, the next in line has its turn
        stream = MuxedStream(self, books, Direction.OUTBOUND, negotiation)
        self._fronts[books] = stream
        if negotiation is not None:
            self.session.send(books, memoryview(negotiation.data_to_send()))
        return stream

    async def _until_answered(self, stream: MuxedStream) -> None:
        try:
            await self.waiters.wait(lambda: stream.negotiated or stream.over)
            stream.check()
        except BaseException:
            stream.reset()
            raise

    def _check_open(self) -> None:
        if self.closing:
            raise ConnectionLost(self.lost or "it is going away and takes no new streams")

    async def accept_stream(self) -> MuxedStream:
        """The next inbound stream, bare, when no router serves them.

        Raises ``trio.EndOfChannel`` after the remote's goodbye, ``ConnectionLost`` when the connection failed.
        Cancelled: nothing is lost.
        """
        await trio.lowlevel.checkpoint()
        while not self._accepted:
            if self._no_more_come():
                raise (
                    trio.EndOfChannel
                    if self._ending.failure is None
                    else ConnectionLost(self.lost or "it failed")
                )
            await self.waiters.wait(lambda: bool(self._accepted) or self._no_more_come())
        return self._accepted.pop(0)

    def _no_more_come(self) -> bool:
        return self.lost is not None or self.session.closed_by_remote is not None

    async def run(self, router: StreamRouter | None = None) -> None:
        """Pump until either side's goodbye is drained, ``abort``, or a failure; see :meth:`p2p.abc.Connection.run`."""
        ending = self._ending
        if ending.scope is not None:
            raise LocalProtocolError("the pump of this connection runs already, or has run")
        self._router = router
        try:
            async with trio.open_nursery() as nursery:
                ending.scope = nursery.cancel_scope
                if ending.lost is None:
                    nursery.start_soon(self.writing.run)
                    await self._read()
                nursery.cancel_scope.cancel()
            if ending.mute and ending.failure is None:
                ending.transport_ended(ending.mute)
        finally:
            await self._end()
        if ending.failure is not None:
            raise ending.failure

    async def _read(self) -> None:
        inbox = self._inbox
        try:
            now = trio.current_time()
            self._take(inbox.begin(now), now)
            if self._ending.finished:
                return
            while True:  # once it is finished, whoever finds that stops this task
                while self.session.congested:
                    await self.waiters.wait(lambda: not self.session.congested)
                if self.session.overfull:
                    await self._yield_to_readers()
                n = await self._raw.receive_into(inbox.room())
                if not n:
                    self.session.receive_eof()
                    self._ending.transport_ended("the remote closed it")
                    return
                if self.lost is not None or self._ending.failure is not None:
                    return  # it ended while these bytes arrived
                now = trio.current_time()
                self._take(inbox.take(n, now), now)
        except (RemoteProtocolError, NegotiationError) as error:
            self.refuse(error)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._ending.transport_ended(str(error))

    async def _yield_to_readers(self) -> None:
        """Streams hold more than they may: receive nothing until they were read, for a moment, then reset them."""
        session = self.session
        while session.overfull:
            self._yielding = True
            # Be the time up already: to wait is to let those run who were just woken to read.
            with trio.move_on_at(session.stall(trio.current_time())):
                await self.waiters.wait(lambda: not session.overfull)
            self._yielding = False
            self.tell(session.shed(trio.current_time()))
            self.flush()

    def _take(self, frames: Iterable[Sequence[SessionStream]], now: float) -> None:
        """Let the streams that each frame touched act, and answer what there is to answer, without a suspension."""
        fronts = self._fronts
        anything = heard = pinged = 0
        for touched in frames:
            anything = 1
            if not touched:
                pinged = 1
            for books in touched:
                flags, books.touched = books.touched, 0
                stream = fronts.get(books)
                if stream is None:
                    if not flags & Touched.OPENED:
                        continue
                    stream = self._admit(books, now)
                stream.touched(flags)
                heard |= flags
        if not anything:
            return
        self.changed()
        if heard & _SAYS:
            self.writing.heard()
        if pinged:  # or said goodbye: of no stream, that is
            self.writing.answered()
        if self._served:
            self._served = False
            self.writing.soon()
        else:
            self.writing.flush()

    def _admit(self, books: SessionStream, now: float) -> MuxedStream:
        router = self._router
        if router is None:
            stream = MuxedStream(self, books, Direction.INBOUND, None)
            self._fronts[books] = stream
            if len(self._accepted) < self.limits.accept_backlog:
                self._accepted.append(stream)
            else:
                stream.reset()
        else:
            responder = Responder(router.supports, router.protocols, limits=self.limits.negotiation)
            stream = MuxedStream(self, books, Direction.INBOUND, responder)
            self._fronts[books] = stream
            self.writing.wake_by(self._negotiating.add(stream, now))
        return stream

    def first_expiry(self) -> float:
        """When the negotiation of a stream will have taken too long; infinite when there is none."""
        return self._negotiating.first()

    def expire(self, now: float) -> None:
        """Reset the streams whose negotiation took too long."""
        for stream in self._negotiating.expired(now):
            stream.reset()

    def tell(self, touched: Sequence[SessionStream]) -> None:
        """Let streams act on what the session did to them of itself."""
        for books in touched:
            flags, books.touched = books.touched, 0
            if (front := self._fronts.get(books)) is not None:
                front.touched(flags)
        self.changed()

    def flush(self) -> None:
        """Send what the socket takes now; the writer sends the rest. Never waits, never raises."""
        self.writing.flush()

    def changed(self) -> None:
        """The books changed: wake who waits for that, and one of those that wait for a slot to open a stream."""
        if self.waiters.waiting:
            self.waiters.ask()
        if self._openers and (self.closing or self.session.can_open):
            self._openers.unpark(count=len(self._openers) if self.closing else 1)

    def was_read(self) -> None:
        """A stream was read: credit may go out, and the pump may be waiting for just that."""
        if self.session.wants_write:
            self.writing.hurry()
        if self._yielding:
            self.changed()

    def settled(self, stream: MuxedStream) -> None:
        """A stream's negotiation came to its end: serve it, or finish what was closed meanwhile."""
        self._negotiating.discard(stream)
        if stream.closed:
            self.abandon(stream)
            self.forget(stream)
        elif stream.direction is Direction.INBOUND and self._router is not None:
            self._served = True
            self._router.serve(stream)
            if stream.books not in self._fronts:  # there was no room for it
                self.session.refused(trio.current_time())

    def abandon(self, stream: MuxedStream) -> None:
        """A stream was closed: FIN, and a while for the remote to end it too."""
        self.session.abandon(stream.books, trio.current_time())
        due = self.session.next_timer()
        # While the socket takes nothing no such timer is kept: it would end the waiting for that.
        if due is not None and not self._outbox.blocked:
            self.writing.wake_by(due)

    def drain(self, stream: MuxedStream) -> None:
        """A lazy stream was closed before its answer came: wait for that, for a while, to say FIN."""
        self.writing.wake_by(self._negotiating.add(stream, trio.current_time()))

    def forget(self, stream: MuxedStream) -> None:
        """The stream is over as far as this side is concerned; its books may linger in the session."""
        self._negotiating.discard(stream)
        if self._fronts.pop(stream.books, None) is not None and self._router is not None:
            self._router.ended(stream)
        if not self._fronts:
            self._fronts.clear()  # an emptied dict keeps its table

    def refuse(self, error: RemoteProtocolError | NegotiationError) -> None:
        """The remote broke the rules: tell it, at the end if the socket takes nothing now; read nothing more."""
        if isinstance(error, NoCommonProtocol) and self._refused is not None:
            self._refused()
        self.session.close(error.code if isinstance(error, RemoteProtocolError) else NORMAL_TERMINATION)
        self.flush()
        self._ending.fail(error)

    def go_away(self) -> None:
        """Say that no new streams are taken; those open go on. Never waits; idempotent."""
        self.session.close(NORMAL_TERMINATION)
        self.flush()
        self.changed()

    def abort(self, code: int = NORMAL_TERMINATION) -> None:
        """End it now: GoAway if the socket takes it, streams raise ``ConnectionLost``. Never waits; idempotent."""
        self.session.close(code)
        self.flush()
        self._lose("aborted on this side")
        self._ending.stop()

    async def aclose(self) -> None:
        """Say goodbye, give open streams ``limits.shutdown_grace``, then end; at once if cancelled or never run."""
        try:
            if self.lost is None and self._ending.scope is not None:
                self.go_away()
                with trio.move_on_after(self.limits.shutdown_grace):
                    await self.waiters.wait(lambda: self.lost is not None)
        finally:
            self.abort()
            if self._ending.scope is None:
                self._memory.close()
                await self._raw.aclose()
        await trio.lowlevel.checkpoint()

    def _lose(self, reason: str) -> None:
        if self._ending.lost is None:
            self._ending.lost = reason
        for stream in tuple(self._fronts.values()):
            stream.wake()
        self.changed()

    async def _end(self) -> None:
        """However the pump ended: everybody told, with one last word the remote too, the socket closed."""
        if self.lost is None and self._ending.failure is None:
            self.session.close(NORMAL_TERMINATION)
            self.flush()
        self._lose(self._ending.reason)
        await self._ending.close_socket()
