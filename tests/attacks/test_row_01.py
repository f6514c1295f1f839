"""Row 1, slowloris: TCP connections that say nothing.

All attacks come over loopback, which has no limits of its own: where the subject is an address, the victim is made
to take all but 127.0.0.1 for addresses like others.
"""

from __future__ import annotations

import pytest
import trio

from tests.attacks import wire

SILENT = 500
#: Scaled down from ten seconds; five times as much is allowed.
UPGRADE = 1.0
#: The base of the table (go's), for the gigabyte that a victim has: upgrades at once, connections of one address.
WAITING = 32
OF_ONE_ADDRESS = 8
#: Any number of upgrades.
ROOM = {"transient": {"connections": 10**9, "inbound_connections": 10**9, "descriptors": 10**9}}
#: Whose limits do not count in the victim.
HONEST = {"p2p.resources.subnets:is_exempt": "lambda ip: str(ip) == '127.0.0.1'"}


async def seconds_to_visit(scene) -> float:
    """How long an honest peer needs, from the first packet to a pong."""
    began = trio.current_time()
    connection = await scene.secure()
    await connection.send(wire.header(wire.PING, wire.SYN, 0, 7))
    while (frame := await connection.receive_frame()) is not None and frame.kind != wire.PING:
        pass
    assert frame is not None
    return trio.current_time() - began


async def is_answered(raw):
    try:
        await raw.send_all(wire.token("/multistream/1.0.0") + wire.token("/noise"))
        return bool(await raw.receive_some())
    except trio.BrokenResourceError:
        return False


@pytest.mark.lifted(limits={"upgrade": 1000.0})
async def test_row_01_silent_sockets(attack):
    """Every one is closed in time, be it that newer ones took its place or that its own time was up."""
    async with attack(limits={"upgrade": UPGRADE}) as scene:
        async with scene.watching() as most:
            sockets = [await scene.connect() for _ in range(SILENT)]
            with trio.fail_after(5 * UPGRADE):
                for raw in sockets:
                    assert await wire.closed(raw) == b""
        assert most["pending_upgrades"] <= WAITING


@pytest.mark.lifted(limits={"resources": ROOM})
async def test_row_01_honest_dials_get_in(attack):
    """Fewer connections allowed than there are silent sockets, and no deadline that would help."""
    async with attack(limits={"upgrade": 1000.0}) as scene:
        for _ in range(SILENT):
            await scene.connect()
        for _ in range(5):
            assert await seconds_to_visit(scene) < 1.0


@pytest.mark.lifted(limits={"resources": {"subnets": []}})
async def test_row_01_one_address_has_so_many(attack):
    """Those beyond are closed at once, and take nobody's place: the first ones are still there."""
    async with attack(limits={"upgrade": 1000.0}, patches=HONEST) as scene:
        sockets = [await scene.connect(source="127.0.0.2") for _ in range(SILENT)]
        with trio.fail_after(5 * UPGRADE):
            for raw in sockets[OF_ONE_ADDRESS:]:
                assert await wire.closed(raw) == b""
        assert (await scene.counters())["pending_upgrades"] == OF_ONE_ADDRESS
        for _ in range(5):
            assert await seconds_to_visit(scene) < 1.0


@pytest.mark.lifted(limits={"resources": {"subnets": []}})
async def test_row_01_one_address_comes_so_often(attack):
    """Sixteen at once, then one in five seconds, be they gone again or not."""
    async with attack(patches=HONEST) as scene:
        let_in = 0
        for _ in range(100):
            raw = await scene.connect(source="127.0.0.2")
            with trio.fail_after(5 * UPGRADE):
                let_in += await is_answered(raw)
            await raw.aclose()
        assert 16 <= let_in <= 16 + 10
        assert await seconds_to_visit(scene) < 1.0
