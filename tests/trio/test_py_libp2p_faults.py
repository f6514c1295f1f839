"""Ten faults another implementation for Python had, each shown to be absent: one section for each.

``two_hosts`` are a responder and a dialer on a virtual network, in virtual time, so that "at once" is exact.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2p import Host, Identity, ProtocolId, Stream
from p2p.abc import Connection, Muxer
from p2p.errors import AllAttemptsFailed, ConnectionLost, ListenError, NoCommonProtocol, StreamReset
from p2p.limits import KIB, MIB, MplexLimits
from p2p.muxers import Mplex
from p2p.muxers.connection import MuxedConnection
from p2p.muxers.stream import MuxedStream
from p2p.muxers.yamux import YamuxStream
from p2p.negotiation.select import RawHandshake, propose
from p2p.testing.links import LinkOptions
from p2p.testing.network import VirtualNetwork
from p2p.transports.memory import Memory, MemoryHub
from p2p.transports.pipe import PipeListener
from p2p.transports.tcp import TCP
from p2p.wire.addresses import Multiaddr
from p2p.wire.framing import encode_frame

ECHO, OTHER = "/echo/1", "/other/1"
PLAINTEXT, SECIO = ProtocolId("/plaintext/2.0.0"), ProtocolId("/secio/1.0.0")
DATA = bytes(range(256)) * (4 * MIB // 256)


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


async def deaf(stream: Stream) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def two_hosts(
    *, latency: float = 0.0, muxer: Muxer | None = None
) -> AsyncIterator[tuple[Host, Host, Connection]]:
    """A responder that answers ``/echo/1``, a dialer, and the dialer's connection to it."""
    async with VirtualNetwork(options=LinkOptions(latency=latency)) as network:
        here, there = network.transport("10.0.0.1"), network.transport("10.0.0.2")
        muxers = None if muxer is None else [muxer]
        async with (
            Host(
                Identity.generate(),
                transports=[here],
                muxers=muxers,
                listen=["/ip4/10.0.0.1/tcp/4001"],
                identify=False,
            ) as responder,
            Host(Identity.generate(), transports=[there], muxers=muxers, identify=False) as dialer,
        ):
            with responder.handle(ECHO, echo):
                connection = await dialer.dial(responder.addrs[0])
                yield responder, dialer, connection


async def assert_echoes(stream: Stream, data: bytes) -> None:
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await stream.send_all(data)

        nursery.start_soon(send)
        received = bytearray()
        while len(received) < len(data):
            received += await stream.receive_some()
    assert received == data


def books(stream: Stream) -> YamuxStream:
    assert isinstance(stream, MuxedStream) and isinstance(stream._books, YamuxStream)
    return stream._books


# --- 1: the exception of a handler ended the program --------------------------------------------------


async def test_fault_1_an_exception_of_a_handler_ends_its_stream_and_nothing_else(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def clumsy(stream: Stream) -> None:
        raise RuntimeError("a bug")

    async with two_hosts() as (responder, dialer, connection):
        sibling = await dialer.open_stream(responder.peer_id, ECHO)
        await assert_echoes(sibling, b"before")
        with responder.handle("/clumsy/1", clumsy):
            for _ in range(3):
                stream = await dialer.open_stream(responder.peer_id, "/clumsy/1")
                with pytest.raises(StreamReset):
                    await stream.receive_some()
        await assert_echoes(sibling, b"after")
        assert dialer.connections[responder.peer_id] == (connection,)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    assert all(record.exc_info is not None for record in caplog.records)


# --- 2: a cancelled read lost bytes -------------------------------------------------------------------


@pytest.mark.parametrize("patience", [0.001, 0.004, 0.01, 0.013])
async def test_fault_2_a_cancelled_read_loses_no_bytes(
    patience: float, autojump_clock: trio.testing.MockClock
) -> None:
    expected = bytes(range(200))

    async def drip(stream: Stream) -> None:
        for byte in expected:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.01)

    async with two_hosts(latency=0.05) as (responder, dialer, _):
        with responder.handle("/drip/1", drip):
            stream = await dialer.open_stream(responder.peer_id, "/drip/1")
            received = bytearray()
            cancelled = 0
            with trio.fail_after(60):
                while len(received) < len(expected):
                    with trio.move_on_after(patience) as scope:
                        received += await stream.receive_some(3)
                    cancelled += scope.cancelled_caught
                    await trio.sleep(0.001)
            assert received == expected
            assert cancelled


# --- 3: a cancelled write killed every stream of its connection ---------------------------------------


async def test_fault_3_a_cancelled_write_kills_no_stream(autojump_clock: trio.testing.MockClock) -> None:
    heard = bytearray()
    begin = trio.Event()

    async def late(stream: Stream) -> None:
        await begin.wait()
        async for chunk in stream:
            heard.extend(chunk)

    async with two_hosts(latency=0.01) as (responder, dialer, connection):
        with responder.handle("/late/1", late):
            sibling = await dialer.open_stream(responder.peer_id, ECHO)
            await assert_echoes(sibling, b"before")
            stream = await dialer.open_stream(responder.peer_id, "/late/1")
            with trio.move_on_after(1) as scope:
                await stream.send_all(DATA)
            assert scope.cancelled_caught
            await assert_echoes(sibling, DATA[:100_000])
            begin.set()
            await stream.send_all(b"<end>")
            await stream.send_eof()
            assert await stream.receive_some() == b""
        assert heard.endswith(b"<end>")
        assert 0 < len(heard) < len(DATA) and DATA.startswith(heard[:-5])
        assert dialer.connections[responder.peer_id] == (connection,)


# --- 4: a cancelled open killed the connection --------------------------------------------------------


async def test_fault_4_a_cancelled_open_kills_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with two_hosts(latency=0.1) as (responder, dialer, connection):
        sibling = await dialer.open_stream(responder.peer_id, ECHO)
        await assert_echoes(sibling, b"before")
        for patience in (0.0, 0.05, 0.1, 0.15, 0.2 - 1e-9):
            with trio.move_on_after(patience) as scope:
                await dialer.open_stream(responder.peer_id, OTHER, "/another/1", ECHO)
            assert scope.cancelled_caught, "an answer takes two tenths of a second"
        await assert_echoes(sibling, b"after")
        await assert_echoes(await dialer.open_stream(responder.peer_id, OTHER, ECHO), b"another")
        await trio.sleep(1)
        assert dialer.connections[responder.peer_id] == (connection,)
        assert len(connection.streams) == 2
        assert responder.statistics().streams == 2


# --- 5: after leaving the block the port still accepted -----------------------------------------------


@pytest.mark.parametrize("how", ["normally", "by an exception", "cancelled"])
async def test_fault_5_leaving_the_block_stops_accepting(how: str) -> None:
    with trio.CancelScope() as scope:
        try:
            async with Host(Identity.generate(), transports=[TCP()], listen=["/ip4/127.0.0.1/tcp/0"]) as host:
                port = int(str(host.addrs[0]).split("/")[4])
                assert connect(port) == 0
                if how == "by an exception":
                    raise KeyError
                if how == "cancelled":
                    scope.cancel()
                    await trio.sleep_forever()
        except KeyError:
            pass
    assert connect(port) == errno.ECONNREFUSED
    again = f"/ip4/127.0.0.1/tcp/{port}"
    async with Host(Identity.generate(), transports=[TCP()], listen=[again]):
        assert connect(port) == 0


def connect(port: int) -> int:
    """What connect(2) says; over loopback it says it at once."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port))


# --- 6: every connect() took 250 ms or more -----------------------------------------------------------


async def test_fault_6_dialing_waits_for_nothing_but_the_network(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with two_hosts() as (responder, dialer, _):
        await assert_echoes(await dialer.open_stream(responder.peer_id, ECHO), b"hello")
        assert trio.current_time() == 0.0


async def test_fault_6_nor_does_a_dial_that_fails_at_its_first_addresses(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = MemoryHub()
    async with (
        Host(
            Identity.generate(), transports=[Memory(hub)], listen=["/memory/7"], identify=False
        ) as responder,
        Host(Identity.generate(), transports=[Memory(hub)], identify=False) as dialer,
    ):
        addrs = [Multiaddr(f"/memory/{number}") for number in (50, 51, 52, 7)]
        dialer.peerstore.add_addrs(responder.peer_id, addrs, ttl=60, now=trio.current_time())
        await dialer.dial(responder.peer_id)
        assert trio.current_time() == 0.0


# --- 7: the receive window was not enforced, and a write failed after 5 s of backpressure --------------


async def test_fault_7_a_sender_beyond_its_window_is_cut(autojump_clock: trio.testing.MockClock) -> None:
    handed: list[Stream] = []

    async def keep(stream: Stream) -> None:
        handed.append(stream)
        await trio.sleep_forever()

    async with two_hosts() as (responder, forger, connection):
        window = responder.limits.yamux.initial_window
        with responder.handle("/keep/1", keep):
            stream = await forger.open_stream(responder.peer_id, "/keep/1")
            await stream.send_all(b"x")
            await trio.testing.wait_all_tasks_blocked()
            assert len(handed) == 1
            books(stream).send_window = 2**31  # nobody granted it that
            with pytest.raises(ConnectionLost), trio.fail_after(60):
                await stream.send_all(DATA)
                await stream.receive_some()
        assert connection.closing
        assert len(books(handed[0]).received) <= window
        await responder.wait_disconnected(forger.peer_id)
        assert responder.statistics().refusals["connection: RemoteProtocolError"] == 1


async def test_fault_7_an_unread_stream_buffers_no_more_than_its_window(
    autojump_clock: trio.testing.MockClock,
) -> None:
    handed: list[Stream] = []

    async def keep(stream: Stream) -> None:
        handed.append(stream)
        await trio.sleep_forever()

    async with two_hosts() as (responder, dialer, connection):
        with responder.handle("/keep/1", keep):
            stream = await dialer.open_stream(responder.peer_id, "/keep/1")
            with trio.move_on_after(60):
                await stream.send_all(DATA)
        (kept,) = handed
        assert len(books(kept).received) <= responder.limits.yamux.initial_window
        # Nor is it all waiting on this side: what was cancelled is not kept.
        assert books(stream).buffered <= dialer.limits.yamux.send_buffer
        assert isinstance(connection, MuxedConnection) and connection.queued == 0


async def test_fault_7_a_write_under_backpressure_waits(autojump_clock: trio.testing.MockClock) -> None:
    heard = bytearray()
    begin = trio.Event()

    async def late(stream: Stream) -> None:
        await begin.wait()
        async for chunk in stream:
            heard.extend(chunk)

    async with two_hosts(latency=0.01) as (responder, dialer, _), trio.open_nursery() as nursery:
        with responder.handle("/late/1", late):
            stream = await dialer.open_stream(responder.peer_id, "/late/1")
            sent = trio.Event()

            async def send() -> None:
                await stream.send_all(DATA)
                sent.set()

            nursery.start_soon(send)
            await trio.sleep(60)
            assert not sent.is_set() and not heard
            begin.set()
            await sent.wait()
            await stream.send_eof()
            assert await stream.receive_some() == b""
    assert heard == DATA


# --- 8: plaintext and secio were accepted by default --------------------------------------------------


@pytest.mark.parametrize("asked", [[PLAINTEXT], [SECIO], [PLAINTEXT, SECIO]])
async def test_fault_8_no_insecure_channel_is_accepted(
    asked: list[ProtocolId], autojump_clock: trio.testing.MockClock
) -> None:
    hub = MemoryHub()
    async with Host(Identity.generate(), transports=[Memory(hub)], listen=["/memory/7"]) as host:
        raw = await Memory(hub).dial(Multiaddr("/memory/7"))
        with pytest.raises(NoCommonProtocol):
            await propose(RawHandshake(raw), asked, lazy=False)
        await raw.aclose()
        assert not host.connections


async def test_fault_8_none_is_listed(autojump_clock: trio.testing.MockClock) -> None:
    hub = MemoryHub()
    async with Host(Identity.generate(), transports=[Memory(hub)], listen=["/memory/7"]):
        raw = await Memory(hub).dial(Multiaddr("/memory/7"))
        handshake = RawHandshake(raw)
        await handshake.write(b"\x13/multistream/1.0.0\n\x03ls\n")
        said = b"\x13/multistream/1.0.0\n\x09\x07/noise\n\n"
        assert await handshake.read_exactly(len(said)) == said
        await raw.aclose()


@pytest.mark.parametrize("answer", [PLAINTEXT, SECIO, "na"])
async def test_fault_8_none_is_dialed(
    answer: str, autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    """Neither where the remote says that it was agreed on, nor where it refuses everything else."""
    hub = MemoryHub()
    said: list[bytes] = []

    async def serve(listener: PipeListener) -> None:
        while True:
            raw = await listener.accept()
            raw.try_send(
                memoryview(encode_frame(b"/multistream/1.0.0\n") + encode_frame(f"{answer}\n".encode()))
            )
            buffer = memoryview(bytearray(64 * KIB))
            while n := await raw.receive_into(buffer):
                said.append(bytes(buffer[:n]))
            await raw.aclose()

    async with (
        Memory(hub).listen(Multiaddr("/memory/7")) as listener,
        Host(Identity.generate(), transports=[Memory(hub)]) as host,
    ):
        nursery.start_soon(serve, listener)
        with pytest.raises(AllAttemptsFailed):
            await host.dial("/memory/7")
        assert not host.connections
        nursery.cancel_scope.cancel()
    assert said and not any(name in b"".join(said) for name in (b"plaintext", b"secio"))


# --- 9: a listen failure was silent -------------------------------------------------------------------


async def test_fault_9_a_listen_failure_tells_every_address_and_its_reason() -> None:
    with socket.socket() as taken, socket.socket() as free:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free.bind(("127.0.0.1", 0))
        in_use = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        good_port = free.getsockname()[1]
        free.close()
        good = f"/ip4/127.0.0.1/tcp/{good_port}"
        not_local, unsupported = "/ip4/192.0.2.1/tcp/4001", "/ip4/127.0.0.1/udp/4001/quic-v1"
        with pytest.raises(ListenError) as caught:
            async with Host(
                Identity.generate(), transports=[TCP()], listen=[good, unsupported, in_use, not_local]
            ):
                raise AssertionError("it was entered")
        assert connect(good_port) == errno.ECONNREFUSED, "an address that would have worked is left open"
    reasons = {str(addr): error for addr, error in caught.value.attempts}
    assert set(reasons) == {unsupported, in_use, not_local}
    assert code(reasons[in_use]) == errno.EADDRINUSE
    assert code(reasons[not_local]) == errno.EADDRNOTAVAIL
    assert "no transport" in str(reasons[unsupported])
    for addr, error in reasons.items():
        assert f"{addr}: {type(error).__name__}: {error}" in str(caught.value)


def code(error: BaseException) -> int | None:
    assert isinstance(error, OSError)
    return error.errno


# --- 10: an unread stream stalled its siblings --------------------------------------------------------


async def test_fault_10_unread_streams_do_not_stall_their_siblings(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def pour(stream: Stream) -> None:
        await stream.send_all(DATA)

    async with two_hosts() as (responder, dialer, _), trio.open_nursery() as nursery:
        with responder.handle("/deaf/1", deaf), responder.handle("/pour/1", pour):
            for _ in range(5):  # full towards the responder, and full towards the dialer
                nursery.start_soon(pour, await dialer.open_stream(responder.peer_id, "/deaf/1"))
                await (await dialer.open_stream(responder.peer_id, "/pour/1")).send_all(b"x")
            await trio.testing.wait_all_tasks_blocked()
            await assert_echoes(await dialer.open_stream(responder.peer_id, ECHO), DATA)
            assert trio.current_time() == 0.0
        nursery.cancel_scope.cancel()


async def test_fault_10_nor_do_they_on_mplex_for_longer_than_a_moment(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It was 4 s for each. Without windows an unread stream is reset, and all the waiting there is, is rationed."""
    resets = 0

    async def pour(stream: Stream) -> None:
        nonlocal resets
        try:
            await stream.send_all(DATA)
        except StreamReset:
            resets += 1

    limits = MplexLimits()
    async with two_hosts(muxer=Mplex()) as (responder, dialer, _), trio.open_nursery() as nursery:
        with responder.handle("/deaf/1", deaf), responder.handle("/pour/1", pour):
            for _ in range(20):
                nursery.start_soon(pour, await dialer.open_stream(responder.peer_id, "/deaf/1"))
                await (await dialer.open_stream(responder.peer_id, "/pour/1")).send_all(b"x")
            await assert_echoes(await dialer.open_stream(responder.peer_id, ECHO), DATA)
            assert trio.current_time() <= 2 * limits.stall_unread
        nursery.cancel_scope.cancel()
    assert resets == 40
