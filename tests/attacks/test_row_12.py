"""Row 12: GoAway, once and often, and streams opened after it all the same."""

from __future__ import annotations

import pytest
import trio

from p2p.protocols.echo import ECHO
from tests.attacks import wire
from tests.attacks.harness import Scene
from tests.attacks.wire import DATA, FIN, GO_AWAY, RST, data, header

PROMPT = 2.0
#: How often it is said, and with which code: normal, protocol error, internal error, unknown.
GOODBYES = [(1, 0), (1, 1), (1, 2), (1, 77), (1000, 0), (1000, 0xFFFFFFFF)]


async def echoed(connection: wire.Wire, stream: int, word: bytes) -> bool:
    await connection.send(data(stream, word))
    heard = b""
    while heard != word:
        frame = await connection.receive_frame()
        if frame is None or (frame.stream == stream and frame.flags & RST):
            return False
        # The last bytes: the protocol's name may come in front of them.
        heard = frame.payload[-len(word) :] if frame.stream == stream else heard
    return True


async def say_goodbye(scene: Scene, times: int, code: int) -> str:
    """What went wrong."""
    connection = await scene.secure()
    await connection.send(wire.opening(1, ECHO))
    if not await echoed(connection, 1, b"before"):
        return "no echo at all"
    await connection.send(header(GO_AWAY, 0, 0, code) * times)
    await connection.send(wire.opening(3, ECHO) + data(3, b"new"))
    end = await connection.receive_end_of(3)
    if end is None or not end.flags & RST:
        return "a new stream was not refused"
    if not await echoed(connection, 1, b"after"):
        return "the stream open before did not go on"
    await connection.send(header(DATA, FIN, 1, 0))
    end = await connection.receive_end_of(1)
    if end is None or not end.flags & FIN:
        return "the stream open before did not end well"
    await connection.receive_until_closed()
    return ""


@pytest.mark.lifted(
    patches={
        "p2p.muxers.yamux.receiving:Receiver.closed_by_remote": "property(lambda r: None, lambda r, c: None)"
    }
)
async def test_row_12_goaway(attack):
    """No limit makes it so: lifted by a session that does not hear."""
    faults = []
    # What the victim asks of us with identify is never answered here, and holds the connection that long.
    async with attack(limits={"identify": {"timeout": PROMPT / 2}}) as scene:

        async def judge(times: int, code: int) -> None:
            fault = "not over in time"
            with trio.move_on_after(2 * PROMPT):
                fault = await say_goodbye(scene, times, code)
            if fault:
                faults.append(f"GoAway({code}) {times} times: {fault}")

        async with trio.open_nursery() as nursery:
            for times, code in GOODBYES:
                nursery.start_soon(judge, times, code)
        assert not faults, "\n".join(faults)
