"""The sockets of a host's dials: when there are no more to be had, an attempt waits for one that another gives back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from p2p.errors import ResourceLimitExceeded
from p2p.resources.scopes import Attempt, ConnectionScope


class Sockets:
    """All attempts of one host that have a socket, and those that wait for one."""

    def __init__(self) -> None:
        self._held = 0
        self._waiting = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def one(self, scope: ConnectionScope) -> AsyncIterator[Attempt]:
        """A socket charged to ``scope`` until the context is left, or as long as the connection it becomes.

        Waits while the limit is used up and other attempts hold some of it, since those end soon. With none of them
        in the way raises ``ResourceLimitExceeded``. Cancelled: nothing is charged.
        """
        attempt = await self._take(scope)
        self._held += 1
        try:
            yield attempt
        finally:
            attempt.close()
            self._held -= 1
            self._waiting.unpark()

    async def _take(self, scope: ConnectionScope) -> Attempt:
        while True:
            try:
                return scope.attempt()
            except ResourceLimitExceeded:
                if not self._held:
                    self._waiting.unpark()  # whoever is next would wait for nobody, too
                    raise
            await self._waiting.park()
