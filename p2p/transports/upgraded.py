"""A stream transport plus security plus a muxer: connections.

The dialer proposes lazily, with the next layer's first bytes, so that a connection costs one round trip for TCP and
one for the handshake; a responder that refuses such a proposal is remembered, and the dial is made once more with
questions asked first. (specs/connections, "Upgrading Connections".)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from p2p.abc import (
    Incoming,
    Listener,
    Muxer,
    ProtocolId,
    RawListener,
    RawStream,
    Role,
    Secured,
    Security,
    StreamTransport,
)
from p2p.errors import HandshakeFailed, NoCommonProtocol
from p2p.identity import PeerId
from p2p.limits import Limits
from p2p.muxers.connection import MuxedConnection
from p2p.muxers.scratch import SCRATCH_SIZE
from p2p.muxers.sending import COPIED_AT_FIRST
from p2p.negotiation.multistream import Dialer
from p2p.negotiation.select import RawHandshake, propose, respond
from p2p.resources.memory import UNACCOUNTED, Allowance, MemoryGrant
from p2p.transports.sealed import SealedRaw
from p2p.wire.addresses import Multiaddr

#: What every connection may hold, from its handshake on: sealed bytes that the socket refused, and a little to send.
CONNECTION_MEMORY = SCRATCH_SIZE + COPIED_AT_FIRST


class Upgraded:
    """Makes a :class:`p2p.abc.Transport` of a :class:`p2p.abc.StreamTransport`.

    ``security`` and ``muxers`` are in order of preference. ``local_peer`` is whose connections these are.
    """

    def __init__(
        self,
        transport: StreamTransport,
        *,
        local_peer: PeerId,
        security: Sequence[Security],
        muxers: Sequence[Muxer],
        limits: Limits,
    ) -> None:
        if not security or not muxers:
            raise ValueError("a connection needs at least one security protocol and one muxer")
        self._transport = transport
        self._local_peer = local_peer
        self._security = {security.protocol: security for security in security}
        self._muxers = {muxer.protocol: muxer for muxer in muxers}
        self._limits = limits
        #: Peers (or, unknown, their addresses) that refused a lazy proposal, oldest first.
        self._refusals: OrderedDict[PeerId | Multiaddr, None] = OrderedDict()

    def __repr__(self) -> str:
        return f"<{self._transport!r} with {', '.join((*self._security, *self._muxers))}>"

    def can_dial(self, addr: Multiaddr) -> bool:
        return self._transport.can_dial(addr)

    def can_listen(self, addr: Multiaddr) -> bool:
        return self._transport.can_listen(addr)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Nothing to pump: returns at once."""
        task_status.started()
        await trio.lowlevel.checkpoint()

    async def dial(
        self, addr: Multiaddr, *, peer: PeerId | None, memory: MemoryGrant = UNACCOUNTED
    ) -> MuxedConnection:
        """Connect and upgrade; ``peer`` is whom to expect (None: whoever answers).

        Raises ``OSError``, ``SecurityError``, ``NegotiationError``, ``RemoteProtocolError``, ``trio.TooSlowError``
        (``limits.connect``, ``limits.upgrade``), ``trio.BrokenResourceError``, ``ResourceLimitExceeded`` (of
        ``memory``). Cancelled: the socket is closed.
        """
        key = peer or addr
        if key not in self._refusals:
            try:
                return await self._dial(addr, peer, memory, lazy=True)
            except NoCommonProtocol as refusal:
                if len(refusal.offered) > 1:
                    raise  # the answer to a question, which another dial would only hear again
                self._remember_refusal(key)
        return await self._dial(addr, peer, memory, lazy=False)

    async def _dial(
        self, addr: Multiaddr, peer: PeerId | None, memory: MemoryGrant, *, lazy: bool
    ) -> MuxedConnection:
        with trio.fail_after(self._limits.connect) as scope:
            raw = await self._transport.dial(addr)
            scope.deadline = trio.current_time() + self._limits.upgrade
            return await self._within_memory(
                raw, memory, lambda own: self._upgrade_dialed(raw, peer, peer or addr, own, lazy=lazy)
            )

    async def accept(self, raw: RawStream, memory: MemoryGrant = UNACCOUNTED) -> MuxedConnection:
        """Upgrade an accepted raw stream. Raises as ``dial`` does, and closes it unless a connection came of it."""
        with trio.fail_after(self._limits.upgrade):
            return await self._within_memory(raw, memory, lambda own: self._upgrade_accepted(raw, own))

    def _remember_refusal(self, key: PeerId | Multiaddr) -> None:
        self._refusals[key] = None
        if len(self._refusals) > self._limits.refusals:
            self._refusals.popitem(last=False)

    async def _within_memory(
        self,
        raw: RawStream,
        memory: MemoryGrant,
        upgrade: Callable[[Allowance], Awaitable[MuxedConnection]],
    ) -> MuxedConnection:
        connection = None
        own = Allowance(memory)
        try:
            own.require(CONNECTION_MEMORY)
            connection = await upgrade(own)
        finally:
            if connection is None:
                own.close()
                with trio.CancelScope(deadline=trio.current_time() + self._limits.goaway, shield=True):
                    await raw.aclose()
        return connection

    async def _upgrade_dialed(
        self,
        raw: RawStream,
        peer: PeerId | None,
        key: PeerId | Multiaddr,
        memory: Allowance,
        *,
        lazy: bool,
    ) -> MuxedConnection:
        handshake = RawHandshake(raw)
        offered = tuple(self._security)
        chosen = await propose(
            handshake, offered[:1] if lazy else offered, lazy=lazy, limits=self._limits.negotiation
        )
        secured = await self._security[chosen].secure(
            handshake, role=Role.DIALER, peer=peer, muxers=tuple(self._muxers)
        )
        if peer is not None and secured.remote_peer != peer:
            # Every security checks this; a peer that is not the one dialed must not pass if one forgets.
            raise HandshakeFailed(f"{chosen} let {secured.remote_peer} through for {peer}")
        if secured.early_muxer is not None:
            return self._connection(raw, secured, Role.DIALER, secured.early_muxer, memory)
        muxers = tuple(self._muxers)
        # A refusal ends the connection, so with a choice there is a question first.
        if lazy and len(muxers) == 1:
            preface = Dialer(muxers, lazy=True, limits=self._limits.negotiation)
            return self._connection(
                raw,
                secured,
                Role.DIALER,
                muxers[0],
                memory,
                preface=preface,
                refused=lambda: self._remember_refusal(key),
            )
        sealed = SealedRaw(raw, secured.channel, leftover=secured.leftover, unsent=secured.unsent)
        inner = RawHandshake(sealed)
        muxer = await propose(inner, muxers, lazy=False, limits=self._limits.negotiation)
        return self._connection(
            raw, sealed.rest_of(secured), Role.DIALER, muxer, memory, opened=inner.take_leftover()
        )

    async def _upgrade_accepted(self, raw: RawStream, memory: Allowance) -> MuxedConnection:
        handshake = RawHandshake(raw)
        chosen = await respond(
            handshake,
            self._security.__contains__,
            lambda: tuple(self._security),
            limits=self._limits.negotiation,
        )
        secured = await self._security[chosen].secure(
            handshake, role=Role.RESPONDER, peer=None, muxers=tuple(self._muxers)
        )
        if secured.early_muxer is not None:
            return self._connection(raw, secured, Role.RESPONDER, secured.early_muxer, memory)
        sealed = SealedRaw(raw, secured.channel, leftover=secured.leftover, unsent=secured.unsent)
        inner = RawHandshake(sealed)
        muxer = await respond(
            inner, self._muxers.__contains__, lambda: tuple(self._muxers), limits=self._limits.negotiation
        )
        await inner.write(b"")  # what it holds belongs inside, and nothing else is written there
        return self._connection(
            raw, sealed.rest_of(secured), Role.RESPONDER, muxer, memory, opened=inner.take_leftover()
        )

    def _connection(
        self,
        raw: RawStream,
        secured: Secured,
        role: Role,
        muxer: ProtocolId,
        memory: Allowance,
        *,
        opened: bytes = b"",
        preface: Dialer | None = None,
        refused: Callable[[], None] | None = None,
    ) -> MuxedConnection:
        return MuxedConnection(
            raw,
            secured.channel,
            self._muxers[muxer].session(role, now=trio.current_time(), memory=memory),
            local_peer=self._local_peer,
            remote_peer=secured.remote_peer,
            remote_key=secured.remote_key,
            role=role,
            limits=self._limits,
            leftover=secured.leftover,
            opened=opened,
            unsent=secured.unsent,
            preface=preface,
            refused=refused,
            memory=memory,
        )

    @asynccontextmanager
    async def listen(self, addr: Multiaddr) -> AsyncIterator[Listener]:
        """Accept raw streams at ``addr`` for as long as the block lasts. Raises ``OSError``, ``InvalidAddress``."""
        listening: AbstractAsyncContextManager[RawListener] = self._transport.listen(addr)
        async with listening as raw_listener:
            yield _UpgradingListener(self, raw_listener)


class _UpgradingListener(Listener):
    __slots__ = ("_raw", "_upgraded")

    def __init__(self, upgraded: Upgraded, raw: RawListener) -> None:
        self._upgraded = upgraded
        self._raw = raw

    @property
    def addr(self) -> Multiaddr:
        return self._raw.addr

    async def accept(self) -> Incoming:
        return _Accepted(self._upgraded, await self._raw.accept())

    async def aclose(self) -> None:
        await self._raw.aclose()


class _Accepted(Incoming):
    __slots__ = ("_raw", "_upgraded")

    def __init__(self, upgraded: Upgraded, raw: RawStream) -> None:
        self._upgraded = upgraded
        self._raw = raw

    @property
    def remote_addr(self) -> Multiaddr:
        return self._raw.remote_addr

    async def upgrade(self, *, memory: MemoryGrant = UNACCOUNTED) -> MuxedConnection:
        return await self._upgraded.accept(self._raw, memory)

    async def aclose(self) -> None:
        await self._raw.aclose()
