"""Events on their way to those who subscribed: bounded, and never waited for."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from p2p.events import Event, EventsLost


class Subscription(trio.abc.ReceiveChannel[Event]):
    """The events since the subscription, in order.

    A receiver more than ``backlog`` events behind loses the oldest, and gets one :class:`EventsLost` in their
    place.
    """

    def __init__(self, backlog: int) -> None:
        self._events: deque[Event] = deque(maxlen=backlog)
        self._lost = 0
        self._finished = False
        self._closed = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def receive(self) -> Event:
        """Cancelled: nothing is lost. Raises ``trio.EndOfChannel`` when the host is gone."""
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while (event := self._next()) is None:
            await self._waiting.park()
            waited = True
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return event

    def receive_nowait(self) -> Event:
        """Raises ``trio.WouldBlock`` when there is none."""
        event = self._next()
        if event is None:
            raise trio.WouldBlock
        return event

    async def aclose(self) -> None:
        self._closed = True
        self._events.clear()
        self._waiting.unpark_all()
        await trio.lowlevel.checkpoint()

    def put(self, event: Event) -> None:
        if self._closed:
            return
        if len(self._events) == self._events.maxlen:
            self._lost += 1
        self._events.append(event)
        self._waiting.unpark()

    def finish(self) -> None:
        """No more events come."""
        self._finished = True
        self._waiting.unpark_all()

    def _next(self) -> Event | None:
        if self._closed:
            raise trio.ClosedResourceError("this subscription was closed")
        if self._lost:
            lost, self._lost = self._lost, 0
            return EventsLost(lost)
        if self._events:
            return self._events.popleft()
        if self._finished:
            raise trio.EndOfChannel
        return None


class Subscriptions:
    """All subscriptions to one host's events."""

    def __init__(self, backlog: int) -> None:
        self._backlog = backlog
        self._open: dict[Subscription, None] = {}
        self._finished = False

    def emit(self, event: Event) -> None:
        for subscription in self._open:
            subscription.put(event)

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[trio.abc.ReceiveChannel[Event]]:
        subscription = Subscription(self._backlog)
        if self._finished:
            subscription.finish()
        self._open[subscription] = None
        try:
            yield subscription
        finally:
            del self._open[subscription]
            await trio.aclose_forcefully(subscription)

    def finish(self) -> None:
        self._finished = True
        for subscription in self._open:
            subscription.finish()
