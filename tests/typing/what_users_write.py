"""Never run: mypy checks it strictly. What a user writes has the types a user expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_type

import trio

from p2p import Connection, Host, Identity, Multiaddr, PeerId, Stream
from p2p.abc import Handler, HostView, ProtocolId, Service
from p2p.events import Event
from p2p.peerstore import Peerstore
from p2p.peerstore.sqlite import SQLitePeerstore


async def handler(stream: Stream) -> int:
    """A handler may return anything."""
    assert_type(stream.protocol, ProtocolId)
    assert_type(stream.connection, Connection)
    chunk = await stream.receive_some()
    await stream.send_all(chunk)
    stream.reset(7)
    return len(chunk)


async def takes_any_trio_stream(stream: trio.abc.HalfCloseableStream) -> None:
    await stream.send_eof()


class MyService:
    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {ProtocolId("/mine/1"): handler}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()


def services() -> list[Service]:
    return [MyService()]


async def a_program(peer: PeerId) -> None:
    async with Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"], services=services()) as host:
        assert_type(host, Host)
        assert_type(host.peer_id, PeerId)
        assert_type(host.addrs, Sequence[Multiaddr])
        view: HostView = host
        assert_type(view.connections, Mapping[PeerId, Sequence[Connection]])
        with host.handle("/mine/2", handler), host.handle(lambda name: name.startswith("/x/"), handler):
            assert_type(await host.dial(peer), Connection)
            async with await host.open_stream(peer, "/mine/2") as stream:
                assert_type(stream, Stream)
                await takes_any_trio_stream(stream)
        async with host.events() as events:
            async for event in events:
                assert_type(event, Event)


async def a_program_that_remembers(peer: PeerId) -> None:
    async with (
        SQLitePeerstore("peers.db") as peerstore,
        Host(Identity.generate(), peerstore=peerstore) as host,
    ):
        assert_type(peerstore, SQLitePeerstore)
        assert_type(host.peerstore, Peerstore)
        assert_type(peerstore.addrs(peer, now=trio.current_time()), tuple[Multiaddr, ...])
        assert_type(peerstore.metadata(peer), Mapping[str, bytes])
        await peerstore.flush()
