"""What every multiplexing protocol is to the pump: bytes in, facts out. PURE.

A session never waits, reads no clock and owns no task. It keeps the books of every stream (windows, buffers,
ends) and cuts frames only when the pump gathers, so small writes join. One pump (``connection.py``) drives every
kind of session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from p2p.flow import Priority, StreamStatistics


class Touched:
    """Bits: what happened to a stream in one ``receive_data``, gathered over all its frames.

    Plain integers, since an ``IntFlag`` costs a microsecond an operation and these are set for every frame.
    """

    OPENED: Final = 1  # the remote opened it
    DATA: Final = 2  # bytes were added to ``received``
    WRITABLE: Final = 4  # the remote gave credit: held or refused bytes may now go
    EOF: Final = 8  # the remote's FIN
    RESET: Final = 16  # the remote's RST: ``reset_code`` holds why
    SLOT: Final = 32  # the remote acknowledged it: another stream may be opened


class SessionStream(Protocol):
    """One stream's books, as the pump and the front may read them. Only the session writes them."""

    @property
    def stream_id(self) -> int: ...

    #: :class:`Touched` bits since the pump last looked; the pump sets it back to 0.
    touched: int

    @property
    def received(self) -> bytearray:
        """Bytes received and not yet read. To be looked at; taken by ``MuxerSession.read``."""
        ...

    @property
    def eof_received(self) -> bool: ...

    @property
    def eof_sent(self) -> bool:
        """``send_eof`` was called (the frame itself may still wait)."""
        ...

    @property
    def reset_code(self) -> int | None:
        """Why it was reset, but for ``MuxerSession.reset``, or None.

        ``received`` is then kept, for the pump to read the end of a negotiation in it and drop the rest.
        """
        ...

    @property
    def overflowed(self) -> bool:
        """Whether it was not the remote that reset it, but ``MuxerSession.shed``."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes accepted by ``send`` that no frame carries yet (a held view included), FIN counting as one."""
        ...

    @property
    def waiting(self) -> int:
        """The same without FIN."""
        ...

    @property
    def holding(self) -> bool:
        """Whether bytes of a held write are not in a frame yet: its memory is still referred to."""
        ...

    @property
    def send_room(self) -> int:
        """How many bytes ``send_copy`` would take now, were it not for other streams."""
        ...

    @property
    def send_window(self) -> int:
        """The credit the remote has given and we have not used; what has no windows says a large number."""
        ...


class MuxerSession(Protocol):
    """One connection's multiplexing."""

    def receive_data(self, data: memoryview, now: float) -> Sequence[SessionStream]:
        """Take plaintext in any slicing; return the streams touched, each once, flags in ``touched``.

        Copies what it keeps: ``data`` may be reused at once. Raises ``RemoteProtocolError``; the session is then
        good for ``close`` and ``write_into`` only (to say GoAway). Everything that ``data`` said *before* the
        broken frame was taken in, and is kept in the books.
        """
        ...

    def write_into(self, out: memoryview, now: float) -> int:
        """Put whole frames into ``out``, control frames first, then streams by priority; return the bytes written.

        Returns 0 when there is nothing to write, or when ``out`` is below 64 bytes. A data frame is cut to fit.
        """
        ...

    @property
    def wants_write(self) -> bool:
        """Whether ``write_into`` has something to write."""
        ...

    @property
    def copied(self) -> int:
        """Bytes copied of all writes that no frame carries yet."""
        ...

    @property
    def congested(self) -> bool:
        """Whether so many control frames wait that the pump must stop reading until they are written."""
        ...

    @property
    def crowded(self) -> bool:
        """Whether ``send_copy`` takes nothing of any stream, so much is copied of all together."""
        ...

    @property
    def max_read(self) -> int:
        """Sealed bytes the pump may receive at once, if a frame is no longer: acting on them holds the loop."""
        ...

    def receive_eof(self) -> None:
        """The transport ended in order: the goodbye of a protocol that has no other."""
        ...

    @property
    def overfull(self) -> bool:
        """Whether a stream holds more than it may, which happens without flow control only.

        The pump then receives nothing until each such stream was read, or ``shed``.
        """
        ...

    def stall(self, now: float) -> float:
        """When the first of the overfull streams is to be ``shed``, be it now."""
        ...

    def shed(self, now: float) -> Sequence[SessionStream]:
        """Reset the overfull streams whose time is up; returns them, flags in ``touched``.

        Raises ``RemoteProtocolError`` as ``receive_data`` does, when that were too many.
        """
        ...

    @property
    def can_open(self) -> bool:
        """Whether ``open_stream`` has a slot: not too many are open, or not acknowledged by the remote."""
        ...

    def open_stream(self) -> SessionStream:
        """Open a stream; its opening leaves with the first frame gathered for it.

        Raises ``ResourceLimitExceeded`` when there is no memory for what it may receive, and
        ``LocalProtocolError`` when ``can_open`` is false: also after either side's goodbye, and out of ids.
        """
        ...

    def send(self, stream: SessionStream, data: memoryview) -> int:
        """Accept bytes to send, returning how many; never waits.

        Up to the stream's send buffer they are copied. A larger write may be *held* whole by reference (then
        all of it counts as accepted, and the caller must not change it nor call ``send`` again until ``unsent``
        says no bytes are left of it). 0: no room. Raises ``LocalProtocolError`` after ``send_eof`` or a reset.
        """
        ...

    def send_copy(self, stream: SessionStream, data: memoryview) -> int:
        """As ``send``, but always copied: only what fits the stream's send buffer, and what all of them may hold."""
        ...

    def prioritize(self, stream: SessionStream, priority: Priority) -> None:
        """Give a stream its place among the others, from the next frame on; nothing for one that is over.

        Until this is called it goes with the most urgent, for its opening and negotiation not to starve.
        """
        ...

    def statistics(self, stream: SessionStream) -> StreamStatistics:
        """A look at one stream."""
        ...

    def withdraw(self, stream: SessionStream) -> int:
        """Give back what is left of a held write: how many bytes of it will not be sent."""
        ...

    def read(self, stream: SessionStream, max_bytes: int | None, now: float) -> bytes | bytearray:
        """Take received bytes and grant credit for them; empty when there are none.

        Without ``max_bytes`` (or enough of it) the receive buffer itself is handed over and a new one begun.
        """
        ...

    def unread_negotiation(self, stream: SessionStream, n: int, now: float) -> None:
        """Drop the first ``n`` received bytes, granting credit: the pump has read them (negotiation)."""
        ...

    def send_eof(self, stream: SessionStream) -> None:
        """FIN after everything accepted. Idempotent."""
        ...

    def abandon(self, stream: SessionStream, now: float) -> None:
        """The application closed it: what is unread or comes later is dropped and answered once by RST.

        Sends FIN when it was not sent yet. A stream that the remote never ends is reset after a while
        (``handle_timer``).
        """
        ...

    def reset(self, stream: SessionStream, code: int = 0) -> None:
        """RST, dropping what is buffered both ways. Idempotent; of a stream that is over only drops what is unread.

        ``code`` goes along where the protocol has a place for it.
        """
        ...

    def refused(self, now: float) -> None:
        """A stream of the remote's was reset for want of anything to do with it: that may happen only so often.

        Raises ``RemoteProtocolError`` when this is one too many, with what that means in ``receive_data``.
        """
        ...

    def close(self, code: int) -> None:
        """No stream is opened or taken any more; those open go on. GoAway with ``code``, where there is such a thing.

        Idempotent.
        """
        ...

    @property
    def closed_by_us(self) -> bool: ...

    @property
    def closed_by_remote(self) -> int | None:
        """The code of the remote's GoAway, or None. 0 also after ``receive_eof``, where there is no GoAway."""
        ...

    @property
    def live_streams(self) -> int:
        """Streams not over in both directions."""
        ...

    def next_timer(self) -> float | None:
        """When ``handle_timer`` is due, on the clock of ``now``."""
        ...

    def handle_timer(self, now: float) -> Sequence[SessionStream]:
        """Keep-alive, round-trip measuring, lingering streams. Raises ``RemoteProtocolError`` when a ping went
        unanswered too long."""
        ...

    @property
    def round_trip(self) -> float | None:
        """The least round-trip time measured, in seconds; None where none was, or can be."""
        ...
