"""Row 4: the end of the stream, and a reset, after each single byte of the handshake."""

from __future__ import annotations

import socket
import struct

import pytest
import trio

from p2p.protocols.echo import ECHO
from tests.attacks import wire
from tests.attacks.harness import Scene, Verdict

AT_ONCE = 16
#: How soon the victim closes too: far below the deadline of an upgrade, which would help it in the end.
PROMPT = 2.0


class CutError(Exception):
    """All the bytes there may be were sent."""


class Cut(trio.abc.Stream):
    """A stream that sends so many bytes and not one more."""

    def __init__(self, raw: trio.SocketStream, allowed: int) -> None:
        self._raw = raw
        self._allowed = allowed

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        part = data[: self._allowed]
        self._allowed -= len(part)
        if part:
            await self._raw.send_all(part)
        if len(part) < len(data):
            raise CutError

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._raw.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self._raw.aclose()


async def until_cut(scene: Scene, raw: trio.SocketStream, allowed: int) -> bool:
    """An honest beginning, up to a stream: Noise, a muxer negotiated the long way, a protocol. Whether it was cut."""
    try:
        connection = await wire.secure(Cut(raw, allowed), scene.peer_id, muxers=())
        await connection.send(wire.token("/multistream/1.0.0") + wire.token(wire.YAMUX))
        await connection.send(wire.opening(1, ECHO))
    except CutError:
        return True
    return False


async def fin(raw: trio.SocketStream) -> None:
    """Ours, and the victim's in answer."""
    await raw.send_eof()
    with trio.fail_after(PROMPT):
        await wire.closed(raw)


async def rst(raw: trio.SocketStream) -> None:
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await raw.aclose()


@pytest.mark.lifted(patches={"p2p.negotiation.select:RawHandshake._receive": "lifts.deaf(original)"})
async def test_row_04_cut_handshakes(attack):
    async with attack(verdict=Verdict(settle=PROMPT)) as scene:
        cut = {fin: 0, rst: 0}

        async def one(allowed: int, end) -> None:
            async with await trio.open_tcp_stream(scene.ip, scene.port) as raw:
                if await until_cut(scene, raw, allowed):
                    cut[end] += 1
                else:
                    whole.set()
                await end(raw)

        for end in cut:
            whole = trio.Event()
            start = 0
            while not whole.is_set():
                async with trio.open_nursery() as nursery:
                    for allowed in range(start, start + AT_ONCE):
                        nursery.start_soon(one, allowed, end)
                start += AT_ONCE
        # Multistream, three messages of Noise, the muxer, a stream.
        assert all(offsets > 300 for offsets in cut.values()), cut
