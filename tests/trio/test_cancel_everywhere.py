"""Cancel at every step: dial, upgrade, open_stream, send, receive, send_eof, close.

Each operation is run again and again, cancelled one step later each time, until it comes through. After each: what
must hold of the operation holds, and the connection is as good as before; no task is left (the run would not end), no
stream, no entry, and over TCP no descriptor.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from p2p import Host, Identity
from p2p.abc import Muxer, ProtocolId, Stream
from p2p.errors import P2PError, SecurityError, StreamReset
from p2p.limits import DEFAULT_LIMITS
from p2p.muxers import Mplex, Yamux
from p2p.muxers.connection import MuxedConnection
from p2p.security.noise import Noise
from p2p.testing.cancellation import Outcome, cancelled_after
from p2p.testing.deterministic import deterministic_scheduling, run
from p2p.transports.memory import Memory, MemoryHub
from p2p.transports.tcp import TCP
from p2p.transports.upgraded import Upgraded
from p2p.wire.addresses import Multiaddr

ECHO = ProtocolId("/echo/1")
LIMITS = replace(DEFAULT_LIMITS, shutdown_grace=1.0)
DIALER, RESPONDER = Identity.generate(), Identity.generate()


def everywhere(attempt: Callable[[int], Awaitable[Outcome[object]]]) -> int:
    """Run ``attempt(k)`` in runs of their own, for every k until it comes through; the number of steps it has."""
    for step in range(2000):
        outcome = run(attempt, step)
        if outcome.finished:
            return step
    raise AssertionError("the operation never came through")


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


MUXERS: dict[str, Callable[[], Muxer]] = {"yamux": Yamux, "mplex": Mplex}
over_each_muxer = pytest.mark.parametrize("muxer", MUXERS)


@asynccontextmanager
async def hosts(muxer: str) -> AsyncIterator[tuple[Host, Host, str]]:
    """A dialer, a responder that echoes, and where it listens."""
    hub = MemoryHub()
    async with (
        Host(
            RESPONDER,
            transports=[Memory(hub)],
            listen=["/memory/7"],
            muxers=[MUXERS[muxer]()],
            identify=False,
            limits=LIMITS,
        ) as responder,
        Host(
            DIALER, transports=[Memory(hub)], muxers=[MUXERS[muxer]()], identify=False, limits=LIMITS
        ) as dialer,
    ):
        with responder.handle(ECHO, echo):
            yield dialer, responder, str(responder.addrs[0])
    for host in (dialer, responder):
        assert host._resources.empty, str(host.resources)


async def settle(host: Host) -> None:
    """The other side hears of what was cancelled."""
    await trio.testing.wait_all_tasks_blocked()


def assert_unused(*hosts: Host) -> None:
    for host in hosts:
        assert {scope.in_use.streams for scope in host.resources.scopes} == {0}, str(host.resources)
        for connections in host.connections.values():
            for connection in connections:
                assert not connection.streams, connection.streams
                assert isinstance(connection, MuxedConnection)
                assert not connection.session.live_streams


async def assert_good(stream: Stream) -> None:
    with trio.fail_after(5):
        await stream.send_all(b"still good")
        await stream.send_eof()
        assert b"".join([chunk async for chunk in stream]) == b"still good"
        await stream.aclose()


@over_each_muxer
def test_cancel_everywhere_dial(muxer: str) -> None:
    async def attempt(step: int) -> Outcome[object]:
        async with hosts(muxer) as (dialer, responder, addr):
            outcome = await cancelled_after(step, lambda: dialer.dial(addr))
            await settle(responder)
            assert dialer.statistics().dials == 0
            # Each side has in use what it has connections, and nothing more.
            for host in (dialer, responder):
                assert host.statistics().reserved == sum(map(len, host.connections.values()))
                for kind in ("system", "transient"):
                    in_use = host.resources.scope(kind).in_use
                    assert in_use.connections == host.statistics().reserved * (kind == "system")
            await assert_good(await dialer.open_stream(addr, ECHO))
            await settle(responder)
            assert_unused(dialer, responder)
            assert sum(map(len, dialer.connections.values())) == 1
            return outcome

    assert everywhere(attempt) > 5


@over_each_muxer
def test_cancel_everywhere_upgrade(muxer: str) -> None:
    """The responder's; the dialer's is part of dialing. The other side is not cancelled, and finds the end."""

    def upgraded(identity: Identity, transport: Memory) -> Upgraded:
        return Upgraded(
            transport,
            local_peer=identity.peer_id,
            security=[Noise(identity, LIMITS.noise)],
            muxers=[MUXERS[muxer]()],
            limits=LIMITS,
        )

    async def attempt(step: int) -> Outcome[object]:
        memory = Memory(MemoryHub())
        made: list[MuxedConnection] = []
        ended = trio.Event()

        async def dial(addr: Multiaddr) -> None:
            try:
                connection = await upgraded(DIALER, memory).dial(addr, peer=RESPONDER.peer_id)
                await connection.run()
            except (trio.BrokenResourceError, SecurityError):
                pass
            ended.set()

        async with memory.listen(Multiaddr("/memory/7")) as listener, trio.open_nursery() as nursery:
            nursery.start_soon(dial, listener.addr)
            raw = await listener.accept()

            async def accept() -> None:
                made.append(await upgraded(RESPONDER, memory).accept(raw))

            outcome = await cancelled_after(step, accept)
            for connection in made:
                await connection.aclose()
            with trio.fail_after(1):
                await ended.wait()
            with pytest.raises(trio.ClosedResourceError):
                raw.try_send(memoryview(b"x"))
        return outcome

    assert everywhere(attempt) > 3


@over_each_muxer
def test_cancel_everywhere_accept(muxer: str) -> None:
    """A whole host that listens, cancelled at any step of taking a connection and serving a stream on it."""

    def host(identity: Identity, hub: MemoryHub, **others: Any) -> Host:
        return Host(
            identity,
            transports=[Memory(hub)],
            muxers=[MUXERS[muxer]()],
            identify=False,
            limits=LIMITS,
            **others,
        )

    async def attempt(step: int) -> Outcome[object]:
        hub = MemoryHub()
        listening, served = trio.Event(), trio.Event()
        responder = host(RESPONDER, hub, listen=["/memory/7"])

        async def serve(stream: Stream) -> None:
            with responder.reserve_memory(stream, 1000):
                await echo(stream)
            served.set()

        async def listen() -> None:
            async with responder:
                with responder.handle(ECHO, serve):
                    listening.set()
                    await served.wait()

        async with host(DIALER, hub) as dialer:

            async def ask() -> None:
                await listening.wait()
                with suppress(P2PError):
                    await assert_good(await dialer.open_stream("/memory/7", ECHO))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                outcome = await cancelled_after(step, listen)
                nursery.cancel_scope.cancel()
            assert responder._resources.empty, str(responder.resources)
        assert dialer._resources.empty, str(dialer.resources)
        return outcome

    assert everywhere(attempt) > 20


@pytest.mark.parametrize("lazy", [True, False], ids=["lazy", "eager"])
@over_each_muxer
def test_cancel_everywhere_open_stream(lazy: bool, muxer: str) -> None:
    async def attempt(step: int) -> Outcome[object]:
        async with hosts(muxer) as (dialer, responder, addr):
            connection = await dialer.dial(addr)
            opened: list[Stream] = []

            async def open_stream() -> None:
                opened.append(await connection.open_stream(ECHO, lazy=lazy))

            outcome = await cancelled_after(step, open_stream)
            await settle(responder)
            if opened:
                await assert_good(opened[0])
            await settle(responder)
            assert_unused(dialer, responder)
            await assert_good(await connection.open_stream(ECHO))
            return outcome

    assert everywhere(attempt) >= (1 if lazy else 3)


@over_each_muxer
@pytest.mark.parametrize("protocols", [(ECHO,), ("/unknown/1", ECHO)], ids=["one", "several"])
def test_cancel_everywhere_open_stream_of_a_host(protocols: tuple[str, ...], muxer: str) -> None:
    """The same by the host, which charges it to every scope before."""

    async def attempt(step: int) -> Outcome[object]:
        async with hosts(muxer) as (dialer, responder, addr):
            await dialer.dial(addr)
            opened: list[Stream] = []

            async def open_stream() -> None:
                opened.append(await dialer.open_stream(responder.peer_id, *protocols))

            outcome = await cancelled_after(step, open_stream)
            await settle(responder)
            if opened:
                assert dialer.resources.scope("protocol", ECHO).in_use.outbound_streams == 1
                await assert_good(opened[0])
            await settle(responder)
            assert_unused(dialer, responder)
            return outcome

    assert everywhere(attempt) >= (1 if len(protocols) == 1 else 3)


@over_each_muxer
def test_cancel_everywhere_send(muxer: str) -> None:
    data = bytes(range(256)) * 4096  # 1 MiB: four times the window

    async def attempt(step: int) -> Outcome[object]:
        received = bytearray()

        async def collect(stream: Stream) -> None:
            try:
                async for chunk in stream:
                    received.extend(chunk)
            except StreamReset:
                pass

        async with hosts(muxer) as (dialer, responder, addr):
            with responder.handle("/collect/1", collect):
                stream = await dialer.open_stream(addr, "/collect/1")
                outcome = await cancelled_after(step, lambda: stream.send_all(data))
                # A prefix was sent, and the stream is whole: what is sent next follows right behind it.
                await stream.send_all(b"<end>")
                await stream.send_eof()
                assert await stream.receive_some() == b""
                await stream.aclose()
                assert received.endswith(b"<end>")
                sent = len(received) - 5
                assert received[:sent] == data[:sent]
                assert sent == len(data) or not outcome.finished
                await settle(responder)
                assert_unused(dialer, responder)
        return outcome

    assert everywhere(attempt) > 10


@over_each_muxer
def test_cancel_everywhere_receive(muxer: str) -> None:
    data = bytes(range(256)) * 2048

    async def attempt(step: int) -> Outcome[object]:
        async def give(stream: Stream) -> None:
            await stream.send_all(data)

        async with hosts(muxer) as (dialer, responder, addr):
            with responder.handle("/give/1", give):
                stream = await dialer.open_stream(addr, "/give/1")
                received = bytearray()

                async def receive() -> None:
                    while chunk := await stream.receive_some(10_000):
                        received.extend(chunk)

                outcome = await cancelled_after(step, receive)
                await receive()
                assert received == data, "a cancelled receive consumed bytes"
                await stream.aclose()
                await settle(responder)
                assert_unused(dialer, responder)
        return outcome

    assert everywhere(attempt) > 10


@over_each_muxer
def test_cancel_everywhere_send_eof(muxer: str) -> None:
    async def attempt(step: int) -> Outcome[object]:
        async with hosts(muxer) as (dialer, responder, addr):
            connection = await dialer.dial(addr)
            stream = await connection.open_stream(ECHO, lazy=True)
            await stream.send_all(b"x")
            outcome = await cancelled_after(step, stream.send_eof)
            if not outcome.finished:
                await stream.send_all(b"y")  # FIN was not sent
            await stream.send_eof()
            whole = b"".join([chunk async for chunk in stream])
            assert whole == (b"x" if outcome.finished else b"xy")
            await stream.aclose()
            await settle(responder)
            assert_unused(dialer, responder)
            return outcome

    assert everywhere(attempt) >= 3


@over_each_muxer
def test_cancel_everywhere_close(muxer: str) -> None:
    async def attempt(step: int) -> Outcome[object]:
        ends: list[str] = []
        sent = 0

        async def slow_reader(stream: Stream) -> None:
            received = 0
            try:
                while chunk := await stream.receive_some(50_000):
                    received += len(chunk)
                    await trio.sleep(0.1)
                ends.append("fin" if received == sent else f"short: {received} of {sent}")
            except StreamReset:
                ends.append("reset")

        async with hosts(muxer) as (dialer, responder, addr):
            with responder.handle("/slow/1", slow_reader):
                stream = await dialer.open_stream(addr, "/slow/1")
                while taken := stream.send_nowait(b"x" * 10_000):
                    sent += taken  # until window and buffer are full: closing has to wait for credit
                    if muxer == "mplex" and sent > 60_000:
                        break  # it has no credit, and a slow reader only so much room
                outcome = await cancelled_after(step, stream.aclose)
                with pytest.raises(trio.ClosedResourceError):
                    await stream.receive_some()
                await trio.sleep(5)
                if muxer == "mplex" and not outcome.finished:
                    # With no credit to wait for, all may have gone between the cancellation and its delivery.
                    assert ends in (["fin"], ["reset"])
                else:
                    assert ends == (["fin"] if outcome.finished else ["reset"])
                assert_unused(dialer, responder)
        return outcome

    assert everywhere(attempt) >= (1 if muxer == "mplex" else 2)


def test_cancel_everywhere_dial_tcp_leaves_no_descriptor() -> None:
    async def attempt(step: int) -> Outcome[object]:
        async with Host(RESPONDER, transports=[TCP()], listen=["/ip4/127.0.0.1/tcp/0"]) as responder:
            before = len(os.listdir("/proc/self/fd"))
            async with Host(DIALER, transports=[TCP()]) as dialer:
                with trio.fail_after(20):
                    outcome = await cancelled_after(step, lambda: dialer.dial(responder.addrs[0]))
            with trio.fail_after(20):
                await responder.wait_disconnected(dialer.peer_id)
                while responder.statistics().pending_upgrades:
                    await trio.testing.wait_all_tasks_blocked()
            assert len(os.listdir("/proc/self/fd")) == before
            return outcome

    with deterministic_scheduling(0):
        for step in range(200):
            outcome = trio.run(attempt, step)
            if outcome.finished:
                break
        assert 3 < step < 199
