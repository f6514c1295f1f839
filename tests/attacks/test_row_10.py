"""Row 10: a million frames that say nothing."""

from __future__ import annotations

import pytest
import trio

from tests.attacks import wire
from tests.attacks.mplex import MPLEX, Mplex, opening
from tests.machines.mplex_wire import CLOSE_I, MSG_I, RESET_I, message

FRAMES = 1_000_000
PROMPT = 5.0
#: Of a processor, for all of them.
CPU = 1.0


@pytest.mark.parametrize("kind", [wire.DATA, wire.WINDOW], ids=["data", "credit"])
@pytest.mark.lifted(limits={"yamux": {"max_empty_frames": 10**9}})
async def test_row_10_empty_frames(attack, kind):
    async with attack() as scene:
        connection = await scene.secure()
        await connection.send(wire.opening(1, "/attacks/hang"))
        sealed = connection.seal(wire.header(kind, 0, 1, 0) * FRAMES)
        used = scene.process.cpu()
        with trio.fail_after(PROMPT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wire.send_until_closed, connection.raw, sealed)
                await connection.receive_until_closed()
                nursery.cancel_scope.cancel()
        assert scene.process.cpu() - used <= CPU


@pytest.mark.parametrize("flag", [MSG_I, CLOSE_I, RESET_I], ids=["message", "close", "reset"])
@pytest.mark.lifted(limits={"mplex": {"max_empty_frames": 10**9, "reset_burst": 10**9}})
async def test_row_10_empty_mplex_messages(attack, flag):
    """Two bytes each. After the first reset or close the others are of a stream that is over, or ended twice."""
    async with attack() as scene:
        mplex = Mplex(await scene.secure(muxer=MPLEX))
        await mplex.send(opening(0, "/attacks/hang"))
        sealed = mplex.seal(message(flag, 0) * FRAMES)
        used = scene.process.cpu()
        with trio.fail_after(PROMPT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wire.send_until_closed, mplex.raw, sealed)
                await mplex.receive_until_closed()
                nursery.cancel_scope.cancel()
        assert scene.process.cpu() - used <= CPU


@pytest.mark.lifted(
    limits={"mplex": {"max_read": 1 << 20}}, patches={"p2p.muxers.scratch:SCRATCH_SIZE": "1 << 20"}
)
async def test_row_10_mplex_messages_of_one_byte(attack):
    """They say something, so all are taken, of a stream that is over as well: a frame of Noise holds nobody up."""
    async with attack() as scene:
        mplex = Mplex(await scene.secure(muxer=MPLEX))
        over = 100
        await mplex.send(opening(over, "/attacks/give-up"))
        assert await mplex.receive_end_of(over) is not None
        with trio.fail_after(4 * PROMPT):
            await mplex.send(message(MSG_I, over, b"x") * (FRAMES // 2))
            assert await mplex.goes_on(over + 1)
