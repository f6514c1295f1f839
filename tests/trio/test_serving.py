"""Handlers, and services as their host runs them."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import pytest
import trio
import trio.testing

from p2p import ProtocolId, RemoteProtocolError, Stream, StreamReset
from p2p.abc import Handler, HostView, Service
from p2p.events import ProtocolsChanged
from tests.limiting import limited
from tests.trio.fakes import FakeNetwork, fake_host, memory

HELLO = ProtocolId("/hello")


async def hello(stream: Stream) -> None:
    await stream.send_all(b"hello")


async def hang(stream: Stream) -> None:
    await trio.sleep_forever()


async def test_exact_ids_come_before_predicates_and_these_in_order(autojump_clock: object) -> None:
    network, served = FakeNetwork(), list[str]()

    def named(name: str) -> Handler:
        async def handler(stream: Stream) -> None:
            served.append(f"{name} {stream.protocol}")

        return handler

    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        with (
            here.handle(lambda protocol: protocol.startswith("/a"), named("a")),
            here.handle(lambda protocol: True, named("any")),
            here.handle("/abc", named("abc")),
        ):
            assert here.protocols == ("/abc",)
            for protocol in ("/abc", "/a", "/b"):
                stream = await there.open_stream(here.addrs[0], protocol)
                assert await stream.receive_some() == b""
        assert served == ["abc /abc", "a /a", "any /b"]
        with pytest.raises(Exception, match="refused"):
            await there.open_stream(here.addrs[0], "/abc", "/b")


async def test_a_predicate_that_raises_knows_nothing(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    network = FakeNetwork()

    def broken(protocol: str) -> bool:
        raise ZeroDivisionError

    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        with here.handle(broken, hello), here.handle(lambda protocol: True, hello):
            stream = await there.open_stream(here.addrs[0], HELLO)
            assert await stream.receive_some() == b"hello"
            assert not stream.connection.closing
    assert "ZeroDivisionError" in caplog.text


async def test_a_second_handler_for_an_id_is_refused(autojump_clock: object) -> None:
    async with fake_host(FakeNetwork()) as host, host.events() as events:
        with host.handle(HELLO, hello):
            with pytest.raises(ValueError, match="already"):
                host.handle(HELLO, hello).__enter__()
        with host.handle(HELLO, hello):
            pass
        changes = [await events.receive() for _ in range(4)]
        assert changes == [ProtocolsChanged((HELLO,)), ProtocolsChanged(())] * 2


async def test_failures_are_logged_at_a_bounded_rate_however_many_connections_they_come_on(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    network, failed = FakeNetwork(), list[float]()

    async def fail(stream: Stream) -> None:
        raise ZeroDivisionError

    class Times(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            failed.append(trio.current_time())

    times = Times()
    logging.getLogger("p2p.host").addHandler(times)
    try:
        async with fake_host(network, listen=[1]) as here:
            with here.handle(HELLO, fail):
                for _ in range(40):
                    async with fake_host(network) as there:
                        stream = await there.open_stream(here.addrs[0], HELLO)
                        with pytest.raises(StreamReset):
                            await stream.receive_some()
                    await trio.sleep(0.05)
            assert here.statistics().refusals["handler: ZeroDivisionError"] == 40
    finally:
        logging.getLogger("p2p.host").removeHandler(times)
    assert failed
    assert max(sum(0 <= later - first <= 1 for later in failed) for first in failed) <= here.limits.log_rate


async def test_handlers_are_bounded_per_connection(autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = limited(connection={"inbound_streams": 3})
    async with fake_host(network, listen=[1], limits=limits) as here, fake_host(network) as there:
        go_on = trio.Event()

        async def handler(stream: Stream) -> None:
            await stream.send_all(b"in")
            await go_on.wait()

        with here.handle(HELLO, handler):
            kept = [await there.open_stream(here.addrs[0], HELLO) for _ in range(3)]
            for stream in kept:
                assert await stream.receive_some() == b"in"
            with pytest.raises(StreamReset):
                await (await there.open_stream(here.peer_id, HELLO)).receive_some()
            assert here.statistics().handlers == 3
            assert here.statistics().refusals == {"connection.inbound_streams": 1}
            # Another connection has room of its own.
            async with fake_host(network) as third:
                assert await (await third.open_stream(here.addrs[0], HELLO)).receive_some() == b"in"
            go_on.set()
            await trio.testing.wait_all_tasks_blocked()
            assert await (await there.open_stream(here.peer_id, HELLO)).receive_some() == b"in"


async def test_row_40_handlers_may_do_what_they_like(autojump_clock: object) -> None:
    """Raise, hang, return early, close twice, reset, return nonsense, be no coroutine: only the stream dies."""
    network = FakeNetwork()

    async def close_and_read(stream: Stream) -> None:
        await stream.aclose()
        await stream.receive_some()

    async def recurse(stream: Stream) -> None:
        await recurse(stream)

    async def spawn(stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(trio.sleep_forever)

    async def reset(stream: Stream) -> None:
        stream.reset()

    async def nonsense(stream: Stream) -> object:
        return NotImplemented

    handlers: list[object] = [
        close_and_read, recurse, spawn, reset, nonsense, lambda stream: 7, lambda: None, hang,
    ]  # fmt: skip
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        for handler in handlers:
            with here.handle(HELLO, handler):  # type: ignore[arg-type]
                stream = await there.open_stream(here.addrs[0], HELLO)
                await trio.testing.wait_all_tasks_blocked()
                stream.reset()
        with here.handle("/last", hello):
            assert await (await there.open_stream(here.peer_id, "/last")).receive_some() == b"hello"
        assert len(here.connections[there.peer_id]) == 1


async def test_an_attempt_on_a_stream_of_ours_ends_behind_the_wall(autojump_clock: object) -> None:
    network = FakeNetwork()

    async def read(stream: Stream) -> None:
        assert await stream.receive_some() == b"hello"

    async def fail(stream: Stream) -> None:
        raise RemoteProtocolError("no")

    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        with here.handle(HELLO, hello):
            assert await there.attempt(await there.open_stream(here.addrs[0], HELLO), read)
            assert not await there.attempt(await there.open_stream(here.peer_id, HELLO), fail)
        assert there.statistics().refusals == {"handler: RemoteProtocolError": 1}
        await trio.testing.wait_all_tasks_blocked()
        assert there.statistics().streams == here.statistics().streams == 0


async def test_services_see_the_host_and_their_handlers_live_as_long_as_they(autojump_clock: object) -> None:
    seen = list[object]()

    class Nosy:
        @property
        def handlers(self) -> Mapping[ProtocolId, Handler]:
            return {HELLO: hello}

        async def run(self, host: HostView, *, task_status: trio.TaskStatus[None]) -> None:
            seen.extend((host.peer_id, host.limits, host.protocols, host.addrs))
            task_status.started()
            await trio.sleep_forever()

    nosy: Service = Nosy()
    host = fake_host(FakeNetwork(), services=[nosy])
    assert host.protocols == ()
    async with host:
        assert host.protocols == (HELLO,)
        assert seen == [host.peer_id, host.limits, (HELLO,), ()]
    assert host.protocols == ()


async def test_services_may_dial_while_they_start(autojump_clock: object) -> None:
    network = FakeNetwork()

    class Eager:
        handlers: Mapping[ProtocolId, Handler] = {}

        async def run(self, host: HostView, *, task_status: trio.TaskStatus[None]) -> None:
            await host.dial(memory(1))
            task_status.started()

    async with fake_host(network, listen=[1]) as here, fake_host(network, services=[Eager()]) as there:
        assert here.peer_id in there.connections
