"""Row 3, half open: a peer that stops after security, or after the muxer."""

from __future__ import annotations

import pytest
import trio

from p2p.protocols.echo import ECHO
from tests.attacks import wire

#: Scaled down from ten and from five seconds; five times as much is allowed.
UPGRADE = 1.0
IDENTIFY = 0.5


@pytest.mark.lifted(limits={"upgrade": 1000.0})
async def test_row_03_half_open(attack):
    """Noise done, and no muxer negotiated: closed, like all that are not connections in time."""
    async with attack(limits={"upgrade": UPGRADE}) as scene:
        halves = [await wire.secure(await scene.connect(), muxers=()) for _ in range(20)]
        for half in halves:
            await half.send(b"")  # the last message of the handshake
        with trio.fail_after(5 * UPGRADE):
            for half in halves:
                await half.receive_until_closed()


@pytest.mark.lifted(limits={"identify": {"timeout": 1000.0}})
async def test_row_03_never_identified(attack):
    """The victim gives up asking who it is, and serves it all the same."""
    async with attack(limits={"identify": {"timeout": IDENTIFY}}) as scene:
        connection = await scene.secure()
        await connection.send(b"")
        frame = None
        while frame is None or b"/ipfs/id/1.0.0" not in frame.payload:
            frame = await connection.receive_frame()
            assert frame is not None
        asked = frame.stream
        with trio.fail_after(5 * IDENTIFY):
            end = await connection.receive_end_of(asked)
        assert end is not None and end.flags & wire.RST
        await connection.send(wire.opening(1, ECHO) + wire.data(1, b"still here"))
        with trio.fail_after(5):
            while b"still here" not in frame.payload:
                frame = await connection.receive_frame()
                assert frame is not None
