"""Row 1, slowloris: TCP connections that say nothing. Limits for each address come with resource scopes."""

from __future__ import annotations

import pytest
import trio

from tests.attacks import wire

SILENT = 500
#: Scaled down from ten seconds; five times as much is allowed.
UPGRADE = 1.0


async def seconds_to_visit(scene) -> float:
    """How long an honest peer needs, from the first packet to a pong."""
    began = trio.current_time()
    connection = await scene.secure()
    await connection.send(wire.header(wire.PING, wire.SYN, 0, 7))
    while (frame := await connection.receive_frame()) is not None and frame.kind != wire.PING:
        pass
    assert frame is not None
    return trio.current_time() - began


@pytest.mark.lifted(limits={"upgrade": 1000.0})
async def test_row_01_silent_sockets(attack):
    """Every one is closed in time, be it that newer ones took its place or that its own time was up."""
    async with attack(limits={"upgrade": UPGRADE}) as scene:
        async with scene.watching() as most:
            sockets = [await scene.connect() for _ in range(SILENT)]
            with trio.fail_after(5 * UPGRADE):
                for raw in sockets:
                    assert await wire.closed(raw) == b""
        assert most["pending_upgrades"] <= 128


@pytest.mark.lifted(limits={"pending_upgrades": 10_000})
async def test_row_01_honest_dials_get_in(attack):
    """Fewer connections allowed than there are silent sockets, and no deadline that would help."""
    async with attack(limits={"upgrade": 1000.0, "inbound_connections": 200}) as scene:
        for _ in range(SILENT):
            await scene.connect()
        for _ in range(5):
            assert await seconds_to_visit(scene) < 1.0
