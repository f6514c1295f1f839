"""Which stream ids the remote has used, whatever the protocol. PURE.

Ids rise, but the first frames of streams may overtake each other: go takes the id before it queues for the wire,
and rust sends nothing for a stream before its first bytes. So an id below the highest may still be new. Those
skipped are remembered, the newest of them only, since the backlog of unacknowledged streams bounds how many can
be outstanding.
"""

from __future__ import annotations

from itertools import islice


class RecentIds:
    """The last ``capacity`` ids added, oldest forgotten first."""

    __slots__ = ("_capacity", "_ids")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._ids: dict[int, None] = {}

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, stream_id: int) -> None:
        self._ids.pop(stream_id, None)
        self._ids[stream_id] = None
        if len(self._ids) > self._capacity:
            del self._ids[next(iter(self._ids))]

    def extend(self, new: range) -> None:
        """Add ids that are not here. A frame of twelve bytes may name a whole backlog of them, so this is quick."""
        self._ids.update(dict.fromkeys(new))
        for oldest in tuple(islice(self._ids, max(0, len(self._ids) - self._capacity))):
            del self._ids[oldest]

    def discard(self, stream_id: int) -> bool:
        """Forget it; False when it was not there."""
        if stream_id in self._ids:
            del self._ids[stream_id]
            return True
        return False


class RemoteIds:
    """The ids of streams the remote opens: ``first``, ``first + step``, …"""

    __slots__ = ("_backlog", "_first", "_highest", "_skipped", "_step")

    def __init__(self, first: int, backlog: int, *, step: int) -> None:
        self._first = first
        self._step = step
        self._highest = first - step
        self._backlog = backlog
        self._skipped = RecentIds(backlog)

    def belongs(self, stream_id: int) -> bool:
        """Whether the remote may open a stream of this id at all."""
        return stream_id >= self._first and not (stream_id - self._first) % self._step

    def within(self, stream_id: int) -> bool:
        """Whether it is not above the highest id the remote opened."""
        return stream_id <= self._highest

    def open(self, stream_id: int) -> bool:
        """Take note that the remote opens ``stream_id``; False when it did so before."""
        if stream_id <= self._highest:
            return self._skipped.discard(stream_id)
        step = self._step
        oldest = max(self._highest + step, stream_id - step * self._backlog)
        self._skipped.extend(range(oldest, stream_id, step))
        self._highest = stream_id
        return True

    def drop(self, stream_id: int) -> None:
        """The remote reset a stream that it never opened here: its id is used up."""
        self._skipped.discard(stream_id)
