"""A stream as its user sees it: the laws of streams over one entry in a session's books. Trio.

The pump (``connection.py``) takes bytes in and reports what was touched; this front parks the tasks that wait
and turns the books into Trio's verbs and exceptions. Negotiation is answered here too, as bytes arrive, so that
accepting a stream costs no task until its handler starts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from p2p.abc import Direction, ProtocolId, Stream
from p2p.errors import (
    ConnectionLost,
    NegotiationError,
    NoCommonProtocol,
    P2PError,
    RemoteProtocolError,
    StreamReset,
)
from p2p.flow import DEFAULT_PRIORITY, Priority, StreamStatistics
from p2p.muxers.session import SessionStream, Touched
from p2p.negotiation.multistream import Dialer, Responder

if TYPE_CHECKING:
    from p2p.muxers.connection import MuxedConnection


def _busy(verb: str) -> trio.BusyResourceError:
    """A direction of a stream is for one task at a time."""
    return trio.BusyResourceError(f"another task is {verb} this stream")


class MuxedStream(Stream):
    """A stream of a :class:`~p2p.muxers.connection.MuxedConnection`. Made by it, never directly.

    ``receive_some``, ``send_all``, ``send_eof`` and ``aclose`` raise as the *laws of streams* say; a stream that was
    proposed lazily and refused raises :class:`NoCommonProtocol` from whatever is called next.
    """

    __slots__ = (
        "_books", "_closed", "_connection", "_direction", "_failure", "_negotiation", "_priority", "_protocol",
        "_receiver", "_receiving", "_sending",
    )  # fmt: skip

    def __init__(
        self,
        connection: MuxedConnection,
        books: SessionStream,
        direction: Direction,
        negotiation: Dialer | Responder | None,
    ) -> None:
        self._connection = connection
        self._books = books
        self._direction = direction
        self._negotiation = negotiation
        self._protocol = ProtocolId("")
        if isinstance(negotiation, Dialer) and negotiation.agreed is not None:
            self._protocol = negotiation.agreed
        self._closed = False
        #: Makes a fresh exception for why no operation can succeed any more.
        self._failure: Callable[[], P2PError] | None = None
        self._receiver: trio.lowlevel.Task | None = None
        #: Whether a task is in that direction.
        self._receiving = False
        self._sending = False
        self.priority = DEFAULT_PRIORITY

    def __repr__(self) -> str:
        return f"<stream {self._books.stream_id} {self._protocol or 'un-negotiated'} of {self._connection!r}>"

    @property
    def protocol(self) -> ProtocolId:
        return self._protocol

    @property
    def connection(self) -> MuxedConnection:
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
        if self._negotiation is None or self._protocol:  # else it goes first, until it is the application's
            self._connection.session.prioritize(self._books, priority)

    # --- receiving ------------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Wait for bytes and return some, at most ``max_bytes``; ``b""`` at the remote's FIN, for ever.

        Raises ``StreamReset``, ``ConnectionLost``, ``NoCommonProtocol`` (a lazy proposal was refused),
        ``trio.ClosedResourceError``, ``trio.BusyResourceError``. Cancelled: nothing is consumed and no credit
        granted.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise _busy("receiving from")
        self._receiving = True
        try:
            ready = self._can_receive()
            if ready:
                await trio.lowlevel.checkpoint()
                ready = self._can_receive()
            while not ready:
                self._connection.writing.hurry()
                await self._park()
                ready = self._can_receive()
            if not self._books.received:
                return b""
            connection = self._connection
            data = connection.session.read(self._books, max_bytes, trio.current_time())
            connection.was_read()
            return data
        finally:
            self._receiving = False

    def _can_receive(self) -> bool:
        """Whether ``receive_some`` has an answer now; raises when the answer is an exception."""
        if self._closed or self._failure is not None:
            self._check_closed()
        books = self._books
        if self._negotiation is None and (books.received or books.eof_received):
            return True
        if books.reset_code is not None:
            raise StreamReset(books.reset_code, remote=not books.overflowed)
        if self._connection.lost is not None:
            raise ConnectionLost(self._connection.lost)
        return False

    async def _park(self) -> None:
        self._receiver = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._receiver = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """Let the receiving task look again."""
        if self._receiver is not None:
            task, self._receiver = self._receiver, None
            trio.lowlevel.reschedule(task)

    # --- sending --------------------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Hand all of ``data`` to the connection's writer, waiting for credit and room.

        Raises ``StreamReset``, ``ConnectionLost``, ``NoCommonProtocol``, ``trio.ClosedResourceError`` (also after
        ``send_eof``), ``trio.BusyResourceError``. Cancelled: some prefix was sent, never a torn frame, and the
        stream stays usable.
        """
        if self._sending:
            raise _busy("sending to")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self.check()
            connection, books = self._connection, self._books
            view = memoryview(data).cast("B")
            size = len(view)
            # Small writes are nearly always copied whole: then there is nothing to wait for.
            accepted = 0
            if size:
                accepted = connection.session.send(books, view)
                connection.writing.push(books)
            if accepted < size or books.holding:
                await self._send_rest(view[accepted:])
            else:
                self.check()
            await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._sending = False

    async def _send_rest(self, view: memoryview) -> None:
        """Wait until what is held is in frames, and hand over the rest, ``view``."""
        connection, books = self._connection, self._books
        try:
            while True:
                while books.holding or (view and not books.send_room):
                    self.check()
                    await connection.waiters.wait(self._can_send)
                self.check()
                if not view:
                    return
                view = view[connection.session.send(books, view) :]
                connection.writing.push(books)
        finally:
            if books.holding:
                connection.session.withdraw(books)

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        """Take what fits now and return how many bytes that was (0: none).

        What is taken leaves with the connection's next gathering, together with what others gave. Raises as
        ``send_all`` does; :class:`trio.BusyResourceError` too, while a ``send_all`` waits.
        """
        if self._sending:
            raise _busy("sending to")
        self.check()
        connection, books = self._connection, self._books
        view = memoryview(data).cast("B")
        taken = connection.session.send_copy(books, view)
        if taken < len(view):
            # There is room again for what full frames take along, if window and socket let them.
            connection.writing.push(books)
            taken += connection.session.send_copy(books, view[taken:])
        connection.writing.soon()
        return taken

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until window and writer have room. Raises as ``send_all`` does."""
        if self._sending:
            raise _busy("sending to")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            self.check()
            while not self._has_room():
                await self._connection.waiters.wait(lambda: self.over or self._has_room())
                self.check()
        finally:
            self._sending = False

    def _has_room(self) -> bool:
        books = self._books
        connection = self._connection
        return (
            books.send_window > 0
            and books.send_room > 0
            and not connection.queued
            and not connection.session.crowded
        )

    def _can_send(self) -> bool:
        return self.over or (not self._books.holding and self._books.send_room > 0)

    async def send_eof(self) -> None:
        """Say FIN after everything sent. A second call is a checkpoint and nothing more.

        On a lazily proposed stream it first waits for the remote's answer, since some peers lose a FIN that comes
        with the proposal. Raises as ``send_all`` does. Cancelled: FIN was not sent.
        """
        if self._sending:
            raise _busy("sending to")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            if self._closed:
                raise trio.ClosedResourceError("this stream was closed here")
            if self._books.eof_sent:
                return
            self.check()
            if self._negotiation is not None:
                self._connection.flush()
                while self._negotiation is not None:
                    await self._connection.waiters.wait(lambda: self.over or self._negotiation is None)
                    self.check()
            self._connection.session.send_eof(self._books)
            self._connection.flush()
        finally:
            self._sending = False

    def check(self) -> None:
        """Raise what a send would raise now."""
        books = self._books
        if (
            self._closed
            or books.eof_sent
            or books.reset_code is not None
            or self._failure is not None
            or self._connection.lost is not None
        ):
            self._check_closed()
            if books.reset_code is not None:
                raise StreamReset(books.reset_code, remote=not books.overflowed)
            if self._connection.lost is not None:
                raise ConnectionLost(self._connection.lost)
            raise trio.ClosedResourceError("send_eof was called on this stream")

    def _check_closed(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed here")
        if self._failure is not None:
            raise self._failure()

    def statistics(self) -> StreamStatistics:
        return self._connection.session.statistics(self._books)

    @property
    def books(self) -> SessionStream:
        """Its entry in the session."""
        return self._books

    @property
    def over(self) -> bool:
        """Whether no operation can succeed any more."""
        return (
            self._closed
            or self._failure is not None
            or self._books.reset_code is not None
            or self._connection.lost is not None
        )

    # --- ending ---------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Hand what was accepted, and FIN, to the writer, waiting at most ``limits.close``; idempotent.

        What is unread or comes later is dropped and answered once by RST. A lazy stream whose answer is
        outstanding goes on draining behind the caller's back: FIN follows the answer. Cancelled or late: RST.
        """
        if self.over:
            if not self._closed:  # else it may be draining
                self._connection.abandon(self)  # what it received may be held still
                self._end()
            await trio.lowlevel.checkpoint()
            return
        connection, books = self._connection, self._books
        handed_over = False
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._closed = True
            self._wake_all()
            if self._negotiation is None:
                connection.abandon(self)
            else:
                connection.drain(self)
            if connection.queued or books.unsent > 1 or self._negotiation is not None:
                connection.flush()
                if books.unsent:
                    with trio.move_on_after(connection.limits.close):
                        while books.unsent and not self._dead():
                            await connection.waiters.wait(lambda: not books.unsent or self._dead())
                handed_over = not books.unsent or self._dead()
            else:
                connection.writing.soon()  # FIN alone, or nothing
                handed_over = True
        finally:
            if not handed_over:
                self.reset()
            elif self._negotiation is None:
                connection.forget(self)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def reset(self, code: int = 0) -> None:
        """Say RST with ``code`` and drop what is buffered both ways. Never waits; idempotent."""
        if self._connection.writing.joining:
            self._connection.flush()  # what was said before, our answer to a proposal above all, only waited for more
        self._connection.session.reset(self._books, code)
        self._end()
        self._connection.flush()

    def _end(self) -> None:
        self._closed = True
        self._negotiation = None
        self._connection.forget(self)
        self._wake_all()

    def _dead(self) -> bool:
        return self._books.reset_code is not None or self._connection.lost is not None

    def _wake_all(self) -> None:
        self.wake()
        self._connection.changed()

    # --- what the pump calls --------------------------------------------------------------------------

    def touched(self, flags: int) -> None:
        """Act on what arrived: answer negotiation, wake who waits. Never waits.

        Raises ``RemoteProtocolError`` when the remote opens too many streams for nothing.
        """
        if self._negotiation is not None:
            self._negotiate()
        books = self._books
        if flags & Touched.RESET and books.received and not books.eof_received:
            # The session kept them for an answer that came in the same read; an application is never given them.
            self._connection.session.unread_negotiation(books, len(books.received), trio.current_time())
        if self._receiver is not None and flags & (Touched.DATA | Touched.EOF | Touched.RESET):
            self.wake()

    @property
    def negotiated(self) -> bool:
        """Whether the protocol is settled (for a lazy stream: confirmed)."""
        return self._negotiation is None and self._failure is None

    @property
    def closed(self) -> bool:
        """Whether it was closed or reset here."""
        return self._closed

    def _negotiate(self) -> None:
        negotiation, books, connection = self._negotiation, self._books, self._connection
        assert negotiation is not None
        try:
            if books.received:
                consumed = negotiation.receive_data(books.received)
                connection.session.unread_negotiation(books, consumed, trio.current_time())
            self._answer(negotiation)
        except NoCommonProtocol as error:
            offered = error.offered
            self._fail(lambda: NoCommonProtocol(offered))
            return
        except RemoteProtocolError as error:
            # Behind a proposal that we refused may stand bytes of the protocol, proposed lazily. What was answered
            # before them has to arrive, so it leaves before the end, and FIN between them.
            if books.reset_code is None and (answers := negotiation.data_to_send()):
                connection.session.send(books, memoryview(answers))
                connection.abandon(self)
            reason = str(error)
            self._fail(lambda: RemoteProtocolError(reason))
            return
        if negotiation.done and negotiation.agreed is not None:
            self._protocol = negotiation.agreed
            self._negotiation = None
            connection.session.prioritize(books, self._priority)
            connection.settled(self)
        elif books.eof_received or books.reset_code is not None:
            code = books.reset_code
            if code is None:
                self._fail(
                    lambda: NegotiationError("the remote ended the stream before a protocol was agreed")
                )
            else:
                self._fail(lambda: StreamReset(code))

    def _answer(self, negotiation: Dialer | Responder) -> None:
        reply = negotiation.data_to_send()
        if self._books.reset_code is not None:
            return  # what came before that may be read; nothing can be said
        if reply and self._connection.session.send(self._books, memoryview(reply)) < len(reply):
            raise RemoteProtocolError("the remote asks more of a negotiation than it reads answers")

    def _fail(self, failure: Callable[[], P2PError]) -> None:
        self._failure = failure
        if not self._books.eof_sent:
            self._connection.session.reset(self._books)
        self._negotiation = None
        self._connection.forget(self)
        self._wake_all()
        if self._direction is Direction.INBOUND and self._books.reset_code is None:
            self._connection.session.refused(trio.current_time())
