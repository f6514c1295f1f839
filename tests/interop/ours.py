"""An interop peer on this package. The control contract it speaks is in README.md of this directory."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import trio

from p2p.abc import Connection, Muxer, Security, Stream
from p2p.cli.standard_streams import read_chunk, write_all
from p2p.errors import (
    ConnectionLost,
    DialError,
    InvalidAddress,
    InvalidPeerId,
    NoCommonProtocol,
    P2PError,
    PeerIdMismatch,
    StreamReset,
)
from p2p.host import Host
from p2p.identity import Identity, PeerId
from p2p.limits import DEFAULT_LIMITS
from p2p.muxers import Mplex, Yamux
from p2p.protocols.identify import Identify
from p2p.protocols.perf import Perf, perf
from p2p.protocols.ping import PING, Ping, Rounds
from p2p.resources.table import ResourceLimits
from p2p.security.noise import Noise
from p2p.streams import read_exactly
from p2p.wire.addresses import parse_user_addr, split_peer, with_peer
from tests.interop.ours_bench import Bench
from tests.interop.ours_handlers import (
    ECHO,
    HALF,
    HALF_FIRST,
    RESET,
    RESET_ME,
    SINK,
    Added,
    Tallies,
    drain,
)
from tests.interop.payload import blocks

DEFAULT_TIMEOUT_MS = 20_000
LONGEST_LINE = 1 << 20  # bytes
#: A thousand connections at once are a benchmark.
LIFTED = replace(DEFAULT_LIMITS, resources=ResourceLimits.unlimited())

Request = Mapping[str, Any]
Answer = dict[str, Any]


class BadRequest(Exception):
    """The command or its arguments make no sense."""


class NotRefused(Exception):
    """``wrong_peer`` was let through."""


_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (PeerIdMismatch, "peer_id_mismatch"),
    (NoCommonProtocol, "no_protocol"),
    (StreamReset, "stream_reset"),
    (trio.TooSlowError, "timeout"),
    (DialError, "dial_failed"),
    (ConnectionLost, "connection_lost"),
    (BadRequest, "bad_request"),
    (InvalidAddress, "bad_request"),
    (InvalidPeerId, "bad_request"),
    (NotRefused, "not_refused"),
)


def kind_of(error: BaseException) -> str:
    """The most telling kind among an error, what it groups and what a dial met."""
    found = list(_all_of(error))
    for known, kind in _KINDS:
        if any(isinstance(each, known) for each in found):
            return kind
    return "internal"


def _all_of(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _all_of(each)
    if isinstance(error, DialError):
        for _, each in error.attempts:
            yield from _all_of(each)


class Commands:
    """What the contract names, on one host. Each command fills the answer it is given."""

    def __init__(self, host: Host, identify: Identify, tallies: Tallies, bench: Bench) -> None:
        self._host = host
        self._bench = bench
        self._identify = identify
        self._tallies = tallies
        self._added = Added()

    async def answer(self, request: Request) -> Answer:
        """Execute; failures of any kind that the contract names become an answer."""
        answer: Answer = {"id": request.get("id"), "ok": True}
        try:
            with trio.fail_after(request.get("timeout_ms", DEFAULT_TIMEOUT_MS) / 1000):
                await self._execute(request, answer)
        except* (P2PError, BadRequest, NotRefused, trio.TooSlowError) as group:
            answer |= {"ok": False, "kind": kind_of(group), "error": _text_of(group)}
        return answer

    async def _execute(self, request: Request, answer: Answer) -> None:
        match request.get("command"):
            case "stats":
                return await self._stats(request.get("until", {}), answer)
            case "close_connections":
                return await self._close_connections(answer)
            case "wrong_peer":
                return await self._wrong_peer(request.get("addr", ""), answer)
            case "handle":
                return self._added.handle(self._host, request["protocol"])
            case "unhandle":
                return self._added.unhandle(request["protocol"])
            case command if self._bench.knows(command):
                return await self._bench.execute(request, answer)
        connection = await self._connect(request)
        remote = connection.remote_peer
        size, seed = request.get("bytes", 0), request.get("seed", 0)
        count, code = request.get("count", 1), request.get("code", 0)
        match request.get("command"):
            case "dial":
                answer |= {"peer": str(remote), "remote_addr": str(connection.remote_addr)}
            case "identify":
                await self._identified(connection, answer)
            case "ping":
                await self._ping(remote, count, answer)
            case "echo":
                await self._echo(remote, size, seed, answer)
            case "many":
                await self._many(remote, request.get("streams", 1), size, seed, answer)
            case "half":
                await self._half(remote, size, seed, answer)
            case "half_first":
                await self._half_first(remote, size, seed, answer)
            case "reset":
                await self._reset(remote, code, answer)
            case "send_reset":
                await self._send_reset(remote, code)
            case "oneway":
                await self._oneway(remote, count, size, seed, answer)
            case "perf":
                await self._perf(remote, request.get("upload", 0), request.get("download", 0), answer)
            case "wait_protocol":
                await self._wait_protocol(remote, request["protocol"], request.get("present", True))
            case command:
                raise BadRequest(f"unknown command {command!r}")

    async def _connect(self, request: Request) -> Connection:
        if "addr" in request:
            return await self._host.dial(request["addr"])
        peer = PeerId.from_text(request.get("peer", ""))
        connections = self._host.connections.get(peer, ())
        if not connections:
            raise DialError(peer, (), f"no connection to {peer}")
        return connections[0]

    async def _open(self, remote: PeerId, protocol: str) -> Stream:
        return await self._host.open_stream(remote, protocol)

    async def _identified(self, connection: Connection, answer: Answer) -> None:
        told = await self._identify.wait_identified(connection)
        answer |= {
            "peer": str(told.peer_id),
            "agent": told.agent_version,
            "protocol_version": told.protocol_version,
            "protocols": list(told.protocols),
            "listen_addrs": [str(addr) for addr in told.addrs],
            "observed_addr": None if told.observed_addr is None else str(told.observed_addr),
            "signed_record": told.signed_record is not None,
        }

    async def _ping(self, remote: PeerId, count: int, answer: Answer) -> None:
        rtts = answer["rtts"] = []
        async with await self._open(remote, PING) as stream:
            async for seconds in Rounds(stream):
                rtts.append(round(seconds * 1e6))
                if len(rtts) >= count:
                    return

    async def _echo(self, remote: PeerId, size: int, seed: int, answer: Answer) -> None:
        begin = trio.current_time()
        sent, received, count = hashlib.sha256(), hashlib.sha256(), 0

        async def write() -> None:
            for block in blocks(size, seed):
                sent.update(block)
                await stream.send_all(block)
            await stream.send_eof()

        async with await self._open(remote, ECHO) as stream, trio.open_nursery() as nursery:
            nursery.start_soon(write)
            async for chunk in stream:
                received.update(chunk)
                count += len(chunk)
        answer |= {
            "sent_sha256": sent.hexdigest(),
            "received_sha256": received.hexdigest(),
            "received": count,
            "micros": _micros_since(begin),
        }

    async def _many(self, remote: PeerId, streams: int, size: int, seed: int, answer: Answer) -> None:
        begin = trio.current_time()
        echoes: list[Answer] = [{} for _ in range(streams)]
        try:
            async with trio.open_nursery() as nursery:
                for i, echoed in enumerate(echoes):
                    nursery.start_soon(self._echo, remote, size, seed + i, echoed)
        finally:
            hashes = [(echo.get("sent_sha256"), echo.get("received_sha256", "")) for echo in echoes]
            intact = sum(sent == received for sent, received in hashes)
            answer |= {"streams": streams, "intact": intact, "micros": _micros_since(begin)}

    async def _half(self, remote: PeerId, size: int, seed: int, answer: Answer) -> None:
        async with await self._open(remote, HALF) as stream:
            for block in blocks(size, seed):
                await stream.send_all(block)
            await stream.send_eof()
            answer["answer"] = await _read_text(stream)

    async def _half_first(self, remote: PeerId, size: int, seed: int, answer: Answer) -> None:
        async with await self._open(remote, HALF_FIRST) as stream:
            answer["greeting"] = await _read_text(stream)
            for block in blocks(size, seed):
                await stream.send_all(block)

    async def _reset(self, remote: PeerId, code: int, answer: Answer) -> None:
        async with await self._open(remote, RESET) as stream:
            await stream.send_all(bytes([code]))
            try:
                await drain(stream)
            except (StreamReset, ConnectionLost) as error:
                seen_code = error.code if isinstance(error, StreamReset) else None
                answer |= {"seen": kind_of(error), "code": seen_code, "text": str(error)}
            else:
                answer |= {"seen": "eof", "code": None}

    async def _send_reset(self, remote: PeerId, code: int) -> None:
        async with await self._open(remote, RESET_ME) as stream:
            await read_exactly(stream, 1)
            stream.reset(code)

    async def _oneway(self, remote: PeerId, count: int, size: int, seed: int, answer: Answer) -> None:
        for i in range(count):
            async with await self._open(remote, SINK) as stream:
                for block in blocks(size, seed + i):
                    await stream.send_all(block)
        answer |= {"streams": count, "bytes": count * size}

    async def _perf(self, remote: PeerId, upload: int, download: int, answer: Answer) -> None:
        measured = await perf(self._host, remote, upload=upload, download=download)
        answer |= {
            "uploaded": measured.upload.bytes,
            "downloaded": measured.download.bytes,
            "upload_micros": round(measured.upload.seconds * 1e6),
            "download_micros": round(measured.download.seconds * 1e6),
        }

    async def _wait_protocol(self, remote: PeerId, protocol: str, present: bool) -> None:
        def told() -> bool | None:
            known = self._host.peerstore.protocols(remote)
            return None if known is None else protocol in known

        while told() is not present:
            await self._tallies.wait_for_change()

    async def _wrong_peer(self, addr: str, answer: Answer) -> None:
        where, _ = split_peer(parse_user_addr(addr))
        stranger = Identity.generate().peer_id
        try:
            await self._host.dial(with_peer(where, str(stranger)))
        except DialError as error:
            answer |= {"seen": kind_of(error), "text": str(error)}
        else:
            raise NotRefused(f"{addr} answered for {stranger}")

    async def _close_connections(self, answer: Answer) -> None:
        connections = [each for all_of_peer in self._host.connections.values() for each in all_of_peer]
        async with trio.open_nursery() as nursery:
            for connection in connections:
                nursery.start_soon(connection.aclose)
        answer["closed"] = len(connections)

    async def _stats(self, until: Mapping[str, int], answer: Answer) -> None:
        while True:
            answer |= self._counters()
            if all(_counter(answer, name) == wanted for name, wanted in until.items()):
                return
            await self._tallies.wait_for_change()

    def _counters(self) -> Answer:
        return {"connections": self._host.statistics().connections, **self._tallies.as_answer()}


def _counter(counters: Mapping[str, Any], name: str) -> object:
    value: Any = counters
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, int):
        raise BadRequest(f"until: no counter {name!r}")
    return value


async def _read_text(stream: Stream) -> str:
    return b"".join([bytes(chunk) async for chunk in stream]).decode()


def _text_of(group: BaseExceptionGroup[Any]) -> str:
    return "; ".join(
        f"{type(each).__name__}: {each}"
        for each in _all_of(group)
        if not isinstance(each, BaseExceptionGroup)
    )


def _micros_since(begin: float) -> int:
    return round((trio.current_time() - begin) * 1e6)


# --- the program --------------------------------------------------------------------------------------


class Lines:
    """The contract's stdout: whole lines only, whoever writes them."""

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def write(self, line: Mapping[str, Any]) -> None:
        async with self._lock:
            await write_all(1, json.dumps(line).encode() + b"\n")


class Answering(Protocol):
    """What executes the contract's commands."""

    async def answer(self, request: Request) -> Answer: ...


async def execute_lines(commands: Answering, lines: Lines) -> None:
    """Answer what stdin asks, each command in a task of its own, until ``quit`` or its end."""

    async def answer(request: Request) -> None:
        await lines.write(await commands.answer(request))

    pending = b""
    async with trio.open_nursery() as nursery:
        while chunk := await read_chunk(0):
            *whole, pending = (pending + chunk).split(b"\n")
            if len(pending) > LONGEST_LINE:
                raise BadRequest(f"a line of more than {LONGEST_LINE} bytes")
            for line in whole:
                try:
                    request = json.loads(line)
                except ValueError as error:
                    bad = {"id": None, "ok": False, "kind": "bad_request", "error": str(error)}
                    await lines.write(bad)
                    continue
                if request.get("command") == "quit":
                    await lines.write({"id": request.get("id"), "ok": True})
                    nursery.cancel_scope.cancel()
                    return
                nursery.start_soon(answer, request)
        nursery.cancel_scope.cancel()


async def run(flags: argparse.Namespace) -> None:
    """The peer, from the first line it writes to the end of stdin."""
    identity = Identity.generate()
    security: dict[str, Security] = {"noise": Noise(identity)}
    muxers: dict[str, Muxer] = {"yamux": Yamux(), "mplex": Mplex()}
    for flag, value, known in (("security", flags.security, security), ("muxer", flags.muxer, muxers)):
        if value not in known:
            sys.exit(f"--{flag} {value}: not supported")
    identify, tallies, lines = Identify(agent_version="interop-ours"), Tallies(), Lines()

    def another(listen: Sequence[str]) -> Host:
        """One of a crowd: as this peer, under an identity of its own."""
        identity = Identity.generate()
        muxer = muxers[flags.muxer]
        return Host(identity, security=[Noise(identity)], muxers=[muxer], listen=listen, limits=LIFTED)

    async with Host(
        identity,
        security=[security[flags.security]],
        muxers=[muxers[flags.muxer]],
        listen=flags.listen,
        services=[identify, Ping(), Perf()],
        limits=LIFTED,
    ) as host:
        async with trio.open_nursery() as nursery, host.events() as events:
            bench = Bench(host, nursery, another)
            with tallies.serve(host), bench.serve():

                async def watch() -> None:
                    async for _ in events:
                        tallies.change()

                nursery.start_soon(watch)
                addrs = [str(addr) for addr in host.addrs]
                await lines.write({"event": "ready", "peer_id": str(host.peer_id), "addrs": addrs})
                await execute_lines(Commands(host, identify, tallies, bench), lines)
                nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="An interop peer on p2p.")
    parser.add_argument("--listen", action="append", default=[], metavar="MULTIADDR")
    parser.add_argument("--security", default="noise")
    parser.add_argument("--muxer", default="yamux")
    trio.run(run, parser.parse_args())


if __name__ == "__main__":
    main()
