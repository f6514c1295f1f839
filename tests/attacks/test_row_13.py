"""Row 13: the victim must write, and the attacker takes nothing."""

from __future__ import annotations

import pytest
import trio

from tests.attacks import wire
from tests.attacks.harness import MIB, Verdict

#: As many as one connection has memory for, nearly.
STREAMS = 120
ANY = {"memory": 1 << 50}
#: Scaled down from ten seconds; five times as much is allowed.
WRITE = 1.0


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param("deadline", marks=pytest.mark.lifted(limits={"write": 1000.0})),
        pytest.param(
            "memory",
            marks=pytest.mark.lifted(
                limits={
                    "yamux": {"send_buffers": 1 << 40},
                    "resources": dict.fromkeys(["system", "peer", "connection"], ANY),
                }
            ),
        ),
    ],
)
async def test_row_13_reader_stall(attack, subject):
    """A hundred and twenty handlers that send for ever, with all the credit there is, into a socket nobody reads."""
    async with attack(limits={"write": WRITE}, verdict=Verdict(rss=6 * MIB)) as scene:
        connection = await wire.secure(await scene.connect(receive_buffer=1), scene.peer_id)
        # The canary's, and this one: else its end may be seen before it was there. The handshake ends with the ping.
        await connection.send(wire.header(wire.PING, wire.SYN, 0, 7))
        await scene.wait_for("connections", 2)
        for stream in range(1, 2 * STREAMS, 2):
            await connection.send(
                wire.opening(stream, "/attacks/pour") + wire.header(wire.WINDOW, 0, stream, 16 * MIB)
            )
        async with scene.watching() as most:
            with trio.fail_after(5 * WRITE):
                await scene.wait_until("connections", 1)
        assert most["handlers"] >= STREAMS
