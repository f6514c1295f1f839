"""Streams with one defect each."""

from __future__ import annotations

import trio

from p2p.abc import Connection, Direction, ProtocolId, Stream
from p2p.errors import StreamReset
from p2p.flow import Priority, StreamStatistics
from p2p.muxers.stream import MuxedStream


class Wrapped(Stream):
    """A sound stream, to be spoilt in one place."""

    def __init__(self, stream: MuxedStream) -> None:
        self.stream = stream

    @property
    def protocol(self) -> ProtocolId:
        return self.stream.protocol

    @property
    def connection(self) -> Connection:
        return self.stream.connection

    @property
    def direction(self) -> Direction:
        return self.stream.direction

    @property
    def priority(self) -> Priority:
        return self.stream.priority

    @priority.setter
    def priority(self, priority: Priority) -> None:
        self.stream.priority = priority

    def statistics(self) -> StreamStatistics:
        return self.stream.statistics()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.stream.send_eof()

    def send_nowait(self, data: bytes | bytearray | memoryview) -> int:
        return self.stream.send_nowait(data)

    async def aclose(self) -> None:
        await self.stream.aclose()

    def reset(self, code: int = 0) -> None:
        self.stream.reset(code)


class EndSaidOnce(Wrapped):
    """After the end was told, receiving waits for ever."""

    ended = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self.ended:
            await trio.sleep_forever()
        data = await super().receive_some(max_bytes)
        self.ended = not data
        return data


class ResetReadsAsTheEnd(Wrapped):
    """Once something was received, the remote's reset passes for a proper end: truncated data for whole."""

    received = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await super().receive_some(max_bytes)
        except StreamReset:
            if self.received:
                self.received = False
                return b""
            raise
        self.received = True
        return data


class QueuesReceivers(Wrapped):
    """Two tasks that receive get the bytes in turns."""

    def __init__(self, stream: MuxedStream) -> None:
        super().__init__(stream)
        self.turn = trio.Lock()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if not self.turn.locked():
            async with self.turn:
                return await super().receive_some(max_bytes)
        async with self.turn:
            return await super().receive_some(max_bytes)


class QueuesSenders(Wrapped):
    """Two tasks that send do so in turns."""

    def __init__(self, stream: MuxedStream) -> None:
        super().__init__(stream)
        self.turn = trio.Lock()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self.turn:
            await super().send_all(data)


class TakesThenWaits(Wrapped):
    """Bytes are taken before the last checkpoint: a cancellation there loses them."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await super().receive_some(max_bytes)
        await trio.lowlevel.checkpoint()
        return data


class ForgetsTheCode(Wrapped):
    """Every reset carries the code 0."""

    def reset(self, code: int = 0) -> None:
        super().reset()


class EndsOnce(Wrapped):
    """A second ``send_eof`` is an error."""

    ended = False

    async def send_eof(self) -> None:
        if self.ended and not self.stream.closed:
            raise trio.ClosedResourceError("send_eof was called")
        self.ended = True
        await super().send_eof()


class ClosesAnyway(Wrapped):
    """A cancelled ``aclose`` ends the stream as if all had been said."""

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await super().aclose()
        await trio.lowlevel.checkpoint()


class SendsWithoutCheckpoint(Wrapped):
    """``send_all`` of what fits lets nobody else run."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        sent = self.send_nowait(data)
        if sent < len(data):
            await super().send_all(memoryview(data)[sent:])


class ResetDropsWhatWasWhole(Wrapped):
    """A reset that comes after FIN takes the received data with it."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        books = self.stream.books
        if not self.stream.closed and books.eof_received and books.reset_code is not None:
            raise StreamReset(books.reset_code)
        return await super().receive_some(max_bytes)


class PromisesRoom(Wrapped):
    """``wait_send_all_might_not_block`` returns at once, room or none."""

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        self.stream.check()


class OneUrgency(Wrapped):
    """Whatever is set, a stream is as urgent as at first."""

    @property
    def priority(self) -> Priority:
        return self.stream.priority

    @priority.setter
    def priority(self, priority: Priority) -> None:
        self.stream.priority = Priority(incremental=priority.incremental)


BROKEN = {
    EndSaidOnce: "check_end_stays",
    ResetReadsAsTheEnd: "check_reset_is_seen",
    QueuesReceivers: "check_two_receivers_are_busy",
    QueuesSenders: "check_two_senders_are_busy",
    TakesThenWaits: "check_cancelled_receive_loses_nothing",
    ForgetsTheCode: "check_reset_carries_its_code",
    EndsOnce: "check_send_eof_twice",
    ClosesAnyway: "check_cancelled_close_resets",
    SendsWithoutCheckpoint: "check_every_method_is_a_checkpoint",
    ResetDropsWhatWasWhole: "check_reset_after_eof_leaves_the_data",
    OneUrgency: "check_priority_is_kept",
    PromisesRoom: "check_waiting_for_room_waits",
}
