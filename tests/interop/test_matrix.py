"""Ours with the others and with itself, each as dialer and as responder: every cell of the matrix.

A pair of peers is started once and goes through all cases, one connection for nearly all of them. A case that
fails is marked and the next one goes on, so the page shows all that works and the test all that does not.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trio

from tests.interop.differences import AGENTS, TEST_PROTOCOLS, WITHOUT_SIGNED_RECORDS, code_told, tells
from tests.interop.matrix import KEPT, PAGE, PAIRS, Case, Matrix, Pair, versions
from tests.interop.payload import sha256_of
from tests.interop.peer import Answer, Peer, PeerError

# Builds happen in fixtures, which the timeout does not count.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(150, func_only=True)]

LOOPBACK: Final = "/ip4/127.0.0.1/tcp/0"
MIB: Final = 1 << 20
#: Seconds for one cell: each ends at its own commands' timeouts (20 s) long before a test's.
CELL_TIMEOUT: Final = 45
#: Cells of the matrix: 18 pairs and 13 cases. One that is skipped or lost makes the number smaller.
CELLS: Final = 234


class Peers:
    """A running pair."""

    def __init__(self, dialer: Peer, responder: Peer, muxer: str) -> None:
        self.dialer = dialer
        self.responder = responder
        self.muxer = muxer

    def code_of_reset(self, reader: Peer, code: int) -> int | None:
        """What ``reader`` tells of a reset with ``code`` by the other."""
        writer = self.responder if reader is self.dialer else self.dialer
        return code_told(reader.name, writer.name, self.muxer, code)


async def counted(peer: Peer, counter: str, more: int, before: Answer) -> Answer:
    """What ``peer`` tells once ``counter`` has grown by ``more`` since ``before``."""
    name, field = counter.split(".")
    return await peer.call("stats", until={counter: before[name][field] + more})


async def identify(peers: Peers) -> None:
    """Each side asks the other; both are told who answers, what it speaks, and where it listens."""
    dialer, responder = peers.dialer, peers.responder
    told = await dialer.call("identify", addr=responder.addr)
    assert told["peer"] == responder.peer_id
    assert told["agent"] == AGENTS[responder.name]
    assert set(told["protocols"]) >= TEST_PROTOCOLS
    assert tells(told["listen_addrs"], responder.addr)
    assert told["observed_addr"].startswith("/ip4/127.0.0.1/tcp/")
    assert told["signed_record"] is not bool({dialer.name, responder.name} & WITHOUT_SIGNED_RECORDS)
    told = await responder.call("identify", peer=dialer.peer_id)
    assert told["peer"] == dialer.peer_id
    assert told["agent"] == AGENTS[dialer.name]
    assert set(told["protocols"]) >= TEST_PROTOCOLS
    assert told["listen_addrs"] == []
    assert (await responder.call("stats"))["connections"] == 1


async def ping(peers: Peers) -> None:
    """Five rounds from each side, on one connection."""
    for caller, remote in ((peers.dialer, peers.responder), (peers.responder, peers.dialer)):
        pinged = await caller.call("ping", peer=remote.peer_id, count=5)
        assert len(pinged["rtts"]) == 5 and all(0 < rtt < 5_000_000 for rtt in pinged["rtts"])


async def echo_of_10_mib(peers: Peers) -> None:
    """10 MiB of pseudo-random bytes come back with the SHA-256 they left with, while they are still being sent."""
    before = await peers.responder.call("stats")
    echoed = await peers.dialer.call("echo", peer=peers.responder.peer_id, bytes=10 * MIB, seed=7)
    assert echoed["sent_sha256"] == echoed["received_sha256"] == sha256_of(10 * MIB, 7)
    assert echoed["received"] == 10 * MIB
    after = await counted(peers.responder, "echo.eof", 1, before)
    assert after["echo"]["eof_bytes"] - before["echo"]["eof_bytes"] == 10 * MIB


async def echo_to_the_dialer(peers: Peers) -> None:
    """The same with a stream that the side opens which was dialed."""
    echoed = await peers.responder.call("echo", peer=peers.dialer.peer_id, bytes=10 * MIB, seed=8)
    assert echoed["sent_sha256"] == echoed["received_sha256"] == sha256_of(10 * MIB, 8)


async def hundred_streams(peers: Peers) -> None:
    """100 streams at once on one connection, each echoing 20,000 bytes of its own; all come back intact."""
    before = await peers.responder.call("stats")
    done = await peers.dialer.call("many", peer=peers.responder.peer_id, streams=100, bytes=20_000, seed=1)
    assert (done["streams"], done["intact"]) == (100, 100)
    after = await counted(peers.responder, "echo.eof", 100, before)
    assert after["echo"]["eof_bytes"] - before["echo"]["eof_bytes"] == 2_000_000
    assert after["connections"] == 1


async def half_close_by_the_dialer(peers: Peers) -> None:
    """The dialer ends its side, and is then answered on the other: after 0, 1,000 and 600,000 bytes."""
    for size in (0, 1_000, 600_000):
        told = await peers.dialer.call("half", peer=peers.responder.peer_id, bytes=size)
        assert told["answer"] == f"done:{size}"


async def half_close_by_the_responder(peers: Peers) -> None:
    """The responder ends its side first, and then reads all that the dialer sends: 0, 1,000 and 600,000 bytes."""
    for size in (0, 1_000, 600_000):
        before = await peers.responder.call("stats")
        told = await peers.dialer.call("half_first", peer=peers.responder.peer_id, bytes=size)
        assert told["greeting"] == "hello"
        after = await counted(peers.responder, "half_first.eof", 1, before)
        assert after["half_first"]["eof_bytes"] - before["half_first"]["eof_bytes"] == size


async def reset_by_the_responder(peers: Peers) -> None:
    """The dialer sees a reset as a reset, not as an end, with its code where both libraries have codes."""
    seen = await peers.dialer.call("reset", peer=peers.responder.peer_id, code=42)
    assert seen["seen"] == "stream_reset"
    assert seen["code"] == peers.code_of_reset(peers.dialer, 42)


async def reset_by_the_dialer(peers: Peers) -> None:
    """The same the other way round; the connection lives on."""
    before = await peers.responder.call("stats")
    await peers.dialer.call("send_reset", peer=peers.responder.peer_id, code=43)
    after = await counted(peers.responder, "reset_me.reset", 1, before)
    assert after["reset_me"]["last_code"] == peers.code_of_reset(peers.responder, 43)
    assert (after["reset_me"]["eof"], after["reset_me"]["other"]) == (0, 0)
    assert after["connections"] == 1


async def thousand_lazy_messages(peers: Peers) -> None:
    """1,000 streams, each opened, written to and closed without waiting for an answer; none is lost, none reset.

    ours and go propose the protocol with the first bytes; js has no such thing, and waits for each answer.
    """
    before = await peers.responder.call("stats")
    sent = await peers.dialer.call("oneway", peer=peers.responder.peer_id, count=1_000, bytes=1_000)
    assert (sent["streams"], sent["bytes"]) == (1_000, 1_000_000)
    after = await counted(peers.responder, "sink.eof", 1_000, before)
    assert after["sink"]["eof_bytes"] - before["sink"]["eof_bytes"] == 1_000_000
    assert (after["sink"]["reset"], after["sink"]["other"]) == (0, 0)
    assert after["connections"] == 1


async def perf(peers: Peers) -> None:
    """3,000,000 bytes up and 5,000,000 down, from each side."""
    for caller, remote in ((peers.dialer, peers.responder), (peers.responder, peers.dialer)):
        measured = await caller.call("perf", peer=remote.peer_id, upload=3_000_000, download=5_000_000)
        assert (measured["uploaded"], measured["downloaded"]) == (3_000_000, 5_000_000)


async def push(peers: Peers) -> None:
    """A protocol that one side serves from now on is known to the other, and one that it serves no more is not."""
    for changed, told in ((peers.responder, peers.dialer), (peers.dialer, peers.responder)):
        protocol = f"/test/added-by-{changed.name}/1.0.0"
        await told.call("wait_protocol", peer=changed.peer_id, protocol=protocol, present=False)
        await changed.call("handle", protocol=protocol)
        await told.call("wait_protocol", peer=changed.peer_id, protocol=protocol)
        await changed.call("unhandle", protocol=protocol)
        await told.call("wait_protocol", peer=changed.peer_id, protocol=protocol, present=False)


async def wrong_peer(peers: Peers) -> None:
    """Dialing the address with another peer id fails, and says that another peer answered."""
    refused = await peers.dialer.call("wrong_peer", addr=peers.responder.addr)
    assert refused["seen"] == "peer_id_mismatch"
    assert (await peers.responder.call("stats", until={"connections": 1}))["connections"] == 1


CASES: Final[dict[str, Callable[[Peers], Awaitable[None]]]] = {
    "identify": identify,
    "ping": ping,
    "echo of 10 MiB": echo_of_10_mib,
    "echo to the dialer": echo_to_the_dialer,
    "100 streams at once": hundred_streams,
    "half-close by the dialer": half_close_by_the_dialer,
    "half-close by the responder": half_close_by_the_responder,
    "reset by the responder": reset_by_the_responder,
    "reset by the dialer": reset_by_the_dialer,
    "1,000 lazy messages": thousand_lazy_messages,
    "perf": perf,
    "identify push": push,
    "wrong peer refused": wrong_peer,
}


_DEADLOCK: Final = (
    "py-libp2p's mplex streams have one lock for readers and writers, and a reader holds it while it waits for bytes: "
    "who writes while another task reads waits for ever. No stream that py-libp2p opens can be echoed on, at which it "
    "fails with itself and with all others too."
)
#: What the others cannot, whoever they talk to (test_peers_themselves.py shows it of them alone).
CANNOT: Final = {
    (Pair("py", "ours", "mplex"), "echo of 10 MiB"): _DEADLOCK,
    (Pair("py", "ours", "mplex"), "100 streams at once"): _DEADLOCK,
    (Pair("ours", "py", "mplex"), "echo to the dialer"): _DEADLOCK,
}
#: Seconds in which such a cell is expected to fail, where the same takes half a second with others.
CANNOT_TIMEOUT: Final = 8


@pytest.fixture(scope="session")
def matrix(request: pytest.FixtureRequest) -> Matrix:
    cases = [Case(name, " ".join((check.__doc__ or "").split())) for name, check in CASES.items()]
    made = Matrix(cases, cannot=CANNOT)
    request.config.stash[KEPT] = made
    return made


@asynccontextmanager
async def running(commands: dict[str, list[str]], pair: Pair) -> AsyncGenerator[Peers, None]:
    flags = [f"--muxer={pair.muxer}"]
    async with (
        Peer(pair.responder, commands[pair.responder], listen=[LOOPBACK], flags=flags) as responding,
        Peer(pair.dialer, commands[pair.dialer], flags=flags) as dialing,
    ):
        yield Peers(dialing, responding, pair.muxer)


@pytest.fixture(params=PAIRS, ids=str)
def pair(request: pytest.FixtureRequest) -> Pair:
    made: Pair = request.param
    return made


async def test_every_case_between(
    pair: Pair, peer_command: Callable[[str], list[str]], matrix: Matrix
) -> None:
    commands = {name: peer_command(name) for name in (pair.dialer, pair.responder)}
    failures: list[Exception] = []
    async with running(commands, pair) as peers:
        for case, check in CASES.items():
            if (pair, case) in CANNOT:
                continue  # test_what_cannot_be, with a connection of its own
            passed = False
            try:
                with trio.fail_after(CELL_TIMEOUT):
                    await check(peers)
                passed = True
            except Exception as error:
                error.add_note(f"case: {case}")
                failures.append(error)
            matrix.record(pair, case, passed)
        for peer in (peers.dialer, peers.responder):
            if peer.name == "ours" and peer.stderr:
                failures.append(AssertionError(f"ours has something to say:\n{peer.stderr}"))
        if failures:
            raise ExceptionGroup(str(pair), failures)


@pytest.mark.parametrize(("pair", "case"), CANNOT, ids=str)
async def test_what_cannot_be(
    pair: Pair, case: str, peer_command: Callable[[str], list[str]], matrix: Matrix
) -> None:
    """A fault of another is still there: the day it is mended, this fails, and the cell becomes one like the rest."""
    commands = {name: peer_command(name) for name in (pair.dialer, pair.responder)}
    async with running(commands, pair) as peers:
        await identify(peers)
        failed = False
        try:
            with trio.fail_after(CANNOT_TIMEOUT):
                await CASES[case](peers)
        except (PeerError, trio.TooSlowError):
            failed = True
        matrix.record(pair, case, failed)
        assert failed


def test_every_cell_ran_and_the_page_says_so(matrix: Matrix) -> None:
    assert matrix.ran == CELLS
    page = matrix.as_page(versions())
    if not PAGE.is_file() or PAGE.read_text() != page:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page)
    assert not matrix.failed
