"""Identify: each side of a new connection asks the other who it is, what it speaks and where it listens. Trio.

A peer that was asked on an earlier connection is asked again a moment later: first comes what this one is for.

One stream per connection and direction (js takes no more). An exchange that fails harms nothing: the peer's
protocols just stay unknown. ``protocolVersion`` is not sent, as go does not, and of others it is only shown.
What changes later is pushed (``push.py``).

Source: libp2p specs, identify/README.md.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import trio

from p2p.abc import Connection, Handler, HostView, ProtocolId, Stream
from p2p.errors import NegotiationError, P2PError
from p2p.events import (
    AddressesChanged,
    Connected,
    Disconnected,
    EventsLost,
    PeerIdentified,
    ProtocolsChanged,
)
from p2p.identity import PeerRecord
from p2p.protocols.identify.codec import split
from p2p.protocols.identify.push import IDENTIFY_PUSH, Push, read_identification
from p2p.protocols.identify.reach import believable, worth_telling
from p2p.protocols.identify.state import Identification
from p2p.resources.per_peer import PerPeer
from p2p.version import DISTRIBUTION, VERSION
from p2p.wire.addresses import Multiaddr, split_peer
from p2p.wire.framing import encode_frame
from p2p.wire.messages import IdentifyMessage

IDENTIFY: Final = ProtocolId("/ipfs/id/1.0.0")


class _Asked:
    """The exchange on one connection."""

    __slots__ = ("_awaited", "_over", "answer", "begun", "failure")

    def __init__(self) -> None:
        self.begun = False
        self.answer: Identification | None = None
        self.failure = "the connection is over"
        self._over = False
        self._awaited: trio.Event | None = None  # made for who waits: this lives as long as the connection

    async def wait(self) -> None:
        """Until it is over."""
        if self._over:
            await trio.lowlevel.checkpoint()
            return
        if self._awaited is None:
            self._awaited = trio.Event()
        await self._awaited.wait()

    def end(self) -> None:
        """It is over. Idempotent."""
        self._over = True
        if self._awaited is not None:
            self._awaited.set()
            self._awaited = None


class Identify:
    """Asks on every new connection and answers ``/ipfs/id/1.0.0``; tells, and is told, what changes later.

    What a peer says goes into ``host.peerstore``, replacing what it said before, and into a ``PeerIdentified``
    event. In a push, what is missing stays as it was.
    """

    def __init__(self, *, agent_version: str = f"{DISTRIBUTION}/{VERSION}") -> None:
        self._agent_version = agent_version
        self._host: HostView | None = None
        self._asked: dict[Connection, _Asked] = {}
        self._answering = PerPeer()
        self._record: tuple[tuple[Multiaddr, ...], int, bytes] = ((), 0, b"")
        self._push = Push(self._tell, self._learn)

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {IDENTIFY: self._answer, IDENTIFY_PUSH: self._push.receive}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves until cancelled. For one host at a time."""
        self._host = host
        try:
            async with trio.open_nursery() as nursery, host.events() as events:
                nursery.start_soon(self._push.run, host)
                self._catch_up(host, nursery)
                task_status.started()
                async for event in events:
                    match event:
                        case Connected(connection=connection):
                            self._begin(host, connection, nursery)
                        case Disconnected(connection=connection):
                            self._forget(connection)
                            self._push.forget_the_gone(host)
                        case ProtocolsChanged() | AddressesChanged():
                            self._push.wake()
                        case EventsLost():
                            self._catch_up(host, nursery)
                            self._push.wake()
        finally:
            for connection in list(self._asked):
                self._forget(connection)
            self._host = None

    async def wait_identified(self, connection: Connection) -> Identification:
        """Wait until the exchange on ``connection`` is over, and return what the peer said.

        Raises ``P2PError`` when it failed or the connection is not one of the host's. Cancelled: nothing changes.
        """
        asked = self._asked.get(connection)
        if asked is None:
            if self._host is None or connection not in self._host.connections.get(connection.remote_peer, ()):
                raise P2PError(f"no connection to {connection.remote_peer} to be identified on")
            asked = self._asked[connection] = _Asked()  # its event is on the way
        await asked.wait()
        if asked.answer is None:
            raise P2PError(f"{connection.remote_peer} did not identify itself: {asked.failure}")
        return asked.answer

    # --- asking ---------------------------------------------------------------------------------------

    def _catch_up(self, host: HostView, nursery: trio.Nursery) -> None:
        """``host.connections`` is the truth, and events may have been lost."""
        live = [connection for connections in host.connections.values() for connection in connections]
        for connection in self._asked.keys() - live:
            self._forget(connection)
        self._push.forget_the_gone(host)
        for connection in live:
            self._begin(host, connection, nursery)

    def _begin(self, host: HostView, connection: Connection, nursery: trio.Nursery) -> None:
        asked = self._asked.setdefault(connection, _Asked())
        self._push.meet(host, connection.remote_peer)
        if not asked.begun:
            asked.begun = True
            nursery.start_soon(self._ask, host, connection, asked)

    def _forget(self, connection: Connection) -> None:
        asked = self._asked.pop(connection, None)
        if asked is not None:
            asked.end()

    async def _ask(self, host: HostView, connection: Connection, asked: _Asked) -> None:
        async def read(stream: Stream) -> None:
            try:
                answer = await read_identification(stream, host.limits.identify)
                self._learn(host, connection, answer)
            except NegotiationError as error:  # nothing wrong: it does not speak identify
                asked.failure = str(error)
                return
            except (P2PError, trio.BrokenResourceError) as error:
                asked.failure = str(error)
                raise
            asked.answer = answer

        try:
            if host.peerstore.last_protocols(connection.remote_peer):
                await trio.sleep(host.limits.identify.again_after)
            asked.failure = "its answer could not be read"
            with trio.move_on_after(host.limits.identify.timeout) as deadline:
                await host.attempt(await connection.open_stream(IDENTIFY, lazy=True), read)
            if deadline.cancelled_caught:
                asked.failure = f"no answer in {host.limits.identify.timeout} seconds"
        except (P2PError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            asked.failure = str(error)  # of opening: the connection is over
        finally:
            asked.end()

    def _learn(self, host: HostView, connection: Connection, answer: Identification) -> None:
        peer = answer.peer_id
        now = trio.current_time()

        def believe(addr: Multiaddr) -> bool:
            return believable(addr, connection.remote_addr)

        if answer.signed_record is not None:
            host.peerstore.add_record(answer.signed_record, peer=peer, now=now, believe=believe)
        elif answer.addrs:
            ttl = host.limits.peerstore.address_ttl
            host.peerstore.set_addrs(peer, filter(believe, answer.addrs), ttl=ttl, now=now)
        if answer.protocols:
            host.peerstore.set_protocols(peer, answer.protocols)
        if answer.agent_version:
            host.peerstore.set_agent_version(peer, answer.agent_version)
        self._push.wake()
        host.emit(
            PeerIdentified(
                peer=peer,
                connection=connection,
                protocols=tuple(map(ProtocolId, host.peerstore.protocols(peer) or ())),
                agent_version=host.peerstore.agent_version(peer) or "",
                observed_addr=answer.observed_addr,
            )
        )

    # --- answering ------------------------------------------------------------------------------------

    async def _answer(self, stream: Stream) -> None:
        host = self._host
        if host is None:
            stream.reset()
            return
        limits = host.limits.identify
        with self._answering.one_more(stream.connection.remote_peer, limits.streams_per_peer) as allowed:
            if not allowed:
                stream.reset()
                return
            rest = self._say(host, stream)
            if not rest:  # nearly always: there is nothing to wait for
                return
            with trio.move_on_after(limits.timeout) as deadline:
                await stream.send_all(rest)
            if deadline.cancelled_caught:
                stream.reset()

    async def _tell(self, host: HostView, stream: Stream) -> None:
        """Say how ``host`` is; the end of it is said by whoever closes ``stream``, which then is one packet."""
        rest = self._say(host, stream)
        if rest:
            await stream.send_all(rest)

    def _say(self, host: HostView, stream: Stream) -> memoryview:
        """Say it as far as ``stream`` takes it now, and return the rest."""
        self._push.telling(host, stream.connection.remote_peer)
        parts = split(self._describe(host, stream.connection), host.limits.identify)
        message = memoryview(b"".join(map(encode_frame, parts)))
        return message[stream.send_nowait(message) :]

    def _describe(self, host: HostView, connection: Connection) -> IdentifyMessage:
        told = [addr for addr in host.addrs if worth_telling(addr, connection.remote_addr)]
        addrs = tuple(split_peer(addr)[0] for addr in told[: host.limits.identify.max_addrs])
        return IdentifyMessage(
            public_key=host.identity.public_key.to_protobuf(),
            listen_addrs=tuple(addr.to_bytes() for addr in addrs),
            protocols=tuple(host.protocols),
            observed_addr=split_peer(connection.remote_addr)[0].to_bytes(),
            agent_version=self._agent_version,
            signed_peer_record=self._signed(host, addrs),
        )

    def _signed(self, host: HostView, addrs: tuple[Multiaddr, ...]) -> bytes:
        """Our record, signed anew when our addresses are others: then its number must be higher."""
        known, seq, record = self._record
        if not record or known != addrs:
            # Over restarts too, hence the time of day (RFC 0003).
            seq = max(seq + 1, time.time_ns())
            record = PeerRecord(host.peer_id, seq, addrs).seal(host.identity.private_key)
            self._record = addrs, seq, record
        return record
