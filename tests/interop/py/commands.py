"""The commands of the control contract (../README.md), on py-libp2p."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import trio
from libp2p import generate_new_ed25519_identity
from libp2p.abc import IHost, INetConn, INetStream
from libp2p.custom_types import TProtocol
from libp2p.exceptions import MultiError
from libp2p.host.exceptions import StreamFailure
from libp2p.host.ping import ID as PING
from libp2p.host.ping import perform_ping_roundtrip
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push import push_identify_to_peers
from libp2p.network.exceptions import SwarmException
from libp2p.network.stream.exceptions import StreamEOF, StreamError, StreamReset
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.peer.peerstore import PeerStoreError
from libp2p.perf.perf_service import PerfService
from libp2p.protocol_muxer.exceptions import MultiselectClientError
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey
from libp2p.stream_muxer.exceptions import MuxedConnError
from libp2p.utils.varint import read_length_prefixed_protobuf
from multiaddr import Multiaddr

from tests.interop.payload import blocks
from tests.interop.py.bench import Bench
from tests.interop.py.handlers import (
    ECHO,
    HALF,
    HALF_FIRST,
    RESET,
    RESET_ME,
    SINK,
    Tallies,
    added,
    chunks,
    drain,
)

DEFAULT_TIMEOUT_MS = 20_000
POLL = 0.01  # seconds: the library tells nobody when it learned a protocol

Request = Mapping[str, Any]
Answer = dict[str, Any]


class BadRequest(Exception):
    """The command or its arguments make no sense."""


class DialFailed(Exception):
    """No connection came about."""


class NotRefused(Exception):
    """``wrong_peer`` was let through."""


_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (PeerIDMismatchesPubkey, "peer_id_mismatch"),
    (MultiselectClientError, "no_protocol"),
    (StreamReset, "stream_reset"),
    (trio.TooSlowError, "timeout"),
    (DialFailed, "dial_failed"),
    (SwarmException, "dial_failed"),
    (StreamEOF, "unexpected_eof"),
    (MuxedConnError, "connection_lost"),
    (BadRequest, "bad_request"),
    (NotRefused, "not_refused"),
)


def kind_of(error: BaseException) -> str:
    """The most telling kind among an error, its causes and what it groups."""
    found = list(_all_of(error))
    for known, kind in _KINDS:
        if any(isinstance(each, known) for each in found):
            return kind
    return "internal"


def _all_of(error: BaseException) -> Iterator[BaseException]:
    """Itself and what it groups or came of, each once: this library's chains come round to where they began."""
    found: dict[int, BaseException] = {}
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if id(each) in found:
            continue
        found[id(each)] = each
        yield each
        waiting += [inner for inner in (each.__cause__, each.__context__) if inner is not None]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        if isinstance(each, MultiError):  # which holds its own as its arguments
            waiting += each.args[0]


class Commands:
    """What the contract names, on one host. Each command fills the answer it is given."""

    def __init__(self, host: IHost, tallies: Tallies, perf: PerfService, bench: Bench) -> None:
        self._host = host
        self._tallies = tallies
        self._perf = perf
        self._bench = bench

    async def answer(self, request: Request) -> Answer:
        answer: Answer = {"id": request.get("id"), "ok": True}
        try:
            with trio.fail_after(request.get("timeout_ms", DEFAULT_TIMEOUT_MS) / 1000):
                await self._execute(request, answer)
        except Exception as error:  # this library's come in no order
            text = "; ".join(f"{type(each).__name__}: {each}" for each in _all_of(error))
            answer |= {"ok": False, "kind": kind_of(error), "error": text}
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
                self._host.set_stream_handler(TProtocol(request["protocol"]), added)
                return await push_identify_to_peers(self._host)
            case "unhandle":
                self._host.remove_stream_handler(TProtocol(request["protocol"]))
                return await push_identify_to_peers(self._host)
            case command if self._bench.knows(command):
                return await self._bench.execute(request, answer)
        connection = await self._connect(request)
        remote = connection.muxed_conn.peer_id
        size, seed = request.get("bytes", 0), request.get("seed", 0)
        count = request.get("count", 1)
        match request.get("command"):
            case "dial":
                (addr, *_) = connection.get_transport_addresses()
                answer |= {"peer": str(remote), "remote_addr": str(addr)}
            case "identify":
                await self._identify(remote, answer)
            case "wait_protocol":
                await self._wait_protocol(remote, request["protocol"], request.get("present", True))
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
                await self._reset(remote, request.get("code", 0), answer)
            case "send_reset":
                await self._send_reset(remote)
            case "oneway":
                await self._oneway(remote, count, size, seed, answer)
            case "perf":
                await self._measure(connection, request.get("upload", 0), request.get("download", 0), answer)
            case command:
                raise BadRequest(f"unknown command {command!r}")

    async def _connect(self, request: Request) -> INetConn:
        if "addr" in request:
            peer, where = _split(request["addr"])
            if not self._host.get_network().get_connections(peer):
                await self._dial(peer, where)
        else:
            try:
                peer = ID.from_string(request.get("peer", ""))
            except ValueError as error:
                raise BadRequest(f"peer: {error}") from error
        connections = self._host.get_network().get_connections(peer)
        if not connections:
            raise DialFailed(f"no connection to {peer}")
        return connections[0]

    async def _dial(self, peer: ID, where: Multiaddr) -> None:
        self._host.get_peerstore().clear_addrs(peer)  # what identify taught it is not asked for
        await self._host.connect(PeerInfo(peer, [where]))

    async def _open(self, remote: ID, protocol: TProtocol) -> INetStream:
        try:
            return await self._host.new_stream(remote, [protocol])
        except StreamFailure as error:
            raise error.__cause__ or error from error

    async def _identify(self, remote: ID, answer: Answer) -> None:
        # The library asks by itself, and keeps no more than addresses and protocols: so it is asked once again.
        await self._wait_protocol(remote, IDENTIFY, True)
        stream = await self._open(remote, IDENTIFY)
        told = Identify()
        told.ParseFromString(await read_length_prefixed_protobuf(stream, True))
        await stream.close()
        observed = told.observed_addr if told.HasField("observed_addr") else None
        answer |= {
            "peer": str(remote),
            "agent": told.agent_version,
            "protocol_version": told.protocol_version,
            "protocols": list(told.protocols),
            "listen_addrs": [str(Multiaddr(addr)) for addr in told.listen_addrs],
            "observed_addr": None if observed is None else str(Multiaddr(observed)),
            "signed_record": told.HasField("signedPeerRecord"),
        }

    async def _wait_protocol(self, remote: ID, protocol: str, present: bool) -> None:
        def known() -> list[str]:
            try:
                return self._host.get_peerstore().get_protocols(remote)
            except PeerStoreError:
                return []

        while not known() or (protocol in known()) != present:  # noqa: ASYNC110 - there is no event
            await trio.sleep(POLL)

    async def _ping(self, remote: ID, count: int, answer: Answer) -> None:
        # Its own figures are whole milliseconds.
        rtts = answer["rtts"] = []
        stream = await self._open(remote, PING)
        for _ in range(count):
            begin = trio.current_time()
            await perform_ping_roundtrip(stream)
            rtts.append(_micros_since(begin))
        await stream.close()

    async def _echo(self, remote: ID, size: int, seed: int, answer: Answer) -> None:
        begin = trio.current_time()
        sent, received, count = hashlib.sha256(), hashlib.sha256(), 0
        stream = await self._open(remote, ECHO)

        async def write() -> None:
            for block in blocks(size, seed):
                sent.update(block)
                await stream.write(block)
            await stream.close_write()

        done = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                async for chunk in chunks(stream):
                    received.update(chunk)
                    count += len(chunk)
            done = True
        finally:
            if not done:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await stream.reset()
        answer |= {
            "sent_sha256": sent.hexdigest(),
            "received_sha256": received.hexdigest(),
            "received": count,
            "micros": _micros_since(begin),
        }

    async def _many(self, remote: ID, streams: int, size: int, seed: int, answer: Answer) -> None:
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

    async def _half(self, remote: ID, size: int, seed: int, answer: Answer) -> None:
        stream = await self._open(remote, HALF)
        for block in blocks(size, seed):
            await stream.write(block)
        await stream.close_write()
        answer["answer"] = await _read_text(stream)
        await stream.close()

    async def _half_first(self, remote: ID, size: int, seed: int, answer: Answer) -> None:
        stream = await self._open(remote, HALF_FIRST)
        answer["greeting"] = await _read_text(stream)
        for block in blocks(size, seed):
            await stream.write(block)
        await stream.close()

    async def _reset(self, remote: ID, code: int, answer: Answer) -> None:
        stream = await self._open(remote, RESET)
        await stream.write(bytes([code]))
        try:
            await drain(stream)
        except StreamError as error:
            answer |= {"seen": kind_of(error), "code": None, "text": repr(error)}
        else:
            answer |= {"seen": "eof", "code": None}

    async def _send_reset(self, remote: ID) -> None:
        stream = await self._open(remote, RESET_ME)
        await stream.read(1)
        await stream.reset()

    async def _oneway(self, remote: ID, count: int, size: int, seed: int, answer: Answer) -> None:
        for i in range(count):
            stream = await self._open(remote, SINK)
            for block in blocks(size, seed + i):
                await stream.write(block)
            await stream.close()
        answer |= {"streams": count, "bytes": count * size}

    async def _measure(self, connection: INetConn, upload: int, download: int, answer: Answer) -> None:
        remote = connection.muxed_conn.peer_id
        (addr, *_) = connection.get_transport_addresses()
        addr = (
            addr if "p2p" in {part.name for part in addr.protocols()} else addr.encapsulate(f"/p2p/{remote}")
        )
        final: Any = {}
        async for told in self._perf.measure_performance(addr, upload, download):
            if told["type"] == "final":
                final = told
        answer |= {"uploaded": final["upload_bytes"], "downloaded": final["download_bytes"]}

    async def _wrong_peer(self, addr: str, answer: Answer) -> None:
        _, where = _split(addr)
        stranger = ID.from_pubkey(generate_new_ed25519_identity().public_key)
        try:
            await self._dial(stranger, where)
        except Exception as error:
            answer |= {"seen": kind_of(error), "text": repr(error)}
        else:
            raise NotRefused(f"{addr} answered for {stranger}")

    async def _close_connections(self, answer: Answer) -> None:
        peers = self._host.get_connected_peers()
        answer["closed"] = self._host.get_network().get_total_connections()
        for peer in peers:
            await self._host.disconnect(peer)

    async def _stats(self, until: Mapping[str, int], answer: Answer) -> None:
        while True:
            answer["connections"] = self._host.get_network().get_total_connections()
            answer |= self._tallies.as_answer()
            if all(_counter(answer, name) == wanted for name, wanted in until.items()):
                return
            await self._tallies.wait_for_change()


def _split(text: str) -> tuple[ID, Multiaddr]:
    try:
        addr = Multiaddr(text)
        peer = addr.value_for_protocol("p2p")
        return ID.from_string(peer or ""), addr.decapsulate(Multiaddr(f"/p2p/{peer}"))
    except Exception as error:
        raise BadRequest(f"addr: {error}") from error


def _counter(counters: Mapping[str, Any], name: str) -> object:
    value: Any = counters
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, int):
        raise BadRequest(f"until: no counter {name!r}")
    return value


async def _read_text(stream: INetStream) -> str:
    return b"".join([chunk async for chunk in chunks(stream)]).decode()


def _micros_since(begin: float) -> int:
    return max(round((trio.current_time() - begin) * 1e6), 1)
