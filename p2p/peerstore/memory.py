"""What a host remembers of peers, in memory and bounded. PURE.

Addresses, keys, signed records, metadata and what a peer spoke last outlive its connections, for a while: until its
addresses are over, or there are too many peers, of whom the one heard of longest ago goes first. What is over goes
for good as the store is used: each change looks after two others, so nobody has to sweep.

Times are seconds on any one clock; the host uses ``trio.current_time()``. Sources: go-libp2p
``core/peerstore`` and ``p2p/host/peerstore``; libp2p specs RFC 0003 for signed records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from p2p.errors import RemoteProtocolError
from p2p.frozen import frozen
from p2p.identity import PeerId, PeerRecord, PublicKey, open_peer_record
from p2p.limits import PeerstoreLimits
from p2p.wire.addresses import Multiaddr, split_peer

#: Times to believe an address for, beside those in the limits: what somebody said in passing (go: 2 min), and what the
#: program itself knows.
TEMPORARY_TTL: Final = 120.0
PERMANENT_TTL: Final = math.inf
#: Unconnected peers looked after with each change, so that what is over goes quicker than anything comes.
_LOOKED_AFTER = 2


class Source(IntEnum):
    """Who says that a peer is at an address; the greater counts."""

    HEARSAY = 0
    TOLD = 1  # by the peer itself, and not signed
    SIGNED = 2  # it stands in the peer's signed record


@frozen
class KnownPeer:
    """All that is kept of one peer when the program ends."""

    peer: PeerId
    #: Whether it was connected: then its addresses are good for a while from whenever that ended.
    connected: bool = False
    #: Until when it is remembered without any address.
    until: float = -math.inf
    #: Each with who says so, and until when.
    addrs: tuple[tuple[Multiaddr, Source, float], ...] = ()
    public_key: PublicKey | None = None
    record: bytes | None = None
    protocols: tuple[str, ...] = ()
    agent_version: str = ""
    metadata: Mapping[str, bytes] = field(default_factory=dict)


class _Address:
    __slots__ = ("expires", "source")

    def __init__(self, expires: float, source: Source) -> None:
        self.expires = expires
        self.source = source

    @property
    def worth(self) -> tuple[Source, float]:
        """What goes first when there are too many: what is least sure, then what expires first."""
        return self.source, self.expires


class _Peer:
    __slots__ = ("addrs", "agent_version", "key", "metadata", "protocols", "said", "until")

    def __init__(
        self,
        *,
        key: PublicKey | None = None,
        protocols: tuple[str, ...] = (),
        agent_version: str | None = None,
        metadata: dict[str, bytes] | None = None,
        until: float = -math.inf,
    ) -> None:
        self.addrs: dict[Multiaddr, _Address] = {}
        self.key = key
        self.protocols = protocols
        #: Whether it said so since it is connected.
        self.said = False
        self.agent_version = agent_version
        self.metadata: dict[str, bytes] = {} if metadata is None else metadata
        #: Until when it is remembered without any address.
        self.until = until

    def best(self, count: int) -> dict[Multiaddr, _Address]:
        """Those of its addresses that are worth most."""
        best = sorted(self.addrs.items(), key=lambda item: item[1].worth, reverse=True)
        return dict(best[:count])


class Peerstore:
    """Addresses, keys, signed records, protocols and metadata of peers."""

    def __init__(self, limits: PeerstoreLimits | None = None) -> None:
        self._limits = limits or PeerstoreLimits()
        self._connected: dict[PeerId, _Peer] = {}
        #: The one heard of longest ago comes first.
        self._others: dict[PeerId, _Peer] = {}
        self._other_addrs = 0  # addresses of all of these
        self._other_protocols = 0  # and names of protocols
        self._unlooked: list[PeerId] = []  # of these, those that `collect` comes to next, from the end
        self._records: dict[PeerId, tuple[int, bytes]] = {}

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._connected or peer in self._others

    def __iter__(self) -> Iterator[PeerId]:
        return iter((*self._connected, *self._others))

    def __len__(self) -> int:
        return len(self._connected) + len(self._others)

    # --- addresses ------------------------------------------------------------------------------------

    def addrs(self, peer: PeerId, *, now: float) -> tuple[Multiaddr, ...]:
        """Where ``peer`` may be found, without ``/p2p``: those it signed first, then those it told."""
        known = self._find(peer)
        if known is None:
            return ()
        self._expire(peer, known, now)
        return tuple(sorted(known.addrs, key=lambda addr: -known.addrs[addr].source))

    def add_addrs(self, peer: PeerId, addrs: Iterable[Multiaddr], *, ttl: float, now: float) -> None:
        """Believe for ``ttl`` seconds, at least, that ``peer`` is at ``addrs``.

        A final ``/p2p`` is taken off; an address that names another peer is left out. Beyond
        ``limits.max_addrs`` what expires first goes, and nothing the peer signed goes for what it did not.
        """
        _check(ttl)
        self._add(peer, addrs, ttl=ttl, now=now, source=Source.HEARSAY)

    def set_addrs(self, peer: PeerId, addrs: Iterable[Multiaddr], *, ttl: float, now: float) -> None:
        """As :meth:`add_addrs`, of what ``peer`` itself says unsigned: it replaces what it said so before."""
        _check(ttl)
        self._drop(peer, Source.TOLD)
        self._add(peer, addrs, ttl=ttl, now=now, source=Source.TOLD)

    def remove_addr(self, peer: PeerId, addr: Multiaddr) -> None:
        """Believe no longer that ``peer`` is at ``addr``; nothing if it was not believed."""
        known = self._find(peer)
        if known is not None and known.addrs.pop(addr, None) is not None:
            self._other_addrs -= peer not in self._connected
            self._changed(peer)

    def _add(
        self, peer: PeerId, addrs: Iterable[Multiaddr], *, ttl: float, now: float, source: Source
    ) -> None:
        known = self._touch(peer)
        # What is over must neither take up room nor pass for signed.
        self._expire(peer, known, now)
        expires = now + ttl
        connected = peer in self._connected
        most = self._limits.max_connected_addrs if connected else self._limits.max_addrs
        before = len(known.addrs)
        for full in addrs:
            addr, named = split_peer(full)
            if named is not None and named != str(peer):
                continue
            new = _Address(expires, source)
            old = known.addrs.get(addr)
            if old is not None:
                new = _Address(max(expires, old.expires), max(source, old.source))
            elif len(known.addrs) >= most:
                least = min(known.addrs, key=lambda addr: known.addrs[addr].worth)
                if known.addrs[least].worth >= new.worth:
                    continue
                del known.addrs[least]
            known.addrs[addr] = new
        self._changed(peer)
        if not connected:
            self._other_addrs += len(known.addrs) - before
            self._evict()
            self.collect(now=now, most=_LOOKED_AFTER)

    def _drop(self, peer: PeerId, source: Source) -> None:
        """Believe no longer what ``source`` said last."""
        known = self._find(peer)
        if known is not None:
            for addr in [addr for addr, entry in known.addrs.items() if entry.source is source]:
                self.remove_addr(peer, addr)

    def _expire(self, peer: PeerId, known: _Peer, now: float) -> None:
        """Believe no longer what is over; nothing is while a peer is connected."""
        if peer not in self._connected:
            for addr in [addr for addr, entry in known.addrs.items() if entry.expires <= now]:
                del known.addrs[addr]
                self._other_addrs -= 1

    def collect(self, *, now: float, most: int) -> int:
        """Forget what is over of ``most`` unconnected peers, going round; how many peers were forgotten whole.

        That is whoever has neither an address left nor metadata, and left some time ago. It need not be called:
        all that adds does.
        """
        forgotten = 0
        for _ in range(min(most, len(self._others))):
            if not self._unlooked:
                self._unlooked = list(reversed(self._others))
            peer = self._unlooked.pop()
            known = self._others.get(peer)
            if known is not None:
                self._expire(peer, known, now)
                if not known.addrs and not known.metadata and known.until <= now:
                    self.forget(peer)
                    forgotten += 1
        return forgotten

    # --- signed records -------------------------------------------------------------------------------

    def add_record(
        self,
        envelope: bytes,
        *,
        peer: PeerId,
        now: float,
        believe: Callable[[Multiaddr], bool] = lambda addr: True,
    ) -> bool:
        """Take in the signed record of ``peer``, from whomever it came; the newest counts.

        Those of its addresses that ``believe`` is true of replace those of the record before. False when a newer
        one is known already. Raises ``RemoteProtocolError``, and takes nothing in, when ``envelope`` does not
        verify or is the record of another peer.
        """
        record = _open_record(envelope, of=peer)
        known = self._records.get(peer)
        if known is not None and (record.seq < known[0] or (record.seq == known[0] and envelope != known[1])):
            return False
        self._drop(peer, Source.SIGNED)
        self._keep_record(record, envelope)
        believed = filter(believe, record.addresses)
        self._add(peer, believed, ttl=self._limits.address_ttl, now=now, source=Source.SIGNED)
        return True

    def _keep_record(self, record: PeerRecord, envelope: bytes) -> None:
        self._records.pop(record.peer_id, None)
        self._records[record.peer_id] = (record.seq, bytes(envelope))
        if len(self._records) > self._limits.max_records:
            oldest = next(iter(self._records))
            del self._records[oldest]
            self._changed(oldest)

    def record(self, peer: PeerId) -> bytes | None:
        """The newest signed record of ``peer``, to be passed on as it is."""
        known = self._records.get(peer)
        return None if known is None else known[1]

    # --- what a peer says of itself -------------------------------------------------------------------

    def protocols(self, peer: PeerId) -> tuple[str, ...] | None:
        """What ``peer`` says it speaks, since it is connected; None while it has not said, or is not."""
        known = self._connected.get(peer)
        return None if known is None or not known.said else known.protocols

    def last_protocols(self, peer: PeerId) -> tuple[str, ...]:
        """What ``peer`` said it speaks when it was last connected, or is now; it may be another program by now."""
        known = self._find(peer)
        return () if known is None else known.protocols

    def set_protocols(self, peer: PeerId, protocols: Iterable[str]) -> None:
        """Replaces what was known. Nothing for a peer that is not connected (any more)."""
        known = self._connected.get(peer)
        if known is not None:
            known.protocols = tuple(dict.fromkeys(protocols))
            known.said = True
            self._changed(peer)

    def agent_version(self, peer: PeerId) -> str | None:
        """What program ``peer`` said it is, now or when it was last connected."""
        known = self._find(peer)
        return None if known is None else known.agent_version

    def set_agent_version(self, peer: PeerId, agent_version: str) -> None:
        """Nothing for a peer that is not connected (any more)."""
        known = self._connected.get(peer)
        if known is not None:
            known.agent_version = agent_version
            self._changed(peer)

    # --- metadata -------------------------------------------------------------------------------------

    def metadata(self, peer: PeerId) -> Mapping[str, bytes]:
        """What this program noted of ``peer``. A peer with metadata is remembered longer than its addresses."""
        known = self._find(peer)
        return MappingProxyType({} if known is None else known.metadata)

    def set_metadata(self, peer: PeerId, key: str, value: bytes | None) -> None:
        """Note ``value`` of ``peer``, in place of what was noted under ``key``; None takes it away.

        Raises ``ValueError``, and notes nothing, when keys and values of the peer would be more than
        ``limits.max_metadata`` or have more than ``limits.max_metadata_size`` bytes.
        """
        known = self._find(peer)
        noted = {} if known is None else dict(known.metadata)
        noted.pop(key, None)
        if value is not None:
            noted[key] = bytes(value)
        self._check_metadata(noted)
        if known is not None or noted:
            self._touch(peer).metadata = noted
            self._changed(peer)

    def _check_metadata(self, noted: Mapping[str, bytes]) -> None:
        size = sum(len(name.encode()) + len(data) for name, data in noted.items())
        if len(noted) > self._limits.max_metadata or size > self._limits.max_metadata_size:
            raise ValueError(f"{len(noted)} notes of {size} bytes are too much metadata for one peer")

    # --- keys -----------------------------------------------------------------------------------------

    def public_key(self, peer: PeerId) -> PublicKey | None:
        """The key of ``peer``: from its id if it stands there, or as it was shown."""
        known = self._find(peer)
        if known is not None and known.key is not None:
            return known.key
        try:
            return peer.public_key()
        except RemoteProtocolError:  # a well-formed id of nobody
            return None

    def set_public_key(self, peer: PeerId, key: PublicKey) -> None:
        """Raises ``RemoteProtocolError`` when ``key`` is not that of ``peer``."""
        if not peer.matches(key):
            raise RemoteProtocolError(f"a key that is not that of {peer}")
        known = self._touch(peer)
        if known.key != key:
            known.key = key
            self._changed(peer)

    # --- connections come and go ----------------------------------------------------------------------

    def connected(self, peer: PeerId, *, now: float) -> None:
        """The peer's first connection: until ``disconnected`` nothing of it expires. Idempotent."""
        if peer not in self._connected:
            known = self._others.get(peer)
            if known is None:
                known = _Peer()
            else:
                self._expire(peer, known, now)  # else it would be good again
                self._take_out(peer)
            self._connected[peer] = known
            self._changed(peer)

    def disconnected(self, peer: PeerId, *, now: float) -> None:
        """The peer's last connection is over: a few of its addresses and protocols are kept. Idempotent."""
        known = self._connected.pop(peer, None)
        if known is None:
            return
        known.addrs = known.best(self._limits.max_recent_addrs)
        known.until = now + self._limits.recent_ttl
        for entry in known.addrs.values():
            entry.expires = max(entry.expires, known.until)
        known.protocols = known.protocols[: self._limits.max_recent_protocols]
        known.said = False
        self._put_in(peer, known)
        self._changed(peer)
        self._evict()
        self.collect(now=now, most=_LOOKED_AFTER)

    def forget(self, peer: PeerId) -> None:
        """Drop all that is known of ``peer``; of a connected one, all but that it is connected."""
        self._records.pop(peer, None)
        if peer in self._connected:
            self._connected[peer] = _Peer()
        elif peer in self._others:
            self._take_out(peer)
        else:
            return
        self._changed(peer)

    # --- over restarts --------------------------------------------------------------------------------

    def describe(self, peer: PeerId) -> KnownPeer | None:
        """What of ``peer`` outlives the program, or would if that ended now; None for one not known."""
        known = self._find(peer)
        if known is None:
            return None
        connected = peer in self._connected
        addrs = known.best(self._limits.max_recent_addrs) if connected else known.addrs
        return KnownPeer(
            peer=peer,
            connected=connected,
            until=known.until,
            addrs=tuple((addr, entry.source, entry.expires) for addr, entry in addrs.items()),
            public_key=known.key,
            record=self.record(peer),
            protocols=known.protocols[: self._limits.max_recent_protocols],
            agent_version=known.agent_version or "",
            metadata=dict(known.metadata),
        )

    def restore(self, known: KnownPeer, *, now: float) -> None:
        """Take in what :meth:`describe` told in another life of this program; nothing of a peer that is known.

        It is believed no more than if a peer had said it: the bounds hold, and ``RemoteProtocolError`` is
        raised, with nothing taken in, when the key or the record is another's. ``ValueError``: too much metadata.
        """
        peer, limits = known.peer, self._limits
        if peer in self:
            return
        record = None if known.record is None else _open_record(known.record, of=peer)
        signed = frozenset[Multiaddr](() if record is None else record.addresses)
        if known.public_key is not None and not peer.matches(known.public_key):
            raise RemoteProtocolError(f"a key that is not that of {peer}")
        self._check_metadata(known.metadata)
        recent = now + limits.recent_ttl if known.connected else -math.inf
        until = max(known.until, recent)
        alive = [entry for entry in known.addrs if max(entry[2], recent) > now]
        if not alive and not known.metadata and until <= now:
            return
        store = _Peer(
            key=known.public_key,
            protocols=tuple(dict.fromkeys(known.protocols))[: limits.max_recent_protocols],
            agent_version=known.agent_version or None,
            metadata=dict(known.metadata),
            until=until,
        )
        self._put_in(peer, store)
        if record is not None and known.record is not None:
            self._keep_record(record, known.record)
        for addr, source, expires in alive[: limits.max_addrs]:
            ttl = max(expires, recent) - now
            self._add(
                peer, [addr], ttl=ttl, now=now, source=source if addr in signed else min(source, Source.TOLD)
            )
        self._evict()

    def _changed(self, peer: PeerId) -> None:
        """Something that outlives the program is another of ``peer``. For those who write it down."""

    # --- who is where ---------------------------------------------------------------------------------

    def _find(self, peer: PeerId) -> _Peer | None:
        return self._connected.get(peer) or self._others.get(peer)

    def _touch(self, peer: PeerId) -> _Peer:
        """What is known of ``peer``, which was just heard of."""
        known = self._connected.get(peer)
        if known is None:
            known = self._take_out(peer) if peer in self._others else _Peer()
            self._put_in(peer, known)
            self._evict()
        return known

    def _put_in(self, peer: PeerId, known: _Peer) -> None:
        self._others[peer] = known
        self._other_addrs += len(known.addrs)
        self._other_protocols += len(known.protocols)

    def _take_out(self, peer: PeerId) -> _Peer:
        known = self._others.pop(peer)
        self._other_addrs -= len(known.addrs)
        self._other_protocols -= len(known.protocols)
        return known

    def _evict(self) -> None:
        limits = self._limits
        while len(self._others) > limits.max_peers or (
            len(self._others) > 1
            and (
                self._other_addrs > limits.max_unconnected_addrs
                or self._other_protocols > limits.max_unconnected_protocols
            )
        ):
            self.forget(next(iter(self._others)))


def _check(ttl: float) -> None:
    if not ttl > 0:
        raise ValueError(f"addresses believed for {ttl} seconds")


def _open_record(envelope: bytes, *, of: PeerId) -> PeerRecord:
    record = open_peer_record(envelope)
    if record.peer_id != of:
        raise RemoteProtocolError(f"a record of {record.peer_id} where that of {of} belongs")
    return record
