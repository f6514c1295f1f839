"""All scopes of one host, and who gets in. PURE.

A connection that comes in waits in the transient scope until it is known whose it is. When that is full the one that
has waited longest makes room: whoever says nothing cannot keep others out. Where the host is full, those on the
allow-list have scopes of their own; a list that names peers cannot know them before they have shaken hands, so
strangers may wait there too, and go when they turn out to be strangers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from typing import Any

from p2p.errors import ResourceLimitExceeded
from p2p.identity import PeerId
from p2p.resources.amounts import (
    DESCRIPTOR,
    INBOUND_CONNECTION,
    OUTBOUND_CONNECTION,
    Amounts,
    Charge,
    by_index,
)
from p2p.resources.ledger import Name, Scope, fits
from p2p.resources.scopes import ConnectionScope
from p2p.resources.snapshot import ResourceSnapshot, ScopeSnapshot
from p2p.resources.subnets import IPAddress, Subnets
from p2p.resources.table import ROWS, ResourceLimits


class Resources:
    """The ledger of one host. Everything is synchronous."""

    def __init__(self, limits: ResourceLimits) -> None:
        self.rows: Mapping[str, tuple[int, ...]] = {kind: by_index(getattr(limits, kind)) for kind in ROWS}
        self.system = Scope("system", self.rows["system"])
        self._transient = Scope("transient", self.rows["transient"])
        self.allowed_system = Scope("allowed_system", self.rows["allowed_system"])
        self._allowed_transient = Scope("allowed_transient", self.rows["allowed_transient"])
        self.subnets = Subnets(limits.subnets, limits.remembered_subnets)
        #: Inbound connections of which it is not known whose they are, the oldest first.
        self.waiting: dict[ConnectionScope, Scope] = {}
        #: Connections, and attempts at one.
        self.connections: dict[ConnectionScope, None] = {}
        self._exceptions: Mapping[str, Mapping[Any, Amounts]] = {
            "peer": limits.peers,
            "protocol": limits.protocols,
            "protocol_peer": limits.protocol_peers,
            "service": limits.services,
            "service_peer": limits.service_peers,
        }
        #: By kind and name, what has something in it.
        self._named: dict[str, dict[Name, Scope]] = {kind: {} for kind in self._exceptions}
        self._allowed_peers = frozenset(each for each in limits.allow if isinstance(each, PeerId))
        self._allowed_networks = tuple(_plain(each) for each in limits.allow if not isinstance(each, PeerId))

    # --- getting in -----------------------------------------------------------------------------------

    def inbound(
        self, ip: IPAddress | None, *, now: float, descriptor: bool, evict: Callable[[], None]
    ) -> ConnectionScope:
        """The scope of a connection that was accepted from ``ip`` (None: from no IP network).

        ``evict`` is called when it has to make room before it is known whose it is; it is closed then. Raises
        ``ResourceLimitExceeded``; of one refused only the rate of its subnet remembers.
        """
        listed = self.allows(None, ip)
        subnets = () if ip is None or listed else self.subnets.enter(ip, now)
        amount = (*INBOUND_CONNECTION, *DESCRIPTOR) if descriptor else INBOUND_CONNECTION
        refusals = []
        for system, transient in self._doors(None, ip):
            scope = ConnectionScope(self, ip, system, transient, subnets=subnets, evict=evict, listed=listed)
            try:
                self._enter(scope, amount, transient, listed=listed)
            except ResourceLimitExceeded as error:
                refusals.append(error)
            else:
                self.waiting[scope] = transient
                return scope
        self.subnets.leave(subnets)
        raise refusals[0]

    def outbound(self, peer: PeerId | None, ip: IPAddress | None) -> ConnectionScope:
        """The scope of a dial of ``peer`` (None: whoever answers at ``ip``), and of the connection it makes.

        Raises ``ResourceLimitExceeded``.
        """
        refusals = []
        for system, transient in self._doors(peer, ip):
            scope = ConnectionScope(self, ip, system, transient)
            try:
                self._enter(scope, OUTBOUND_CONNECTION)
                if peer is not None:
                    scope.expect(peer)
            except ResourceLimitExceeded as error:
                scope.close()
                refusals.append(error)
            else:
                return scope
        raise refusals[0]

    def allows(self, peer: PeerId | None, ip: IPAddress | None) -> bool:
        """Whether they are on the allow-list."""
        if peer in self._allowed_peers:
            return True
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return ip is not None and any(ip in network for network in self._allowed_networks)

    def _doors(self, peer: PeerId | None, ip: IPAddress | None) -> Sequence[tuple[Scope, Scope]]:
        """Where to try to get in, in this order: systems and their transient scopes."""
        strangers = (self.system, self._transient)
        listed = (self.allowed_system, self._allowed_transient)
        if self.allows(peer, ip):
            return listed, strangers
        return (strangers, listed) if peer is None and self._allowed_peers else (strangers,)

    def _enter(
        self, scope: ConnectionScope, amount: Charge, crowded: Scope | None = None, *, listed: bool = False
    ) -> None:
        """Charge a connection that is about to be; where it finds ``crowded`` full, the oldest there make room.

        Of those that wait in the room of the list, strangers make room first, and for strangers nobody else.
        """
        while crowded is not None and not fits(crowded, amount):
            oldest = self._oldest(crowded, listed=False)
            if oldest is None and listed:
                oldest = self._oldest(crowded, listed=True)
            if oldest is None:
                break
            oldest.evict()
        scope.charge(amount)
        self.connections[scope] = None

    def _oldest(self, room: Scope, *, listed: bool) -> ConnectionScope | None:
        """Who has waited longest in ``room``, of those whose network is (or is not) on the list."""
        return next(
            (each for each, where in self.waiting.items() if where is room and each.listed is listed), None
        )

    # --- scopes by name -------------------------------------------------------------------------------

    def named(self, kind: str, *name: Hashable) -> Scope:
        """The scope of that name: the one in use, or a new one, which is kept once something is charged to it."""
        home = self._named[kind]
        scope = home.get(name)
        if scope is None:
            exception = self._exceptions[kind].get(name[0])
            limits = self.rows[kind] if exception is None else by_index(exception)
            scope = Scope(kind, limits, name, home)
        return scope

    def forget(self, scope: ConnectionScope) -> None:
        """It was closed."""
        self.connections.pop(scope, None)
        self.waiting.pop(scope, None)

    # --- looking --------------------------------------------------------------------------------------

    @property
    def empty(self) -> bool:
        """Whether nothing is in use."""
        scopes = (self.system, self._transient, self.allowed_system, self._allowed_transient)
        return not (
            any(any(scope.used) for scope in scopes)
            or any(self._named.values())
            or self.connections
            or self.waiting
            or len(self.subnets)
        )

    def snapshot(self) -> ResourceSnapshot:
        """What is in use now."""
        scopes = [self.system, self._transient]
        if self._allowed_peers or self._allowed_networks:
            scopes += [self.allowed_system, self._allowed_transient]
        for named in self._named.values():
            scopes += named.values()
        scopes += self.connections
        return ResourceSnapshot(
            tuple(ScopeSnapshot.of(scope) for scope in scopes),
            subnets=len(self.subnets),
            refused_subnets=self.subnets.refused,
        )


def _plain(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """An IPv4 network that is written as one of IPv6 is the IPv4 network: their addresses are compared as such."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return (
        network if mapped is None or network.prefixlen < 96 else IPv4Network((mapped, network.prefixlen - 96))
    )
