"""Dials in flight: who waits for them, what they try, and what is left of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

from p2p import AllAttemptsFailed, Connection, DialError, Host, Identity, Limits, NoAddresses, PeerIdMismatch
from p2p.identity import PeerId
from p2p.testing.cancellation import Outcome, cancelled_after
from p2p.testing.deterministic import run
from p2p.wire.addresses import Multiaddr, parse_user_addr, with_peer
from tests.trio.fakes import FakeNetwork, fake_host, memory

FIRST, SECOND = Identity.generate(), Identity.generate()
SOON = 1.0


def no(network: FakeNetwork, *numbers: int) -> None:
    """Nobody answers at these addresses."""
    for number in numbers:
        network.before_dial[memory(number)] = trio.sleep_forever


# --- waiters ------------------------------------------------------------------------------------------


async def test_each_waiter_gets_its_own_error(autojump_clock: object) -> None:
    network, caught = FakeNetwork(), list[DialError]()
    target = with_peer(memory(1), str(FIRST.peer_id))
    async with fake_host(network) as host:

        async def dial() -> None:
            try:
                await host.dial(target)
            except DialError as error:
                caught.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(dial)
        assert len({id(error) for error in caught}) == 3
        assert len({str(error) for error in caught}) == 1
        assert network.dialed == [memory(1)]
        assert all(error.__context__ is None and error.__cause__ is None for error in caught)


async def test_a_waiter_that_leaves_ends_nothing_for_the_others(autojump_clock: object) -> None:
    network = FakeNetwork()
    network.before_dial[memory(1)] = partial(trio.sleep, 2 * SOON)
    async with fake_host(network, listen=[1]) as there, fake_host(network) as host:

        async def leave_early() -> None:
            with trio.move_on_after(SOON) as scope:
                await host.dial(there.addrs[0])
            assert scope.cancelled_caught

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave_early)
            connection = await host.dial(there.addrs[0])
        assert connection.remote_peer == there.peer_id
        assert network.dialed == [memory(1)]


async def test_a_new_dial_does_not_join_one_that_everybody_left(autojump_clock: object) -> None:
    network = FakeNetwork()
    no(network, 1)
    async with fake_host(network, listen=[1]) as there, fake_host(network) as host:
        with trio.move_on_after(SOON):
            await host.dial(there.addrs[0])
        # At once: the flight that was cancelled has not ended yet.
        del network.before_dial[memory(1)]
        assert not (await host.dial(there.addrs[0])).closing


async def test_addresses_that_a_later_caller_brings_join_the_flight(autojump_clock: object) -> None:
    network = FakeNetwork()
    no(network, 1)
    async with fake_host(network, FIRST, listen=[2]) as there, fake_host(network) as host:
        found = list[Connection]()

        async def dial(number: int) -> None:
            found.append(await host.dial(with_peer(memory(number), str(there.peer_id))))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial, 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(dial, 2)
        assert found[0] is found[1]
        assert sorted(network.dialed, key=str) == [memory(1), memory(2)]


@pytest.mark.parametrize("moment", range(12))
async def test_addresses_brought_as_the_last_attempt_fails_are_tried_still(
    moment: int, autojump_clock: object
) -> None:
    """At whatever moment around the failure they come."""
    network = FakeNetwork()
    async with fake_host(network, FIRST, listen=[2]) as there, fake_host(network) as host:

        async def dial_in_vain() -> None:
            try:
                await host.dial(with_peer(memory(1), str(there.peer_id)))
            except DialError:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(dial_in_vain)
            for _ in range(moment):
                await trio.lowlevel.checkpoint()
            connection = await host.dial(with_peer(memory(2), str(there.peer_id)))
            assert connection.remote_addr == memory(2)
        assert network.dialed.count(memory(1)) == 1


# --- what is tried ------------------------------------------------------------------------------------


async def test_every_failure_is_told_with_its_address(autojump_clock: object) -> None:
    network = FakeNetwork()
    no(network, 3)
    websocket = parse_user_addr("/ip4/127.0.0.1/tcp/1/ws")
    async with fake_host(network, SECOND, listen=[1]), fake_host(network) as host:
        host.peerstore.add_addrs(FIRST.peer_id, [memory(1), memory(2), memory(3), websocket], ttl=99, now=0)
        with pytest.raises(AllAttemptsFailed) as caught:
            await host.dial(FIRST.peer_id)
        assert caught.value.peer == FIRST.peer_id
        assert {addr: type(error).__name__ for addr, error in caught.value.attempts} == {
            memory(1): "PeerIdMismatch",
            memory(2): "ConnectionRefusedError",
            memory(3): "TooSlowError",
            websocket: "InvalidAddress",
        }
        assert all(str(addr) in str(caught.value) for addr, _ in caught.value.attempts)
        assert "15 seconds" in str(caught.value)


async def test_one_address_has_its_deadline(autojump_clock: object) -> None:
    network = FakeNetwork()
    no(network, 1)
    async with fake_host(network) as host:
        start = trio.current_time()
        with pytest.raises(AllAttemptsFailed):
            await host.dial(memory(1))
        assert trio.current_time() - start == pytest.approx(host.limits.dial_address)


async def test_all_addresses_together_have_theirs(autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = dataclasses.replace(Limits(), dial=20.0, parallel_dials=1)
    no(network, 1, 2, 3)
    async with fake_host(network, limits=limits) as host:
        host.peerstore.add_addrs(FIRST.peer_id, [memory(1), memory(2), memory(3)], ttl=99, now=0)
        start = trio.current_time()
        with pytest.raises(AllAttemptsFailed) as caught:
            await host.dial(FIRST.peer_id)
        assert trio.current_time() - start == pytest.approx(limits.dial)
        assert [addr for addr, _ in caught.value.attempts] == [memory(1), memory(2), memory(3)]


async def test_so_many_at_once_and_no_more_in_all(autojump_clock: object) -> None:
    network, most, now = FakeNetwork(), 0, 0

    async def count() -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await trio.sleep(SOON)
        now -= 1

    numbers = range(1, 41)
    network.before_dial = {memory(number): count for number in numbers}
    async with fake_host(network) as host:
        host.peerstore.add_addrs(FIRST.peer_id, map(memory, numbers), ttl=99, now=0)
        with pytest.raises(AllAttemptsFailed):
            await host.dial(FIRST.peer_id)
        assert most == host.limits.parallel_dials
        assert len(network.dialed) == host.limits.dial_addresses


async def test_relayed_addresses_come_last(autojump_clock: object) -> None:
    network = FakeNetwork()
    circuit = parse_user_addr(f"/memory/0/p2p/{SECOND.peer_id}/p2p-circuit")
    limits = dataclasses.replace(Limits(), parallel_dials=1)
    async with fake_host(network, limits=limits) as host:
        host.peerstore.add_addrs(FIRST.peer_id, [circuit, memory(1)], ttl=99, now=0)
        with pytest.raises(AllAttemptsFailed):
            await host.dial(FIRST.peer_id)
        assert network.dialed == [memory(1), circuit]


async def test_a_peer_without_addresses(autojump_clock: object) -> None:
    async with fake_host(FakeNetwork()) as host:
        with pytest.raises(NoAddresses):
            await host.dial(FIRST.peer_id)
        with pytest.raises(NoAddresses, match="no transport"):
            await host.dial("/ip4/127.0.0.1/tcp/1")
        assert host.statistics().reserved == host.statistics().dials == 0


async def test_another_peer_answers(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, FIRST, listen=[1]), fake_host(network) as host:
        with pytest.raises(AllAttemptsFailed) as caught:
            await host.dial(with_peer(memory(1), str(SECOND.peer_id)))
        [(_, error)] = caught.value.attempts
        assert isinstance(error, PeerIdMismatch)
        assert FIRST.peer_id not in host.peerstore
        assert not host.connections
    assert not network.open


async def test_an_address_alone_leads_to_whom_answers(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, FIRST, listen=[1]), fake_host(network) as host:
        connection = await host.dial("/memory/1")
        assert connection.remote_peer == FIRST.peer_id
        assert host.connections == {FIRST.peer_id: (connection,)}


async def test_where_a_peer_was_reached_is_remembered(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network) as host:
        async with fake_host(network, FIRST, listen=[1]):
            await host.dial(memory(1))
        await host.wait_disconnected(FIRST.peer_id)
        async with fake_host(network, FIRST, listen=[1]):
            assert (await host.dial(FIRST.peer_id)).remote_addr == memory(1)


# --- routing ------------------------------------------------------------------------------------------


class Routing:
    def __init__(self, answer: Sequence[Multiaddr] | BaseException) -> None:
        self.answer = answer
        self.asked: list[PeerId] = []

    async def find_peer(self, peer: PeerId) -> Sequence[Multiaddr]:
        self.asked.append(peer)
        await trio.sleep(SOON)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


async def test_routing_is_asked_when_no_address_is_known(autojump_clock: object) -> None:
    network = FakeNetwork()
    routing = Routing([with_peer(memory(2), str(SECOND.peer_id)), with_peer(memory(1), str(FIRST.peer_id))])
    async with fake_host(network, FIRST, listen=[1]), fake_host(network, routing=routing) as host:
        connection = await host.dial(FIRST.peer_id)
        assert connection.remote_peer == FIRST.peer_id
        assert routing.asked == [FIRST.peer_id]
        assert network.dialed == [memory(1)]
        await host.dial(FIRST.peer_id)
        assert len(routing.asked) == 1


async def test_routing_that_finds_nothing(autojump_clock: object) -> None:
    async with fake_host(FakeNetwork(), routing=Routing([])) as host:
        with pytest.raises(NoAddresses):
            await host.dial(FIRST.peer_id)


@pytest.mark.parametrize(
    "error", [OSError("no"), ValueError("a bug"), RecursionError(), AllAttemptsFailed("x", [])]
)
async def test_routing_that_fails_is_told_and_kills_nobody(error: Exception, autojump_clock: object) -> None:
    async with fake_host(FakeNetwork(), routing=Routing(error)) as host:
        with pytest.raises(NoAddresses) as caught:
            await host.dial(FIRST.peer_id)
        assert caught.value.attempts == (("routing", error),)


async def test_addresses_brought_while_routing_searches_are_tried_at_once(autojump_clock: object) -> None:
    network, routing = FakeNetwork(), Routing([])
    async with fake_host(network, FIRST, listen=[1]) as there, fake_host(network, routing=routing) as host:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.dial, FIRST.peer_id)
            await trio.testing.wait_all_tasks_blocked()
            await host.dial(there.addrs[0])
        assert trio.current_time() == start
        assert not host.statistics().dials


# --- winners and losers -------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 1.0])
async def test_the_first_wins_and_the_others_are_closed(seconds: float, autojump_clock: object) -> None:
    network = FakeNetwork()
    numbers = [1, 2, 3, 4]
    for number in numbers:
        # Made at the same moment, or a moment apart.
        network.after_dial[memory(number)] = partial(trio.sleep, SOON + seconds * number)
    async with fake_host(network, FIRST, listen=numbers) as there, fake_host(network) as host:
        host.peerstore.add_addrs(FIRST.peer_id, map(memory, numbers), ttl=99, now=0)
        connection = await host.dial(FIRST.peer_id)
        assert host.connections == {FIRST.peer_id: (connection,)}
        await trio.testing.wait_all_tasks_blocked()
        assert len(network.open) == 2
        assert there.statistics().connections == 1
        assert host.statistics().reserved == 1


async def test_the_deadlines_of_a_dial_do_not_touch_the_connection(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as there, fake_host(network) as host:
        connection = await host.dial(there.addrs[0])
        await trio.sleep(10 * (host.limits.dial + host.limits.dial_address + host.limits.upgrade))
        assert not connection.closing
        assert len(network.open) == 2


@pytest.mark.parametrize("seed", range(12))
def test_a_cancel_exactly_at_the_hand_over_leaves_nothing(seed: int) -> None:
    """The caller leaves in the very tick in which the connection is made: nobody is there to take it.

    Which of the two is scheduled first in the next tick is up to the seed.
    """

    async def main() -> None:
        network, scope = FakeNetwork(), trio.CancelScope()

        async def leave_now() -> None:
            await trio.lowlevel.checkpoint()
            scope.cancel()

        network.after_dial[memory(1)] = leave_now
        async with fake_host(network, listen=[1]) as there, fake_host(network) as host:
            with scope:
                await host.dial(there.addrs[0])
            assert scope.cancelled_caught
            await trio.testing.wait_all_tasks_blocked()
            assert not host.connections
            assert not there.connections
            assert not network.open
            assert host.statistics().reserved == host.statistics().dials == 0

    run(main, seed=seed)


@pytest.mark.parametrize("pause", range(12))
def test_a_host_left_as_the_connection_is_made_keeps_nobody_waiting(pause: int) -> None:
    """The waiter is no task of the host, and nothing else would ever wake it: it hears of the end at any tick."""

    async def main() -> None:
        network, left, heard = FakeNetwork(), trio.Event(), trio.Event()

        async def made_while_leaving() -> None:
            await left.wait()
            for _ in range(pause):
                await trio.lowlevel.checkpoint()

        network.after_dial[memory(1)] = made_while_leaving

        async def dial(host: Host, target: Multiaddr) -> None:
            with suppress(DialError):
                await host.dial(target)
            heard.set()

        async with fake_host(network, listen=[1]) as there, trio.open_nursery() as nursery:
            async with fake_host(network) as host:
                nursery.start_soon(dial, host, there.addrs[0])
                await trio.testing.wait_all_tasks_blocked()
                left.set()
            with trio.fail_after(60):
                await heard.wait()
            assert host.statistics().reserved == host.statistics().dials == 0

    run(main)


# --- cancelled everywhere -----------------------------------------------------------------------------


def everywhere(attempt: Callable[[int], Awaitable[Outcome[object]]]) -> int:
    """Run ``attempt(k)`` in runs of their own until it comes through; how many steps that took."""
    step = 0
    while not run(attempt, step).finished:
        step += 1
    return step


def test_cancel_everywhere_dial_with_several_addresses() -> None:
    """Whenever the caller leaves: a connection that both sides have, or nothing on either."""

    async def attempt(step: int) -> Outcome[object]:
        network, numbers = FakeNetwork(), [1, 2, 3]
        async with fake_host(network, FIRST, listen=numbers) as there, fake_host(network, SECOND) as host:
            host.peerstore.add_addrs(FIRST.peer_id, map(memory, numbers), ttl=99, now=0)
            outcome = await cancelled_after(step, lambda: host.dial(FIRST.peer_id))
            await trio.testing.wait_all_tasks_blocked()
            connections = host.statistics().connections
            assert connections == there.statistics().connections == int(outcome.finished)
            assert len(network.open) == 2 * connections
            assert host.statistics().reserved == there.statistics().reserved == connections
            assert host.statistics().dials == there.statistics().pending_upgrades == 0
            assert not (await host.dial(FIRST.peer_id)).closing
        assert not network.open
        return outcome

    assert everywhere(attempt) > 10


@pytest.mark.parametrize("sides", ["dialer", "listener", "both"])
def test_cancel_everywhere_the_life_of_a_host(sides: str) -> None:
    """Enter, listen, dial, be dialed, leave: cancelled anywhere, nothing is left."""

    async def attempt(step: int) -> Outcome[object]:
        network = FakeNetwork()

        async def dialer() -> None:
            async with fake_host(network, FIRST) as host:
                await host.dial(memory(1))

        async def listener() -> None:
            async with fake_host(network, SECOND, listen=[1, 2]) as host:
                await host.wait_connected(FIRST.peer_id)

        async def both() -> None:
            async with fake_host(network, SECOND, listen=[1, 2]) as host:
                await dialer()
                await host.wait_disconnected(FIRST.peer_id)

        if sides == "dialer":
            async with fake_host(network, SECOND, listen=[1]) as host:
                outcome = await cancelled_after(step, dialer)
                await host.wait_disconnected(FIRST.peer_id)
                await trio.testing.wait_all_tasks_blocked()
                assert host.statistics().reserved == 0
        elif sides == "listener":
            async with fake_host(network, FIRST) as host, trio.open_nursery() as nursery:

                async def dial_when_it_listens() -> None:
                    while memory(1) not in network.listeners:
                        await trio.lowlevel.checkpoint()
                    try:
                        await host.dial(memory(1))
                    except DialError:
                        pass

                nursery.start_soon(dial_when_it_listens)
                outcome = await cancelled_after(step, listener)
                nursery.cancel_scope.cancel()
        else:
            outcome = await cancelled_after(step, both)
        assert not network.open
        assert not network.listeners
        return outcome

    assert everywhere(attempt) > 15
