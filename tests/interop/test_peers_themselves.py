"""The other implementations among themselves: what passes here and fails with us is our fault."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from tests.interop.differences import AGENTS, TEST_PROTOCOLS, code_told, tells
from tests.interop.flights import open_flights
from tests.interop.payload import sha256_of
from tests.interop.peer import Peer, PeerDied, PeerError

# Builds happen in fixtures, which the timeout does not count.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(60, func_only=True)]

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
NAMES = ["go", "rust", "js", "py"]
#: Each with each, but for py-libp2p, which is with itself alone, and rust with js: between those an echo of some
#: megabytes is cut short now and then.
PAIRS = [(a, b) for a in NAMES for b in NAMES if a == b or ("py" not in (a, b) and {a, b} != {"rust", "js"})]
WITHOUT_PY = [pair for pair in PAIRS if "py" not in pair]
#: Round trips from the dial to the first byte of an echo, by dialer. Five were published of go over TCP: multistream,
#: Noise, identify and the stream each wait.
ROUND_TRIPS = {"go": 5, "rust": 4, "js": 5, "py": 9}


class Kind(NamedTuple):
    """An implementation and how to start it."""

    name: str
    command: list[str]

    def dialer(self) -> Peer:
        return Peer(f"{self.name} (dialer)", self.command)

    def responder(self) -> Peer:
        return Peer(f"{self.name} (responder)", self.command, listen=[LOOPBACK])


class Pair(NamedTuple):
    dialer: Kind
    responder: Kind

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[tuple[Peer, Peer], None]:
        async with self.responder.responder() as responder, self.dialer.dialer() as dialer:
            yield dialer, responder


@pytest.fixture(params=[*NAMES, "ours"])
def kind(request: pytest.FixtureRequest, peer_command: Callable[[str], list[str]]) -> Kind:
    return Kind(request.param, peer_command(request.param))


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, peer_command: Callable[[str], list[str]]) -> Pair:
    dialer, responder = (Kind(name, peer_command(name)) for name in request.param)
    return Pair(dialer, responder)


async def test_dial_identify_and_ping(pair: Pair) -> None:
    async with pair.running() as (dialer, responder):
        assert dialer.addrs == []
        dialed = await dialer.call("dial", addr=responder.addr)
        assert dialed["peer"] == responder.peer_id

        told = await dialer.call("identify", addr=responder.addr)
        assert told["peer"] == responder.peer_id
        assert told["agent"] == AGENTS[pair.responder.name]
        assert set(told["protocols"]) >= TEST_PROTOCOLS
        assert tells(told["listen_addrs"], responder.addr)
        assert told["observed_addr"].startswith("/ip4/127.0.0.1/tcp/")

        told = await responder.call("identify", peer=dialer.peer_id)
        assert told["peer"] == dialer.peer_id
        assert told["agent"] == AGENTS[pair.dialer.name]
        assert told["listen_addrs"] == []

        assert (await responder.call("stats"))["connections"] == 1
        for caller, remote in ((dialer, responder), (responder, dialer)):
            pinged = await caller.call("ping", peer=remote.peer_id, count=5)
            assert len(pinged["rtts"]) == 5 and all(0 < rtt < 5_000_000 for rtt in pinged["rtts"])


@pytest.mark.parametrize("size", [0, 1, 300_000, 5_000_000])
async def test_echo(pair: Pair, size: int) -> None:
    async with pair.running() as (dialer, responder):
        echoed = await dialer.call("echo", addr=responder.addr, bytes=size, seed=7)
        assert echoed["sent_sha256"] == echoed["received_sha256"] == sha256_of(size, 7)
        assert echoed["received"] == size
        stats = await responder.call("stats", until={"echo.eof": 1})
        assert stats["echo"]["eof_bytes"] == size


async def test_echo_from_the_side_that_was_dialed(pair: Pair) -> None:
    async with pair.running() as (dialer, responder):
        await dialer.call("dial", addr=responder.addr)
        await responder.call("stats", until={"connections": 1})  # rust is done before the responder is
        echoed = await responder.call("echo", peer=dialer.peer_id, bytes=300_000, seed=8)
        assert echoed["received_sha256"] == sha256_of(300_000, 8)


async def test_many_echoes_at_once(pair: Pair) -> None:
    async with pair.running() as (dialer, responder):
        # Two of py-libp2p take seconds for it, and many on a busy machine.
        done = await dialer.call(
            "many", addr=responder.addr, streams=100, bytes=20_000, seed=1, timeout_ms=40_000
        )
        assert (done["streams"], done["intact"]) == (100, 100)
        stats = await responder.call("stats", until={"echo.eof": 100})
        assert stats["echo"] == {
            "opened": 100, "eof": 100, "eof_bytes": 2_000_000, "reset": 0, "other": 0, "last_code": None,
        }  # fmt: skip
        assert stats["connections"] == 1


@pytest.mark.parametrize("size", [0, 1_000, 600_000])
async def test_half_closes(pair: Pair, size: int) -> None:
    async with pair.running() as (dialer, responder):
        assert (await dialer.call("half", addr=responder.addr, bytes=size))["answer"] == f"done:{size}"
        assert (await dialer.call("half_first", addr=responder.addr, bytes=size))["greeting"] == "hello"
        stats = await responder.call("stats", until={"half.eof": 1, "half_first.eof": 1})
        assert stats["half_first"]["eof_bytes"] == size


async def test_resets(pair: Pair) -> None:
    here, there = pair.dialer.name, pair.responder.name
    async with pair.running() as (dialer, responder):
        seen = await dialer.call("reset", addr=responder.addr, code=42)
        assert seen["seen"] == "stream_reset"
        assert seen["code"] == code_told(here, there, "yamux", 42)

        await dialer.call("send_reset", addr=responder.addr, code=43)
        stats = await responder.call("stats", until={"reset_me.reset": 1})
        assert stats["reset"]["opened"] == 1
        assert stats["reset_me"]["last_code"] == code_told(there, here, "yamux", 43)
        assert (stats["reset_me"]["eof"], stats["reset_me"]["other"]) == (0, 0)
        assert stats["connections"] == 1


async def test_py_libp2p_cannot_read_and_write_an_mplex_stream_at_once(
    peer_command: Callable[[str], list[str]],
) -> None:
    """A reader that waits has the lock that a writer needs: why cells of the matrix must fail."""
    command, flags = peer_command("py"), ["--muxer=mplex"]
    async with (
        Peer("py (responder)", command, listen=[LOOPBACK], flags=flags) as responder,
        Peer("py (dialer)", command, flags=flags) as dialer,
    ):
        await dialer.call("identify", addr=responder.addr)
        with pytest.raises(PeerError) as caught:
            await dialer.call("echo", peer=responder.peer_id, bytes=10_000_000, timeout_ms=5_000)
        assert caught.value.kind == "timeout"


async def test_oneway(pair: Pair) -> None:
    async with pair.running() as (dialer, responder):
        sent = await dialer.call("oneway", addr=responder.addr, count=50, bytes=1_000)
        assert (sent["streams"], sent["bytes"]) == (50, 50_000)
        stats = await responder.call("stats", until={"sink.eof": 50})
        assert stats["sink"]["eof_bytes"] == 50_000
        assert (stats["sink"]["reset"], stats["sink"]["other"]) == (0, 0)


async def test_wrong_peer_and_close_connections(pair: Pair) -> None:
    async with pair.running() as (dialer, responder):
        refused = await dialer.call("wrong_peer", addr=responder.addr)
        assert refused["seen"] == "peer_id_mismatch"
        await responder.call("stats", until={"connections": 0})

        for closer in (dialer, responder):
            await dialer.call("dial", addr=responder.addr)
            await responder.call("stats", until={"connections": 1})
            assert (await closer.call("close_connections"))["closed"] == 1
            await dialer.call("stats", until={"connections": 0})
            await responder.call("stats", until={"connections": 0})


async def test_round_trips_from_dial_to_first_byte(pair: Pair) -> None:
    async with pair.running() as (dialer, responder):
        port = int(responder.addr.split("/")[4])
        async with open_flights("127.0.0.1", port, delay=0.1) as flights:
            await dialer.call("echo", addr=flights.addr_for(responder.addr), bytes=1)
            (flow,) = flights.flows
            # rust settles on no muxer inside the handshake; its own dialer asks for it lazily.
            more = 1 if pair.responder.name == "rust" != pair.dialer.name else 0
            assert flow.round_trips == ROUND_TRIPS[pair.dialer.name] + more, "\n".join(flow.log)


# py-libp2p tells its handler of a reset or of an error, as it comes.
@pytest.mark.parametrize("pair", WITHOUT_PY, ids="-".join, indirect=True)
async def test_a_command_that_is_too_slow_resets_its_stream(pair: Pair) -> None:
    async with pair.running() as (dialer, responder):
        await dialer.call("dial", addr=responder.addr)
        with pytest.raises(PeerError) as caught:
            await dialer.call("echo", addr=responder.addr, bytes=10_000_000_000, timeout_ms=1_000)
        assert caught.value.kind == "timeout"
        stats = await responder.call("stats", until={"echo.reset": 1})
        assert stats["connections"] == 1


async def test_what_goes_wrong_is_told(kind: Kind) -> None:
    async with kind.dialer() as dialer:
        stranger = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
        for kind_of_failure, command, arguments in (
            ("dial_failed", "dial", {"addr": f"/ip4/127.0.0.1/tcp/1/p2p/{stranger}"}),
            ("dial_failed", "echo", {"peer": stranger}),
            ("bad_request", "dial", {"addr": "/no/such/thing"}),
            ("bad_request", "stats", {"until": {"no.such": 1}}),
            ("timeout", "stats", {"until": {"connections": 1}, "timeout_ms": 1}),
        ):
            with pytest.raises(PeerError) as caught:
                await dialer.call(command, **arguments)
            assert caught.value.kind == kind_of_failure


async def test_quit_and_end_of_stdin(kind: Kind) -> None:
    async with kind.dialer() as dialer:
        assert (await dialer.call("quit"))["ok"] is True
    assert dialer.returncode == 0
    async with kind.dialer() as dialer:
        pass
    assert dialer.returncode == 0


async def test_flags_that_are_not_supported(kind: Kind) -> None:
    with pytest.raises(PeerDied, match="not ready") as caught:
        async with Peer(kind.name, kind.command, flags=["--muxer=carrier-pigeon"]):
            pass
    assert "--muxer carrier-pigeon: not supported" in caught.value.__notes__[0]
