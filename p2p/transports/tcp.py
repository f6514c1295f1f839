"""TCP: raw streams between machines, at ``/ip4/HOST/tcp/PORT`` and ``/ip6/HOST/tcp/PORT``."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from p2p.errors import InvalidAddress
from p2p.limits import MIB, TCP_LIMITS, TCPLimits
from p2p.transports.socket_addr import from_socket, is_socket_addr, to_socket
from p2p.transports.sockets import SocketListener, SocketStream
from p2p.wire.addresses import Multiaddr

_CONNECTING = {0, errno.EINPROGRESS, errno.EWOULDBLOCK}

#: Bytes per second from which on a connection is fast.
FAST = 16 * MIB


class TCP:
    """Dials and listens on ``/ip4/HOST/tcp/PORT`` and ``/ip6/HOST/tcp/PORT``; names are not its job."""

    def __init__(self, limits: TCPLimits = TCP_LIMITS) -> None:
        self._limits = limits

    def can_dial(self, addr: Multiaddr) -> bool:
        return is_socket_addr(addr, "tcp")

    def can_listen(self, addr: Multiaddr) -> bool:
        return is_socket_addr(addr, "tcp")

    async def dial(self, addr: Multiaddr) -> SocketStream:
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
            return self._stream(sock, addr)
        except BaseException:
            sock.close()
            raise

    def listen(self, addr: Multiaddr) -> AbstractAsyncContextManager[SocketListener]:
        """Listen until the context is left; connections not accepted by then are reset by the kernel.

        Entering raises ``OSError`` as bind(2) and listen(2) do, and ``InvalidAddress``. Port 0: any free one.
        """
        return self._listen(addr)

    @asynccontextmanager
    async def _listen(self, addr: Multiaddr) -> AsyncIterator[SocketListener]:
        family, host, port = to_socket(addr, "tcp")
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            if sys.platform != "win32":  # there it means that others may take the port over
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # or binding 0.0.0.0 beside :: fails
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            sock.listen(self._limits.backlog)
            listener = SocketListener(sock, _bound(sock), self._welcome, backoff=self._limits.accept_backoff)
            try:
                yield listener
            finally:
                listener.close()

    def _welcome(self, sock: socket.socket, peer: tuple[str, int]) -> SocketStream:
        _prepare(sock, self._limits)
        host, port, *_ = peer
        return self._stream(sock, from_socket(host, port, "tcp"))

    def _stream(self, sock: socket.socket, remote_addr: Multiaddr) -> SocketStream:
        return TCPStream(sock, _bound(sock), remote_addr, limits=self._limits)


class TCPStream(SocketStream):
    """A TCP connection of which the kernel holds little that is unsent: more where that leaves fast."""

    __slots__ = ("_limits", "_unsent")

    def __init__(
        self, sock: socket.socket, local_addr: Multiaddr, remote_addr: Multiaddr, *, limits: TCPLimits
    ) -> None:
        super().__init__(sock, local_addr, remote_addr, discard=limits.discard)
        self._limits = limits
        self._unsent = limits.unsent

    async def wait_writable(self) -> None:
        began = trio.current_time()
        await super().wait_writable()
        self._check()  # closed in the same tick as it became writable, it has no options to set
        if sys.platform == "linux":
            # It is writable again once half of what it holds has left.
            fast = (trio.current_time() - began) * FAST < self._unsent / 2
            unsent = self._limits.unsent_when_fast if fast else self._limits.unsent
            if unsent != self._unsent:
                self._unsent = unsent
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent)


def _bound(sock: socket.socket) -> Multiaddr:
    host, port = sock.getsockname()[:2]
    return from_socket(host, port, "tcp")


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
