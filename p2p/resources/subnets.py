"""How many connections one subnet may have, and how fast it may make new ones. PURE.

Addresses are cheap to have by the block: one subscriber has a whole IPv6 /56. So subnets are counted, not addresses.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network

from p2p.errors import ResourceLimitExceeded
from p2p.frozen import frozen
from p2p.resources.bucket import TokenBucket

IPAddress = IPv4Address | IPv6Address

#: One subnet: the index of its limit, and its number.
Subnet = tuple[int, int]


@frozen
class SubnetLimit:
    """What each subnet with a prefix of ``prefix`` bits may do; ``version`` is that of IP."""

    version: int
    prefix: int
    #: Inbound connections at once, attempts included.
    connections: int
    #: New ones at once, and then per second.
    burst: int
    rate: float

    def __post_init__(self) -> None:
        if self.version not in (4, 6):
            raise ValueError(f"version is {self.version}: IP has versions 4 and 6")
        if not 0 <= self.prefix <= self.bits:
            raise ValueError(f"prefix is {self.prefix}: between 0 and {self.bits} in IPv{self.version}")
        if min(self.connections, self.burst, self.rate) < 0:
            raise ValueError("connections, burst and rate are 0 or more")

    @property
    def bits(self) -> int:
        return 32 if self.version == 4 else 128


def is_exempt(ip: IPAddress) -> bool:
    """Whether its connections are counted in no subnet: those within this machine."""
    return ip.is_loopback


class Subnets:
    """Counts and buckets. Counts last as long as the connections; ``remembered`` buckets are kept of each limit."""

    __slots__ = ("_buckets", "_counts", "_limits", "_remembered", "refused")

    def __init__(self, limits: Sequence[SubnetLimit], remembered: int) -> None:
        self._limits = tuple(limits)
        self._remembered = remembered
        self._counts: dict[Subnet, int] = {}
        #: For each limit, by number; the one used last is the last. A full bucket is the same as none.
        self._buckets: list[OrderedDict[int, TokenBucket]] = [OrderedDict() for _ in self._limits]
        self.refused = 0

    def __len__(self) -> int:
        """How many subnets have a connection."""
        return len(self._counts)

    def enter(self, ip: IPAddress, now: float) -> tuple[Subnet, ...]:
        """Count a new connection from ``ip``, and return what to give to ``leave``.

        Loopback is nobody's subnet. Raises ``ResourceLimitExceeded``, having changed nothing.
        """
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if is_exempt(ip):
            return ()
        subnets = []
        buckets = []
        for index, limit in enumerate(self._limits):
            if limit.version != ip.version:
                continue
            number = int(ip) >> (limit.bits - limit.prefix)
            in_use = self._counts.get((index, number), 0)
            if in_use >= limit.connections:
                raise self._refusal(limit, ip, "connections", limit.connections, in_use)
            bucket = self._buckets[index].get(number)
            if bucket is None:
                bucket = TokenBucket(limit.rate, limit.burst, now)
            if bucket.until(now):
                raise self._refusal(limit, ip, "rate", limit.burst, limit.burst)
            subnets.append((index, number))
            buckets.append(bucket)
        for subnet, bucket in zip(subnets, buckets, strict=True):
            bucket.take(now)
            self._counts[subnet] = self._counts.get(subnet, 0) + 1
            self._remember(subnet, bucket, now)
        return tuple(subnets)

    def leave(self, subnets: Sequence[Subnet]) -> None:
        """Once for what ``enter`` returned. How fast they came is not forgotten."""
        for subnet in subnets:
            self._counts[subnet] -= 1
            if not self._counts[subnet]:
                del self._counts[subnet]

    def _remember(self, subnet: Subnet, bucket: TokenBucket, now: float) -> None:
        index, number = subnet
        kept, burst = self._buckets[index], self._limits[index].burst
        kept[number] = bucket
        kept.move_to_end(number)
        while len(kept) > 1 and (
            len(kept) > self._remembered or not next(iter(kept.values())).until(now, burst)
        ):
            kept.popitem(last=False)

    def _refusal(
        self, limit: SubnetLimit, ip: IPAddress, what: str, most: float, in_use: float
    ) -> ResourceLimitExceeded:
        self.refused += 1
        return ResourceLimitExceeded(
            f"subnets.{what}",
            most,
            in_use,
            "wait, allow the network with limits.resources.allow, or raise its limits.resources.subnets",
            of=str(ip_network((ip, limit.prefix), strict=False)),
        )
