"""A token bucket: so many at once, then so many per second. PURE."""

from __future__ import annotations


class TokenBucket:
    """Holds at most ``burst`` tokens, begins full, and gains ``rate`` tokens per second.

    ``now`` is any clock in seconds; one that goes backwards adds nothing.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float, n: float = 1.0) -> bool:
        """Take ``n`` tokens, or none: False when there are fewer."""
        self._refill(now)
        if self._tokens < n:
            return False
        self._tokens -= n
        return True

    def until(self, now: float, n: float = 1.0) -> float:
        """Seconds until there are ``n`` tokens, if nobody takes any: 0.0 now; with a rate of 0 it may be ``inf``."""
        self._refill(now)
        missing = n - self._tokens
        if missing <= 0:
            return 0.0
        return missing / self._rate if self._rate else float("inf")

    def reserve(self, now: float, n: float = 1.0) -> float:
        """Take ``n`` tokens, be they there or not, and return the seconds until they will have been (0.0: now).

        Whoever waits that long keeps to the rate, in the order of the calls. With a rate of 0 it may be ``inf``.
        """
        self._refill(now)
        self._tokens -= n
        if self._tokens >= 0:
            return 0.0
        return -self._tokens / self._rate if self._rate else float("inf")

    def available(self, now: float) -> float:
        """How many tokens there are; below 0 when more were reserved."""
        self._refill(now)
        return self._tokens

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
