"""The table *what kills what*: the rows of handlers, connections and dials, one test for each."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import trio
import trio.testing

from p2p import (
    AllAttemptsFailed,
    ConnectionLost,
    Limits,
    RemoteProtocolError,
    Stream,
    StreamReset,
)
from p2p.errors import LocalProtocolError, P2PError
from tests.trio.failures import (
    BEYOND_EXCEPTION,
    FAILURES,
    HELLO,
    SOON,
    connected,
    named,
    open_stream,
    raising,
)
from tests.trio.fakes import FakeNetwork, fake_host, memory


def test_there_are_thirty_kinds() -> None:
    assert len({type(error) for error in FAILURES}) >= 30


# --- handlers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", FAILURES, ids=named)
async def test_a_handler_that_raises_costs_its_stream(
    error: BaseException, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "p2p.host")
    async with connected() as (here, there, connection, _):
        with here.handle(HELLO, raising(error)):
            stream = await there.open_stream(here.peer_id, HELLO)
            with pytest.raises(StreamReset) as caught:
                await stream.receive_some()
        assert caught.value.remote
        assert not connection.closing
        assert there.peer_id in here.connections
        quiet = isinstance(error, StreamReset | ConnectionLost | RemoteProtocolError)
        [record] = [record for record in caplog.records if "handler" in record.getMessage()]
        assert record.levelno == (logging.DEBUG if quiet else logging.ERROR)
        assert bool(record.exc_info) is not quiet
        if not quiet:
            assert record.exc_info is not None
            assert record.exc_info[1] is error or isinstance(error, ExceptionGroup)
        assert sum(here.statistics().refusals.values()) == 1


async def test_a_handler_that_returns_closes_its_stream(autojump_clock: object) -> None:
    async def hello(stream: Stream) -> None:
        await stream.send_all(b"hello")

    async with connected() as (here, there, _, _), await open_stream(here, there, hello) as stream:
        assert await stream.receive_some() == b"hello"
        assert await stream.receive_some() == b""
    assert here.statistics().handlers == 0


@pytest.mark.parametrize("error", BEYOND_EXCEPTION, ids=named)
async def test_what_is_no_exception_passes_the_handlers_wall(
    error: BaseException, autojump_clock: object
) -> None:
    with pytest.raises(type(error)) as caught:
        async with connected() as (here, there, _, _):
            with here.handle(HELLO, raising(error)):
                await there.open_stream(here.peer_id, HELLO)
                await trio.sleep_forever()
    assert caught.value is error


async def test_bugs_mixed_with_what_passes_are_logged_and_the_rest_escapes(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    bug, interrupt = ValueError("bug"), KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as caught:
        async with connected() as (here, there, _, _):
            with here.handle(HELLO, raising(BaseExceptionGroup("both", [bug, interrupt]))):
                await there.open_stream(here.peer_id, HELLO)
                await trio.sleep_forever()
    assert caught.value is interrupt
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is bug


async def test_bugs_mixed_with_cancelled_are_logged_and_the_cancellation_goes_on(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(stream: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while being cancelled")

    async with connected() as (here, there, _, _):
        await open_stream(here, there, handler)
    assert ["while being cancelled" in record.getMessage() for record in caplog.records] == [True]


# --- connections --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", FAILURES, ids=named)
async def test_a_pump_that_raises_costs_its_connection(
    error: BaseException, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "p2p.host")
    expected = isinstance(
        error, (P2PError, OSError, trio.BrokenResourceError, trio.TooSlowError)
    ) and not isinstance(error, LocalProtocolError)
    async with connected() as (here, there, connection, network), fake_host(network) as third:
        other = await third.dial(memory(1))
        stream = await open_stream(here, there, lambda stream: stream.receive_some())
        connection.fail(error)
        with pytest.raises(ConnectionLost):
            await stream.receive_some()
        await here.wait_disconnected(there.peer_id)
        await there.wait_disconnected(here.peer_id)
        assert not other.closing
        [record] = [
            record
            for record in caplog.records
            if str(there.peer_id) in record.message and "connection:" in record.message
        ]
        assert record.levelno == (logging.DEBUG if expected else logging.ERROR)
        assert bool(record.exc_info) is not expected
        assert any(reason.startswith("connection: ") for reason in here.statistics().refusals)


@pytest.mark.parametrize("error", BEYOND_EXCEPTION, ids=named)
async def test_what_is_no_exception_passes_the_connections_wall(
    error: BaseException, autojump_clock: object
) -> None:
    with pytest.raises(type(error)) as caught:
        async with connected() as (_, _, connection, _):
            connection.fail(error)
            await trio.sleep_forever()
    assert caught.value is error


async def test_handlers_of_a_dead_connection_get_a_grace_and_are_cancelled(autojump_clock: object) -> None:
    cancelled_at: list[float] = []

    async def deaf(stream: Stream) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled_at.append(trio.current_time())

    limits = dataclasses.replace(Limits(), shutdown_grace=3.0)
    async with connected(limits=limits) as (here, there, connection, _):
        await open_stream(here, there, deaf)
        start = trio.current_time()
        connection.fail(RemoteProtocolError("no"))
        await here.wait_disconnected(there.peer_id)
        assert here.statistics().handlers == 1
        await trio.sleep(limits.shutdown_grace + SOON)
        assert cancelled_at == [start + limits.shutdown_grace]
        assert here.statistics().handlers == here.statistics().reserved == 0


@pytest.mark.parametrize("error", FAILURES, ids=named)
async def test_an_upgrade_that_raises_costs_that_attempt(
    error: BaseException, autojump_clock: object
) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        network.before_upgrade = raising(error)
        connection = await there.dial(memory(1))
        await there.wait_disconnected(here.peer_id)
        assert connection.closing
        network.before_upgrade = trio.lowlevel.checkpoint
        await there.dial(memory(1))
        await here.wait_connected(there.peer_id)
        assert here.statistics().pending_upgrades == 0
        assert here.statistics().reserved == 1
    assert not network.open


@pytest.mark.parametrize("error", FAILURES, ids=named)
async def test_a_dial_that_fails_kills_nobody_and_tells_its_caller(
    error: BaseException, autojump_clock: object
) -> None:
    network = FakeNetwork()
    network.before_dial[memory(1)] = raising(error)
    async with fake_host(network, listen=[1]), fake_host(network) as there:
        with pytest.raises(AllAttemptsFailed) as caught:
            await there.dial(memory(1))
        [(addr, reason)] = caught.value.attempts
        assert addr == memory(1)
        assert reason is error or isinstance(error, ExceptionGroup)
        assert str(memory(1)) in str(caught.value)
        assert there.statistics().reserved == there.statistics().dials == 0
    assert not network.open


async def test_a_callers_deadline_ends_that_dial(autojump_clock: object) -> None:
    network = FakeNetwork()
    network.before_dial[memory(1)] = trio.sleep_forever
    async with fake_host(network, listen=[1]), fake_host(network) as there:
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(SOON):
                await there.dial(memory(1))
        assert there.statistics().dials == 0
        await trio.testing.wait_all_tasks_blocked()
        assert there.statistics().reserved == 0


async def test_a_shared_dial_dies_with_its_last_waiter(autojump_clock: object) -> None:
    network = FakeNetwork()
    network.before_dial[memory(1)] = trio.sleep_forever
    async with fake_host(network, listen=[1]), fake_host(network) as there:

        async def wait(seconds: float) -> None:
            with pytest.raises(trio.TooSlowError), trio.fail_after(seconds):
                await there.dial(memory(1))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, 1.0)
            nursery.start_soon(wait, 2.0)
            await trio.sleep(1.5)
            assert there.statistics().dials == 1
        assert network.dialed == [memory(1)]
        assert there.statistics().dials == 0
