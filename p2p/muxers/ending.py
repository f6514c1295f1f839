"""How a connection ends: when it may, for what reason, and the last word to the remote. Trio."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import trio

from p2p.abc import RawStream
from p2p.errors import ConnectionLost, NegotiationError, RemoteProtocolError
from p2p.limits import Limits
from p2p.muxers.outbox import Outbox
from p2p.muxers.session import MuxerSession


class Ending:
    """The end of one connection, from the first sign of it to the closed socket.

    ``changed`` is called when something happened that others may wait for.
    """

    __slots__ = ("_changed", "_limits", "_outbox", "_raw", "_session", "failure", "lost", "mute", "scope")

    def __init__(
        self,
        raw: RawStream,
        session: MuxerSession,
        outbox: Outbox,
        *,
        limits: Limits,
        changed: Callable[[], None],
    ) -> None:
        self._raw = raw
        self._session = session
        self._outbox = outbox
        self._limits = limits
        self._changed = changed
        #: Of the pump's tasks; None before they run.
        self.scope: trio.CancelScope | None = None
        #: What the pump will raise: the first thing that went wrong.
        self.failure: Exception | None = None
        #: Why nothing can be sent any more; "" while sending works.
        self.mute = ""
        #: Why the connection is over, for people; None while it lives.
        self.lost: str | None = None

    @property
    def closing(self) -> bool:
        """Whether it is over, or one side has said goodbye."""
        session = self._session
        return self.lost is not None or session.closed_by_us or session.closed_by_remote is not None

    @property
    def drained(self) -> bool:
        """Whether a goodbye was said and no stream is left."""
        return not self._session.live_streams and self.closing

    @property
    def finished(self) -> bool:
        """Whether it is drained, and the remote told everything."""
        return self.drained and not self._outbox.wants_flush

    @property
    def reason(self) -> str:
        """Why it ended, for those who were using it."""
        if isinstance(self.failure, ConnectionLost):
            return self.failure.reason
        return str(self.failure or "closed")

    def fail(self, failure: Exception) -> None:
        """Take the first failure as the reason, and stop both tasks."""
        if self.failure is None and self.lost is None:
            self.failure = failure
        self.stop()
        self._changed()

    def stop(self) -> None:
        """Stop both tasks of the pump, should they run."""
        if self.scope is not None:
            self.scope.cancel()

    def transport_ended(self, reason: str) -> None:
        """No more bytes come: as it should be after a goodbye that was drained, and a failure otherwise."""
        if not self.drained:
            self.fail(ConnectionLost(self.mute or reason or "the transport broke"))

    def cannot_send(self, error: Exception) -> None:
        """Sending failed. What the remote said before it went may still be there to read, for a moment."""
        self.mute = str(error) or "the transport broke"
        if self.scope is not None:
            self.scope.deadline = min(self.scope.deadline, trio.current_time() + self._limits.goaway)

    async def close_socket(self) -> None:
        """With the last word before it, when the remote broke the rules: it is told so."""
        try:
            await self._say_why()
        finally:
            self._outbox.drop()  # streams may be kept for long, to be read
            with trio.CancelScope(deadline=trio.current_time() + self._limits.goaway, shield=True):
                await self._raw.aclose()

    async def _say_why(self) -> None:
        if isinstance(self.failure, (RemoteProtocolError, NegotiationError)):
            with trio.CancelScope(deadline=trio.current_time() + self._limits.goaway, shield=True):
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # it need not hear it
                    while self._outbox.blocked:
                        await self._raw.wait_writable()
                        self._outbox.send_refused(trio.current_time())
                    self._outbox.flush(trio.current_time())
