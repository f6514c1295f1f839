"""The laws of stream transports (:class:`p2p.abc.StreamTransport`).

The maker gives a transport to dial with, one to listen with (the same, if it serves), an address to listen
on that takes any free port, and one that neither can use, all in one :class:`Setting`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import trio
import trio.testing

from p2p.abc import RawStream, StreamTransport
from p2p.errors import InvalidAddress
from p2p.testing.conformance.raw_streams import RawStreamMaker, receive_exactly, send
from p2p.testing.conformance.verdict import check, must_raise, run_checks
from p2p.wire.addresses import Multiaddr

_MANY = 20


@dataclass(frozen=True, slots=True)
class Setting:
    """What the checks of one stream transport need."""

    dialer: StreamTransport
    listener: StreamTransport
    addr: Multiaddr
    foreign: Multiaddr


StreamTransportMaker = Callable[[], AbstractAsyncContextManager[Setting]]


def raw_streams_of(make: StreamTransportMaker) -> RawStreamMaker:
    """A maker for the checks of :mod:`raw_streams`: the dialer's end and the accepted one."""

    @asynccontextmanager
    async def pair() -> AsyncIterator[tuple[RawStream, RawStream]]:
        async with make() as setting, setting.listener.listen(setting.addr) as listener:
            dialed, accepted = await setting.dialer.dial(listener.addr), await listener.accept()
            try:
                yield dialed, accepted
            finally:
                await dialed.aclose()
                await accepted.aclose()

    return pair


@check
async def check_listens_where_it_says(make: StreamTransportMaker) -> None:
    async with make() as setting:
        assert setting.listener.can_listen(setting.addr), "can_listen says no to its own address"
        async with setting.listener.listen(setting.addr) as listener:
            assert setting.dialer.can_dial(listener.addr), f"can_dial says no to {listener.addr}"
            dialed = await setting.dialer.dial(listener.addr)
            accepted = await listener.accept()
            assert dialed.remote_addr == listener.addr, f"dialed {listener.addr}, is at {dialed.remote_addr}"
            await dialed.aclose()
            await accepted.aclose()


@check
async def check_two_listeners_do_not_collide(make: StreamTransportMaker) -> None:
    async with make() as setting, setting.listener.listen(setting.addr) as one:
        async with setting.listener.listen(setting.addr) as other:
            assert one.addr != other.addr, f"two listeners, both at {one.addr}"


@check
async def check_a_taken_address_is_refused(make: StreamTransportMaker) -> None:
    async with make() as setting, setting.listener.listen(setting.addr) as listener:
        with must_raise(OSError, what="listening where somebody listens"):
            async with setting.listener.listen(listener.addr):
                pass


@check
async def check_foreign_addresses_are_refused(make: StreamTransportMaker) -> None:
    async with make() as setting:
        assert not setting.dialer.can_dial(setting.foreign), f"can_dial says yes to {setting.foreign}"
        assert not setting.listener.can_listen(setting.foreign), f"can_listen says yes to {setting.foreign}"
        with must_raise(InvalidAddress, what=f"dialing {setting.foreign}"):
            await setting.dialer.dial(setting.foreign)
        with must_raise(InvalidAddress, what=f"listening on {setting.foreign}"):
            async with setting.listener.listen(setting.foreign):
                pass


@check
async def check_many_at_once(make: StreamTransportMaker) -> None:
    async with make() as setting, setting.listener.listen(setting.addr) as listener:

        async def answer() -> None:
            async with trio.open_nursery() as streams:
                for _ in range(_MANY):
                    streams.start_soon(echo, await listener.accept())

        async def echo(stream: RawStream) -> None:
            await send(stream, await receive_exactly(stream, 3))
            await stream.aclose()

        async def ask(number: int) -> None:
            stream = await setting.dialer.dial(listener.addr)
            question = b"%03d" % number
            await send(stream, question)
            assert await receive_exactly(stream, 3) == question, "another stream's bytes came back"
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            for number in range(_MANY):
                nursery.start_soon(ask, number)


@check
async def check_nobody_there(make: StreamTransportMaker) -> None:
    async with make() as setting:
        async with setting.listener.listen(setting.addr) as listener:
            gone = listener.addr
        with must_raise(OSError, what="dialing where nobody listens any more"):
            await setting.dialer.dial(gone)
        async with setting.listener.listen(gone):
            pass


@check
async def check_cancelled_accept_loses_no_stream(make: StreamTransportMaker) -> None:
    async with make() as setting, setting.listener.listen(setting.addr) as listener:
        with trio.move_on_after(0.01):
            await listener.accept()
        dialed = await setting.dialer.dial(listener.addr)
        await send(dialed, b"x")
        await trio.testing.wait_all_tasks_blocked(0.01)
        with trio.CancelScope() as scope:
            scope.cancel()
            await listener.accept()
        assert scope.cancelled_caught, "accept with a stream waiting did not let itself be cancelled"
        accepted = await listener.accept()
        assert await receive_exactly(accepted, 1) == b"x"
        await dialed.aclose()
        await accepted.aclose()


@check
async def check_cancelled_dial_leaves_nothing_behind(make: StreamTransportMaker) -> None:
    async with make() as setting, setting.listener.listen(setting.addr) as listener:
        with trio.CancelScope() as scope:
            scope.cancel()
            await setting.dialer.dial(listener.addr)
        assert scope.cancelled_caught, "dial is not a checkpoint"
        dialed = await setting.dialer.dial(listener.addr)
        await send(dialed, b"x")
        while True:  # what a cancelled dial may have left in the queue is at its end
            accepted = await listener.accept()
            buffer = memoryview(bytearray(1))
            try:
                n = await accepted.receive_into(buffer)
            except trio.BrokenResourceError:
                n = 0
            await accepted.aclose()
            if n:
                break
        await dialed.aclose()


@check
async def check_closing_the_listener_wakes_accept(make: StreamTransportMaker) -> None:
    async with make() as setting, setting.listener.listen(setting.addr) as listener:

        async def accept() -> None:
            with must_raise(trio.ClosedResourceError, what="accept, the listener being closed meanwhile,"):
                await listener.accept()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await listener.aclose()
        with must_raise(trio.ClosedResourceError, what="accept after aclose"):
            await listener.accept()


@check
async def check_streams_outlive_their_listener(make: StreamTransportMaker) -> None:
    async with make() as setting:
        async with setting.listener.listen(setting.addr) as listener:
            dialed = await setting.dialer.dial(listener.addr)
            accepted = await listener.accept()
        await send(dialed, b"still here")
        assert await receive_exactly(accepted, 10) == b"still here"
        await dialed.aclose()
        await accepted.aclose()


CHECKS = (
    check_listens_where_it_says,
    check_two_listeners_do_not_collide,
    check_a_taken_address_is_refused,
    check_foreign_addresses_are_refused,
    check_many_at_once,
    check_nobody_there,
    check_cancelled_accept_loses_no_stream,
    check_cancelled_dial_leaves_nothing_behind,
    check_closing_the_listener_wakes_accept,
    check_streams_outlive_their_listener,
)


async def run_all(make: StreamTransportMaker) -> None:
    """Run every check; raises an ``ExceptionGroup`` of :class:`CheckFailed`."""
    await run_checks(CHECKS, make)
