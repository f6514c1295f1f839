"""Unix sockets as the suites want them: at an address that stands for any that is free."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from itertools import count

from p2p.transports.sockets import SocketListener
from p2p.transports.unix import Unix
from p2p.wire.addresses import Multiaddr


class AnyPath(Unix):
    """Listening on ``any`` takes a new path beside it."""

    def __init__(self, any: Multiaddr) -> None:
        super().__init__()
        self._any = any
        self._numbers = count()

    def listen(self, addr: Multiaddr) -> AbstractAsyncContextManager[SocketListener]:
        if addr == self._any:
            addr = Multiaddr(f"{addr}{next(self._numbers)}")
        return super().listen(addr)


@contextmanager
def unix_paths() -> Iterator[tuple[AnyPath, Multiaddr]]:
    """A transport, and the address that is any, in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="p2p-") as directory:
        any = Multiaddr(f"/unix{directory}/socket")
        yield AnyPath(any), any
