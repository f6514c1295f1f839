"""The streams of one session, whatever the protocol: how they end, and are counted. PURE.

Each protocol adds how streams begin.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic

from p2p.errors import RemoteProtocolError
from p2p.limits import MuxerLimits
from p2p.muxers.books import S
from p2p.muxers.ids import RecentIds
from p2p.muxers.sending import SendQueue
from p2p.resources.bucket import TokenBucket
from p2p.resources.memory import MemoryGrant


class StreamTable(Generic[S]):
    """Live streams by key, and what outlives them: resets the remote need not be told again."""

    __slots__ = (
        "_bounds",
        "_budget",
        "_memory",
        "_per_stream",
        "_queue",
        "answered",
        "inbound",
        "lingering",
        "live",
    )

    def __init__(
        self, limits: MuxerLimits, queue: SendQueue[S], memory: MemoryGrant, per_stream: int
    ) -> None:
        """``per_stream`` bytes of ``memory`` are what each stream may receive at first."""
        self._queue = queue
        self._memory = memory
        self._per_stream = per_stream
        self._bounds = limits
        #: Of resets; None until the first.
        self._budget: TokenBucket | None = None
        self.live: dict[int, S] = {}
        #: Live streams that the remote opened.
        self.inbound = 0
        #: Keys of streams ended by a reset of ours: what was on its way then is dropped without another.
        self.answered = RecentIds(limits.remembered_resets)
        #: Closed here and not ended by the remote, in the order of their deadlines.
        self.lingering: OrderedDict[int, S] = OrderedDict()

    # --- beginning ------------------------------------------------------------------------------------

    def make_room(self) -> bool:
        """Whether the remote may open one more; then the memory for it is reserved, and it is to be added."""
        return self.inbound < self._bounds.max_inbound_streams and self._memory.reserve(self._per_stream)

    def require_room(self) -> None:
        """The same for one of ours. Raises ``ResourceLimitExceeded``."""
        self._memory.require(self._per_stream)

    def add(self, stream: S) -> S:
        """A stream begins, with the memory that was reserved for it."""
        stream.reserved = self._per_stream
        self.live[stream.key] = stream
        if stream.inbound:
            self.inbound += 1
        self._queue.begin(stream)
        return stream

    # --- ending ---------------------------------------------------------------------------------------

    def end(self, stream: S) -> None:
        """Forget a live stream. What was received of it stays readable."""
        stream.over = True
        stream.takes_data = False
        del self.live[stream.key]
        self.lingering.pop(stream.key, None)
        self._queue.forget(stream)
        if stream.inbound:
            self.inbound -= 1
        if not self.live:
            # An emptied dict keeps its table, until it is cleared: an idle connection would hold some of them.
            self.live.clear()
            self.lingering.clear()
        self.settle(stream)

    def settle(self, stream: S) -> None:
        """Give back the memory of a stream that receives no more, and that nothing is left to be read of."""
        if stream.reserved and not stream.received and stream.receives_no_more:
            self._memory.release(stream.reserved)
            stream.reserved = 0

    def reset(self, stream: S, code: int) -> None:
        """End a live stream by a reset, dropping what is buffered both ways."""
        if not stream.unknown:  # else the remote has not heard of it, and need not
            self._queue.reset(stream.key, code)
            if not stream.eof_received:
                self.answered.add(stream.key)
        stream.received = bytearray()
        self._queue.drop(stream)
        self.end(stream)

    def was_reset(self, stream: S, code: int, now: float) -> None:
        """The remote reset a live stream."""
        if stream.inbound:
            # The work its opening caused here is done for nothing (CVE-2023-44487).
            self.spend_reset(now)
        stream.reset_code = code
        self._queue.drop(stream)
        self.end(stream)

    def stop_remote(self, stream: S) -> None:
        """The remote sends what nobody will read: a reset, once what was accepted, and FIN, are written."""
        if stream.fin_written:
            self.reset(stream, 0)
        else:
            stream.reset_after_fin = True

    def fin_written(self, stream: S) -> None:
        """FIN is in a frame: that ends the stream, or leaves its end to the remote."""
        if stream.eof_received:
            self.end(stream)
        elif stream.reset_after_fin:
            self.reset(stream, 0)

    def linger(self, stream: S, now: float) -> None:
        """Give the remote a while to end a stream that was closed here."""
        stream.linger_until = now + self._bounds.closed_linger
        self.lingering[stream.key] = stream

    @property
    def first_linger(self) -> float:
        """When the first of ``lingering`` has had its while; infinite when there is none."""
        return next(iter(self.lingering.values())).linger_until if self.lingering else float("inf")

    def end_lingering(self, now: float) -> list[S]:
        """Reset those that had theirs; returns them."""
        over: list[S] = []
        while self.first_linger <= now:
            stream = next(iter(self.lingering.values()))
            self.reset(stream, 0)
            over.append(stream)
        return over

    # --- bounds ---------------------------------------------------------------------------------------

    def spend_reset(self, now: float) -> None:
        """The remote caused a reset; raises ``RemoteProtocolError`` when that is one too many."""
        if self._budget is None:
            self._budget = TokenBucket(self._bounds.reset_rate, self._bounds.reset_burst, now)
        if not self._budget.take(now):
            raise RemoteProtocolError("expected fewer streams refused, reset, or used after their end")

    def refuse(self, key: int, now: float) -> None:
        """Answer a frame of a stream that has no books by a reset."""
        self.spend_reset(now)
        self.answered.add(key)
        self._queue.reset(key, 0)
