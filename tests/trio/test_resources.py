"""Every limit of resources, reached from outside: by what other hosts do to one that keeps to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from p2p import (
    Host,
    Identity,
    Limits,
    ProtocolId,
    ResourceLimitExceeded,
    Stream,
    StreamReset,
)
from p2p.abc import Handler, HostView
from p2p.transports.memory import Memory, MemoryHub
from tests.limiting import limited, many_of_one_peer
from tests.trio.fakes import FakeNetwork, fake_host, memory

HERE = "192.0.2.1"
HANG = ProtocolId("/hang")


async def hang(stream: Stream) -> None:
    await stream.send_all(b"served")
    await trio.sleep_forever()


class Hanging:
    """A service whose handler never returns."""

    handlers: Mapping[ProtocolId, Handler] = {HANG: hang}

    async def run(self, host: HostView, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()


def nothing_is_left(*hosts: Host) -> None:
    for host in hosts:
        assert host._resources.empty, str(host.resources)
        assert host.statistics().reserved == 0


# --- connections --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["connections", "outbound_connections"])
@pytest.mark.parametrize("scope", ["system", "transient"])
async def test_dials_beyond_the_limit_are_refused_at_once(
    scope: str, what: str, autojump_clock: object
) -> None:
    network = FakeNetwork()
    network.before_dial[memory(1)] = network.before_dial[memory(2)] = trio.sleep_forever
    async with fake_host(network, limits=limited(**{scope: {what: 1}})) as host:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.dial, memory(1))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ResourceLimitExceeded) as caught:
                await host.dial(memory(2))
            assert caught.value.scope == f"{scope}.{what}"
            assert network.dialed == [memory(1)]
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        nothing_is_left(host)


@pytest.mark.parametrize("what", ["connections", "inbound_connections"])
async def test_inbound_connections_of_a_peer(what: str, autojump_clock: object) -> None:
    network = FakeNetwork()
    async with (
        fake_host(network, listen=[1], limits=limited(peer={what: 2})) as here,
        fake_host(network, limits=limited(peer=many_of_one_peer(10))) as there,
    ):
        for _ in range(3):
            await there.dial(memory(1))
            await trio.testing.wait_all_tasks_blocked()
        assert len(here.connections[there.peer_id]) == 2
        snapshot = here.resources.scope("peer", str(there.peer_id))
        assert snapshot is not None
        assert (snapshot.in_use.inbound_connections, snapshot.refused) == (2, 1)
        assert here.statistics().refusals == {f"peer.{what}": 1}
    nothing_is_left(here, there)


async def test_one_connection_is_more_than_none(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with (
        fake_host(network, listen=[1], limits=limited(connection={"connections": 0})) as here,
        fake_host(network) as there,
    ):
        await there.dial(memory(1))
        await there.wait_disconnected(here.peer_id)
        assert here.statistics().refusals == {"connection.connections": 1}


# --- streams ------------------------------------------------------------------------------------------

ROWS = ["system", "peer", "connection", "protocol", "protocol_peer", "service", "service_peer"]


@pytest.mark.parametrize("what", ["streams", "inbound_streams"])
@pytest.mark.parametrize("scope", ROWS)
async def test_inbound_streams_beyond_the_limit_are_reset(
    scope: str, what: str, autojump_clock: object
) -> None:
    network = FakeNetwork()
    limits = limited(**{scope: {what: 2}})
    async with (
        fake_host(network, listen=[1], limits=limits, services=[Hanging()]) as here,
        fake_host(network) as there,
    ):
        streams = [await there.open_stream(memory(1), HANG)]
        streams += [await there.open_stream(here.peer_id, HANG) for _ in range(2)]
        assert [await stream.receive_some() for stream in streams[:2]] == [b"served"] * 2
        with pytest.raises(StreamReset):
            await streams[2].receive_some()
        assert here.statistics().refusals == {f"{scope}.{what}": 1}
        assert here.statistics().handlers == 2
        assert here.resources.scope("service", "Hanging").in_use.inbound_streams == 2
    nothing_is_left(here, there)


@pytest.mark.parametrize("what", ["streams", "outbound_streams"])
@pytest.mark.parametrize("scope", ROWS)
async def test_outbound_streams_beyond_the_limit_are_not_opened(
    scope: str, what: str, autojump_clock: object
) -> None:
    """A protocol that a service of ours handles is that service's in this direction too."""
    network = FakeNetwork()
    limits = limited(**{scope: {what: 2}})
    async with (
        fake_host(network, listen=[1], services=[Hanging()]) as here,
        fake_host(network, limits=limits, services=[Hanging()]) as there,
    ):
        streams = [await there.open_stream(memory(1), HANG) for _ in range(1)]
        streams.append(await there.open_stream(here.peer_id, HANG))
        [connection] = there.connections[here.peer_id]
        asked = len(connection.asked)
        for _ in range(3):
            with pytest.raises(ResourceLimitExceeded) as caught:
                await there.open_stream(here.peer_id, HANG)
            assert (caught.value.scope, caught.value.limit, caught.value.in_use) == (f"{scope}.{what}", 2, 2)
        assert len(connection.asked) == asked
        streams.pop().reset()
        streams.append(await there.open_stream(here.peer_id, HANG))
        await streams.pop().aclose()
        streams.append(await there.open_stream(here.peer_id, HANG))
        with pytest.raises(ResourceLimitExceeded):
            await there.open_stream(here.peer_id, HANG)
    nothing_is_left(here, there)


async def test_a_stream_is_charged_to_the_protocol_it_came_to_speak(autojump_clock: object) -> None:
    network = FakeNetwork()
    few = replace(limited().resources.protocol, outbound_streams=1)
    limits = replace(Limits(), resources=replace(Limits().resources, protocols={HANG: few}))
    async with fake_host(network, listen=[1]) as here, fake_host(network, limits=limits) as there:
        with here.handle(HANG, hang):
            await there.open_stream(memory(1), "/unknown", HANG)
            assert there.resources.scope("protocol", HANG).in_use.outbound_streams == 1
            assert there.resources.scope("protocol", "/unknown") is None
            with pytest.raises(ResourceLimitExceeded, match=r"protocol\.outbound_streams of /hang"):
                await there.open_stream(here.peer_id, "/unknown", HANG)
            await trio.testing.wait_all_tasks_blocked()
            assert there.statistics().streams == 1
    nothing_is_left(here, there)


async def test_a_stream_row_of_nothing_lets_no_stream_be(autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = limited(stream={"streams": 0})
    async with fake_host(network, listen=[1]) as here, fake_host(network, limits=limits) as there:
        with here.handle(HANG, hang), pytest.raises(ResourceLimitExceeded, match=r"stream\.streams"):
            await there.open_stream(memory(1), HANG)


async def test_what_a_peer_had_is_forgotten_with_it(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here:
        with here.handle(lambda protocol: True, hang):
            async with fake_host(network) as there:
                await there.dial(memory(1))
                for number in range(50):
                    await (await there.open_stream(here.peer_id, f"/made-up/{number}")).receive_some()
                kinds = [scope.kind for scope in here.resources.scopes]
                assert kinds.count("protocol") == kinds.count("protocol_peer") == 50
                assert kinds.count("peer") == 1
            await here.wait_disconnected(there.peer_id)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(2 * here.limits.shutdown_grace):  # handlers may take their time
                await trio.sleep_forever()
            assert [scope.kind for scope in here.resources.scopes] == ["system", "transient"]
            nothing_is_left(here)


# --- memory of handlers -------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [*ROWS, "stream"])
async def test_memory_of_handlers(scope: str, autojump_clock: object) -> None:
    network = FakeNetwork()
    told = list[str]()
    in_use = list[int]()

    async def hold(stream: Stream) -> None:
        with here.reserve_memory(stream, 600):
            in_use.append(here.resources.scope("system").in_use.memory)
            try:
                with here.reserve_memory(stream, 600):
                    raise AssertionError("it was let have more")
            except ResourceLimitExceeded as error:
                told.append(error.scope)
        in_use.append(here.resources.scope("system").in_use.memory)

    service = Hanging()
    service.handlers = {HANG: hold}
    limits = limited(**{scope: {"memory": 1000}})
    async with (
        fake_host(network, listen=[1], limits=limits, services=[service]) as here,
        fake_host(network) as there,
    ):
        stream = await there.open_stream(memory(1), HANG)
        assert await stream.receive_some() == b""
    assert told == [f"{scope}.memory"]
    assert in_use == [600, 0]
    nothing_is_left(here, there)


async def test_a_handler_that_is_refused_memory_is_no_bug(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Remotes can bring it about, so it is told quietly, and counted by the scope that refused."""
    network = FakeNetwork()

    async def hold(stream: Stream) -> None:
        with here.reserve_memory(stream, 600):
            raise AssertionError("it was let have some")

    async with (
        fake_host(network, listen=[1], limits=limited(stream={"memory": 500})) as here,
        fake_host(network) as there,
    ):
        with here.handle(HANG, hold):
            stream = await there.open_stream(memory(1), HANG)
            with pytest.raises(StreamReset):
                await stream.receive_some()
            assert here.statistics().refusals == {"stream.memory": 1}
    assert not caplog.records
    nothing_is_left(here, there)


async def test_memory_is_given_back_when_its_stream_is_over(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        with here.handle(HANG, hang):
            stream = await there.open_stream(memory(1), HANG)
            with there.reserve_memory(stream, 1000):
                stream.reset()
                assert there.resources.scope("system").in_use.memory == 0
            with pytest.raises(trio.ClosedResourceError), there.reserve_memory(stream, 1):
                raise AssertionError("it was let have some")


# --- looking ------------------------------------------------------------------------------------------


async def test_what_is_in_use_can_be_printed_and_asked(autojump_clock: object) -> None:
    hub = MemoryHub()
    async with (
        Host(Identity.generate(), transports=[Memory(hub)], listen=["/memory/1"]) as here,
        Host(Identity.generate(), transports=[Memory(hub)]) as there,
    ):
        with here.handle(HANG, hang):
            stream = await there.open_stream(here.addrs[0], HANG)
            assert await stream.receive_some() == b"served"
            text = str(here.resources)
            assert f"peer {there.peer_id}" in text
            assert "protocol /hang" in text
            assert here.resources.scope("peer", str(there.peer_id)).in_use.connections == 1
    nothing_is_left(here, there)
