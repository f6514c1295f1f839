"""Identify push: a host that is another now tells the peers it is connected to, and takes in what they tell. Trio.

What counts is the last state, on both sides. Changes that follow each other closely become one push, a peer that
is being pushed to while more changes gets exactly one push after it, and a peer that asked meanwhile knows already.
Of two pushes of one peer the older is dropped as soon as the newer begins.

Sources: libp2p specs, identify/README.md; go-libp2p ``p2p/protocol/identify/id.go`` for whom to tell, limited
connections included, and how many at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from p2p.abc import Connection, HostView, ProtocolId, Stream
from p2p.errors import NegotiationError, P2PError
from p2p.identity import PeerId
from p2p.limits import IdentifyLimits
from p2p.protocols.identify.state import Exchange, Identification
from p2p.resources.bucket import TokenBucket
from p2p.streams import MessageReader

IDENTIFY_PUSH: Final = ProtocolId("/ipfs/id/push/1.0.0")


async def read_identification(stream: Stream, limits: IdentifyLimits) -> Identification:
    """What the remote says of itself on a stream of identify or of its push, read to its end.

    Has no deadline of its own. Raises ``RemoteProtocolError``, ``NoCommonProtocol``, and what ``receive_some``
    raises. Cancelled or failed: reset the stream.
    """
    connection = stream.connection
    exchange = Exchange(connection.remote_peer, connection.remote_key, limits)
    async for message in MessageReader(stream, max=limits.max_message):
        exchange.receive(message)
    return exchange.finish()


class _Peer:
    """What is between this host and one peer it is connected to."""

    __slots__ = ("allowed", "pushing", "reading", "told")

    def __init__(self, told: int) -> None:
        #: The version of our state that it knows, or will when it asks.
        self.told = told
        #: How often it is listened to; None until it says something.
        self.allowed: TokenBucket | None = None
        self.pushing = False
        #: Its push that is being read.
        self.reading: trio.CancelScope | None = None


class Push:
    """Both sides of ``/ipfs/id/push/1.0.0`` for one host at a time.

    ``tell`` says on a stream how this host is, and calls :meth:`telling` as it looks; closing the stream is the end
    of it. ``learn`` takes in what a peer said.
    """

    def __init__(
        self,
        tell: Callable[[HostView, Stream], Awaitable[None]],
        learn: Callable[[HostView, Connection, Identification], None],
    ) -> None:
        self._tell = tell
        self._learn = learn
        self._host: HostView | None = None
        self._peers: dict[PeerId, _Peer] = {}
        self._version = 0
        self._state: tuple[frozenset[object], frozenset[object]] = (frozenset(), frozenset())
        self._woken = trio.Event()

    async def run(self, host: HostView) -> None:
        """Tells whom :meth:`wake` finds untold, until cancelled."""
        self._host = host
        slots = trio.CapacityLimiter(host.limits.identify.pushes)
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    await self._woken.wait()
                    await trio.sleep(host.limits.identify.push_delay)
                    self._woken = trio.Event()
                    self._look(host)
                    for peer, state in self._peers.items():
                        if not state.pushing and self._due(host, peer, state):
                            state.pushing = True
                            nursery.start_soon(self._push, host, peer, state, slots)
        finally:
            self._host = None
            self._peers.clear()
            self._woken = trio.Event()

    def wake(self) -> None:
        """The host may be another now, or may have learned whom it can tell."""
        self._woken.set()

    def telling(self, host: HostView, peer: PeerId) -> None:
        """``peer`` is about to be told how the host is at this moment."""
        self._look(host)
        state = self.meet(host, peer)
        if state is not None:
            state.told = self._version

    def meet(self, host: HostView, peer: PeerId) -> _Peer | None:
        """What is between us and ``peer``, who asks for our state as it is now if this is new; None: it left."""
        state = self._peers.get(peer)
        if state is None and peer in host.connections:
            self._look(host)
            state = self._peers[peer] = _Peer(self._version)
        return state

    def forget_the_gone(self, host: HostView) -> None:
        """Whoever has no connection left needs no telling."""
        for peer in self._peers.keys() - host.connections.keys():
            del self._peers[peer]

    def _look(self, host: HostView) -> None:
        """A state has one version, whatever came and went in between."""
        state = (frozenset[object](host.protocols), frozenset[object](host.addrs))
        if state != self._state:
            self._state = state
            self._version += 1

    # --- telling --------------------------------------------------------------------------------------

    def _due(self, host: HostView, peer: PeerId, state: _Peer) -> Connection | None:
        """Where to tell ``peer``; None when there is no need, or no way."""
        if state.told == self._version or IDENTIFY_PUSH not in (host.peerstore.protocols(peer) or ()):
            return None
        usable = [connection for connection in host.connections.get(peer, ()) if not connection.closing]
        return min(usable, key=lambda connection: connection.limited, default=None)

    async def _push(self, host: HostView, peer: PeerId, state: _Peer, slots: trio.CapacityLimiter) -> None:
        async def say(stream: Stream) -> None:
            try:
                await self._tell(host, stream)
            except NegotiationError:  # it speaks it no more
                return

        try:
            async with slots:
                connection = self._due(host, peer, state)
                if connection is None:
                    return
                # However this ends: a push that failed is not tried again until there is more to tell.
                state.told = self._version
                with trio.move_on_after(host.limits.identify.timeout):
                    await host.attempt(await connection.open_stream(IDENTIFY_PUSH, lazy=True), say)
        except (P2PError, trio.BrokenResourceError, trio.ClosedResourceError):
            return  # opening failed: the connection is over
        finally:
            state.pushing = False
            if self._due(host, peer, state) is not None:
                self.wake()

    # --- being told -----------------------------------------------------------------------------------

    async def receive(self, stream: Stream) -> None:
        """The handler. A peer that pushes more often than it may is read later, and its last push counts."""
        host, connection = self._host, stream.connection
        state = None if host is None else self.meet(host, connection.remote_peer)
        if host is None or state is None:
            stream.reset()
            return
        if state.reading is not None:
            state.reading.cancel()
        limits = host.limits.identify
        if state.allowed is None:
            state.allowed = TokenBucket(limits.push_rate, limits.push_burst, trio.current_time())
        with trio.move_on_after(limits.timeout) as scope:
            state.reading = scope
            try:
                await trio.sleep(state.allowed.until(trio.current_time()))
                state.allowed.reserve(trio.current_time())
                answer = await read_identification(stream, limits)
            finally:
                if state.reading is scope:
                    state.reading = None
            self._learn(host, connection, answer)
        if scope.cancelled_caught:
            stream.reset()
