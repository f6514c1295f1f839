"""Identify: each side of a new connection asks the other who it is, what it speaks and where it listens. Trio.

One stream per connection and direction (js takes no more). An exchange that fails harms nothing: the peer's
protocols just stay unknown. ``protocolVersion`` is not sent, as go does not, and of others it is only shown.

Source: libp2p specs, identify/README.md.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import trio

from p2p.abc import Connection, Handler, HostView, ProtocolId, Stream
from p2p.errors import NegotiationError, P2PError
from p2p.events import Connected, Disconnected, EventsLost, PeerIdentified
from p2p.identity import PeerRecord
from p2p.limits import IdentifyLimits
from p2p.protocols.identify.codec import split
from p2p.protocols.identify.reach import believable
from p2p.protocols.identify.state import Exchange, Identification
from p2p.resources.per_peer import PerPeer
from p2p.streams import MessageReader
from p2p.version import DISTRIBUTION, VERSION
from p2p.wire.addresses import Multiaddr, split_peer
from p2p.wire.framing import encode_frame
from p2p.wire.messages import IdentifyMessage

IDENTIFY: Final = ProtocolId("/ipfs/id/1.0.0")


async def read_identification(stream: Stream, limits: IdentifyLimits) -> Identification:
    """What the remote says of itself on an identify stream that this side opened, read to its end.

    Has no deadline of its own. Raises ``RemoteProtocolError``, ``NoCommonProtocol``, and what ``receive_some``
    raises. Cancelled or failed: reset the stream.
    """
    connection = stream.connection
    exchange = Exchange(connection.remote_peer, connection.remote_key, limits)
    async for message in MessageReader(stream, max=limits.max_message):
        exchange.receive(message)
    return exchange.finish()


@dataclass(slots=True)
class _Asked:
    """The exchange on one connection."""

    begun: bool = False
    done: trio.Event = field(default_factory=trio.Event)
    answer: Identification | None = None
    failure: str = "the connection is over"


class Identify:
    """Asks on every new connection and answers ``/ipfs/id/1.0.0``.

    What a peer says goes into ``host.peerstore``, replacing what it said before, and into a ``PeerIdentified``
    event.
    """

    def __init__(self, *, agent_version: str = f"{DISTRIBUTION}/{VERSION}") -> None:
        self._agent_version = agent_version
        self._host: HostView | None = None
        self._asked: dict[Connection, _Asked] = {}
        self._answering = PerPeer()
        self._record: tuple[tuple[Multiaddr, ...], int, bytes] = ((), 0, b"")

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {IDENTIFY: self._answer}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves until cancelled. For one host at a time."""
        self._host = host
        try:
            async with trio.open_nursery() as nursery, host.events() as events:
                self._catch_up(host, nursery)
                task_status.started()
                async for event in events:
                    match event:
                        case Connected(connection=connection):
                            self._begin(host, connection, nursery)
                        case Disconnected(connection=connection):
                            self._forget(connection)
                        case EventsLost():
                            self._catch_up(host, nursery)
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
        await asked.done.wait()
        if asked.answer is None:
            raise P2PError(f"{connection.remote_peer} did not identify itself: {asked.failure}")
        return asked.answer

    # --- asking ---------------------------------------------------------------------------------------

    def _catch_up(self, host: HostView, nursery: trio.Nursery) -> None:
        """``host.connections`` is the truth, and events may have been lost."""
        live = [connection for connections in host.connections.values() for connection in connections]
        for connection in self._asked.keys() - live:
            self._forget(connection)
        for connection in live:
            self._begin(host, connection, nursery)

    def _begin(self, host: HostView, connection: Connection, nursery: trio.Nursery) -> None:
        asked = self._asked.setdefault(connection, _Asked())
        if not asked.begun:
            asked.begun = True
            nursery.start_soon(self._ask, host, connection, asked)

    def _forget(self, connection: Connection) -> None:
        asked = self._asked.pop(connection, None)
        if asked is not None:
            asked.done.set()

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

        asked.failure = "its answer could not be read"
        try:
            with trio.move_on_after(host.limits.identify.timeout) as deadline:
                await host.attempt(await connection.open_stream(IDENTIFY, lazy=True), read)
            if deadline.cancelled_caught:
                asked.failure = f"no answer in {host.limits.identify.timeout} seconds"
        except (P2PError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            asked.failure = str(error)  # of opening: the connection is over
        finally:
            asked.done.set()

    def _learn(self, host: HostView, connection: Connection, answer: Identification) -> None:
        peer = answer.peer_id
        now = trio.current_time()

        def believe(addr: Multiaddr) -> bool:
            return believable(addr, connection.remote_addr)

        if answer.signed_record is not None:
            host.peerstore.add_record(answer.signed_record, peer=peer, now=now, believe=believe)
        else:
            ttl = host.limits.peerstore.address_ttl
            host.peerstore.add_addrs(peer, filter(believe, answer.addrs), ttl=ttl, now=now)
        host.peerstore.set_protocols(peer, answer.protocols)
        host.peerstore.set_agent_version(peer, answer.agent_version)
        host.emit(
            PeerIdentified(
                peer=peer,
                connection=connection,
                protocols=answer.protocols,
                agent_version=answer.agent_version,
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
            with trio.move_on_after(limits.timeout) as deadline:
                parts = split(self._describe(host, stream.connection), limits)
                await stream.send_all(b"".join(map(encode_frame, parts)))
                await stream.send_eof()
            if deadline.cancelled_caught:
                stream.reset()

    def _describe(self, host: HostView, connection: Connection) -> IdentifyMessage:
        addrs = tuple(split_peer(addr)[0] for addr in host.addrs[: host.limits.identify.max_addrs])
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
