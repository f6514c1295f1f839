"""Echo: everything comes back, in bounded memory, and the end too."""

from __future__ import annotations

import trio

from p2p.limits import YamuxLimits
from p2p.protocols.echo import ECHO, Echo
from tests.trio.two_hosts import two_hosts


async def test_all_comes_back_and_then_the_end(autojump_clock: trio.testing.MockClock) -> None:
    data = bytes(range(256)) * 8192
    async with two_hosts([Echo()]) as hosts:
        async with (
            await hosts.bob.open_stream(hosts.alice.peer_id, ECHO) as stream,
            trio.open_nursery() as nursery,
        ):

            async def send() -> None:
                await stream.send_all(data)
                await stream.send_eof()

            nursery.start_soon(send)
            back = bytearray()
            async for chunk in stream:
                back += chunk
    assert back == data


async def test_who_does_not_read_cannot_send_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    sent = 0
    async with two_hosts([Echo()]) as hosts:
        stream = await hosts.bob.open_stream(hosts.alice.peer_id, ECHO)
        with trio.move_on_after(30) as stuck:
            while True:
                await stream.send_all(b"x" * 65536)
                sent += 65536
        assert stuck.cancelled_caught
        stream.reset()
    # Two windows, two buffers of a stream, and what the transport holds.
    assert sent < 4 * YamuxLimits().max_window
