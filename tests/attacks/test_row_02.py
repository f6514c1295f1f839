"""Row 2: one byte at a time, for ever, in every place where the victim waits for more of a message.

Deadlines are absolute, so that bytes which keep coming do not move them. All are scaled down to a second, and five
times as much is allowed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from p2p.protocols.fetch import FETCH
from p2p.protocols.identify.service import IDENTIFY
from p2p.protocols.perf import PERF
from p2p.protocols.ping import PING
from p2p.wire.fetch_messages import encode_fetch_request
from p2p.wire.framing import encode_frame
from tests.attacks import wire
from tests.attacks.harness import Scene

DEADLINE = 1.0
DRIP = 0.1

SCALED = {
    "upgrade": DEADLINE,
    "negotiation": {"timeout": DEADLINE},
    "identify": {"timeout": DEADLINE},
    "ping": {"idle": DEADLINE},
    "perf": {"timeout": DEADLINE},
    "fetch": {"timeout": DEADLINE},
}
LIFTED = {
    "upgrade": 1000.0,
    "negotiation": {"timeout": 1000.0},
    "identify": {"timeout": 1000.0},
    "ping": {"idle": 1000.0},
    "perf": {"timeout": 1000.0},
    "fetch": {"timeout": 1000.0},
}


async def drip(send: Callable[[bytes], Awaitable[None]], data: bytes) -> None:
    """A byte of ``data`` now and then, and nothing more once it is all sent."""
    try:
        for byte in data:
            await send(bytes([byte]))
            await trio.sleep(DRIP)
    except trio.BrokenResourceError:
        pass
    await trio.sleep_forever()


async def dripping(
    send: Callable[[bytes], Awaitable[None]], data: bytes, ended: Callable[[], Awaitable[object]]
) -> bool:
    """Drip until the victim ends it; whether it did so in time."""
    with trio.move_on_after(5 * DEADLINE) as late:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip, send, data)
            await ended()
            nursery.cancel_scope.cancel()
    return not late.cancelled_caught


# A message of 100 bytes takes ten times the deadline to arrive.
LONG_LINE = wire.token("/" + "x" * 98)


async def in_multistream(scene: Scene) -> bool:
    raw = await scene.connect()
    return await dripping(
        raw.send_all, wire.token("/multistream/1.0.0") + LONG_LINE, lambda: wire.closed(raw)
    )


async def in_noise(scene: Scene) -> bool:
    raw = await scene.connect()
    await raw.send_all(wire.token("/multistream/1.0.0") + wire.token("/noise"))
    first = b"\x00\x20" + bytes([9]) + bytes(31)  # X25519's base point
    return await dripping(raw.send_all, first, lambda: wire.closed(raw))


async def in_the_last_message_of_noise(scene: Scene) -> bool:
    connection = await wire.secure(await scene.connect(), muxers=())
    return await dripping(connection.raw.send_all, connection.seal(b""), connection.receive_until_closed)


async def in_the_muxers_negotiation(scene: Scene) -> bool:
    connection = await wire.secure(await scene.connect(), muxers=())
    await connection.send(wire.token("/multistream/1.0.0"))
    return await dripping(connection.send, LONG_LINE, connection.receive_until_closed)


async def in_a_sealed_frame(scene: Scene) -> bool:
    connection = await wire.secure(await scene.connect(), muxers=())
    await connection.send(wire.token("/multistream/1.0.0"))
    return await dripping(
        connection.raw.send_all, connection.seal(LONG_LINE), connection.receive_until_closed
    )


async def on_a_stream(scene: Scene, opening: bytes, data: bytes) -> bool:
    connection = await scene.secure()
    await connection.send(wire.header(wire.WINDOW, wire.SYN, 1, 0))
    if opening:
        await connection.send(wire.data(1, opening))

    async def send(byte: bytes) -> None:
        await connection.send(wire.data(1, byte))

    return await dripping(send, data, lambda: connection.receive_end_of(1))


async def in_a_streams_negotiation(scene: Scene) -> bool:
    return await on_a_stream(scene, b"", LONG_LINE)


async def in_a_ping(scene: Scene) -> bool:
    return await on_a_stream(scene, wire.token("/multistream/1.0.0") + wire.token(PING), bytes(32))


async def in_an_upload_to_measure(scene: Scene) -> bool:
    return await on_a_stream(scene, wire.token("/multistream/1.0.0") + wire.token(PERF), bytes(100))


async def in_a_request_to_fetch(scene: Scene) -> bool:
    request = encode_frame(encode_fetch_request(bytes(100)))
    return await on_a_stream(scene, wire.token("/multistream/1.0.0") + wire.token(FETCH), request)


async def in_an_answer_to_identify(scene: Scene) -> bool:
    """The victim asks who we are: on a stream of its own, the first it opens."""
    connection = await scene.secure()
    await connection.send(b"")
    while (frame := await connection.receive_frame()) is not None and IDENTIFY.encode() not in frame.payload:
        pass
    assert frame is not None and frame.flags & wire.SYN
    stream = frame.stream
    await connection.send(
        wire.data(stream, wire.token("/multistream/1.0.0") + wire.token(IDENTIFY), wire.ACK)
    )

    async def send(byte: bytes) -> None:
        await connection.send(wire.data(stream, byte))

    # An answer of 100 bytes that says nothing: an unknown field.
    return await dripping(send, bytes([100, 0x7A, 98]) + bytes(98), lambda: connection.receive_end_of(stream))


PLACES = (
    in_multistream,
    in_noise,
    in_the_last_message_of_noise,
    in_the_muxers_negotiation,
    in_a_sealed_frame,
    in_a_streams_negotiation,
    in_a_ping,
    in_an_upload_to_measure,
    in_a_request_to_fetch,
    in_an_answer_to_identify,
)


@pytest.mark.lifted(limits=LIFTED)
async def test_row_02_dripping(attack):
    ended = {}
    async with attack(limits=SCALED) as scene:

        async def judge(place: Callable[[Scene], Awaitable[bool]]) -> None:
            ended[place.__name__] = await place(scene)

        async with trio.open_nursery() as nursery:
            for place in PLACES:
                nursery.start_soon(judge, place)
        late = [name for name, in_time in ended.items() if not in_time]
        assert not late, ", ".join(late)
