"""TCP raw streams, on real sockets and the real clock."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
import trio
import trio.testing

from p2p.errors import InvalidAddress
from p2p.limits import KIB, TCP_LIMITS
from p2p.transports import tcp
from p2p.transports.tcp import TCP
from p2p.wire.addresses import Multiaddr, parts

ANY = {"ip4": Multiaddr("/ip4/127.0.0.1/tcp/0"), "ip6": Multiaddr("/ip6/::1/tcp/0")}


@asynccontextmanager
async def tcp_pair(any_addr=ANY["ip4"]):
    async with TCP().listen(any_addr) as listener:
        dialer = await TCP().dial(listener.addr)
        accepted = await listener.accept()
        try:
            yield dialer, accepted
        finally:
            await dialer.aclose()
            await accepted.aclose()


async def receive(stream, size: int = 65536) -> bytes:
    buffer = memoryview(bytearray(size))
    with trio.fail_after(10):
        n = await stream.receive_into(buffer)
    return bytes(buffer[:n])


async def receive_all(stream) -> bytes:
    got = bytearray()
    while chunk := await receive(stream):
        got += chunk
    return bytes(got)


def fill(stream) -> int:
    total = 0
    while n := stream.try_send(memoryview(bytes(65536))):
        total += n
    return total


@pytest.mark.parametrize("family", ["ip4", "ip6"])
async def test_addresses_are_those_really_used(family):
    async with TCP().listen(ANY[family]) as listener:
        port = dict(parts(listener.addr))["tcp"]
        assert port != "0"
        assert dict(parts(listener.addr))[family] == dict(parts(ANY[family]))[family]
        dialer = await TCP().dial(listener.addr)
        accepted = await listener.accept()
        assert dialer.remote_addr == listener.addr == accepted.local_addr
        assert accepted.remote_addr == dialer.local_addr
        assert dialer.try_send(memoryview(b"there")) == 5
        assert await receive(accepted) == b"there"
        await dialer.aclose()
        assert await receive(accepted) == b""
        assert await receive(accepted) == b""
        await accepted.aclose()


@pytest.mark.parametrize(
    "addr",
    ["/ip4/127.0.0.1/udp/1", "/dns4/localhost/tcp/1", "/ip4/127.0.0.1/tcp/1/ws", "/ip4/127.0.0.1", "/tcp/1"],
)
async def test_other_addresses_are_refused(addr):
    addr = Multiaddr(addr)
    assert not TCP().can_dial(addr)
    assert not TCP().can_listen(addr)
    with pytest.raises(InvalidAddress):
        await TCP().dial(addr)
    with pytest.raises(InvalidAddress):
        async with TCP().listen(addr):
            pass


async def test_port_0_cannot_be_dialed():
    with pytest.raises(InvalidAddress, match="port 0"):
        await TCP().dial(ANY["ip4"])


async def test_a_wildcard_stays_one_and_both_families_fit_on_one_port():
    async with TCP().listen(Multiaddr("/ip4/0.0.0.0/tcp/0")) as four:
        port = dict(parts(four.addr))["tcp"]
        assert four.addr == Multiaddr(f"/ip4/0.0.0.0/tcp/{port}")
        async with TCP().listen(Multiaddr(f"/ip6/::/tcp/{port}")) as six:
            assert six.addr == Multiaddr(f"/ip6/::/tcp/{port}")


async def test_a_refused_dial_raises_and_leaves_no_descriptor():
    async with TCP().listen(ANY["ip4"]) as listener:
        gone = listener.addr
    before = descriptors()
    with pytest.raises(ConnectionRefusedError):
        await TCP().dial(gone)
    assert descriptors() == before


async def test_a_taken_port_raises():
    async with TCP().listen(ANY["ip4"]) as listener:
        with pytest.raises(OSError) as caught:
            async with TCP().listen(listener.addr):
                pass
    assert caught.value.errno == errno.EADDRINUSE


async def test_a_cancelled_dial_closes_its_socket():
    # A listening socket that never accepts and whose queue is full leaves a dial waiting, without a network.
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        addr = Multiaddr(f"/ip4/127.0.0.1/tcp/{full.getsockname()[1]}")
        waiting = [await TCP().dial(addr)]
        with trio.move_on_after(5):
            while True:
                before = descriptors()
                with trio.move_on_after(0.2) as scope:
                    waiting.append(await TCP().dial(addr))
                if scope.cancelled_caught:
                    break
        assert scope.cancelled_caught
        assert descriptors() == before
        for stream in waiting:
            await stream.aclose()


async def test_options_are_set_on_both_ends():
    async with tcp_pair() as pair:
        for stream in pair:
            assert stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert stream._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if sys.platform == "linux":
                assert stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
                assert (
                    stream._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
                    == TCP_LIMITS.unsent
                )


async def test_a_full_socket_takes_nothing_until_the_other_end_reads():
    async with tcp_pair() as (a, b):
        sent = fill(a)
        with trio.move_on_after(0.05) as scope:
            await a.wait_writable()
        assert scope.cancelled_caught
        got = 0
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def read():
                nonlocal got
                while got < sent:
                    got += len(await receive(b))

            with trio.fail_after(10):
                await a.wait_writable()
            assert a.try_send(memoryview(b"x")) == 1


async def test_closing_loses_nothing_the_kernel_has_even_with_unread_bytes():
    async with tcp_pair() as (a, b):
        sent = fill(a)
        assert sent > 65536
        b.try_send(memoryview(b"never read"))
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(a._socket)
        await a.aclose()
        assert len(await receive_all(b)) == sent


async def test_reset_of_the_peer_is_broken():
    async with tcp_pair() as (a, b):
        a._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        a._socket.close()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await receive(b)
        assert isinstance(caught.value.__cause__, ConnectionResetError)
        with pytest.raises(trio.BrokenResourceError):
            b.try_send(memoryview(b"?"))


async def test_sending_to_a_closed_peer_ends_as_broken():
    async with tcp_pair() as (a, b):
        await a.aclose()
        with pytest.raises(trio.BrokenResourceError), trio.fail_after(10):
            while True:
                await b.wait_writable()
                b.try_send(memoryview(b"?"))


async def test_own_close_wakes_those_who_wait():
    async with tcp_pair() as (a, _):
        fill(a)

        async def closed(wait):
            with pytest.raises(trio.ClosedResourceError):
                await wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(closed, lambda: receive(a))
            nursery.start_soon(closed, a.wait_writable)
            await trio.testing.wait_all_tasks_blocked()
            await a.aclose()
        for use in (receive(a), a.wait_writable()):
            with pytest.raises(trio.ClosedResourceError):
                await use
        with pytest.raises(trio.ClosedResourceError):
            a.try_send(memoryview(b"?"))
        await a.aclose()


async def test_own_close_in_the_tick_it_becomes_writable():
    """Which of the two is woken first is a matter of chance; either way it is no error of the system."""
    for _ in range(30):
        async with tcp_pair() as (stream, other), trio.open_nursery() as nursery:

            async def wait(stream=stream):
                with suppress(trio.ClosedResourceError):
                    await stream.wait_writable()

            async def close(stream=stream, other=other):
                await other.wait_writable()
                await stream.aclose()

            nursery.start_soon(wait)
            nursery.start_soon(close)


async def test_a_cancelled_receive_consumes_nothing_and_leaves_the_buffer_alone():
    async with tcp_pair() as (a, b):
        a.try_send(memoryview(b"kept"))
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(b._socket)
        buffer = bytearray(4)
        with trio.CancelScope() as scope:
            scope.cancel()
            await b.receive_into(memoryview(buffer))
        assert scope.cancelled_caught
        assert buffer == bytes(4)
        assert await receive(b) == b"kept"


async def test_every_wait_is_a_checkpoint():
    async with tcp_pair() as (a, b):
        a.try_send(memoryview(b"x"))
        with trio.testing.assert_checkpoints():
            await receive(b)
        with trio.testing.assert_checkpoints():
            await a.wait_writable()
        with trio.testing.assert_checkpoints():
            await a.aclose()


class FailingSocket:
    """A listening socket whose next accepts fail with ``errors``."""

    def __init__(self, sock: socket.socket, errors: list[int]) -> None:
        self._sock = sock
        self.errors = errors

    def fileno(self) -> int:
        return self._sock.fileno()

    def accept(self):
        if self.errors:
            raise OSError(code := self.errors.pop(0), os.strerror(code))
        return self._sock.accept()

    def close(self) -> None:
        self._sock.close()


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EMFILE])
async def test_accepting_survives(code):
    limits = replace(TCP_LIMITS, accept_backoff=0.01)
    async with TCP(limits).listen(ANY["ip4"]) as listener:
        listener._socket = failing = FailingSocket(listener._socket, [code] * 3)
        dialer = await TCP().dial(listener.addr)
        with trio.fail_after(10):
            accepted = await listener.accept()
        assert failing.errors == []
        await dialer.aclose()
        await accepted.aclose()


async def test_accepting_without_descriptors_does_not_spin():
    limits = replace(TCP_LIMITS, accept_backoff=0.02)
    async with TCP(limits).listen(ANY["ip4"]) as listener:
        dialer = await TCP().dial(listener.addr)
        listener._socket = failing = FailingSocket(listener._socket, [errno.EMFILE] * 5)
        start = trio.current_time()
        accepted = await listener.accept()
        assert trio.current_time() - start >= 5 * limits.accept_backoff
        assert failing.errors == []
        await dialer.aclose()
        await accepted.aclose()


async def test_a_fault_of_the_listening_socket_itself_is_raised():
    async with TCP().listen(ANY["ip4"]) as listener:
        dialer = await TCP().dial(listener.addr)
        listener._socket = FailingSocket(listener._socket, [errno.EINVAL])
        with pytest.raises(OSError):
            await listener.accept()
        await dialer.aclose()


async def test_closing_a_listener_wakes_accept():
    async with TCP().listen(ANY["ip4"]) as listener:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def accept():
                with pytest.raises(trio.ClosedResourceError):
                    await listener.accept()

            await trio.testing.wait_all_tasks_blocked()
            await listener.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()


async def test_a_socket_joined_to_itself_is_refused():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        with pytest.raises(ConnectionRefusedError):
            await tcp._connect(sock, *sock.getsockname())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel has no such bound here")
async def test_a_socket_whose_bytes_leave_fast_holds_more_of_them(monkeypatch) -> None:
    async with tcp_pair() as (dialed, accepted):

        def held() -> int:
            return dialed._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)

        async def refuse_and_take_on() -> None:
            sent = 0
            while n := dialed.try_send(memoryview(bytes(256 * KIB))):
                sent += n
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dialed.wait_writable)
                while sent:
                    sent -= len(await receive(accepted, 256 * KIB))

        assert held() == TCP_LIMITS.unsent
        for bytes_per_second, expected in ((0, TCP_LIMITS.unsent_when_fast), (10**12, TCP_LIMITS.unsent)):
            monkeypatch.setattr(tcp, "FAST", bytes_per_second)
            await refuse_and_take_on()
            assert held() == expected
