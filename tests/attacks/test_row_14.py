"""Row 14: an application that does not read one of its streams."""

from __future__ import annotations

import pytest
import trio

from tests.attacks import wire
from tests.attacks.harness import MIB
from tests.attacks.mplex import MPLEX, Mplex, opening
from tests.attacks.wire import DATA, FIN, RST, WINDOW, data, header
from tests.machines.mplex_wire import CLOSE_I, MSG_I, RESET_R, message

KIB = 1024
INITIAL = 256 * KIB
BLOCK = 16 * KIB
SIZE = 8 * MIB
#: So much that the moment which is waited for an unread stream does not show.
MPLEX_SIZE = 40 * MIB
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


async def seconds_on_mplex(mplex: Mplex, stream: int, size: int) -> float:
    """How long ``size`` bytes take, counted by the victim; nothing but the socket sets the pace."""
    began = trio.current_time()
    block = message(MSG_I, stream, bytes(BLOCK))
    await mplex.send(opening(stream, "/attacks/count"))
    for _ in range(size // BLOCK):
        await mplex.send(block)
    await mplex.send(message(CLOSE_I, stream))
    while (said := await mplex.receive()) is not None:
        if said[:2] == (1, stream) and said[2].endswith(str(size).encode()):
            return trio.current_time() - began
        assert said[:2] != (RESET_R, stream), "a stream that is read was reset"
    raise AssertionError("the victim closed")


@pytest.mark.lifted(limits={"mplex": {"stall_unread": 1.0, "stall_share": 1000.0}})
async def test_row_14_mplex_slow_consumer(attack):
    """Without windows it is reset, and the others have at least four fifths of what they had. Lifted by patience."""
    async with attack() as scene:
        mplex = Mplex(await scene.secure(muxer=MPLEX))
        ids = iter(range(1000))
        alone, beside = [], []
        with trio.fail_after(3 * PATIENCE):
            await seconds_on_mplex(mplex, next(ids), SIZE)
            for _ in range(TRIES):
                alone.append(await seconds_on_mplex(mplex, next(ids), MPLEX_SIZE))
                slow = next(ids)
                await mplex.send(opening(slow, "/attacks/hang"))
                await mplex.send(
                    b"".join(message(MSG_I, slow, bytes(BLOCK)) for _ in range(2 * INITIAL // BLOCK))
                )
                beside.append(await seconds_on_mplex(mplex, next(ids), MPLEX_SIZE))
        assert min(alone) >= 0.8 * min(beside), (alone, beside)
        # Each cost itself, and nothing but itself.
        assert (await scene.counters())["streams"] <= 10 + TRIES
