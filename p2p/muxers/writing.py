"""When the bytes of a connection leave: at once, or a moment later with others, and what the writer does. Trio.

The first thing said after a silence, or after the remote said something, leaves at once. What is said within
:data:`JOIN` seconds after that waits for more, as long as there is more: the writer sends it when nobody has said
anything for :data:`PATIENCE` turns of the scheduler, and whoever is there sends it when the time is up or a batch is
full. So many small writes share a frame and a system call, and a lone one waits for nobody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn, Protocol

import trio

from p2p.abc import RawStream
from p2p.errors import ConnectionLost, RemoteProtocolError
from p2p.limits import Limits
from p2p.muxers.ending import Ending
from p2p.muxers.outbox import Outbox
from p2p.muxers.session import MuxerSession, SessionStream

#: Seconds that what is said may wait for more of it. A batch is full in that time, if it is written in bulk.
JOIN = 0.000_5
#: Turns of the scheduler in a row that nobody says anything in before the writer sends.
PATIENCE = 2


class Pump(Protocol):
    """What the writer asks of its connection. One object, since five methods would take a third of a kilobyte."""

    def changed(self) -> None:
        """Others may go on."""
        ...

    def tell(self, touched: Sequence[SessionStream]) -> None:
        """The session touched these streams of itself."""
        ...

    def refuse(self, error: RemoteProtocolError) -> None:
        """The remote broke the rules, which ends the connection."""
        ...

    def first_expiry(self) -> float:
        """When ``expire`` is to be called."""
        ...

    def expire(self, now: float) -> None:
        """It is time."""
        ...


class Writing:
    """The sending half of the pump. All but :meth:`run` is called from anywhere, never waits and never raises."""

    __slots__ = (
        "_ending",
        "_frame",
        "_gives_up",
        "_joins_until",
        "_leaves_by",
        "_limits",
        "_outbox",
        "_pump",
        "_raw",
        "_said",
        "_session",
        "_task",
        "_timer",
        "joining",
    )

    def __init__(
        self,
        raw: RawStream,
        session: MuxerSession,
        outbox: Outbox,
        ending: Ending,
        pump: Pump,
        *,
        limits: Limits,
    ) -> None:
        self._raw = raw
        self._session = session
        self._outbox = outbox
        self._frame = outbox.frame
        self._ending = ending
        self._limits = limits
        self._pump = pump
        #: The writer while it rests, and the timers of the connection.
        self._task: trio.lowlevel.Task | None = None
        self._timer: trio.CancelScope | None = None
        #: When the socket has refused everything for too long.
        self._gives_up = math.inf
        #: Until when what is said waits for more, whether something does, when that leaves at the latest, and a count
        #: that tells when there is more.
        self._joins_until = 0.0
        self.joining = False
        self._leaves_by = 0.0
        self._said = 0

    # --- saying something -----------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what the socket takes now; the writer sends the rest.

        A socket that broke ends the connection, which the next operation of each stream tells.
        """
        if self._outbox.wants_flush:
            self._flush(trio.current_time())
        if self._ending.finished:
            self._ending.stop()

    def _flush(self, now: float) -> None:
        """The same, where there is something to send."""
        if self._ending.mute or self._ending.lost is not None:
            return
        self.joining = False
        try:
            everything = self._outbox.flush(now)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._ending.cannot_send(error)
            return
        self._joins_until = now + JOIN
        if not everything:
            self._wake()
        self._pump.changed()

    def hurry(self) -> None:
        """Send what waits, should anything, and unless the writer is about to."""
        if not self.joining and self._outbox.wants_flush:
            self._flush(trio.current_time())

    def push(self, stream: SessionStream) -> None:
        """An application gave ``stream`` something: send it, or let it wait for more. Full frames are sealed now."""
        now = trio.current_time()
        if now >= self._joins_until:
            self._flush(now)
            return
        if stream.holding or self._session.copied >= self._frame:
            self._collect(now, stream)
            if stream.holding:  # its task waits: nothing more comes of it
                self.joining = False
                self._wake()
                return
        self._said += 1
        if not self.joining:
            self._begin_to_join(now)

    def _collect(self, now: float, stream: SessionStream) -> None:
        if self._ending.mute or self._ending.lost is not None:
            return
        try:
            self._outbox.collect(now, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._ending.cannot_send(error)
            return
        self._pump.changed()

    def soon(self) -> None:
        """There is something to send, and it may wait for more."""
        self._said += 1
        if not self.joining:
            self._begin_to_join(trio.current_time())

    def _begin_to_join(self, now: float) -> None:
        self.joining = True
        self._leaves_by = now + JOIN
        self._wake()

    def heard(self) -> None:
        """The remote said something: what is said next may be the answer it waits for."""
        self._joins_until = 0.0

    def wake_by(self, due: float) -> None:
        """A timer was set."""
        if self._timer is not None and due < self._timer.deadline:
            self._timer.deadline = due

    def answered(self) -> None:
        """A ping was, perhaps: what was to be done for want of a pong need wake nobody."""
        if self._timer is not None:
            self._timer.deadline = self._next_timer()

    def _wake(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    # --- the writer -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send what was refused and what waits for more, and keep the timers, until cancelled or the socket breaks."""
        try:
            self.flush()
            while True:
                with trio.CancelScope(deadline=self._next_timer()) as self._timer:
                    await self._work()
                self._timer = None
                self._keep_time()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._ending.cannot_send(error)
        except RemoteProtocolError as error:
            self._pump.refuse(error)

    async def _work(self) -> NoReturn:
        while True:
            if self._outbox.blocked:
                await self._send_refused()
            elif self.joining:
                await self._join()
            elif self._outbox.wants_flush and not self._ending.mute:
                self.flush()
                await trio.lowlevel.checkpoint()
            else:
                await self._park()

    def _keep_time(self) -> None:
        """A timer is due, or was."""
        now = trio.current_time()
        self._pump.expire(now)
        if now >= self._gives_up:
            self._ending.fail(ConnectionLost(f"the remote took no bytes for {self._limits.write:g} seconds"))
        elif not self._outbox.blocked:
            due = self._session.next_timer()
            if due is not None and due <= now:
                self._pump.tell(self._session.handle_timer(now))
            self.flush()

    async def _send_refused(self) -> None:
        if self._gives_up == math.inf:
            self._gives_up = trio.current_time() + self._limits.write
        assert self._timer is not None
        self._timer.deadline = self._next_timer()
        await self._raw.wait_writable()
        self._gives_up = math.inf
        self._outbox.send_refused(trio.current_time())
        if not self._outbox.blocked:
            self.flush()
        self._timer.deadline = self._next_timer()
        self._pump.changed()

    async def _join(self) -> None:
        idle = 0
        while self.joining and idle < PATIENCE:
            said = self._said
            await trio.lowlevel.checkpoint()
            if said == self._said:
                idle += 1
            elif trio.current_time() < self._leaves_by:
                idle = 0
            else:
                break  # whoever writes sees to that, but not everything that is said is a write
        if self.joining:
            self.joining = False
            self.flush()

    async def _park(self) -> None:
        self._task = trio.lowlevel.current_task()

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _next_timer(self) -> float:
        first = self._pump.first_expiry()
        if self._outbox.blocked:
            # Not for the session's: what they say cannot leave, and one that is overdue would cancel every wait.
            # Nor can whoever only adapts a stream be cancelled there and go on.
            return min(first, self._gives_up)
        due = self._session.next_timer()
        return first if due is None else min(first, due)
