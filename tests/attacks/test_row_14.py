"""Row 14: an application that does not read one of its streams."""

from __future__ import annotations

import pytest
import trio

from tests.attacks import wire
from tests.attacks.harness import MIB
from tests.attacks.wire import DATA, FIN, RST, WINDOW, data, header

KIB = 1024
INITIAL = 256 * KIB
BLOCK = 16 * KIB
SIZE = 8 * MIB
TRIES = 5
PATIENCE = 20.0


def used_to_open(protocol: str) -> int:
    """What negotiating takes of the window."""
    return len(wire.token("/multistream/1.0.0") + wire.token(protocol))


async def seconds_to_send(connection: wire.Wire, stream: int) -> float:
    """How long ``SIZE`` bytes take, counted by the victim, at the pace of its credit."""
    began = trio.current_time()
    await connection.send(wire.opening(stream, "/attacks/count"))
    block = data(stream, bytes(BLOCK))
    credit, left = INITIAL - used_to_open("/attacks/count"), SIZE
    counted = b""
    while True:
        now = min(credit, left) // BLOCK
        if now:
            await connection.send(block * now)
            credit -= now * BLOCK
            left -= now * BLOCK
            if not left:
                await connection.send(header(DATA, FIN, stream, 0))
        frame = await connection.receive_frame()
        assert frame is not None
        if frame.stream == stream:
            credit += frame.length if frame.kind == WINDOW else 0
            counted += frame.payload
            if frame.flags & FIN:
                assert counted.endswith(str(SIZE).encode())
                return trio.current_time() - began


@pytest.mark.lifted(
    patches={"p2p.muxers.yamux.session:YamuxSession.congested": "property(lifts.waiting_for_readers)"}
)
async def test_row_14_slow_consumer(attack):
    """Its window is full, and the others have at least four fifths of what they had. Lifted by a pump that waits."""
    async with attack() as scene:
        connection = await scene.secure()
        ids = iter(range(1, 1000, 2))
        alone, beside = [], []
        with trio.fail_after(PATIENCE):
            await seconds_to_send(connection, next(ids))  # windows grow while it is measured
            for _ in range(TRIES):
                alone.append(await seconds_to_send(connection, next(ids)))
                slow = next(ids)
                await connection.send(wire.opening(slow, "/attacks/hang"))
                await connection.send(data(slow, bytes(INITIAL - used_to_open("/attacks/hang"))))
                beside.append(await seconds_to_send(connection, next(ids)))
                await connection.send(header(WINDOW, RST, slow, 0))
        assert min(alone) >= 0.8 * min(beside), (alone, beside)
