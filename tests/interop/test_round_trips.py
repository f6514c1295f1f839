"""What a first byte costs when ours dials real peers: three round trips, as between two of ours.

Counted, by the proxy of ``flights.py``, are the flights that depend on each other from the dial to the first byte of
the answer at the dialer, two of them a round trip, and one for TCP's own handshake, which the proxy does not see. What
happens beside that chain (both sides identify each other meanwhile) or after it (ends of streams) does not count.
``tests/world/test_round_trips.py`` says what the three are. What the others' dialers need for the same is in
``test_peers_themselves.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2p.host import Host
from p2p.identity import Identity
from p2p.protocols.identify import Identify
from p2p.protocols.ping import Ping
from tests.interop.flights import open_flights
from tests.interop.peer import Peer

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60, func_only=True)]


@pytest.fixture(params=["ours", "go", "rust", "js", "py"])
def responder(request: pytest.FixtureRequest, peer_command: Callable[[str], list[str]]) -> Peer:
    name: str = request.param
    return Peer(name, peer_command(name), listen=["/ip4/127.0.0.1/tcp/0"])


async def test_connect_and_one_byte_each_way_is_three_round_trips(responder: Peer) -> None:
    async with responder:
        port = int(responder.addr.split("/")[4])
        async with (
            open_flights("127.0.0.1", port, delay=0.1) as flights,
            Host(Identity.generate(), services=[Identify(), Ping()]) as host,
            await host.open_stream(flights.addr_for(responder.addr), "/echo/1.0.0") as stream,
        ):
            await stream.send_all(b"?")
            assert await stream.receive_some(1) == b"?"
            (flow,) = flights.flows
            assert flow.round_trips == 3, "\n".join(flow.log)
