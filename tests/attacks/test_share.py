"""Shares under attack: peers that guess, and peers that were told the secret and take all they can get."""

from __future__ import annotations

import pytest
import trio

from p2p import Identity
from p2p.protocols.share import SHARE, Secret
from p2p.wire.framing import encode_frame
from p2p.wire.share_messages import Answer, Verdict, encode_answer
from tests.attacks import harness, wire
from tests.attacks.harness import MIB, Scene
from tests.attacks.shared import CHUNK, SECRET, hello, request

PATIENCE = 20.0
GUESSES = 200
GETTERS = 15
STREAMS = 4
REFUSED = encode_frame(encode_answer(Answer(Verdict.REFUSED)))


async def said_on(connection: wire.Wire, stream: int) -> bytes:
    """What the victim says there in its first two frames of data: the answer to the protocol, and that to the hello."""
    said = b""
    with trio.fail_after(PATIENCE):
        while (frame := await connection.receive_frame()) is not None:
            said += frame.payload if frame.stream == stream else b""
            tail = said.partition(wire.token(SHARE))[2]
            if tail and len(tail) > tail[0]:
                return tail
            if frame.stream == stream and frame.flags & wire.RST:
                break
    return b""


@pytest.mark.lifted(limits={"share": {"guess_burst": 10**6, "judge_burst": 10**6}})
async def test_share_guesses(attack):
    """All get the same bytes; and after a few, what would be right is not heard either."""
    async with attack() as scene:
        attacker = Identity.generate()
        connection = await scene.secure(attacker)
        ids = {"victim": scene.peer_id, "attacker": attacker.peer_id}
        answers = set()
        for number in range(GUESSES):
            stream = 2 * number + 1
            guess = Secret(number.to_bytes(16, "big"))
            await connection.send(
                wire.opening(stream, SHARE) + wire.data(stream, hello(guess, **ids), wire.FIN)
            )
            answers.add(await said_on(connection, stream))
        assert answers == {REFUSED}
        stream = 2 * GUESSES + 1
        await connection.send(wire.opening(stream, SHARE) + wire.data(stream, hello(SECRET, **ids)))
        assert await said_on(connection, stream) == REFUSED


@pytest.mark.lifted(limits={"share": {"getters": 10**6}})
async def test_share_getters_that_do_not_read(attack):
    """Each asks for a chunk and takes none: as many are in memory as may be served at once."""
    async with attack(verdict=harness.Verdict(rss=8 * CHUNK + 24 * MIB, settle=30.0)) as scene:
        await gorge(scene, GETTERS, STREAMS)


@pytest.mark.lifted(limits={"share": {"streams_per_peer": 10**6, "getters": 10**6}})
async def test_share_streams_of_one_peer(attack):
    """As the same of many peers; and more than a few are reset."""
    async with attack(verdict=harness.Verdict(rss=STREAMS * CHUNK + 24 * MIB, settle=30.0)) as scene:
        await gorge(scene, 1, 60)


async def gorge(scene: Scene, peers: int, streams: int) -> None:
    for _ in range(peers):
        attacker = Identity.generate()
        connection = await scene.secure(attacker)
        opening = hello(SECRET, victim=scene.peer_id, attacker=attacker.peer_id) + request(0) * 100
        for number in range(streams):
            stream = 2 * number + 1
            await connection.send(wire.opening(stream, SHARE) + wire.data(stream, opening))
    await trio.sleep(harness.IDLE)
