"""TCP: raw streams on the standard library's non-blocking sockets.

Trio's own socket layer is left out on purpose: it has no ``try_send``, and ``trio.SocketStream`` copies. The
kernel is asked directly, and Trio only to wait.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from p2p.errors import InvalidAddress
from p2p.limits import TCP_LIMITS, TCPLimits
from p2p.transports.socket_addr import from_socket, is_socket_addr, to_socket
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
_CONNECTING = {0, errno.EINPROGRESS, errno.EWOULDBLOCK}
_DISCARD_READ = 64 * 1024


class TCP:
    """Dials and listens on ``/ip4/HOST/tcp/PORT`` and ``/ip6/HOST/tcp/PORT``; names are not its job."""

    def __init__(self, limits: TCPLimits = TCP_LIMITS) -> None:
        self._limits = limits

    def can_dial(self, addr: Multiaddr) -> bool:
        return is_socket_addr(addr, "tcp")

    def can_listen(self, addr: Multiaddr) -> bool:
        return is_socket_addr(addr, "tcp")

    async def dial(self, addr: Multiaddr) -> TCPStream:
        """Connect, for as long as the caller lets it take.

        Raises ``OSError`` as connect(2) does, ``InvalidAddress`` for an address that is not TCP over IP or
        has port 0. Cancelled: the socket is closed.
        """
        family, host, port = to_socket(addr, "tcp")
        if port == 0:
            raise InvalidAddress(f"{addr} has port 0, which nobody listens on")
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            _prepare(sock, self._limits)
            await _connect(sock, host, port)
            return TCPStream(sock, addr, self._limits)
        except BaseException:
            sock.close()
            raise

    def listen(self, addr: Multiaddr) -> AbstractAsyncContextManager[TCPListener]:
        """Listen until the context is left; connections not accepted by then are reset by the kernel.

        Entering raises ``OSError`` as bind(2) and listen(2) do, and ``InvalidAddress``. Port 0: any free one.
        """
        return self._listen(addr)

    @asynccontextmanager
    async def _listen(self, addr: Multiaddr) -> AsyncIterator[TCPListener]:
        family, host, port = to_socket(addr, "tcp")
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            if sys.platform != "win32":  # there it means that others may take the port over
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # or binding 0.0.0.0 beside :: fails
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            sock.listen(self._limits.backlog)
            listener = TCPListener(sock, self._limits)
            try:
                yield listener
            finally:
                listener.close()


class TCPStream:
    """One TCP connection as a raw stream."""

    __slots__ = ("_limits", "_local_addr", "_remote_addr", "_socket")

    def __init__(self, sock: socket.socket, remote_addr: Multiaddr, limits: TCPLimits) -> None:
        self._socket = sock
        self._limits = limits
        self._remote_addr = remote_addr
        host, port = sock.getsockname()[:2]
        self._local_addr = from_socket(host, port, "tcp")

    def __repr__(self) -> str:
        closed = " closed" if self._socket.fileno() == -1 else ""
        return f"<TCPStream {self._local_addr} to {self._remote_addr}{closed}>"

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
            for _ in range(0, self._limits.discard, _DISCARD_READ):
                if not self._socket.recv_into(scratch):
                    return
        except OSError:
            return  # nothing is left to read, or the peer is gone: either way it can be closed

    def _check(self) -> None:
        if self._socket.fileno() == -1:
            raise trio.ClosedResourceError("this end of the stream was closed")

    def _broken(self, error: OSError) -> trio.BrokenResourceError:
        return trio.BrokenResourceError(f"connection to {self._remote_addr}: {error.strerror or error}")


class TCPListener:
    """A listening socket; the context manager that made it closes it."""

    def __init__(self, sock: socket.socket, limits: TCPLimits) -> None:
        self._socket = sock
        self._limits = limits
        host, port = sock.getsockname()[:2]
        self._addr = from_socket(host, port, "tcp")

    def __repr__(self) -> str:
        return f"<TCPListener {self._addr}{' closed' if self._socket.fileno() == -1 else ''}>"

    @property
    def addr(self) -> Multiaddr:
        """The address bound: a port 0 is resolved, a wildcard host stays (see ``interfaces.expand``)."""
        return self._addr

    async def accept(self) -> TCPStream:
        """Raises ``trio.ClosedResourceError`` after ``aclose``. Cancelled: nothing was accepted."""
        while True:
            if self._socket.fileno() == -1:
                raise trio.ClosedResourceError("this listener was closed")
            await trio.lowlevel.wait_readable(self._socket)
            try:
                sock, (host, port, *_) = self._socket.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _ACCEPT_LATER:
                    # Nothing tells when a descriptor is free again.
                    await trio.sleep(self._limits.accept_backoff)
                elif error.errno not in _ACCEPT_AGAIN:
                    raise
                continue
            try:
                _prepare(sock, self._limits)
                return TCPStream(sock, from_socket(host, port, "tcp"), self._limits)
            except OSError:
                sock.close()  # it died since, which some kernels report here

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        if self._socket.fileno() != -1:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


async def _connect(sock: socket.socket, host: str, port: int) -> None:
    code = sock.connect_ex((host, port))
    if code not in _CONNECTING:
        raise OSError(code, os.strerror(code))
    await trio.lowlevel.wait_writable(sock)
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
    if sock.getsockname() == sock.getpeername():
        # With nobody listening on a port of the ephemeral range, the kernel may join a socket to itself.
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def _prepare(sock: socket.socket, limits: TCPLimits) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "darwin":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPALIVE, limits.keep_alive)
    else:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limits.keep_alive)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, limits.keep_alive)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.unsent)
