"""What a host remembers of peers, in memory and bounded. PURE.

Two kinds of knowledge with two lifetimes: *addresses*, keys and signed records outlive a connection, for a
while; *protocols* and the agent's version are what a connected peer said of itself, and end with its last
connection. Unconnected peers are forgotten in the order in which they were last heard of.

Times are seconds on any one clock; the host uses ``trio.current_time()``. Sources: go-libp2p
``core/peerstore``; libp2p specs RFC 0003 for signed records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from p2p.errors import RemoteProtocolError
from p2p.identity import PeerId, PublicKey, open_peer_record
from p2p.limits import PeerstoreLimits
from p2p.wire.addresses import Multiaddr, split_peer


class _Source(IntEnum):
    """Who says that a peer is at an address; the greater counts."""

    HEARSAY = 0
    TOLD = 1  # by the peer itself, and not signed
    SIGNED = 2  # it stands in the peer's signed record


@dataclass(slots=True)
class _Address:
    expires: float
    source: _Source

    @property
    def worth(self) -> tuple[_Source, float]:
        """What goes first when there are too many: what is least sure, then what expires first."""
        return self.source, self.expires


@dataclass(slots=True)
class _Peer:
    addrs: dict[Multiaddr, _Address] = field(default_factory=dict)
    key: PublicKey | None = None
    protocols: tuple[str, ...] | None = None
    agent_version: str | None = None


class Peerstore:
    """Addresses, protocols, keys and signed records of peers."""

    def __init__(self, limits: PeerstoreLimits | None = None) -> None:
        self._limits = limits or PeerstoreLimits()
        self._connected: dict[PeerId, _Peer] = {}
        #: The one heard of longest ago comes first.
        self._others: dict[PeerId, _Peer] = {}
        self._other_addrs = 0  # addresses of all of these
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
        self._add(peer, addrs, ttl=ttl, now=now, source=_Source.HEARSAY)

    def set_addrs(self, peer: PeerId, addrs: Iterable[Multiaddr], *, ttl: float, now: float) -> None:
        """As :meth:`add_addrs`, of what ``peer`` itself says unsigned: it replaces what it said so before."""
        _check(ttl)
        self._drop(peer, _Source.TOLD)
        self._add(peer, addrs, ttl=ttl, now=now, source=_Source.TOLD)

    def remove_addr(self, peer: PeerId, addr: Multiaddr) -> None:
        """Believe no longer that ``peer`` is at ``addr``; nothing if it was not believed."""
        known = self._find(peer)
        if known is not None and known.addrs.pop(addr, None) is not None and peer not in self._connected:
            self._other_addrs -= 1

    def _add(
        self, peer: PeerId, addrs: Iterable[Multiaddr], *, ttl: float, now: float, source: _Source
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
        if not connected:
            self._other_addrs += len(known.addrs) - before
            self._evict()

    def _drop(self, peer: PeerId, source: _Source) -> None:
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
        record = open_peer_record(envelope)
        if record.peer_id != peer:
            raise RemoteProtocolError(f"a record of {record.peer_id} where that of {peer} belongs")
        known = self._records.get(peer)
        if known is not None and (record.seq < known[0] or (record.seq == known[0] and envelope != known[1])):
            return False
        self._drop(peer, _Source.SIGNED)
        self._records.pop(peer, None)
        self._records[peer] = (record.seq, bytes(envelope))
        if len(self._records) > self._limits.max_records:
            del self._records[next(iter(self._records))]
        believed = filter(believe, record.addresses)
        self._add(peer, believed, ttl=self._limits.address_ttl, now=now, source=_Source.SIGNED)
        return True

    def record(self, peer: PeerId) -> bytes | None:
        """The newest signed record of ``peer``, to be passed on as it is."""
        known = self._records.get(peer)
        return None if known is None else known[1]

    # --- what a connected peer says of itself ---------------------------------------------------------

    def protocols(self, peer: PeerId) -> tuple[str, ...] | None:
        """What ``peer`` says it speaks; None while it has not said."""
        known = self._connected.get(peer)
        return None if known is None else known.protocols

    def set_protocols(self, peer: PeerId, protocols: Iterable[str]) -> None:
        """Replaces what was known. Nothing for a peer that is not connected (any more)."""
        known = self._connected.get(peer)
        if known is not None:
            known.protocols = tuple(dict.fromkeys(protocols))

    def agent_version(self, peer: PeerId) -> str | None:
        known = self._connected.get(peer)
        return None if known is None else known.agent_version

    def set_agent_version(self, peer: PeerId, agent_version: str) -> None:
        """Nothing for a peer that is not connected (any more)."""
        known = self._connected.get(peer)
        if known is not None:
            known.agent_version = agent_version

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
        self._touch(peer).key = key

    # --- connections come and go ----------------------------------------------------------------------

    def connected(self, peer: PeerId) -> None:
        """The peer's first connection: until ``disconnected`` nothing of it expires. Idempotent."""
        if peer not in self._connected:
            known = self._others.pop(peer, None) or _Peer()
            self._other_addrs -= len(known.addrs)
            self._connected[peer] = known

    def disconnected(self, peer: PeerId, *, now: float) -> None:
        """The peer's last connection is over: a few of its addresses are kept for some time. Idempotent."""
        known = self._connected.pop(peer, None)
        if known is None:
            return
        best = sorted(known.addrs.items(), key=lambda item: item[1].worth, reverse=True)
        known.addrs = dict(best[: self._limits.max_recent_addrs])
        for entry in known.addrs.values():
            entry.expires = max(entry.expires, now + self._limits.recent_ttl)
        known.protocols = known.agent_version = None
        self._others[peer] = known
        self._other_addrs += len(known.addrs)
        self._evict()

    def forget(self, peer: PeerId) -> None:
        """Drop all that is known of ``peer``; of a connected one, all but that it is connected."""
        self._records.pop(peer, None)
        if peer in self._connected:
            self._connected[peer] = _Peer()
        elif (known := self._others.pop(peer, None)) is not None:
            self._other_addrs -= len(known.addrs)

    def _find(self, peer: PeerId) -> _Peer | None:
        return self._connected.get(peer) or self._others.get(peer)

    def _touch(self, peer: PeerId) -> _Peer:
        """What is known of ``peer``, which was just heard of."""
        known = self._connected.get(peer)
        if known is None:
            known = self._others.pop(peer, None) or _Peer()
            self._others[peer] = known
            self._evict()
        return known

    def _evict(self) -> None:
        while len(self._others) > self._limits.max_peers or (
            self._other_addrs > self._limits.max_unconnected_addrs and len(self._others) > 1
        ):
            self.forget(next(iter(self._others)))


def _check(ttl: float) -> None:
    if not ttl > 0:
        raise ValueError(f"addresses believed for {ttl} seconds")
