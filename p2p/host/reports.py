"""What went wrong, counted by reason and logged at a bounded rate.

A remote can make us fail as often as it likes, so lines about it come out of a bucket of its own. Those that are
logged aloud come out of one for all remotes too: a remote may have many connections, and many names. The counters
miss nothing.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

import trio

from p2p.errors import ResourceLimitExceeded
from p2p.frozen import frozen
from p2p.limits import Limits
from p2p.resources.bucket import TokenBucket
from p2p.wire.printable import printable

logger = logging.getLogger("p2p.host")


@frozen
class HostStatistics:
    """What a host has in use now, and what went wrong since it began, by reason."""

    connections: int
    reserved: int  # connections, and attempts at one
    streams: int
    handlers: int
    pending_upgrades: int
    dials: int
    refusals: Mapping[str, int]


class Reports:
    """The counters of one host; it makes a :class:`RemoteLog` for each remote."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        #: Reasons are names in this program and of exception classes, so there are not many.
        self.counts: Counter[str] = Counter()
        self._aloud: TokenBucket | None = None

    def log(self, name: str) -> RemoteLog:
        return RemoteLog(name, self, self._limits)

    def may_log_aloud(self) -> bool:
        """Whether one more line is within ``limits.log_rate`` in any one second."""
        now = trio.current_time()
        if self._aloud is None:
            half = self._limits.log_rate / 2  # what is saved up, and what comes while it is spent
            self._aloud = TokenBucket(half, half, now)
        return self._aloud.take(now)


class RemoteLog:
    """Lines about one remote, ``limits.log_rate`` per second at most."""

    __slots__ = ("_bucket", "_counts", "_limits", "_reports", "name")

    def __init__(self, name: str, reports: Reports, limits: Limits) -> None:
        self.name = name
        self._reports = reports
        self._counts = reports.counts
        self._limits = limits
        self._bucket: TokenBucket | None = None

    def refused(self, reason: str) -> None:
        """Something was turned away by a limit or a rule of ours."""
        self._counts[reason] += 1
        if logger.isEnabledFor(logging.DEBUG) and self._may_log():
            logger.debug("%s: refused, %s", self.name, reason)

    def quiet(self, doing: str, error: BaseException) -> None:
        """A failure of the kind that remotes cause: one line for those who debug. A limit counts by its scope."""
        if isinstance(error, ResourceLimitExceeded):
            self.refused(error.scope)
            return
        self._counts[f"{doing}: {type(error).__name__}"] += 1
        if logger.isEnabledFor(logging.DEBUG) and self._may_log():
            logger.debug("%s: %s: %s", self.name, doing, self._text(error))

    def loud(self, doing: str, error: BaseException) -> None:
        """A failure that is a bug on this side, whoever set it off: with its traceback."""
        self._counts[f"{doing}: {type(error).__name__}"] += 1
        if self._may_log() and self._reports.may_log_aloud():
            logger.error("%s: %s: %s", self.name, doing, self._text(error), exc_info=error)

    def _text(self, error: BaseException) -> str:
        return f"{type(error).__name__}: {printable(str(error), self._limits.log_text)}"

    def _may_log(self) -> bool:
        now = trio.current_time()
        if self._bucket is None:
            self._bucket = TokenBucket(self._limits.log_rate, self._limits.log_rate, now)
        return self._bucket.take(now)
