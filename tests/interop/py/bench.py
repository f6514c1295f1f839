"""The benchmark commands of the control contract (../README.md, "Benchmarks"), on py-libp2p."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from tests.interop.py.handlers import drain

SINK = TProtocol("/bench/sink/1.0.0")
ANSWER = TProtocol("/bench/answer/1.0.0")
SMALL = 32  # bytes of a request and of its answer
COUNT = 8  # bytes of a sink's answer
DIALS_AT_ONCE = 16

Request = Mapping[str, Any]
Answer = dict[str, Any]


async def sink(stream: INetStream) -> None:
    count = await drain(stream)
    await stream.write(count.to_bytes(COUNT, "big"))
    await stream.close()


async def answer_small(stream: INetStream) -> None:
    while True:
        try:
            chunk = await stream.read(SMALL)
        except StreamEOF:
            break
        if not chunk:
            break
        if len(chunk) < SMALL:
            chunk += await _read_exactly(stream, SMALL - len(chunk))
        await stream.write(chunk)
    await stream.close()


class Bench:
    """The commands, on one host. A crowd lives in ``nursery`` until it is dispersed."""

    def __init__(self, host: IHost, nursery: trio.Nursery, make_host: Callable[[], IHost]) -> None:
        self._host = host
        self._nursery = nursery
        self._make_host = make_host
        self._crowd: list[tuple[IHost, ID]] = []
        #: A stream on each connection of the crowd, once they ping.
        self._pinging: list[INetStream] = []
        self._dispersed = trio.Event()
        self._commands = {
            "bench_usage": self._usage,
            "bench_bulk": self._bulk,
            "bench_requests": self._requests,
            "bench_round_trips": self._round_trips,
            "bench_beside": self._beside,
            "bench_pings": self._pings,
            "bench_handshakes": self._handshakes,
            "bench_crowd": self._gather,
            "bench_listening_crowd": self._gather_listening,
            "bench_dials": self._dial_all,
            "bench_disperse": self._disperse,
        }
        host.set_stream_handler(SINK, sink)
        host.set_stream_handler(ANSWER, answer_small)

    def knows(self, command: object) -> bool:
        return command in self._commands

    async def execute(self, request: Request, answer: Answer) -> None:
        await self._commands[request["command"]](request, answer)

    async def _connect(self, request: Request) -> ID:
        info = info_from_p2p_addr(Multiaddr(request["addr"]))
        if not self._host.get_network().get_connections(info.peer_id):
            await self._host.connect(info)
        return info.peer_id

    async def _usage(self, request: Request, answer: Answer) -> None:
        if request.get("settle"):
            gc.collect()
        used = resource.getrusage(resource.RUSAGE_SELF)
        answer |= {"pid": os.getpid(), "cpu_micros": round((used.ru_utime + used.ru_stime) * 1e6)}

    async def _bulk(self, request: Request, answer: Answer) -> None:
        if request.get("crowd"):
            ways = self._crowd
        else:
            ways = [(self._host, await self._connect(request))] * request.get("streams", 1)
        size, write = request["bytes"] // len(ways), request["write"]
        shares: list[int] = []

        async def one(host: IHost, remote: ID) -> None:
            await _pour(await host.new_stream(remote, [SINK]), size, write)
            shares.append(_micros_since(begin))

        begin = perf_counter()
        async with trio.open_nursery() as nursery:
            for host, remote in ways:
                nursery.start_soon(one, host, remote)
        answer |= {"micros": _micros_since(begin), "bytes": size * len(ways), "shares": shares}

    async def _requests(self, request: Request, answer: Answer) -> None:
        remote = await self._connect(request)
        left = iter(range(request["count"]))
        samples: list[int] = []

        async def ask_until_done() -> None:
            for _ in left:
                asked = perf_counter()
                await _ask(self._host, remote)
                samples.append(_micros_since(asked))

        begin = perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(request.get("at_once", 1)):
                nursery.start_soon(ask_until_done)
        answer |= {"micros": _micros_since(begin), "samples": samples}

    async def _round_trips(self, request: Request, answer: Answer) -> None:
        stream = await self._host.new_stream(await self._connect(request), [ANSWER])
        await _ask_on(stream)
        samples = []
        begin = perf_counter()
        for _ in range(request["count"]):
            asked = perf_counter()
            await _ask_on(stream)
            samples.append(_micros_since(asked))
        answer |= {"micros": _micros_since(begin), "samples": samples}
        await stream.close()

    async def _beside(self, request: Request, answer: Answer) -> None:
        """Small round trips beside bulk that goes on until they are done, on one connection."""
        remote = await self._connect(request)
        data = os.urandom(request["write"])
        saturated, asked_enough = trio.Event(), trio.Event()
        samples: list[int] = []
        asking = await self._host.new_stream(remote, [ANSWER])
        await _ask_on(asking)
        bulk = await self._host.new_stream(remote, [SINK])

        async def ask_again_and_again() -> None:
            await saturated.wait()
            until = trio.current_time() + request["millis"] / 1000
            while trio.current_time() < until:
                asked = perf_counter()
                await _ask_on(asking)
                samples.append(_micros_since(asked))
                await trio.sleep(request["pause"] / 1000)
            asked_enough.set()

        sent = 0
        begin = perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_again_and_again)
            while not asked_enough.is_set():
                await bulk.write(data)
                sent += len(data)
                if sent >= request["bytes"]:
                    saturated.set()
        await _finish(bulk, sent)
        await asking.close()
        answer |= {"micros": _micros_since(begin), "bytes": sent, "samples": samples}

    async def _pings(self, request: Request, answer: Answer) -> None:
        """Each connection of the crowd asks at its own moment of each period; streams stay open for the next call."""
        for host, remote in self._crowd[len(self._pinging) :]:
            stream = await host.new_stream(remote, [ANSWER])
            await _ask_on(stream)
            self._pinging.append(stream)
        period = request["period"] / 1000
        samples: list[int] = []

        async def ping(stream: INetStream, first: float) -> None:
            for turn in range(request["count"]):
                await trio.sleep_until(first + turn * period)
                asked = perf_counter()
                await _ask_on(stream)
                samples.append(_micros_since(asked))

        begin, now = perf_counter(), trio.current_time()
        async with trio.open_nursery() as nursery:
            for i, stream in enumerate(self._pinging):
                nursery.start_soon(ping, stream, now + period * i / len(self._pinging))
        answer |= {"micros": _micros_since(begin), "samples": samples}

    async def _handshakes(self, request: Request, answer: Answer) -> None:
        remote = await self._connect(request)
        await self._host.disconnect(remote)
        dialed, answered = [], []
        for _ in range(request["count"]):
            begin = perf_counter()
            await self._connect(request)
            dialed.append(_micros_since(begin))
            await _ask(self._host, remote)
            answered.append(_micros_since(begin))
            await self._host.disconnect(remote)
        answer |= {"dialed": dialed, "answered": answered}

    async def _gather(self, request: Request, answer: Answer) -> None:
        dialing = trio.CapacityLimiter(DIALS_AT_ONCE)
        info = info_from_p2p_addr(Multiaddr(request["addr"]))
        dispersed = self._dispersed

        async def live(*, task_status: trio.TaskStatus[IHost]) -> None:
            host = self._make_host()
            async with host.run([]):
                async with dialing:
                    await host.connect(info)
                    await _ask(host, info.peer_id)
                task_status.started(host)
                await dispersed.wait()

        async def one() -> None:
            self._crowd.append((await self._nursery.start(live), info.peer_id))

        async with trio.open_nursery() as nursery:
            for _ in range(request["count"]):
                nursery.start_soon(one)
        answer["crowd"] = len(self._crowd)

    async def _gather_listening(self, request: Request, answer: Answer) -> None:
        dispersed = self._dispersed

        async def live(*, task_status: trio.TaskStatus[str]) -> None:
            host = self._make_host()
            host.set_stream_handler(ANSWER, answer_small)
            async with host.run([Multiaddr(request["listen"])]):
                task_status.started(str(host.get_addrs()[0]))
                await dispersed.wait()

        answer["addrs"] = [await self._nursery.start(live) for _ in range(request["count"])]

    async def _dial_all(self, request: Request, answer: Answer) -> None:
        dialing = trio.CapacityLimiter(DIALS_AT_ONCE)

        async def one(addr: str) -> None:
            async with dialing:
                await _ask(self._host, await self._connect({"addr": addr}))

        async with trio.open_nursery() as nursery:
            for addr in request["addrs"]:
                nursery.start_soon(one, addr)

    async def _disperse(self, request: Request, answer: Answer) -> None:
        self._dispersed.set()
        self._dispersed = trio.Event()
        self._crowd.clear()
        self._pinging.clear()


async def _pour(stream: INetStream, size: int, write: int) -> None:
    """``size`` bytes in writes of ``write`` bytes, the last one cut, and the sink's count of them."""
    data = os.urandom(write)
    for begin in range(0, size, write):
        await stream.write(data if size - begin >= write else data[: size - begin])
    await _finish(stream, size)


async def _finish(stream: INetStream, size: int) -> None:
    await stream.close_write()
    got = int.from_bytes(await _read_exactly(stream, COUNT), "big")
    if got != size:
        raise RuntimeError(f"{size} bytes were sent and {got} arrived")
    await stream.close()


async def _ask(host: IHost, remote: ID) -> None:
    stream = await host.new_stream(remote, [ANSWER])
    await _ask_on(stream)
    await stream.close()


async def _ask_on(stream: INetStream) -> None:
    await stream.write(bytes(SMALL))
    await _read_exactly(stream, SMALL)


async def _read_exactly(stream: INetStream, n: int) -> bytes:
    got = b""
    while len(got) < n:
        chunk = await stream.read(n - len(got))
        if not chunk:
            raise StreamEOF(f"{n} bytes wanted, {len(got)} came")
        got += chunk
    return got


def _micros_since(begin: float) -> int:
    return round((perf_counter() - begin) * 1e6)
