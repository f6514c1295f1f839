"""Pings: the round-trip time, and whether the remote is still there. PURE.

One ping is under way at a time. The round trip is measured soon after streams begin to move, and again now and
then while they do; an idle connection is pinged once per ``keep_alive`` and for nothing else. Whatever is received
proves that the remote lives, so a pong that waits behind much data costs nobody the connection.
"""

from __future__ import annotations

from p2p.errors import INTERNAL_ERROR, RemoteProtocolError
from p2p.limits import YamuxLimits
from p2p.muxers.yamux.frames import MAX_U32


class KeepAlive:
    """The books of our pings. Times are seconds on the clock of ``now``."""

    __slots__ = (
        "_at",
        "_heard",
        "_interval",
        "_measure_at",
        "_number",
        "_rtt_interval",
        "_state",
        "_timeout",
        "round_trip",
    )

    _IDLE, _WAITING, _SENT = range(3)

    def __init__(self, limits: YamuxLimits, now: float) -> None:
        self._interval = limits.keep_alive
        self._timeout = limits.ping_timeout
        self._rtt_interval = limits.rtt_interval
        self._state = self._IDLE
        self._number = 0
        self._at = now
        self._heard = now
        self._measure_at = now
        #: The least measured, in seconds: a ping that waited behind data tells more than the path.
        self.round_trip: float | None = None

    def heard(self, now: float) -> None:
        """Something was received."""
        self._heard = now

    def moved(self, now: float) -> None:
        """Streams moved: measure the round trip when that is due."""
        if now >= self._measure_at and self._state == self._IDLE:
            self._ask(now)

    @property
    def waiting(self) -> bool:
        """Whether a ping is to be sent."""
        return self._state == self._WAITING

    def send(self, now: float) -> int:
        """The ping is put into a frame now; returns its value."""
        self._state = self._SENT
        self._at = now
        return self._number

    def answered(self, value: int, now: float) -> None:
        """A pong came. Those nobody asked for (late, repeated, guessed) are ignored."""
        if self._state != self._SENT or value != self._number:
            return
        self._state = self._IDLE
        self._measure_at = now + self._rtt_interval
        elapsed = now - self._at
        if self.round_trip is None or elapsed < self.round_trip:
            self.round_trip = elapsed

    def due(self) -> float:
        """When ``handle_timer`` has something to do."""
        if self._state == self._IDLE:
            return self._heard + self._interval
        return max(self._at, self._heard + self._interval) + self._timeout

    def handle_timer(self, now: float) -> None:
        """Ping a silent remote; raise ``RemoteProtocolError`` when it stays silent."""
        if now < self.due():
            return
        if self._state == self._IDLE:
            self._ask(now)
        else:
            raise RemoteProtocolError(
                f"expected a pong within {self._timeout:g} seconds, and nothing came", code=INTERNAL_ERROR
            )

    def _ask(self, now: float) -> None:
        self._state = self._WAITING
        self._number = (self._number + 1) & MAX_U32
        self._at = now
