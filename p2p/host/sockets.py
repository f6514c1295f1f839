"""The sockets of a host's dials: when there are no more to be had, an attempt waits for one that another gives back."""

from __future__ import annotations

import trio

from p2p.errors import ResourceLimitExceeded
from p2p.resources.scopes import Attempt, ConnectionScope


class Sockets:
    """All attempts of one host that have a socket, and those that wait for one."""

    def __init__(self) -> None:
        self._held = 0
        self._waiting = trio.lowlevel.ParkingLot()

    async def take(self, scope: ConnectionScope) -> Attempt:
        """A socket charged to ``scope`` until it is given back, or as long as the connection it becomes.

        Waits while the limit is used up and other attempts hold some of it, since those end soon. With none of them
        in the way raises ``ResourceLimitExceeded``. Cancelled: nothing is charged.
        """
        while True:
            try:
                attempt = scope.attempt()
            except ResourceLimitExceeded:
                if not self._held:
                    self._waiting.unpark()  # whoever is next would wait for nobody, too
                    raise
            else:
                self._held += 1
                return attempt
            await self._waiting.park()

    def give_back(self, attempt: Attempt) -> None:
        """The attempt is over, once, whatever came of it."""
        attempt.close()
        self._held -= 1
        self._waiting.unpark()
