"""The table of limits, one row for each kind of scope, and how it is scaled to a machine. PURE.

The numbers are those of go-libp2p (p2p/host/resource-manager/limit_defaults.go), for an eighth of the memory and
half of the descriptors; where ours differ, the row says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Final

from p2p.frozen import frozen
from p2p.resources import machine
from p2p.resources.amounts import NAMES, UNLIMITED, Amounts
from p2p.resources.subnets import SubnetLimit

if TYPE_CHECKING:
    from p2p.identity import PeerId

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB

#: Below this there is nothing to scale by: the base numbers hold.
LEAST_TO_SCALE: Final = 128 * _MIB


@frozen
class Row:
    """A base, what each GiB of memory adds to it, and the share of the descriptors, if that is more than the base's."""

    base: Amounts
    per_gib: Amounts = field(default_factory=Amounts)
    descriptors: float = 0.0

    def scaled(self, memory: int, descriptors: int) -> Amounts:
        mib = memory // _MIB if memory > LEAST_TO_SCALE else 0
        base, more = self.base, self.per_gib

        def at(least: int, per_gib: int) -> int:
            return least + per_gib * mib // 1024

        return Amounts(
            memory=at(base.memory, more.memory),
            streams=at(base.streams, more.streams),
            inbound_streams=at(base.inbound_streams, more.inbound_streams),
            outbound_streams=at(base.outbound_streams, more.outbound_streams),
            connections=at(base.connections, more.connections),
            inbound_connections=at(base.inbound_connections, more.inbound_connections),
            outbound_connections=at(base.outbound_connections, more.outbound_connections),
            descriptors=max(base.descriptors, int(self.descriptors * descriptors)),
        )


def _amounts(
    memory: int,
    streams: tuple[int, int, int] = (0, 0, 0),
    connections: tuple[int, int, int] = (0, 0, 0),
    descriptors: int = 0,
) -> Amounts:
    """Streams and connections as (inbound, outbound, total), the way go's table is written."""
    return Amounts(
        memory=memory,
        streams=streams[2],
        inbound_streams=streams[0],
        outbound_streams=streams[1],
        connections=connections[2],
        inbound_connections=connections[0],
        outbound_connections=connections[1],
        descriptors=descriptors,
    )


_SYSTEM = Row(
    _amounts(128 * _MIB, (1024, 2048, 2048), (64, 128, 128), 256),
    _amounts(1 * _GIB, (1024, 2048, 2048), (64, 128, 128)),
    1.0,
)
# No streams: one belongs to a peer that is known, so its scope bounds it from the start (go counts streams that are
# not negotiated yet here, where one peer can use them up for all).
_TRANSIENT = Row(
    _amounts(32 * _MIB, connections=(32, 64, 64), descriptors=64),
    _amounts(128 * _MIB, connections=(16, 32, 32)),
    0.25,
)

ROWS: Final[Mapping[str, Row]] = {
    "system": _SYSTEM,
    "transient": _TRANSIENT,
    "allowed_system": _SYSTEM,
    "allowed_transient": _TRANSIENT,
    "peer": Row(
        _amounts(64 * _MIB, (256, 512, 512), (8, 8, 8), 4),
        _amounts(128 * _MIB, (128, 256, 256)),
        1 / 64,
    ),
    # Streams as a peer's base: here they belong to their connection too (go: to the peer only).
    "connection": Row(_amounts(32 * _MIB, (256, 512, 512), (1, 1, 1), 1)),
    "protocol": Row(
        _amounts(64 * _MIB, (512, 2048, 2048)),
        _amounts(164 * _MIB, (256, 512, 512)),
    ),
    # go: 64 inbound. A hundred requests at once are two hundred streams: those just ended count until their handlers
    # have ended, too.
    "protocol_peer": Row(
        _amounts(16 * _MIB, (256, 256, 256)),
        _amounts(4 * _MIB, (4, 8, 16)),
    ),
    "service": Row(
        _amounts(64 * _MIB, (1024, 4096, 4096)),
        _amounts(128 * _MIB, (512, 2048, 2048)),
    ),
    "service_peer": Row(
        _amounts(16 * _MIB, (256, 256, 256)),
        _amounts(4 * _MIB, (4, 8, 8)),
    ),
    "stream": Row(_amounts(16 * _MIB, (1, 1, 1))),
}


#: go: p2p/host/resource-manager/{conn_limiter,conn_rate_limiter}.go. One IPv4 address, one subscriber's /56, and what
#: a site has.
SUBNETS: Final = (
    SubnetLimit(version=4, prefix=32, connections=8, burst=16, rate=0.2),
    SubnetLimit(version=6, prefix=56, connections=8, burst=16, rate=0.2),
    SubnetLimit(version=6, prefix=48, connections=64, burst=80, rate=0.5),
)


@frozen
class ResourceLimits:
    """What every scope may have in use at most. Make one with :meth:`scaled` and replace what should differ."""

    #: The whole host, and of that the connections that have not said yet who they are.
    system: Amounts
    transient: Amounts
    #: The same for those in ``allow``: full of strangers, the host still has this for them.
    allowed_system: Amounts
    allowed_transient: Amounts
    #: Each peer, each connection, each stream.
    peer: Amounts
    connection: Amounts
    stream: Amounts
    #: Each protocol, and each peer on it; each service, and each peer on it.
    protocol: Amounts
    protocol_peer: Amounts
    service: Amounts
    service_peer: Amounts

    #: Exceptions by name: peers, protocol ids, and services (by the name of their class).
    peers: Mapping[PeerId, Amounts] = field(default_factory=dict)
    protocols: Mapping[str, Amounts] = field(default_factory=dict)
    protocol_peers: Mapping[str, Amounts] = field(default_factory=dict)
    services: Mapping[str, Amounts] = field(default_factory=dict)
    service_peers: Mapping[str, Amounts] = field(default_factory=dict)

    #: Inbound connections of each subnet, loopback apart, and how many subnets' rates are remembered.
    subnets: tuple[SubnetLimit, ...] = SUBNETS
    remembered_subnets: int = 8192
    #: Peers and networks that get in when the host is full of strangers.
    allow: tuple[PeerId | IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def scaled(cls, memory: int, descriptors: int) -> ResourceLimits:
        """The table for a stack that may use ``memory`` bytes and so many descriptors."""
        return cls._of({kind: row.scaled(memory, descriptors) for kind, row in ROWS.items()})

    @classmethod
    def unlimited(cls) -> ResourceLimits:
        """Nothing is refused, subnets included: for measurements, and for hosts that only meet those they trust."""
        row = Amounts(*[UNLIMITED] * len(NAMES))
        return replace(cls._of(dict.fromkeys(ROWS, row)), subnets=())

    @classmethod
    def _of(cls, rows: Mapping[str, Amounts]) -> ResourceLimits:
        return cls(
            system=rows["system"],
            transient=rows["transient"],
            allowed_system=rows["allowed_system"],
            allowed_transient=rows["allowed_transient"],
            peer=rows["peer"],
            connection=rows["connection"],
            stream=rows["stream"],
            protocol=rows["protocol"],
            protocol_peer=rows["protocol_peer"],
            service=rows["service"],
            service_peer=rows["service_peer"],
        )


def of_this_machine() -> ResourceLimits:
    """The table for an eighth of the memory and half of the descriptors that this process can have (go: AutoScale)."""
    return ResourceLimits.scaled(machine.memory() // 8, machine.descriptors() // 2)
