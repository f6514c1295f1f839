"""Many streams at once on a connection whose remote has not spoken yet: the first ones go, the rest follow."""

from __future__ import annotations

import trio

from p2p.protocols.echo import ECHO, Echo
from tests.trio.two_hosts import two_hosts


async def test_lazy_streams_that_send_nothing_hold_no_others_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Their openings are held back for the first bytes, but not while others wait for their answers."""
    async with two_hosts([Echo()]) as hosts:
        with trio.fail_after(5):
            streams = [await hosts.to_alice.open_stream(ECHO, lazy=True) for _ in range(30)]
            for number, stream in enumerate(streams):
                await stream.send_all(b"%d" % number)
                await stream.send_eof()
                assert b"".join([bytes(chunk) async for chunk in stream]) == b"%d" % number
                await stream.aclose()
