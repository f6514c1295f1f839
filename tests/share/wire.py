"""The only way between a getter and a sender, which the test can cut at any byte: a relay on loopback."""

from __future__ import annotations

import trio

_PIECE = 64 * 1024


class Wire:
    """Forwards connections to ``port`` of this machine, whoever listens there by then.

    ``allow(n)`` lets so many more bytes of the sender through, then sets :attr:`spent` and lets nothing more pass; what
    is connected stays so until one of its ends goes.
    """

    def __init__(self) -> None:
        self.port = 0
        self.spent = trio.Event()
        self._left = 0
        self._joined: list[trio.CancelScope] = []

    def allow(self, count: int) -> None:
        self._left = count
        self.spent = trio.Event()

    def cut(self) -> None:
        """End what is connected now."""
        for scope in self._joined:
            scope.cancel()

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled. Starts with the port it listens on."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listener, trio.open_nursery() as nursery:
            task_status.started(listener.socket.getsockname()[1])
            await trio.serve_listeners(self._join, [listener], handler_nursery=nursery)

    async def _join(self, getter: trio.SocketStream) -> None:
        async with getter:
            try:
                sender = await trio.open_tcp_stream("127.0.0.1", self.port)
            except OSError:
                return  # it is being started again
            async with sender, trio.open_nursery() as nursery:

                async def from_getter() -> None:
                    await self._forward(getter, sender, counted=False)
                    nursery.cancel_scope.cancel()

                self._joined.append(nursery.cancel_scope)
                nursery.start_soon(from_getter)
                await self._forward(sender, getter, counted=True)
                nursery.cancel_scope.cancel()

    async def _forward(self, source: trio.SocketStream, sink: trio.SocketStream, *, counted: bool) -> None:
        try:
            while data := await source.receive_some(_PIECE):
                if not counted:
                    await sink.send_all(data)
                    continue
                passed = data[: self._left]
                self._left -= len(passed)
                await sink.send_all(passed)
                if len(passed) < len(data):
                    self.spent.set()
                    # Lost; and so the end of either side is noticed.
                    async for _ in source:
                        pass
                    return
        except trio.BrokenResourceError:
            pass
