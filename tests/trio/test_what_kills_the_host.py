"""The table *what kills what*: the rows of services, the body, what is around it, and leaving, one test for each."""

from __future__ import annotations

import dataclasses
import signal
import traceback
from collections.abc import Mapping

import pytest
import trio
import trio.testing

from p2p import (
    ConnectionLost,
    DialError,
    HostCrashed,
    Limits,
    ProtocolId,
    Stream,
    StreamReset,
)
from p2p.abc import Handler, HostView
from tests.trio.failures import (
    BEYOND_EXCEPTION,
    FAILURES,
    HELLO,
    SOON,
    Worker,
    connected,
    hang,
    named,
    open_stream,
    raising,
)
from tests.trio.fakes import FakeNetwork, fake_host, memory

# --- services and transports --------------------------------------------------------------------------


@pytest.mark.parametrize("error", FAILURES, ids=named)
async def test_a_service_that_raises_crashes_the_host(error: BaseException, autojump_clock: object) -> None:
    with pytest.raises(HostCrashed) as caught:
        async with fake_host(FakeNetwork(), listen=[1], services=[Worker(raising(error))]):
            await trio.sleep_forever()
    assert caught.value.name == "Worker"
    assert caught.value.__cause__ is error
    assert caught.value.__context__ is error


@pytest.mark.parametrize("error", FAILURES, ids=named)
async def test_a_transport_that_raises_crashes_the_host(error: BaseException, autojump_clock: object) -> None:
    host = fake_host(network := FakeNetwork(), listen=[1])
    [transport] = host._transports
    transport.running = raising(error)  # type: ignore[attr-defined]
    with pytest.raises(HostCrashed) as caught:
        async with host:
            await trio.sleep_forever()
    assert caught.value.name == "FakeTransport"
    assert caught.value.__cause__ is error
    assert not network.listeners


async def test_a_listener_that_raises_crashes_the_host(autojump_clock: object) -> None:
    network, error = FakeNetwork(), OSError("the socket is no socket")
    with pytest.raises(HostCrashed) as caught:
        async with fake_host(network, listen=[1]):
            listener = network.listeners[memory(1)]
            listener.fault = error
            listener.arrived.unpark_all()
            await trio.sleep_forever()
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", FAILURES, ids=named)
async def test_a_service_that_fails_to_start_crashes_the_host(
    error: BaseException, autojump_clock: object
) -> None:
    class Unable:
        handlers: Mapping[ProtocolId, Handler] = {}

        async def run(self, host: HostView, *, task_status: object = None) -> None:
            raise error

    network = FakeNetwork()
    with pytest.raises(HostCrashed) as caught:
        async with fake_host(network, listen=[1], services=[Unable()]):
            raise AssertionError("it was entered")
    assert caught.value.__cause__ is error
    assert not network.listeners


async def test_a_service_that_never_says_it_serves_crashes_the_host(autojump_clock: object) -> None:
    class Silent:
        handlers: Mapping[ProtocolId, Handler] = {}

        async def run(self, host: HostView, *, task_status: object = None) -> None:
            await trio.lowlevel.checkpoint()

    with pytest.raises(HostCrashed, match="Silent") as caught:
        async with fake_host(FakeNetwork(), services=[Silent()]):
            raise AssertionError("it was entered")
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("error", BEYOND_EXCEPTION, ids=named)
async def test_what_is_no_exception_leaves_a_service_bare(
    error: BaseException, autojump_clock: object
) -> None:
    with pytest.raises(type(error)) as caught:
        async with fake_host(FakeNetwork(), services=[Worker(raising(error))]):
            await trio.sleep_forever()
    assert caught.value is error


async def test_bugs_of_a_service_mixed_with_what_is_none_are_both_told(autojump_clock: object) -> None:
    bug, interrupt = ValueError("bug"), KeyboardInterrupt()
    service = Worker(raising(BaseExceptionGroup("both", [bug, interrupt])))
    with pytest.raises(BaseExceptionGroup) as caught:
        async with fake_host(FakeNetwork(), services=[service]):
            await trio.sleep_forever()
    crash, other = caught.value.exceptions
    assert isinstance(crash, HostCrashed)
    assert isinstance(crash.__cause__, ExceptionGroup)
    assert crash.__cause__.exceptions == (bug,)
    assert other is interrupt


async def test_a_service_that_returns_ends_alone_and_its_handlers_unregister(autojump_clock: object) -> None:
    leave = trio.Event()
    service = Worker(leave.wait, {HELLO: lambda stream: stream.aclose()})
    async with connected(services=[service]) as (here, there, _, _):
        assert here.protocols == (HELLO,)
        await there.open_stream(here.peer_id, HELLO)
        leave.set()
        await trio.testing.wait_all_tasks_blocked()
        assert here.protocols == ()
        assert there.peer_id in here.connections


async def test_two_services_that_crash_together_are_both_told(autojump_clock: object) -> None:
    one, two, go = ValueError("one"), TypeError("two"), trio.Event()

    def worker(error: Exception) -> Worker:
        async def work() -> None:
            await go.wait()
            raise error

        return Worker(work)

    with pytest.raises(ExceptionGroup) as caught:
        async with fake_host(FakeNetwork(), services=[worker(one), worker(two)]):
            go.set()
            await trio.sleep_forever()
    assert {crash.__cause__ for crash in caught.value.exceptions} == {one, two}


# --- the body, and what is around it ------------------------------------------------------------------


@pytest.mark.parametrize("error", [*FAILURES, *BEYOND_EXCEPTION, trio.ClosedResourceError()], ids=named)
async def test_the_bodys_exception_leaves_as_it_is(error: BaseException, autojump_clock: object) -> None:
    cause, context = ValueError("cause"), KeyError("context")
    network = FakeNetwork()
    caught: BaseException | None = None
    error.__cause__, error.__context__ = None, None
    try:
        async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
            await there.dial(here.addrs[0])
            error.__cause__, error.__context__, error.__traceback__ = cause, context, None
            raise error
    except BaseException as failure:
        caught = failure
    assert caught is error
    assert caught.__cause__ is cause
    assert caught.__context__ is context
    own = [frame.filename for frame in traceback.extract_tb(caught.__traceback__)]
    assert own == [__file__]
    assert not network.open
    assert not network.listeners


@pytest.mark.parametrize("where", ["body", "service", "handler", "leaving"])
def test_a_keyboard_interrupt_leaves_bare(where: str) -> None:
    """A real signal, in a run of its own."""

    async def interrupted(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    async def main() -> None:
        services = [Worker(interrupted)] if where == "service" else []
        async with fake_host(network) as there, fake_host(network, listen=[1], services=services) as here:
            await there.dial(memory(1))
            if where == "body":
                await interrupted()
            with here.handle(HELLO, interrupted if where == "handler" else hang):
                await there.open_stream(here.peer_id, HELLO)
                await trio.testing.wait_all_tasks_blocked()
                if where == "leaving":
                    trio.lowlevel.spawn_system_task(later)
                else:
                    await trio.sleep_forever()

    async def later() -> None:
        await trio.testing.wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGINT)

    network = FakeNetwork()
    with pytest.raises(KeyboardInterrupt) as caught:
        trio.run(main)
    assert caught.value.__cause__ is None
    assert not network.open


async def test_an_outer_cancellation_leaves_untouched(autojump_clock: object) -> None:
    network = FakeNetwork()
    seen: BaseException | None = None
    with trio.move_on_after(SOON) as scope:
        try:
            async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
                await there.dial(here.addrs[0])
                await trio.sleep_forever()
        except BaseException as error:
            seen = error
            raise
    assert scope.cancelled_caught
    assert isinstance(seen, BaseExceptionGroup | trio.Cancelled)
    assert _leaves(seen) == {trio.Cancelled}
    assert trio.current_time() == pytest.approx(SOON)  # no grace
    assert not network.open


def _leaves(error: BaseException) -> set[type[BaseException]]:
    if isinstance(error, BaseExceptionGroup):
        return {leaf for part in error.exceptions for leaf in _leaves(part)}
    return {type(error)}


async def test_a_cancellation_while_entering_leaves_untouched(autojump_clock: object) -> None:
    class Slow(Worker):
        async def run(self, host: HostView, *, task_status: object = None) -> None:
            await trio.sleep_forever()

    with trio.move_on_after(SOON) as scope:
        async with fake_host(FakeNetwork(), services=[Slow(trio.sleep_forever)]):
            raise AssertionError("it was entered")
    assert scope.cancelled_caught


@pytest.mark.parametrize("error", [*FAILURES, *BEYOND_EXCEPTION], ids=named)
async def test_a_body_and_a_service_that_fail_together_are_both_told(
    error: BaseException, autojump_clock: object
) -> None:
    bug = FloatingPointError("service")
    go = trio.Event()

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise bug

    with pytest.raises(BaseExceptionGroup) as caught:
        async with fake_host(FakeNetwork(), services=[Worker(work)]):
            go.set()
            raise error
    body, crash = caught.value.exceptions
    assert body is error
    assert isinstance(crash, HostCrashed)
    assert isinstance(caught.value, ExceptionGroup) is isinstance(error, Exception)


async def test_a_body_cancelled_by_a_crash_is_not_told_of(autojump_clock: object) -> None:
    bug = ValueError("service")
    with pytest.raises(HostCrashed) as caught:
        async with fake_host(FakeNetwork(), services=[Worker(raising(bug))]):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep_forever()
    assert caught.value.__cause__ is bug


async def test_a_body_that_fails_while_a_crash_cancels_it_is_told(autojump_clock: object) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with fake_host(FakeNetwork(), services=[Worker(raising(ValueError("service")))]):
            try:
                await trio.sleep_forever()
            finally:
                raise TypeError("body")
    assert [type(error) for error in caught.value.exceptions] == [TypeError, HostCrashed]


async def test_nested_hosts_each_leave_as_alone(autojump_clock: object) -> None:
    network, bug = FakeNetwork(), ValueError("outer service")
    with pytest.raises(HostCrashed) as caught:
        async with fake_host(network, services=[Worker(raising(bug))]):
            async with fake_host(network, listen=[1]), fake_host(network, listen=[2]):
                await trio.sleep_forever()
    assert caught.value.__cause__ is bug
    with pytest.raises(HostCrashed) as caught:
        async with fake_host(network, listen=[1]), fake_host(network, listen=[2]):
            async with fake_host(network, services=[Worker(raising(bug))]):
                await trio.sleep_forever()
    assert caught.value.__cause__ is bug
    assert not network.listeners


async def test_a_host_is_entered_once(autojump_clock: object) -> None:
    host = fake_host(FakeNetwork())
    async with host:
        pass
    with pytest.raises(RuntimeError, match="once"):
        await host.__aenter__()


# --- leaving normally ---------------------------------------------------------------------------------


async def test_a_body_that_leaves_normally_stops_in_order(autojump_clock: object) -> None:
    network, steps = FakeNetwork(), list[str]()

    async def work() -> None:
        try:
            await trio.sleep_forever()
        finally:
            steps.append("service" if not network.listeners else "service before listeners")

    async def finishing(stream: Stream) -> None:
        try:
            await trio.sleep(SOON)
            await stream.send_all(b"finished")
        finally:
            steps.append("handler")

    limits = dataclasses.replace(Limits(), shutdown_grace=2 * SOON)
    async with fake_host(network) as there:
        async with fake_host(network, listen=[1], services=[Worker(work)], limits=limits) as here:
            await there.dial(here.addrs[0])
            stream = await open_stream(here, there, finishing)
            start = trio.current_time()
            [transport] = here._transports
            transport.running = trio.sleep_forever  # type: ignore[attr-defined]
        assert steps == ["service", "handler"]
        assert trio.current_time() - start == pytest.approx(SOON)
        assert await stream.receive_some() == b"finished"
        assert here.peer_id not in there.connections
    assert not network.open


async def test_what_does_not_finish_in_its_grace_is_cancelled(autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = dataclasses.replace(Limits(), shutdown_grace=2 * SOON)
    async with fake_host(network) as there:
        async with fake_host(network, listen=[1], limits=limits) as here:
            await there.dial(here.addrs[0])
            stream = await open_stream(here, there, hang)
            start = trio.current_time()
        assert trio.current_time() - start == pytest.approx(limits.shutdown_grace)
        with pytest.raises((ConnectionLost, StreamReset)):
            await stream.receive_some()


async def test_leaving_with_idle_connections_takes_no_grace(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network) as there:
        async with fake_host(network, listen=[1]) as here:
            await there.dial(here.addrs[0])
            start = trio.current_time()
        assert trio.current_time() == start


async def test_nothing_is_dialed_any_more_while_leaving(autojump_clock: object) -> None:
    network, refused = FakeNetwork(), list[BaseException]()
    async with fake_host(network, listen=[2]) as other, fake_host(network) as there:
        async with fake_host(network, listen=[1]) as here:

            async def handler(stream: Stream) -> None:
                await trio.sleep(SOON)
                try:
                    await here.dial(other.addrs[0])
                except DialError as error:
                    refused.append(error)

            await there.dial(here.addrs[0])
            await open_stream(here, there, handler)
        assert "shutdown" in str(refused[0])
        with pytest.raises(DialError, match="shutdown"):
            await here.dial(other.addrs[0])
