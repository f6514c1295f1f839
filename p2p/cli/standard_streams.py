"""This process's stdin and stdout as byte streams that never hold the event loop up.

They are not made non-blocking: that would change them for every process that shares them, the shell included.
Pipes and terminals are waited for by the event loop, and then read or written so that it cannot block. What the
kernel will not wait for (regular files) is always ready and read or written in a thread that ends at once.
"""

from __future__ import annotations

import os
import select

import trio

from p2p.cli.output import StdoutClosed

#: One read, and one write to a file.
CHUNK = 256 * 1024


async def read_chunk(fd: int) -> bytes:
    """The next bytes of ``fd``; empty at its end. Cancelled: nothing was read. Raises ``OSError``."""
    try:
        await trio.lowlevel.wait_readable(fd)
    except PermissionError:  # epoll's word for: it is always ready
        return await trio.to_thread.run_sync(os.read, fd, CHUNK)
    return os.read(fd, CHUNK)


async def write_all(fd: int, data: bytes | bytearray) -> None:
    """Write all of ``data``. Cancelled: a prefix was written. Raises ``StdoutClosed``, ``OSError``."""
    view = memoryview(data)
    try:
        while view:
            try:
                await trio.lowlevel.wait_writable(fd)
            except PermissionError:
                view = view[await trio.to_thread.run_sync(os.write, fd, view[:CHUNK]) :]
            else:
                # POSIX: a pipe that is writable takes this much without blocking.
                view = view[os.write(fd, view[: select.PIPE_BUF]) :]
    except BrokenPipeError:
        raise StdoutClosed from None
