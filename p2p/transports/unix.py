"""Unix sockets: raw streams within one machine, at ``/unix/PATH``.

The path is absolute, and its first slash is that after ``unix``. Names without a file ("abstract") cannot be written
so, which is well: nothing says who may connect to those. Who dials has no name, so both ends of a connection are at
the path.

Who may connect is for the file to say: it gets ``mode`` before anybody is listened to. The file of a process that
ended without a goodbye is replaced; one that somebody listens on, and whatever is no socket, is left alone.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final
from urllib.parse import unquote

import trio

from p2p.errors import InvalidAddress
from p2p.limits import UNIX_LIMITS, UnixLimits
from p2p.transports.sockets import SocketListener, SocketStream
from p2p.wire.addresses import Multiaddr, parts, protocols

#: Bytes of a path: ``sun_path`` has 108 on Linux (104 on BSD), and the last is NUL.
MAX_PATH: Final = 107
#: The owner may connect, and nobody else.
OWNER: Final = 0o600


class Unix:
    """Dials and listens on ``/unix/PATH``. ``mode``: permissions of the files made; to connect takes writing."""

    def __init__(self, limits: UnixLimits = UNIX_LIMITS, *, mode: int = OWNER) -> None:
        self._limits = limits
        self._mode = mode

    def can_dial(self, addr: Multiaddr) -> bool:
        return protocols(addr) == ("unix",)

    def can_listen(self, addr: Multiaddr) -> bool:
        return self.can_dial(addr)

    async def dial(self, addr: Multiaddr) -> SocketStream:
        """Connect; waits while the listener's backlog is full.

        Raises ``OSError`` as connect(2) does, ``InvalidAddress`` for what is no path of a socket. Cancelled: the
        socket is closed.
        """
        path = _path(addr)
        await trio.lowlevel.checkpoint()
        sock = _new_socket()
        try:
            while True:
                code = sock.connect_ex(path)
                if code != errno.EAGAIN:
                    break
                await trio.sleep(self._limits.dial_backoff)
            if code:
                raise OSError(code, os.strerror(code), path)
            return self._stream(sock, addr)
        except BaseException:
            sock.close()
            raise

    def listen(self, addr: Multiaddr) -> AbstractAsyncContextManager[SocketListener]:
        """Listen until the context is left; then the file is removed, if it is still the one made here.

        Connections not accepted by then are reset by the kernel. Entering raises ``OSError`` as bind(2) does, with
        EADDRINUSE where somebody listens and where there is something else than a socket; and ``InvalidAddress``.
        """
        return self._listen(addr)

    @asynccontextmanager
    async def _listen(self, addr: Multiaddr) -> AsyncIterator[SocketListener]:
        path = _path(addr)
        with _new_socket() as sock:
            _make_way(path)
            sock.bind(path)
            with _removed_at_the_end(path):
                os.chmod(path, self._mode)  # until it listens, all are refused
                sock.listen(self._limits.backlog)

                def welcome(accepted: socket.socket, _name: str) -> SocketStream:
                    accepted.setblocking(False)
                    return self._stream(accepted, addr)

                listener = SocketListener(sock, addr, welcome, backoff=self._limits.accept_backoff)
                try:
                    yield listener
                finally:
                    listener.close()

    def _stream(self, sock: socket.socket, addr: Multiaddr) -> SocketStream:
        return SocketStream(sock, addr, addr, discard=self._limits.discard)


def _new_socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _path(addr: Multiaddr) -> str:
    """Raises ``InvalidAddress`` for anything but ``/unix/PATH`` with a path that a socket can have."""
    if protocols(addr) != ("unix",):
        raise InvalidAddress(f"{addr} is not of the form /unix/PATH")
    path = unquote(parts(addr)[0].value or "")
    size = len(os.fsencode(path))
    if size > MAX_PATH:
        raise InvalidAddress(f"{addr}: a path of {size} bytes, and a socket's takes {MAX_PATH} at the most")
    if "\0" in path:
        raise InvalidAddress(f"{addr}: no path has a zero byte")
    return path


def _make_way(path: str) -> None:
    """Remove the socket that nobody listens on any more, if there is one.

    Raises ``OSError``: EADDRINUSE when somebody does, or when it is no socket.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EADDRINUSE, "there is a file that is no socket", path)
    with _new_socket() as probe:
        code = probe.connect_ex(path)
    if code in (0, errno.EAGAIN):  # taken, or too many wait to be
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
    if code not in (errno.ECONNREFUSED, errno.ENOENT):
        raise OSError(code, os.strerror(code), path)
    _remove(path, found)


@contextmanager
def _removed_at_the_end(path: str) -> Iterator[None]:
    made = os.lstat(path)
    try:
        yield
    finally:
        _remove(path, made)


def _remove(path: str, known: os.stat_result) -> None:
    """Remove the file at ``path`` if it is the one known, and not what somebody put in its place."""
    try:
        if _which(os.lstat(path)) == _which(known):
            os.unlink(path)
    except FileNotFoundError:
        pass


def _which(file: os.stat_result) -> tuple[int, int, int]:
    """Which file it is. Numbers of files that are gone are given out again, hence the time."""
    return file.st_dev, file.st_ino, file.st_mtime_ns
