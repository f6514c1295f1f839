"""The laws of transports (:class:`p2p.abc.Transport`): whole connections, under load and when they end.

The maker gives a :class:`Setting`. The cases are those of go-libp2p's transport test suite and of its
transport integration tests, at sizes that two slow cores take in seconds.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import trio

from p2p.abc import Connection, Direction, Incoming, Listener, Stream, Transport
from p2p.errors import ConnectionLost, NegotiationError, RemoteProtocolError, SecurityError, StreamReset
from p2p.identity import Identity, PeerId
from p2p.testing.conformance.driving import StreamMaker, clog, receive_all, receive_exactly, settle
from p2p.testing.conformance.verdict import check, must_raise, run_checks
from p2p.wire.addresses import Multiaddr


@dataclass(frozen=True, slots=True)
class Setting:
    """A transport of one peer to dial with, one of another to listen with, and where."""

    dialer: Transport
    dialer_peer: PeerId
    listener: Transport
    listener_peer: PeerId
    addr: Multiaddr


TransportMaker = Callable[[], AbstractAsyncContextManager[Setting]]

_ENDINGS = (ConnectionLost, RemoteProtocolError, NegotiationError)
_UPGRADE_FAILURES = (
    OSError,
    SecurityError,
    NegotiationError,
    RemoteProtocolError,
    trio.BrokenResourceError,
    trio.TooSlowError,
)


class Meeting:
    """A listener, and connections to it whose pumps run."""

    def __init__(self, setting: Setting, listener: Listener, nursery: trio.Nursery) -> None:
        self.setting = setting
        self.listener = listener
        self._nursery = nursery

    async def connect(self) -> tuple[Connection, Connection]:
        """The dialer's and the listener's end."""
        accepted: list[Connection] = []

        async def accept() -> None:
            accepted.append(await (await self.listener.accept()).upgrade())
            self.run(accepted[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            # Its pump runs at once: the listener's upgrade may end only with what that sends.
            dialed = await self.dial()
        return dialed, accepted[0]

    async def connect_and_echo(self) -> Connection:
        """The dialer's end; the listener's echoes."""
        dialed, accepted = await self.connect()
        self._nursery.start_soon(echo_all, accepted)
        return dialed

    async def dial(self) -> Connection:
        """The dialer's end alone, while :meth:`accept_and_echo` runs."""
        dialed = await self.setting.dialer.dial(self.listener.addr, peer=self.setting.listener_peer)
        self.run(dialed)
        return dialed

    async def accept_and_echo(self) -> None:
        """Accept any number of connections, upgrading each in a task of its own, and echo on them."""

        async def serve(incoming: Incoming) -> None:
            connection = await incoming.upgrade()
            self.run(connection)
            await echo_all(connection)

        while True:
            self._nursery.start_soon(serve, await self.listener.accept())

    def run(self, connection: Connection) -> None:
        self._nursery.start_soon(_pump, connection)


async def _pump(connection: Connection) -> None:
    try:
        await connection.run()
    except _ENDINGS:
        pass  # what its streams say is the checks' concern


async def echo_all(connection: Connection) -> None:
    """Send back what arrives, on every stream of ``connection``, for as long as it lives."""
    async with trio.open_nursery() as nursery:
        try:
            while True:
                nursery.start_soon(_echo, await connection.accept_stream())
        except (trio.EndOfChannel, ConnectionLost):
            pass


async def _echo(stream: Stream) -> None:
    try:
        async for chunk in stream:
            await stream.send_all(chunk)
        await stream.send_eof()
        await stream.aclose()
    except trio.BrokenResourceError:
        stream.reset()


async def ask(connection: Connection, messages: list[bytes]) -> None:
    """Open a stream, have each message echoed, close it."""
    stream = await connection.open_stream()
    for message in messages:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, message)
            assert await receive_exactly(stream, len(message)) == message, "other bytes were echoed than sent"
    await stream.send_eof()
    assert await receive_all(stream) == b"", "bytes were echoed that nobody sent"
    await stream.aclose()


@asynccontextmanager
async def meeting(make: TransportMaker) -> AsyncIterator[Meeting]:
    async with make() as setting, trio.open_nursery() as nursery:
        await nursery.start(setting.dialer.run)
        if setting.listener is not setting.dialer:
            await nursery.start(setting.listener.run)
        async with setting.listener.listen(setting.addr) as listener:
            yield Meeting(setting, listener, nursery)
            nursery.cancel_scope.cancel()


def streams_of(make: TransportMaker) -> StreamMaker:
    """A maker for the checks of :mod:`streams`, over this transport."""

    @asynccontextmanager
    async def pair() -> AsyncIterator[tuple[Stream, Stream]]:
        async with meeting(make) as meet:
            dialed, accepted = await meet.connect()
            opened = await dialed.open_stream()
            await opened.send_all(b"!")
            other = await accepted.accept_stream()
            await receive_exactly(other, 1)
            yield opened, other

    return pair


# --- making connections


@check
async def check_both_ends_know_each_other(make: TransportMaker) -> None:
    async with meeting(make) as meet:
        setting = meet.setting
        assert setting.listener.can_listen(setting.addr), "can_listen says no to its own address"
        assert setting.dialer.can_dial(meet.listener.addr), f"can_dial says no to {meet.listener.addr}"
        dialed, accepted = await meet.connect()
        assert dialed.remote_peer == accepted.local_peer == setting.listener_peer
        assert accepted.remote_peer == dialed.local_peer == setting.dialer_peer
        for connection in (dialed, accepted):
            assert connection.remote_peer.matches(connection.remote_key), (
                "remote_key is not the remote peer's"
            )
        assert (dialed.direction, accepted.direction) == (Direction.OUTBOUND, Direction.INBOUND)
        assert dialed.remote_addr == meet.listener.addr, (
            f"dialed {meet.listener.addr}, at {dialed.remote_addr}"
        )
        assert not dialed.closing and not accepted.closing


@check
async def check_whoever_answers_will_do(make: TransportMaker) -> None:
    """Dialed without saying whom: the connection tells."""
    async with meeting(make) as meet:

        async def accept() -> None:
            meet.run(await (await meet.listener.accept()).upgrade())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            dialed = await meet.setting.dialer.dial(meet.listener.addr, peer=None)
            meet.run(dialed)
        assert dialed.remote_peer == meet.setting.listener_peer


async def _accept_and_fail(listener: Listener) -> None:
    incoming = await listener.accept()
    try:
        await incoming.upgrade()
    except _UPGRADE_FAILURES:
        return


@check
async def check_another_peer_is_refused(make: TransportMaker) -> None:
    async with meeting(make) as meet, trio.open_nursery() as nursery:
        nursery.start_soon(_accept_and_fail, meet.listener)
        with must_raise(SecurityError, what="dialing a peer where another answers"):
            await meet.setting.dialer.dial(meet.listener.addr, peer=Identity.generate().peer_id)
        nursery.cancel_scope.cancel()


@check
async def check_nobody_there(make: TransportMaker) -> None:
    async with meeting(make) as meet:
        async with meet.setting.listener.listen(meet.setting.addr) as listener:
            gone = listener.addr
        with must_raise(OSError, trio.TooSlowError, what="dialing where nobody listens any more"):
            await meet.setting.dialer.dial(gone, peer=meet.setting.listener_peer)


@check
async def check_cancelled_dial_harms_nobody(make: TransportMaker) -> None:
    async with meeting(make) as meet:
        nobody_answers: list[Incoming] = []
        for patience in (0.0, 0.001, 0.02):
            with trio.move_on_after(patience) as scope:
                await meet.setting.dialer.dial(meet.listener.addr, peer=meet.setting.listener_peer)
            assert scope.cancelled_caught, "a dial that nobody answers came to an end"
            with trio.move_on_after(0.1):  # very early ones may not have got that far
                nobody_answers.append(await meet.listener.accept())
        for incoming in nobody_answers:
            await incoming.aclose()
        await ask(await meet.connect_and_echo(), [b"still here"])


# --- load (1c1s1m: one connection, one stream, one message)


async def _load(make: TransportMaker, connections: int, streams: int, messages: int, size: int) -> None:
    rng = random.Random(1)
    async with meeting(make) as meet:

        async def one_connection() -> None:
            dialed = await meet.dial()
            async with trio.open_nursery() as nursery:
                for _ in range(streams):
                    nursery.start_soon(ask, dialed, [rng.randbytes(size) for _ in range(messages)])
            dialed.abort()

        async with trio.open_nursery() as accepting:
            accepting.start_soon(meet.accept_and_echo)
            async with trio.open_nursery() as nursery:
                for _ in range(connections):
                    nursery.start_soon(one_connection)
            accepting.cancel_scope.cancel()


@check
async def check_1_connection_1_stream_1_message(make: TransportMaker) -> None:
    await _load(make, 1, 1, 1, 100)


@check
async def check_1_connection_1_stream_100_messages(make: TransportMaker) -> None:
    await _load(make, 1, 1, 100, 100)


@check
async def check_1_connection_100_streams_10_messages(make: TransportMaker) -> None:
    await _load(make, 1, 100, 10, 100)


@check
async def check_10_connections_20_streams_5_messages(make: TransportMaker) -> None:
    await _load(make, 10, 20, 5, 100)


@check
async def check_1_connection_10_streams_of_a_megabyte(make: TransportMaker) -> None:
    await _load(make, 1, 10, 1, 1_000_000)


@check
async def check_many_streams_one_after_the_other(make: TransportMaker) -> None:
    async with meeting(make) as meet:
        dialed = await meet.connect_and_echo()
        for number in range(400):
            await ask(dialed, [b"%d" % number])
        await settle()
        assert not dialed.streams, f"{len(dialed.streams)} of 400 streams never ended"


@check
async def check_more_streams_than_are_served(make: TransportMaker) -> None:
    """Opening waits, or streams are reset: nothing else happens, and the connection goes on."""
    async with meeting(make) as meet:
        dialed, accepted = await meet.connect()

        async def open_one() -> None:
            stream = await dialed.open_stream()
            try:
                await stream.send_all(b"x")
            except StreamReset:
                pass  # one too many

        with trio.move_on_after(0.3):
            async with trio.open_nursery() as nursery:
                for _ in range(600):
                    nursery.start_soon(open_one)
        for stream in dialed.streams:
            stream.reset()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo_all, accepted)
            await settle()
            await ask(dialed, [b"still here"])
            nursery.cancel_scope.cancel()


@check
async def check_both_sides_open_streams(make: TransportMaker) -> None:
    async with meeting(make) as meet:
        ends = await meet.connect()
        async with trio.open_nursery() as nursery:
            for end in ends:
                nursery.start_soon(echo_all, end)
            async with trio.open_nursery() as asking:
                for end in ends:
                    for _ in range(10):
                        asking.start_soon(ask, end, [b"question"])
            nursery.cancel_scope.cancel()


@check
async def check_resets_disturb_no_other_stream(make: TransportMaker) -> None:
    async with meeting(make) as meet:
        dialed = await meet.connect_and_echo()

        async def reset_one(number: int) -> None:
            stream = await dialed.open_stream()
            await stream.send_all(b"x" * number)
            stream.reset()
            with must_raise(trio.ClosedResourceError, what="receive_some after reset"):
                await stream.receive_some()

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(reset_one, number)
                if number % 5 == 0:
                    nursery.start_soon(ask, dialed, [b"undisturbed"])


# --- ends


@check
async def check_the_remotes_end_is_seen(make: TransportMaker) -> None:
    async with meeting(make) as meet:
        dialed, accepted = await meet.connect()
        stream = await dialed.open_stream()
        await stream.send_all(b"x")
        other = await accepted.accept_stream()

        async def receive() -> None:
            with must_raise(ConnectionLost, what="receive_some, the remote ending the connection,"):
                await stream.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await settle()
            accepted.abort()
        with must_raise(ConnectionLost, what="receive_some on an aborted connection"):
            await receive_all(other)
        with must_raise(ConnectionLost, what="open_stream on a lost connection"):
            await dialed.open_stream()
        assert dialed.closing and accepted.closing, "a dead connection is not closing"


@check
async def check_an_abort_ends_who_is_blocked(make: TransportMaker) -> None:
    async with meeting(make) as meet:
        dialed, accepted = await meet.connect()
        stream = await dialed.open_stream()
        await clog(stream)

        async def send() -> None:
            with must_raise(ConnectionLost, what="send_all, the connection being aborted meanwhile,"):
                await stream.send_all(bytes(1_000_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await settle()
            dialed.abort()
        accepted.abort()


@check
async def check_goodbye_lets_streams_finish(make: TransportMaker) -> None:
    async with meeting(make) as meet:
        dialed, accepted = await meet.connect()
        stream = await dialed.open_stream()
        await stream.send_all(b"question")
        other = await accepted.accept_stream()
        accepted.go_away()
        await settle()
        with must_raise(ConnectionLost, what="open_stream after one's own goodbye"):
            await accepted.open_stream()
        with must_raise(ConnectionLost, StreamReset, what="a stream opened after the remote's goodbye"):
            await (await dialed.open_stream()).receive_some()
        assert await receive_exactly(other, 8) == b"question"
        await other.send_all(b"answer")
        await other.aclose()
        assert await receive_all(stream) == b"answer", "a goodbye cost an answer that was under way"
        await stream.aclose()


@check
async def check_goodbye_is_heard(make: TransportMaker) -> None:
    """While streams go on, so only where the protocol has a message for it."""
    async with meeting(make) as meet:
        dialed, accepted = await meet.connect()
        stream = await dialed.open_stream()
        await stream.send_all(b"question")
        await accepted.accept_stream()
        accepted.go_away()
        await settle()
        with must_raise(ConnectionLost, what="open_stream after the remote's goodbye"):
            await dialed.open_stream()
        with must_raise(trio.EndOfChannel, what="accept_stream after the remote's goodbye"):
            dialed.go_away()
            await settle()
            await accepted.accept_stream()


@check
async def check_an_idle_end_is_a_goodbye(make: TransportMaker) -> None:
    """With no stream open, one side ends the connection: the other takes it for no failure."""
    async with meeting(make) as meet:
        dialed, accepted = await meet.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo_all, accepted)
            await ask(dialed, [b"all that there was to say"])
            nursery.cancel_scope.cancel()
        dialed.go_away()
        with must_raise(trio.EndOfChannel, what="accept_stream on a connection that ended in order"):
            await accepted.accept_stream()


@check
async def check_a_remote_reset_leaves_the_connection(make: TransportMaker) -> None:
    async with meeting(make) as meet:
        dialed, accepted = await meet.connect()
        stream = await dialed.open_stream()
        await stream.send_all(b"x")
        (await accepted.accept_stream()).reset()
        with must_raise(StreamReset, what="receive_some on a stream that the remote reset"):
            await stream.receive_some()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo_all, accepted)
            await ask(dialed, [b"still here"])
            nursery.cancel_scope.cancel()


#: What holds without flow control, and without a message to say goodbye, too.
CHECKS_WITHOUT_FLOW_CONTROL = (
    check_both_ends_know_each_other,
    check_whoever_answers_will_do,
    check_another_peer_is_refused,
    check_nobody_there,
    check_cancelled_dial_harms_nobody,
    check_1_connection_1_stream_1_message,
    check_1_connection_1_stream_100_messages,
    check_1_connection_100_streams_10_messages,
    check_10_connections_20_streams_5_messages,
    check_1_connection_10_streams_of_a_megabyte,
    check_many_streams_one_after_the_other,
    check_more_streams_than_are_served,
    check_both_sides_open_streams,
    check_resets_disturb_no_other_stream,
    check_the_remotes_end_is_seen,
    check_goodbye_lets_streams_finish,
    check_an_idle_end_is_a_goodbye,
    check_a_remote_reset_leaves_the_connection,
)

CHECKS = (
    *CHECKS_WITHOUT_FLOW_CONTROL,
    check_an_abort_ends_who_is_blocked,
    check_goodbye_is_heard,
)


async def run_all(make: TransportMaker) -> None:
    """Run every check; raises an ``ExceptionGroup`` of :class:`CheckFailed`."""
    await run_checks(CHECKS, make)
