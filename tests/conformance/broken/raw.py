"""Raw streams with one defect each."""

from __future__ import annotations

import trio

from p2p.transports.pipe import PipeStream
from p2p.wire.addresses import Multiaddr


class Wrapped:
    """A sound raw stream, to be spoilt in one place."""

    def __init__(self, raw: PipeStream) -> None:
        self.raw = raw

    @property
    def local_addr(self) -> Multiaddr:
        return self.raw.local_addr

    @property
    def remote_addr(self) -> Multiaddr:
        return self.raw.remote_addr

    async def receive_into(self, buffer: memoryview) -> int:
        return await self.raw.receive_into(buffer)

    def try_send(self, data: memoryview) -> int:
        return self.raw.try_send(data)

    async def wait_writable(self) -> None:
        await self.raw.wait_writable()

    async def aclose(self) -> None:
        await self.raw.aclose()


class EndSaidOnce(Wrapped):
    """After the end was told, receiving waits for ever."""

    ended = False

    async def receive_into(self, buffer: memoryview) -> int:
        if self.ended:
            await trio.sleep_forever()
        n = await super().receive_into(buffer)
        self.ended = n == 0
        return n


class TakesThenWaits(Wrapped):
    """Bytes are taken before the last checkpoint: a cancellation there loses them."""

    async def receive_into(self, buffer: memoryview) -> int:
        own = memoryview(bytearray(len(buffer)))
        n = await super().receive_into(own)
        await trio.lowlevel.checkpoint()
        buffer[:n] = own[:n]
        return n


class WritesThenWaits(Wrapped):
    """The buffer is used before the last suspension, when another connection may use it too."""

    async def receive_into(self, buffer: memoryview) -> int:
        waiting = self.raw._inlet._buffer
        n = min(len(buffer), len(waiting))
        buffer[:n] = waiting[:n]
        return await super().receive_into(buffer)


class ResetsWhenUnread(Wrapped):
    """As a TCP socket closed with unread bytes does: what it had sent is lost."""

    async def aclose(self) -> None:
        if self.raw._inlet._buffer:
            self.raw.reset()
        await super().aclose()


class DoesNotWait(Wrapped):
    """``wait_writable`` of a writable stream lets nobody else run."""

    async def wait_writable(self) -> None:
        if self.raw._closed or not self.raw._outlet._has_room():
            await super().wait_writable()


BROKEN = {
    EndSaidOnce: "check_end_stays",
    TakesThenWaits: "check_cancelled_receive_consumes_nothing",
    WritesThenWaits: "check_buffer_is_written_last",
    ResetsWhenUnread: "check_close_loses_nothing_taken",
    DoesNotWait: "check_every_wait_is_a_checkpoint",
}
