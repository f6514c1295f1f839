"""Row 10: a million frames that say nothing."""

from __future__ import annotations

import pytest
import trio

from tests.attacks import wire

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
