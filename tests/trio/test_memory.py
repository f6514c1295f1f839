"""The memory transport."""

from __future__ import annotations

import errno

import pytest
import trio
import trio.testing

from p2p.errors import InvalidAddress
from p2p.transports.memory import Memory, MemoryHub
from p2p.transports.pipe import BACKLOG
from p2p.wire.addresses import Multiaddr

ANY = Multiaddr("/memory/0")


async def receive(stream, size: int = 100) -> bytes:
    buffer = memoryview(bytearray(size))
    n = await stream.receive_into(buffer)
    return bytes(buffer[:n])


async def test_dial_and_accept(autojump_clock):
    hub = MemoryHub()
    async with Memory(hub).listen(ANY) as listener:
        assert listener.addr != ANY
        dialer = await Memory(hub).dial(listener.addr)
        accepted = await listener.accept()
        assert dialer.remote_addr == listener.addr == accepted.local_addr
        assert dialer.local_addr == accepted.remote_addr != listener.addr
        dialer.try_send(memoryview(b"there"))
        accepted.try_send(memoryview(b"back"))
        assert (await receive(accepted), await receive(dialer)) == (b"there", b"back")


async def test_a_number_can_be_asked_for_once(autojump_clock):
    memory = Memory(MemoryHub())
    seven = Multiaddr("/memory/7")
    async with memory.listen(seven) as listener:
        assert listener.addr == seven
        with pytest.raises(OSError) as caught:
            async with memory.listen(seven):
                pass
        assert caught.value.errno == errno.EADDRINUSE
    async with memory.listen(seven):
        pass


async def test_free_numbers_pass_over_those_taken(autojump_clock):
    memory = Memory(MemoryHub())
    async with memory.listen(Multiaddr("/memory/1")), memory.listen(ANY) as listener:
        assert listener.addr == Multiaddr("/memory/2")


async def test_hubs_are_worlds_apart(autojump_clock):
    async with Memory(MemoryHub()).listen(Multiaddr("/memory/7")) as listener:
        with pytest.raises(ConnectionRefusedError):
            await Memory(MemoryHub()).dial(listener.addr)


async def test_a_full_backlog_refuses(autojump_clock):
    memory = Memory(MemoryHub())
    async with memory.listen(ANY) as listener:
        for _ in range(BACKLOG):
            await memory.dial(listener.addr)
        with pytest.raises(ConnectionRefusedError):
            await memory.dial(listener.addr)
        await listener.accept()
        await memory.dial(listener.addr)


async def test_leaving_resets_what_was_not_accepted(autojump_clock):
    memory = Memory(MemoryHub())
    async with memory.listen(ANY) as listener:
        dialer = await memory.dial(listener.addr)
    with pytest.raises(trio.BrokenResourceError):
        await receive(dialer)
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    with pytest.raises(ConnectionRefusedError):
        await memory.dial(listener.addr)


async def test_closing_wakes_accept(autojump_clock):
    async with Memory(MemoryHub()).listen(ANY) as listener, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def accept():
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()


async def test_a_cancelled_accept_accepts_nothing(autojump_clock):
    memory = Memory(MemoryHub())
    async with memory.listen(ANY) as listener:
        await memory.dial(listener.addr)
        with trio.CancelScope() as scope:
            scope.cancel()
            await listener.accept()
        assert scope.cancelled_caught
        await listener.accept()


@pytest.mark.parametrize("addr", ["/ip4/127.0.0.1/tcp/1", "/memory/1/ws"])
async def test_other_addresses_are_refused(autojump_clock, addr):
    memory, addr = Memory(MemoryHub()), Multiaddr(addr)
    assert not memory.can_dial(addr) and not memory.can_listen(addr)
    with pytest.raises(InvalidAddress):
        await memory.dial(addr)
    with pytest.raises(InvalidAddress):
        async with memory.listen(addr):
            pass
