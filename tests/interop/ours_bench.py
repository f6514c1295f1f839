"""The benchmark commands of our interop peer (README.md of this directory, "Benchmarks")."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Any

import trio

from p2p.abc import Stream
from p2p.host import Host
from p2p.identity import PeerId
from p2p.streams import read_exactly

SINK = "/bench/sink/1.0.0"
ANSWER = "/bench/answer/1.0.0"
SMALL = 32  # bytes of a request and of its answer
COUNT = 8  # bytes of a sink's answer: how many it read, big-endian
DIALS_AT_ONCE = 16  # by a crowd: fewer than anybody's bound on handshakes under way

Request = Mapping[str, Any]
Answer = dict[str, Any]


async def sink(stream: Stream) -> None:
    """Read and drop to EOF, then say how much it was."""
    count = 0
    async for chunk in stream:
        count += len(chunk)
    await stream.send_all(count.to_bytes(COUNT, "big"))


async def answer_small(stream: Stream) -> None:
    """Each 32 bytes back, to EOF."""
    while chunk := await stream.receive_some(SMALL):
        if len(chunk) < SMALL:
            chunk += await read_exactly(stream, SMALL - len(chunk))
        await stream.send_all(chunk)


async def pour(stream: Stream, size: int, write: int) -> None:
    """``size`` bytes in writes of ``write`` bytes, the last one cut, and the sink's count of them."""
    data = memoryview(os.urandom(write))
    for begin in range(0, size, write):
        await stream.send_all(data[: size - begin])
    await _finish(stream, size)


async def pour_nowait(stream: Stream, size: int, write: int) -> None:
    """The same by ``send_nowait``, which waits for room only where a write was not taken whole."""
    data = memoryview(os.urandom(write))
    left = size
    while left:
        wanted = min(write, left)
        taken = stream.send_nowait(data[:wanted])
        left -= taken
        if taken < wanted:
            await stream.wait_send_all_might_not_block()
    await _finish(stream, size)


async def _finish(stream: Stream, size: int) -> None:
    await stream.send_eof()
    got = int.from_bytes(await read_exactly(stream, COUNT), "big")
    if got != size:
        raise RuntimeError(f"{size} bytes were sent and {got} arrived")


async def ask_on_time(
    asking: Sequence[Callable[[], Awaitable[object]]], request: Request, answer: Answer
) -> None:
    """Have each ask once in each period, at a moment of its own."""
    period = request["period"] / 1000
    samples: list[int] = []

    async def ping(ask: Callable[[], Awaitable[object]], first: float) -> None:
        for turn in range(request["count"]):
            await trio.sleep_until(first + turn * period)
            asked = perf_counter()
            await ask()
            samples.append(_micros_since(asked))

    begin, now = perf_counter(), trio.current_time()
    async with trio.open_nursery() as nursery:
        for i, ask in enumerate(asking):
            nursery.start_soon(ping, ask, now + period * i / len(asking))
    answer |= {"micros": _micros_since(begin), "samples": samples}


def usage() -> Answer:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"pid": os.getpid(), "cpu_micros": round((used.ru_utime + used.ru_stime) * 1e6)}


class Bench:
    """The commands, on one host. A crowd lives in ``nursery`` until it is dispersed."""

    def __init__(self, host: Host, nursery: trio.Nursery, make_host: Callable[[Sequence[str]], Host]) -> None:
        """``make_host`` is given the addresses to listen on."""
        self._host = host
        self._nursery = nursery
        self._make_host = make_host
        self._crowd: list[tuple[Host, PeerId]] = []
        #: A stream on each connection of the crowd, once they ping.
        self._pinging: list[Stream] = []
        self._dispersed = trio.Event()
        self._commands = {
            "bench_usage": self._usage,
            "bench_bulk": self._bulk,
            "bench_requests": self._requests,
            "bench_round_trips": self._round_trips,
            "bench_beside": self._beside,
            "bench_handshakes": self._handshakes,
            "bench_crowd": self._gather,
            "bench_pings": self._pings,
            "bench_listening_crowd": self._gather_listening,
            "bench_dials": self._dial_all,
            "bench_disperse": self._disperse,
        }

    def knows(self, command: object) -> bool:
        return command in self._commands

    def serve(self) -> ExitStack:
        """Serve the benchmarks' protocols while the result is entered."""
        stack = ExitStack()
        stack.enter_context(self._host.handle(SINK, sink))
        stack.enter_context(self._host.handle(ANSWER, answer_small))
        return stack

    async def execute(self, request: Request, answer: Answer) -> None:
        await self._commands[request["command"]](request, answer)

    async def _usage(self, request: Request, answer: Answer) -> None:
        if request.get("settle"):
            gc.collect()
        answer |= usage()

    async def _bulk(self, request: Request, answer: Answer) -> None:
        if request.get("crowd"):
            ways = self._crowd
        else:
            remote = (await self._host.dial(request["addr"])).remote_peer
            ways = [(self._host, remote)] * request.get("streams", 1)
        size, write = request["bytes"] // len(ways), request["write"]
        pouring = pour_nowait if request.get("nowait") else pour
        shares: list[int] = []

        async def one(host: Host, remote: PeerId) -> None:
            async with await host.open_stream(remote, SINK) as stream:
                await pouring(stream, size, write)
            shares.append(_micros_since(begin))

        begin = perf_counter()
        async with trio.open_nursery() as nursery:
            for host, remote in ways:
                nursery.start_soon(one, host, remote)
        answer |= {"micros": _micros_since(begin), "bytes": size * len(ways), "shares": shares}

    async def _requests(self, request: Request, answer: Answer) -> None:
        remote = (await self._host.dial(request["addr"])).remote_peer
        left = iter(range(request["count"]))
        samples: list[int] = []

        async def ask_until_done() -> None:
            for _ in left:
                asked = perf_counter()
                async with await self._host.open_stream(remote, ANSWER) as stream:
                    await _ask(stream)
                samples.append(_micros_since(asked))

        begin = perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(request.get("at_once", 1)):
                nursery.start_soon(ask_until_done)
        answer |= {"micros": _micros_since(begin), "samples": samples}

    async def _round_trips(self, request: Request, answer: Answer) -> None:
        samples = []
        async with await self._host.open_stream(request["addr"], ANSWER) as stream:
            await _ask(stream)
            begin = asked = perf_counter()
            for _ in range(request["count"]):
                await _ask(stream)
                answered = perf_counter()
                samples.append(round((answered - asked) * 1e6))
                asked = answered
        answer |= {"micros": _micros_since(begin), "samples": samples}

    async def _beside(self, request: Request, answer: Answer) -> None:
        """Small round trips beside bulk that goes on until they are done, on one connection."""
        remote = (await self._host.dial(request["addr"])).remote_peer
        data = memoryview(os.urandom(request["write"]))
        saturated, asked_enough = trio.Event(), trio.Event()
        samples: list[int] = []

        async def ask_again_and_again(stream: Stream) -> None:
            await saturated.wait()
            until = trio.current_time() + request["millis"] / 1000
            while trio.current_time() < until:
                asked = perf_counter()
                await _ask(stream)
                samples.append(_micros_since(asked))
                await trio.sleep(request["pause"] / 1000)
            asked_enough.set()

        sent = 0
        begin = perf_counter()
        async with (
            await self._host.open_stream(remote, SINK) as bulk,
            await self._host.open_stream(remote, ANSWER) as asking,
        ):
            await _ask(asking)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_again_and_again, asking)
                while not asked_enough.is_set():
                    await bulk.send_all(data)
                    sent += len(data)
                    if sent >= request["bytes"]:
                        saturated.set()
            await _finish(bulk, sent)
        answer |= {"micros": _micros_since(begin), "bytes": sent, "samples": samples}

    async def _handshakes(self, request: Request, answer: Answer) -> None:
        for connections in list(self._host.connections.values()):
            for connection in list(connections):
                await connection.aclose()
                await self._host.wait_disconnected(connection.remote_peer)
        dialed, answered = [], []
        for _ in range(request["count"]):
            begin = perf_counter()
            connection = await self._host.dial(request["addr"])
            dialed.append(_micros_since(begin))
            async with await self._host.open_stream(connection.remote_peer, ANSWER) as stream:
                await _ask(stream)
            answered.append(_micros_since(begin))
            await connection.aclose()
            await self._host.wait_disconnected(connection.remote_peer)
        answer |= {"dialed": dialed, "answered": answered}

    async def _gather(self, request: Request, answer: Answer) -> None:
        dialing = trio.CapacityLimiter(DIALS_AT_ONCE)
        dispersed = self._dispersed

        async def live(*, task_status: trio.TaskStatus[tuple[Host, PeerId]]) -> None:
            async with self._make_host([]) as host:
                async with dialing:
                    connection = await host.dial(request["addr"])
                    # As any connection that was used: a request and its answer went over it.
                    async with await host.open_stream(connection.remote_peer, ANSWER) as stream:
                        await _ask(stream)
                task_status.started((host, connection.remote_peer))
                await dispersed.wait()

        async def one() -> None:
            self._crowd.append(await self._nursery.start(live))

        async with trio.open_nursery() as nursery:
            for _ in range(request["count"]):
                nursery.start_soon(one)
        answer["crowd"] = len(self._crowd)

    async def _pings(self, request: Request, answer: Answer) -> None:
        """Each connection of the crowd asks at its own moment of each period; streams stay open for the next call."""
        for host, remote in self._crowd[len(self._pinging) :]:
            stream = await host.open_stream(remote, ANSWER)
            await _ask(stream)
            self._pinging.append(stream)
        await ask_on_time([partial(_ask, stream) for stream in self._pinging], request, answer)

    async def _gather_listening(self, request: Request, answer: Answer) -> None:
        dispersed = self._dispersed

        async def live(*, task_status: trio.TaskStatus[str]) -> None:
            async with self._make_host([request["listen"]]) as host:
                with host.handle(ANSWER, answer_small):
                    task_status.started(str(host.addrs[0]))
                    await dispersed.wait()

        answer["addrs"] = [await self._nursery.start(live) for _ in range(request["count"])]

    async def _dial_all(self, request: Request, answer: Answer) -> None:
        dialing = trio.CapacityLimiter(DIALS_AT_ONCE)

        async def one(addr: str) -> None:
            async with dialing:
                remote = (await self._host.dial(addr)).remote_peer
                async with await self._host.open_stream(remote, ANSWER) as stream:
                    await _ask(stream)

        async with trio.open_nursery() as nursery:
            for addr in request["addrs"]:
                nursery.start_soon(one, addr)

    async def _disperse(self, request: Request, answer: Answer) -> None:
        self._dispersed.set()
        self._dispersed = trio.Event()
        self._crowd.clear()
        self._pinging.clear()


async def _ask(stream: Stream) -> None:
    await stream.send_all(bytes(SMALL))
    await read_exactly(stream, SMALL)


def _micros_since(begin: float) -> int:
    return round((perf_counter() - begin) * 1e6)
