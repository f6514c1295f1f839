"""Where no link can be made between real sockets: ours over the virtual network, in virtual time.

This measures round trips and windows, not sockets and not the processor: time passes only while everybody waits. It is
told as such in the record.
"""

from __future__ import annotations

from typing import Any

import trio
import trio.testing

from benchmarks import record
from benchmarks.macro.links import LINKS, Link
from benchmarks.macro.works import Work
from p2p.host import Host
from p2p.identity import Identity
from p2p.testing.links import LinkOptions
from p2p.testing.network import VirtualNetwork
from tests.interop.ours_bench import SINK, pour, sink

HOW = "the virtual network in virtual time: it measures round trips and windows, not sockets and not the processor"
#: What the buffers of a socket come to hold.
WINDOW = 32 * 1024 * 1024


def measure(work: Work) -> dict[str, Any]:
    """The work of ``works.WORKS`` that needs a link, for ours alone; exact, so once is enough."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    seconds = trio.run(_bulk, LINKS[work.link], work, clock=clock)
    value = work.arguments["bytes"] / seconds / 1e6
    return {
        **work.told(),
        "title": f"{work.title} (virtual)",
        "results": {"ours": record.summary([value], [], [])},
    }


async def _bulk(link: Link, work: Work) -> float:
    # A lost segment is sent again after a round trip, as TCP does when more of them follow it.
    options = LinkOptions(
        latency=link.delay,
        bandwidth=link.rate,
        loss=link.loss,
        stall=2 * link.delay,
        window=WINDOW,
        segment=(1460, 1460),
    )
    async with VirtualNetwork(options=options) as network:
        listening = Host(
            Identity.generate(), transports=[network.transport("10.0.0.1")], listen=["/ip4/10.0.0.1/tcp/1"]
        )
        async with (
            listening,
            Host(Identity.generate(), transports=[network.transport("10.0.0.2")]) as dialing,
        ):
            with listening.handle(SINK, sink):
                remote = (await dialing.dial(listening.addrs[0])).remote_peer
                begin = trio.current_time()
                async with await dialing.open_stream(remote, SINK) as stream:
                    await pour(stream, work.arguments["bytes"], work.arguments["write"])
                took = trio.current_time() - begin
    return took
