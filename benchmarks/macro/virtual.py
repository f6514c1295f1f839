"""Ours over the virtual network, in virtual time.

This measures round trips and windows, not sockets and not the processor: time passes only while everybody waits. It is
told as such in the record. The opening of a window is always measured here; works that need a link are where none can
be made between real sockets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
import trio.testing

from benchmarks import record
from benchmarks.macro.links import LINKS, Link
from benchmarks.macro.works import KIB, MIB, Work
from p2p.abc import Stream
from p2p.host import Host
from p2p.identity import Identity
from p2p.limits import DEFAULT_LIMITS
from p2p.muxers.stream import MuxedStream
from p2p.muxers.yamux.stream import YamuxStream
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
    async with _two_hosts(options) as (dialing, listening):
        with listening.handle(SINK, sink):
            remote = (await dialing.dial(listening.addrs[0])).remote_peer
            begin = trio.current_time()
            async with await dialing.open_stream(remote, SINK) as stream:
                await pour(stream, work.arguments["bytes"], work.arguments["write"])
            took = trio.current_time() - begin
    return took


@asynccontextmanager
async def _two_hosts(options: LinkOptions) -> AsyncIterator[tuple[Host, Host]]:
    """One that dials and one that listens, with this between them."""
    async with VirtualNetwork(options=options) as network:
        listening = Host(
            Identity.generate(), transports=[network.transport("10.0.0.1")], listen=["/ip4/10.0.0.1/tcp/1"]
        )
        async with (
            listening,
            Host(Identity.generate(), transports=[network.transport("10.0.0.2")]) as dialing,
        ):
            yield dialing, listening


# --- how a window opens -------------------------------------------------------------------------------

DISTANT = Link(0.1, 0.0, rate=125e6)  # 200 ms and 1 Gbit/s
#: What the window's largest size lets through on it: 83.9 MB/s.
CEILING = DEFAULT_LIMITS.yamux.max_window
ROUND_TRIPS = 40  # of which the throughput is the average: it comes in bursts of a window
SETTLING = 3  # round trips until the sender has heard of the largest window, and sends by it


@dataclass(frozen=True, slots=True)
class Opening:
    """What one stream that is written without a pause came to."""

    #: From opening it until its receiver had granted the largest window.
    round_trips: float
    #: Throughput from there on, as a part of one such window in each round trip.
    share: float


def opening(round_trips: int) -> Opening:
    """Pour over :data:`DISTANT` until the window is open, and so many round trips more, which are the throughput."""
    return trio.run(open_window, round_trips, clock=trio.testing.MockClock(autojump_threshold=0))


async def open_window(round_trips: int) -> Opening:
    """The same, in a Trio that runs already, under the autojump clock."""
    opened, done = trio.Event(), trio.Event()
    counted = 0

    async def count(stream: Stream) -> None:
        nonlocal counted
        assert isinstance(stream, MuxedStream)
        books = stream.books
        assert isinstance(books, YamuxStream)
        async for chunk in stream:
            counted += len(chunk)
            if books.receive_window == CEILING:
                opened.set()

    async def write_without_a_pause(stream: Stream) -> None:
        data = bytes(64 * KIB)
        while not done.is_set():
            await stream.send_all(data)
        stream.reset()

    options = LinkOptions(latency=DISTANT.delay, bandwidth=DISTANT.rate, window=4 * CEILING)
    async with _two_hosts(options) as (dialing, listening):
        with listening.handle(SINK, count):
            remote = (await dialing.dial(listening.addrs[0])).remote_peer
            round_trip = 2 * DISTANT.delay
            begin = trio.current_time()
            stream = await dialing.open_stream(remote, SINK)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write_without_a_pause, stream)
                await opened.wait()
                took = (trio.current_time() - begin) / round_trip
                await trio.sleep(SETTLING * round_trip)
                before = counted
                await trio.sleep(round_trips * round_trip)
                done.set()
    return Opening(took, (counted - before) / (round_trips * CEILING))


def rows(found: Opening) -> list[dict[str, Any]]:
    """As a record tells it."""
    common = {"cpu_unit": "", "link": "", "arguments": {}}
    where = f"{DISTANT.in_words.rsplit(',', 1)[0]}, virtual"
    return [
        {
            **common,
            "name": "virtual-share",
            "title": f"bulk, {where}: part of what a window of {CEILING // MIB} MiB allows",
            "unit": "%",
            "higher_is_better": True,
            "results": {"ours": record.summary([found.share * 100], [], [])},
        },
        {
            **common,
            "name": "virtual-opening",
            "title": f"bulk, {where}: round trips until that window is open",
            "unit": "round trips",
            "higher_is_better": False,
            "results": {"ours": record.summary([found.round_trips], [], [])},
        },
    ]
