"""Raw streams within one process, at addresses ``/memory/N`` (multiaddr protocol 777).

Numbers mean something within one :class:`MemoryHub` only; who shares a hub can reach each other.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from p2p.errors import InvalidAddress
from p2p.transports.pipe import Pipe, PipeListener, PipeStream
from p2p.wire.addresses import Multiaddr, parts

#: What one direction holds before it takes no more, about a socket's buffer.
BUFFER = 64 * 1024


class MemoryHub:
    """Where memory transports meet."""

    def __init__(self) -> None:
        self._listeners: dict[int, PipeListener] = {}
        self._last = 0

    def _free_port(self) -> int:
        # Each number is given out once, so that an address says which dial or listener it was.
        self._last += 1
        while self._last in self._listeners:
            self._last += 1
        return self._last


class Memory:
    """Dials and listens on ``/memory/N`` of ``hub``; listening on 0 takes a free number."""

    def __init__(self, hub: MemoryHub, *, buffer: int = BUFFER) -> None:
        self._hub = hub
        self._buffer = buffer

    def can_dial(self, addr: Multiaddr) -> bool:
        return [part.protocol for part in parts(addr)] == ["memory"]

    def can_listen(self, addr: Multiaddr) -> bool:
        return self.can_dial(addr)

    async def dial(self, addr: Multiaddr) -> PipeStream:
        """Raises ``ConnectionRefusedError`` when nobody listens there or too many wait to be accepted.

        Cancelled: nobody was reached.
        """
        port = self._port(addr)
        await trio.lowlevel.checkpoint()
        listener = self._hub._listeners.get(port)
        if listener is None or not listener.has_room:
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"{os.strerror(errno.ECONNREFUSED)}: {addr}")
        local = Multiaddr(f"/memory/{self._hub._free_port()}")
        there, back = Pipe(self._buffer), Pipe(self._buffer)
        listener.offer(PipeStream(there, back, addr, local))
        return PipeStream(back, there, local, addr)

    def listen(self, addr: Multiaddr) -> AbstractAsyncContextManager[PipeListener]:
        """Listen until the context is left; streams not accepted by then are reset.

        Entering raises ``OSError`` (EADDRINUSE) for a number taken, and ``InvalidAddress``.
        """
        return self._listen(addr)

    @asynccontextmanager
    async def _listen(self, addr: Multiaddr) -> AsyncIterator[PipeListener]:
        port = self._port(addr) or self._hub._free_port()
        if port in self._hub._listeners:
            raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: {addr}")
        listener = PipeListener(Multiaddr(f"/memory/{port}"))
        self._hub._listeners[port] = listener
        try:
            yield listener
        finally:
            del self._hub._listeners[port]
            listener.close()

    def _port(self, addr: Multiaddr) -> int:
        if not self.can_dial(addr):
            raise InvalidAddress(f"{addr} is not of the form /memory/N")
        (_, number), *_ = parts(addr)
        return int(number or 0)
