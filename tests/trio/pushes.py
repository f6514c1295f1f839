"""Two hosts of which one pushes to the other, for tests of identify push."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from p2p.abc import Handler, HostView, ProtocolId, Stream
from p2p.limits import IdentifyLimits, Limits
from p2p.protocols.identify import IDENTIFY, IDENTIFY_PUSH, Identification, Identify
from p2p.protocols.identify.push import read_identification
from p2p.wire.addresses import Multiaddr
from p2p.wire.framing import encode_frame
from p2p.wire.messages import IdentifyMessage, encode_identify
from tests.trio.two_hosts import TwoHosts, two_hosts

LIMITS = IdentifyLimits()
#: Longer than changes are waited for, and a push takes.
A_WHILE = LIMITS.push_delay + 1
ADDR = Multiaddr("/ip4/1.2.3.4/tcp/5")


class Pushed:
    """A service that takes pushes, in its own way, and says that it does."""

    def __init__(
        self, take: Callable[[Stream], Awaitable[object]] | None = None, *, speaks: str = IDENTIFY_PUSH
    ) -> None:
        self.begun = 0
        self.taken: list[Identification] = []
        self._speaks = speaks
        self._take = self._read if take is None else take

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {IDENTIFY: self._answer, IDENTIFY_PUSH: self._handle}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def _answer(self, stream: Stream) -> None:
        await send(stream, IdentifyMessage(protocols=(self._speaks,)))

    async def _handle(self, stream: Stream) -> None:
        self.begun += 1
        await self._take(stream)

    async def _read(self, stream: Stream) -> None:
        self.taken.append(await read_identification(stream, LIMITS))


async def send(stream: Stream, *parts: IdentifyMessage) -> None:
    await stream.send_all(b"".join(encode_frame(encode_identify(part)) for part in parts))
    await stream.send_eof()


@asynccontextmanager
async def acquainted(*, limits: Limits | None = None) -> AsyncIterator[TwoHosts]:
    """Two hosts that know all of each other, and have no more to say."""
    alice, bob = Identify(agent_version="alice/1"), Identify(agent_version="bob/1")
    async with two_hosts([alice], [bob], limits=limits) as hosts:
        await alice.wait_identified(hosts.to_bob)
        await bob.wait_identified(hosts.to_alice)
        await trio.sleep(A_WHILE)
        yield hosts


@asynccontextmanager
async def pushing_to(pushed: Pushed, alice: Identify | None = None) -> AsyncIterator[TwoHosts]:
    """Alice identifies and pushes; bob is what the test made of him. She has not pushed yet."""
    alice = Identify() if alice is None else alice
    async with two_hosts([alice], [pushed]) as hosts:
        await alice.wait_identified(hosts.to_bob)
        await trio.sleep(A_WHILE)
        assert not pushed.begun
        yield hosts


async def push(hosts: TwoHosts, *parts: IdentifyMessage) -> None:
    """Bob pushes to alice, and she has taken it in."""
    async with await hosts.bob.open_stream(hosts.alice.peer_id, IDENTIFY_PUSH) as stream:
        await send(stream, *parts)
        assert await stream.receive_some() == b""


def protocols_of_alice(hosts: TwoHosts) -> tuple[str, ...]:
    return hosts.bob.peerstore.protocols(hosts.alice.peer_id) or ()


def addrs_of_alice(hosts: TwoHosts) -> set[Multiaddr]:
    return set(hosts.bob.peerstore.addrs(hosts.alice.peer_id, now=trio.current_time()))
