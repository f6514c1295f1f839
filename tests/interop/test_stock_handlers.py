"""Handlers as users of js-libp2p write them, and openings as users of ours write them: both must get on.

js tells an end that reaches it together with the multistream proposal to nobody who starts to read later, and a plain
``for await`` then waits for ever: so ours says FIN only once the answer to its lazy proposal is here. And js ends a
connection on which more than ten streams arrive before its upgrade is done: so ours opens no more until js has spoken.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from p2p.host import Host
from p2p.identity import Identity
from tests.interop.flights import open_flights
from tests.interop.peer import Peer

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60, func_only=True)]

STOCK = "/test/stock/1.0.0"
STREAMS = 100
PATIENCE = 20  # seconds


@pytest.fixture
def js(peer_command: Callable[[str], list[str]]) -> Peer:
    return Peer("js", peer_command("js"), listen=["/ip4/127.0.0.1/tcp/0"])


async def test_a_hundred_streams_begun_before_there_is_a_connection(js: Peer) -> None:
    """Through the proxy, so that js reads the end of the handshake and all that ours said after it at once."""
    async with (
        js,
        open_flights("127.0.0.1", int(js.addr.split("/")[4]), delay=0.1) as flights,
        Host(Identity.generate()) as host,
    ):
        addr = flights.addr_for(js.addr)

        async def tell() -> None:
            async with await host.open_stream(addr, STOCK) as stream:
                await stream.send_all(b"told")
                await stream.send_eof()
                assert await stream.receive_some() == b""

        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for _ in range(STREAMS):
                    nursery.start_soon(tell)
        await all_read(js, 4 * STREAMS)


async def test_streams_that_are_closed_at_once(js: Peer) -> None:
    async with js, Host(Identity.generate()) as host:
        for number in range(STREAMS):
            async with await host.open_stream(js.addr, STOCK) as stream:
                await stream.send_all(b"%03d" % number)
        await all_read(js, 3 * STREAMS)


async def all_read(js: Peer, size: int) -> None:
    stats = await js.call("stats", until={"stock.eof": STREAMS})
    assert stats["stock"]["eof_bytes"] == size
    assert (stats["stock"]["reset"], stats["stock"]["other"]) == (0, 0)
    assert stats["connections"] == 1
