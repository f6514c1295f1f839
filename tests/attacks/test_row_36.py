"""Row 36: the attacker offers to do without security, when it dials and when it is dialed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from p2p import Identity
from p2p.streams import read_exactly
from p2p.wire.framing import encode_frame
from p2p.wire.plaintext_messages import PlaintextExchange, encode_plaintext_exchange
from tests.attacks import wire, xx
from tests.attacks.harness import Scene

PROMPT = 2.0

HEADER = wire.token("/multistream/1.0.0")
NOISE = wire.token("/noise")
NOT_AVAILABLE = wire.token("na")
PLAINTEXT = wire.token("/plaintext/2.0.0")
ME = Identity.generate()
EXCHANGE = encode_frame(
    encode_plaintext_exchange(PlaintextExchange(ME.peer_id.to_bytes(), ME.public_key.to_protobuf()))
)
#: Length and ephemeral key: what a victim that proposes lazily has said by the time it is refused.
FIRST_MESSAGE = 2 + 32

#: What is not security, or none of the victim's.
OTHERS = (
    "/plaintext/2.0.0",
    "/plaintext/1.0.0",
    "/plaintext",
    "/insecure/1.0.0",
    "/secio/1.0.0",
    "/tls/1.0.0",
    "/noise/",
    "/NOISE",
    "/yamux/1.0.0",
    "/echo/1.0.0",
)


async def propose_first(scene: Scene) -> None:
    """Each is refused; and then Noise is there as if nothing had been asked."""
    raw = await scene.connect()
    await raw.send_all(HEADER + b"".join(map(wire.token, OTHERS)) + NOISE)
    answers = HEADER + NOT_AVAILABLE * len(OTHERS) + NOISE
    assert await read_exactly(raw, len(answers)) == answers


async def ask_for_a_listing(scene: Scene) -> None:
    raw = await scene.connect()
    await raw.send_all(HEADER + wire.token("ls"))
    answer = HEADER + encode_frame(NOISE + b"\n")
    assert await read_exactly(raw, len(answer)) == answer


async def go_on_in_plaintext(scene: Scene) -> None:
    """What follows a proposal as if it had been accepted, up to a stream."""
    raw = await scene.connect()
    muxer = wire.token("/yamux/1.0.0")
    await raw.send_all(
        HEADER
        + PLAINTEXT
        + EXCHANGE
        + HEADER
        + muxer
        + wire.opening(1, "/echo/1.0.0")
        + wire.data(1, b"hello")
    )
    assert await wire.closed(raw) in (b"", HEADER + NOT_AVAILABLE)


# --- as a responder -----------------------------------------------------------------------------------


async def refuse_all_but_plaintext(raw: trio.SocketStream) -> bytes:
    """``na`` to whatever is proposed, until it is plaintext; what the victim said."""
    said = await read_exactly(raw, len(HEADER + NOISE))
    await raw.send_all(HEADER + NOT_AVAILABLE)
    while chunk := await raw.receive_some():
        said += chunk
        if PLAINTEXT in chunk:
            await raw.send_all(PLAINTEXT + EXCHANGE)
    return said


async def answer_plaintext(raw: trio.SocketStream) -> bytes:
    """The answer to a proposal is another."""
    said = await read_exactly(raw, len(HEADER + NOISE))
    await raw.send_all(HEADER + PLAINTEXT + EXCHANGE)
    return said + await wire.closed(raw)


async def refuse_and_answer_plaintext(raw: trio.SocketStream) -> bytes:
    said = await read_exactly(raw, len(HEADER + NOISE))
    await raw.send_all(HEADER + NOT_AVAILABLE + PLAINTEXT + EXCHANGE)
    return said + await wire.closed(raw)


async def list_plaintext(raw: trio.SocketStream) -> bytes:
    said = await read_exactly(raw, len(HEADER + NOISE))
    await raw.send_all(HEADER + encode_frame(PLAINTEXT + b"\n"))
    return said + await wire.closed(raw)


async def agree_and_exchange(raw: trio.SocketStream) -> bytes:
    """Noise it shall be, and then it is not."""
    said = await read_exactly(raw, len(HEADER + NOISE))
    await raw.send_all(HEADER + NOISE + EXCHANGE)
    return said + await wire.closed(raw)


#: With how often the victim comes back: once more after a refusal, not lazily.
RESPONDERS = {
    refuse_all_but_plaintext: 2,
    answer_plaintext: 1,
    refuse_and_answer_plaintext: 2,
    list_plaintext: 1,
    agree_and_exchange: 1,
}

LIFTED = pytest.mark.lifted(
    patches={"p2p.transports.upgraded:Upgraded.__init__": "lifts.with_plaintext(original)"}
)


@LIFTED
async def test_row_36_downgrade(attack):
    """The victim dials: it proposes nothing but Noise, and says nothing where there is none."""
    async with attack() as scene:
        for respond, dials in RESPONDERS.items():
            conversations = await dialed(scene, respond, dials)
            for said in conversations:
                rest = said.removeprefix(HEADER + NOISE)
                assert len(rest) == len(said) - len(HEADER + NOISE), (respond.__name__, said)
                assert len(rest) in (0, FIRST_MESSAGE), (respond.__name__, said)
        assert str(ME.peer_id) not in await scene.victim.ask("peers")


async def dialed(
    scene: Scene, respond: Callable[[trio.SocketStream], Awaitable[bytes]], dials: int
) -> list[bytes]:
    """What the victim said on each of its attempts at a dial that fails."""
    conversations: list[bytes] = []
    ended = trio.Event()

    async def serve(raw: trio.SocketStream) -> None:
        conversations.append(await respond(raw))
        if len(conversations) == dials:
            ended.set()

    async with xx.listening(serve) as addr:
        told = await scene.victim.ask("dial", to=addr)
        with trio.fail_after(PROMPT):
            await ended.wait()
    assert told["error"] == "AllAttemptsFailed", (respond.__name__, told)
    return conversations


@LIFTED
async def test_row_36_proposals(attack):
    """The victim is dialed."""
    async with attack() as scene:
        with trio.fail_after(PROMPT):
            await propose_first(scene)
            await ask_for_a_listing(scene)
            await go_on_in_plaintext(scene)
