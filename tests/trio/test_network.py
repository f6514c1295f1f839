"""The virtual network: what its links do to bytes, and when."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import trio
import trio.testing

from p2p.errors import InvalidAddress
from p2p.testing.links import LinkOptions, Loss
from p2p.testing.network import VirtualNetwork
from p2p.testing.trace import Trace
from p2p.wire.addresses import Multiaddr

A, B = "10.0.0.1", "10.0.0.2"
MIB = 1024 * 1024


def addr(ip: str = B, port: int = 4001) -> Multiaddr:
    return Multiaddr(f"/{'ip6' if ':' in ip else 'ip4'}/{ip}/tcp/{port}")


async def receive(stream, size: int = 65536) -> bytes:
    buffer = memoryview(bytearray(size))
    n = await stream.receive_into(buffer)
    return bytes(buffer[:n])


async def receive_exactly(stream, n: int) -> bytes:
    got = b""
    while len(got) < n:
        chunk = await receive(stream, n - len(got))
        assert chunk
        got += chunk
    return got


async def send(stream, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[stream.try_send(view) :]
        if view:
            await stream.wait_writable()


async def pair(network, nursery):
    """(dialer's end, responder's end); the listener lives in ``nursery``."""

    async def serve(task_status):
        async with network.transport(B).listen(addr()) as listener:
            task_status.started(listener)
            await trio.sleep_forever()

    listener = await nursery.start(serve)
    dialer = await network.transport(A).dial(addr())
    return dialer, await listener.accept()


async def elapsed(function, *args) -> float:
    start = trio.current_time()
    await function(*args)
    return trio.current_time() - start


@pytest.fixture
async def network():
    async with VirtualNetwork(seed=1, trace=Trace()) as network:
        yield network


async def test_dial_and_echo_take_their_round_trips(autojump_clock, network, nursery):
    network.link(A, B, latency=0.1)
    start = trio.current_time()
    dialer, responder = await pair(network, nursery)
    assert trio.current_time() - start == pytest.approx(0.3)
    assert (dialer.round_trips, responder.round_trips) == (1, 1.5)
    await send(dialer, b"there")
    assert await receive(responder) == b"there"
    await send(responder, b"back")
    assert await receive(dialer) == b"back"
    assert trio.current_time() - start == pytest.approx(0.5)
    assert (dialer.round_trips, responder.round_trips) == (2, 1.5)


async def test_round_trips_count_causes_and_not_messages(autojump_clock, network, nursery):
    network.link(A, B, latency=0.1)
    dialer, responder = await pair(network, nursery)
    for _ in range(5):  # five messages at once are one trip
        await send(dialer, b"x")
        await send(responder, b"y")
    await receive_exactly(dialer, 5)
    await receive_exactly(responder, 5)
    # "y" was sent after the opening was heard, and heard after a round trip and a half more than nothing.
    assert (dialer.round_trips, responder.round_trips) == (2, 1.5)
    await send(responder, b"z")  # caused by the x's, which were sent before the y's were heard
    await receive_exactly(dialer, 1)
    assert dialer.round_trips == 2


async def test_the_end_is_a_message_too(autojump_clock, network, nursery):
    dialer, responder = await pair(network, nursery)
    await send(dialer, b"x")
    await receive(responder)
    await responder.aclose()
    assert dialer.round_trips == 1
    assert await receive(dialer) == b""
    assert dialer.round_trips == 2


async def test_addresses(autojump_clock, network):
    host = network.transport(B)
    async with host.listen(Multiaddr("/ip4/0.0.0.0/tcp/0")) as listener:
        dialer = await network.transport(A).dial(listener.addr)
        responder = await listener.accept()
        assert str(listener.addr).startswith(f"/ip4/{B}/tcp/")
        assert dialer.remote_addr == responder.local_addr == listener.addr
        assert dialer.local_addr == responder.remote_addr
        assert str(dialer.local_addr).startswith(f"/ip4/{A}/tcp/")
        with pytest.raises(OSError) as caught:
            async with host.listen(listener.addr):
                pass
        assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError) as caught:
        async with host.listen(addr(A)):
            pass
    assert caught.value.errno == errno.EADDRNOTAVAIL
    for bad in ("/memory/1", "/ip4/10.0.0.1/udp/1", "/ip4/10.0.0.1/tcp/0"):
        with pytest.raises(InvalidAddress):
            await host.dial(Multiaddr(bad))


async def test_ip6(autojump_clock, network):
    async with network.transport("fd00::2").listen(addr("fd00::2")) as listener:
        await network.transport("fd00:0::1").dial(addr("fd00:0:0::2"))
        assert (await listener.accept()).remote_addr == Multiaddr("/ip6/fd00::1/tcp/49152")


async def test_refused_takes_a_round_trip(autojump_clock, network):
    network.link(A, B, latency=0.1)
    start = trio.current_time()
    with pytest.raises(ConnectionRefusedError):
        await network.transport(A).dial(addr())
    assert trio.current_time() - start == pytest.approx(0.2)


async def test_bandwidth_is_shared(autojump_clock, network, nursery):
    network.link(A, B, bandwidth=MIB)
    pairs = [await pair(network, nursery)]
    async with network.transport(B).listen(addr(port=2)) as listener:
        pairs.append((await network.transport(A).dial(listener.addr), await listener.accept()))
    start = trio.current_time()
    async with trio.open_nursery() as both:
        for dialer, responder in pairs:
            both.start_soon(send, dialer, bytes(2 * MIB))
            both.start_soon(receive_exactly, responder, 2 * MIB)
    assert trio.current_time() - start == pytest.approx(4, rel=0.01)
    assert network.route(A, B).bytes == 4 * MIB


@pytest.mark.parametrize(("window", "rate"), [(64 * 1024, 64 * 1024 / 0.4), (16 * MIB, 20 * MIB)])
async def test_the_window_bounds_the_rate_unless_it_holds_the_product(
    autojump_clock, network, nursery, window, rate
):
    network.link(A, B, latency=0.2, bandwidth=20 * MIB, window=window)
    dialer, responder = await pair(network, nursery)
    total = 1 * MIB if window < MIB else 32 * MIB
    start = trio.current_time()
    async with trio.open_nursery() as both:
        both.start_soon(send, dialer, bytes(total))
        both.start_soon(receive_exactly, responder, total)
    assert trio.current_time() - start == pytest.approx(total / rate, rel=0.15)


async def test_a_reader_that_does_not_read_stops_the_writer(autojump_clock, network, nursery):
    network.link(A, B, latency=0.1, window=1000)
    dialer, responder = await pair(network, nursery)
    assert dialer.try_send(memoryview(bytes(5000))) == 1000
    assert dialer.try_send(memoryview(b"x")) == 0
    with trio.move_on_after(100) as scope:
        await dialer.wait_writable()
    assert scope.cancelled_caught
    await receive(responder, 10)
    assert await elapsed(dialer.wait_writable) == pytest.approx(0.1)
    assert dialer.try_send(memoryview(bytes(50))) == 10


async def test_segments_rechunk(autojump_clock, network, nursery):
    network.link(A, B, segment=(1, 7))
    dialer, responder = await pair(network, nursery)
    data = bytes(range(200))
    await send(dialer, data)
    sizes, got = set(), b""
    while len(got) < len(data):
        chunk = await receive(responder)
        sizes.add(len(chunk))
        got += chunk
    assert got == data
    assert min(sizes) >= 1 and max(sizes) <= 7 and len(sizes) > 3


async def test_jitter_and_stalls_keep_the_order(autojump_clock, network, nursery):
    network.link(A, B, latency=0.01, jitter=0.05, loss=0.2, segment=(1, 50))
    dialer, responder = await pair(network, nursery)
    data = os.urandom(5000)
    start = trio.current_time()
    await send(dialer, data)
    assert await receive_exactly(responder, len(data)) == data
    assert trio.current_time() - start > 0.2
    assert "stalled" in {event.kind for event in network.trace.events}


async def test_loss_may_be_a_reset(autojump_clock, network, nursery):
    dialer, responder = await pair(network, nursery)
    network.link(A, B, one_way=True, loss=1.0, on_loss=Loss.RESET)
    dialer.try_send(memoryview(b"x"))
    for stream in (dialer, responder):
        with pytest.raises(trio.BrokenResourceError):
            await receive(stream)
        with pytest.raises(trio.BrokenResourceError):
            stream.try_send(memoryview(b"x"))


async def test_a_blocked_way_delays_until_it_is_open_again(autojump_clock, network, nursery):
    network.link(A, B, latency=0.1)
    dialer, responder = await pair(network, nursery)
    network.block(A, B)
    await send(dialer, b"one")
    await send(dialer, b"two")
    await send(responder, b"the other way is open")
    assert await receive(dialer) == b"the other way is open"
    with trio.move_on_after(1000) as scope:
        await receive(responder)
    assert scope.cancelled_caught
    network.unblock(A, B)
    assert await elapsed(receive_exactly, responder, 6) == pytest.approx(0.1)


async def test_a_blocked_way_back_holds_the_window(autojump_clock, network, nursery):
    network.link(A, B, latency=0.1, window=10)
    dialer, responder = await pair(network, nursery)
    network.block(B, A)
    await send(dialer, bytes(10))
    await receive_exactly(responder, 10)
    with trio.move_on_after(1000) as scope:
        await dialer.wait_writable()
    assert scope.cancelled_caught
    network.heal()
    await dialer.wait_writable()


async def test_dialing_into_a_partition_waits_for_it_to_heal(autojump_clock, network):
    async with network.transport(B).listen(addr()), trio.open_nursery() as nursery:
        network.partition([A], [B])
        with trio.move_on_after(5) as scope:
            await network.transport(A).dial(addr())
        assert scope.cancelled_caught
        nursery.start_soon(network.transport(A).dial, addr())
        await trio.testing.wait_all_tasks_blocked()
        network.heal()


async def test_a_partition_leaves_those_of_no_group_to_themselves(autojump_clock, network):
    c, d = "10.0.0.3", "10.0.0.4"
    network.partition([A, B])
    assert not network.route(A, B).blocked
    assert not network.route(c, d).blocked
    assert network.route(A, c).blocked and network.route(c, A).blocked


async def test_closing_lets_the_data_through_and_then_the_end(autojump_clock, network, nursery):
    network.link(A, B, latency=0.1)
    dialer, responder = await pair(network, nursery)
    await send(dialer, b"last words")
    await dialer.aclose()
    assert await receive(responder) == b"last words"
    assert await receive(responder) == b""
    responder.try_send(memoryview(b"nobody"))  # not known yet
    await trio.sleep(1)
    with pytest.raises(trio.BrokenResourceError):
        responder.try_send(memoryview(b"nobody"))
    await responder.wait_writable()
    assert await receive(responder) == b""


async def test_reset_arrives_a_latency_later(autojump_clock, network, nursery):
    network.link(A, B, latency=0.1)
    dialer, responder = await pair(network, nursery)
    await send(dialer, b"lost")
    dialer.reset()
    start = trio.current_time()
    with pytest.raises(trio.BrokenResourceError):
        await receive(responder)
    assert trio.current_time() - start == pytest.approx(0.1)
    with pytest.raises(trio.BrokenResourceError):
        await responder.wait_writable()
        responder.try_send(memoryview(b"x"))
    with pytest.raises(trio.ClosedResourceError):
        await receive(dialer)


async def test_a_writer_that_waits_is_woken_by_its_own_close(autojump_clock, network, nursery):
    network.link(A, B, window=1)
    dialer, _ = await pair(network, nursery)
    dialer.try_send(memoryview(b"x"))

    async def wait():
        with pytest.raises(trio.ClosedResourceError):
            await dialer.wait_writable()

    async with trio.open_nursery() as waiting:
        waiting.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await dialer.aclose()


async def test_network_reset_fails_every_connection_between_two(autojump_clock, network, nursery):
    ends = await pair(network, nursery)
    network.reset(B, A)
    for stream in ends:
        with pytest.raises(trio.BrokenResourceError):
            await receive(stream)


async def test_a_full_backlog_resets(autojump_clock, network):
    async with network.transport(B).listen(addr()) as listener:
        streams = [await network.transport(A).dial(addr()) for _ in range(129)]
        with pytest.raises(trio.BrokenResourceError):
            await receive(streams[-1])
        await listener.accept()


async def test_leaving_the_network_fails_what_is_left_and_passes_exceptions_bare(autojump_clock):
    with pytest.raises(KeyError):
        async with VirtualNetwork() as network:
            async with trio.open_nursery() as nursery:
                ends = await pair(network, nursery)
                nursery.cancel_scope.cancel()
            raise KeyError
    for stream in ends:
        with pytest.raises(trio.BrokenResourceError):
            await receive(stream)


SCRIPT = """
import sys, trio, trio.testing
from p2p.testing import deterministic
from p2p.testing.network import VirtualNetwork
from p2p.testing.trace import Trace
from p2p.wire.addresses import Multiaddr

async def talk(network, i, others):
    host = network.transport(f"10.0.0.{i}")
    async with host.listen(Multiaddr(f"/ip4/10.0.0.{i}/tcp/1")) as listener, trio.open_nursery() as nursery:
        async def answer():
            while True:
                nursery.start_soon(echo, await listener.accept())
        async def echo(stream):
            buffer = memoryview(bytearray(100))
            try:
                while n := await stream.receive_into(buffer):
                    stream.try_send(buffer[:n])
            except trio.BrokenResourceError:
                pass
        nursery.start_soon(answer)
        await trio.sleep(1)
        for other in others:
            stream = await host.dial(Multiaddr(f"/ip4/10.0.0.{other}/tcp/1"))
            stream.try_send(memoryview(bytes(10 * i)))
            await stream.receive_into(memoryview(bytearray(50)))
            await stream.aclose()
        await trio.sleep(100)
        nursery.cancel_scope.cancel()

async def main(seed):
    trace = Trace()
    async with VirtualNetwork(seed, trace=trace) as network:
        hosts = range(1, 7)
        for a in hosts:
            for b in hosts:
                if a < b:
                    network.link(f"10.0.0.{a}", f"10.0.0.{b}", latency=0.01, jitter=0.01, loss=0.1, segment=(1, 20))
        async with trio.open_nursery() as nursery:
            for i in hosts:
                nursery.start_soon(talk, network, i, [j for j in hosts if j != i])
    print(trace.count, trace.digest())

deterministic.run(main, int(sys.argv[1]), seed=int(sys.argv[1]))
"""


def test_same_seed_same_trace_in_processes_of_different_hash_seeds():
    def trace_of(seed: int, hash_seed: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, str(seed)],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            check=True,
            capture_output=True,
            text=True,
            timeout=50,
        ).stdout

    first = trace_of(1, 1)
    assert int(first.split()[0]) > 100
    assert trace_of(1, 2) == first
    assert trace_of(2, 1) != first


def test_windows_and_segments_are_checked():
    with pytest.raises(ValueError, match="segments"):
        LinkOptions(segment=(0, 5))
    with pytest.raises(ValueError, match="segments"):
        LinkOptions(segment=(5, 100_000))


async def test_little_waits_to_leave_where_that_is_bounded(autojump_clock, nursery):
    """And it is writable again when half of that has left."""
    options = LinkOptions(bandwidth=1000.0, unsent=400, segment=(100, 100))
    async with VirtualNetwork(options=options) as network:
        left, _ = await pair(network, nursery)
        start = trio.current_time()
        assert left.try_send(memoryview(bytes(1000))) == 400
        assert left.try_send(memoryview(bytes(1000))) == 0
        await left.wait_writable()
        assert trio.current_time() - start == pytest.approx(0.3)  # 100 of 400 wait: less than half
        assert left.try_send(memoryview(bytes(1000))) == 300
        await trio.sleep(0.05)
        assert left.try_send(memoryview(bytes(1000))) == 0
