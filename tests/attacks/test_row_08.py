"""Row 8: streams opened and reset without end (CVE-2023-44487)."""

from __future__ import annotations

import pytest
import trio

from tests.attacks import wire
from tests.attacks.mplex import MPLEX, Mplex
from tests.attacks.wire import ACK, PING, RST, SYN, WINDOW, header
from tests.machines.mplex_wire import CLOSE_I, NEW, RESET_I, message

CHURN = 1_000_000
#: Sealed and sent at a time.
TURNS = 100
PROMPT = 2.0
#: Handlers at once: of one protocol of one peer, which the attacker is, and of the canary.
MOST = 256 + 10
ANY = {"streams": 10**9, "inbound_streams": 10**9}


@pytest.mark.lifted(limits={"yamux": {"reset_burst": 10**9}})
async def test_row_08_reset_churn(attack):
    async with attack() as scene:
        connection = await scene.secure()

        async def churn() -> None:
            for first in range(1, 2 * CHURN, 2 * TURNS):
                frames = b"".join(
                    header(WINDOW, SYN, stream, 0) + header(WINDOW, RST, stream, 0)
                    for stream in range(first, first + 2 * TURNS, 2)
                )
                if not await wire.send_until_closed(connection.raw, connection.seal(frames)):
                    return
            pytest.fail("all of it was taken")

        with trio.fail_after(PROMPT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(churn)
                await connection.receive_until_closed()
                nursery.cancel_scope.cancel()


@pytest.mark.lifted(
    limits={"resources": dict.fromkeys(["system", "peer", "connection", "protocol", "protocol_peer"], ANY)}
)
async def test_row_08_handlers_outlive_their_streams(attack):
    """The victim has time to start a handler for each stream before it is reset, and none of them returns."""
    async with attack() as scene:
        connection = await scene.secure()
        rounds = 0
        async with scene.watching() as most:
            with trio.fail_after(5 * PROMPT):
                alive = True
                while alive:
                    first = 1 + 2 * TURNS * rounds
                    ids = range(first, first + 2 * TURNS, 2)
                    openings = b"".join(wire.opening(stream, "/attacks/hang") for stream in ids)
                    alive = await in_step(connection, openings, rounds)
                    resets = b"".join(header(WINDOW, RST, stream, 0) for stream in ids)
                    alive = alive and await in_step(connection, resets, rounds)
                    rounds += 1
            assert rounds >= 5
        assert most["handlers"] <= MOST


async def in_step(connection: wire.Wire, frames: bytes, number: int) -> bool:
    """Send, and wait until the victim has taken it all in; False when it closed instead."""
    if not await wire.send_until_closed(
        connection.raw, connection.seal(frames + header(PING, SYN, 0, number))
    ):
        return False
    while (frame := await connection.receive_frame()) is not None:
        if (frame.kind, frame.flags, frame.length) == (PING, ACK, number):
            return True
    return False


@pytest.mark.lifted(limits={"mplex": {"reset_burst": 10**9}})
async def test_row_08_mplex_reset_churn(attack):
    """Opened, ended and reset: a close before the reset makes it no cheaper."""
    async with attack() as scene:
        mplex = Mplex(await scene.secure(muxer=MPLEX))

        async def churn() -> None:
            for first in range(0, CHURN, TURNS):
                messages = b"".join(
                    message(NEW, stream) + message(CLOSE_I, stream) + message(RESET_I, stream)
                    for stream in range(first, first + TURNS)
                )
                if not await wire.send_until_closed(mplex.raw, mplex.seal(messages)):
                    return
            pytest.fail("all of it was taken")

        with trio.fail_after(PROMPT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(churn)
                await mplex.receive_until_closed()
                nursery.cancel_scope.cancel()
