"""Raw streams on the standard library's non-blocking sockets, whatever their family.

Trio's own socket layer is left out on purpose: it has no ``try_send``, and ``trio.SocketStream`` copies. The
kernel is asked directly, and Trio only to wait.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import trio

from p2p.wire.addresses import Multiaddr

# What accept(2) reports of a connection that died in the queue, or of the network under it.
_ACCEPT_AGAIN = {
    errno.ECONNABORTED,
    errno.ECONNRESET,
    errno.EPERM,
    errno.EPROTO,
    errno.ENOPROTOOPT,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ETIMEDOUT,
    errno.EOPNOTSUPP,
}
_ACCEPT_LATER = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_DISCARD_READ = 64 * 1024


class SocketStream:
    """One connected, non-blocking stream socket as a raw stream, whose socket it owns.

    ``discard``: received bytes thrown away at close, at most.
    """

    __slots__ = ("_local_addr", "_most_discarded", "_remote_addr", "_socket")

    def __init__(
        self, sock: socket.socket, local_addr: Multiaddr, remote_addr: Multiaddr, *, discard: int
    ) -> None:
        self._socket = sock
        self._local_addr = local_addr
        self._remote_addr = remote_addr
        self._most_discarded = discard

    def __repr__(self) -> str:
        closed = " closed" if self._socket.fileno() == -1 else ""
        return f"<SocketStream {self._local_addr} to {self._remote_addr}{closed}>"

    @property
    def local_addr(self) -> Multiaddr:
        return self._local_addr

    @property
    def remote_addr(self) -> Multiaddr:
        return self._remote_addr

    async def receive_into(self, buffer: memoryview) -> int:
        if not len(buffer):
            raise ValueError("receiving into an empty buffer would look like the end of the stream")
        while True:
            self._check()
            # Waiting first makes this a checkpoint, and leaves no suspension after the bytes are taken.
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._socket.recv_into(buffer)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._broken(error) from error

    def try_send(self, data: memoryview) -> int:
        self._check()
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._broken(error) from error

    async def wait_writable(self) -> None:
        self._check()
        await trio.lowlevel.wait_writable(self._socket)

    async def aclose(self) -> None:
        """Close at once. The kernel goes on sending what it was handed."""
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)
            try:
                self._discard()
            finally:
                self._socket.close()
        await trio.lowlevel.checkpoint()

    def _discard(self) -> None:
        # A socket closed with unread bytes sends RST, not FIN, and the kernel forgets what it had to send.
        scratch = bytearray(_DISCARD_READ)
        try:
            self._socket.shutdown(socket.SHUT_WR)
            for _ in range(0, self._most_discarded, _DISCARD_READ):
                if not self._socket.recv_into(scratch):
                    return
        except OSError:
            return  # nothing is left to read, or the peer is gone: either way it can be closed

    def _check(self) -> None:
        if self._socket.fileno() == -1:
            raise trio.ClosedResourceError("this end of the stream was closed")

    def _broken(self, error: OSError) -> trio.BrokenResourceError:
        return trio.BrokenResourceError(f"connection to {self._remote_addr}: {error.strerror or error}")


class SocketListener:
    """A listening, non-blocking socket; the context manager that made it closes it.

    ``welcome`` makes a stream of an accepted socket, which it then owns, and the name of the peer; it raises
    ``OSError`` when the connection died since. ``backoff``: seconds until accepting is tried again when there was no
    descriptor left.
    """

    def __init__(
        self,
        sock: socket.socket,
        addr: Multiaddr,
        welcome: Callable[[socket.socket, Any], SocketStream],
        *,
        backoff: float,
    ) -> None:
        self._socket = sock
        self._addr = addr
        self._welcome = welcome
        self._backoff = backoff

    def __repr__(self) -> str:
        return f"<SocketListener {self._addr}{' closed' if self._socket.fileno() == -1 else ''}>"

    @property
    def addr(self) -> Multiaddr:
        """The address bound: a port 0 is resolved, a wildcard host stays (see ``interfaces.expand``)."""
        return self._addr

    async def accept(self) -> SocketStream:
        """Raises ``trio.ClosedResourceError`` after ``aclose``. Cancelled: nothing was accepted."""
        while True:
            if self._socket.fileno() == -1:
                raise trio.ClosedResourceError("this listener was closed")
            await trio.lowlevel.wait_readable(self._socket)
            try:
                sock, peer = self._socket.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _ACCEPT_LATER:
                    # Nothing tells when a descriptor is free again.
                    await trio.sleep(self._backoff)
                elif error.errno not in _ACCEPT_AGAIN:
                    raise
                continue
            try:
                return self._welcome(sock, peer)
            except OSError:
                sock.close()  # it died since, which some kernels report here

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
