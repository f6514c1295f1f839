"""Connections are counted by subnet, and so is how fast they come."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import ResourceLimitExceeded
from p2p.resources.subnets import SubnetLimit, Subnets
from p2p.resources.table import SUBNETS

SITE = int(IPv6Address("2001:db8:1::"))


def fast(*, connections: int = 8, prefix: int = 32, version: int = 4) -> SubnetLimit:
    return SubnetLimit(version, prefix, connections, burst=10**6, rate=0.0)


def test_eight_connections_of_an_ipv4_address_and_others_go_on() -> None:
    subnets = Subnets(SUBNETS, 100)
    entered = [subnets.enter(IPv4Address("192.0.2.1"), 0.0) for _ in range(8)]
    with pytest.raises(
        ResourceLimitExceeded, match=r"subnets.connections of 192.0.2.1/32: 8 in use"
    ) as caught:
        subnets.enter(IPv4Address("192.0.2.1"), 0.0)
    assert (caught.value.scope, caught.value.of) == ("subnets.connections", "192.0.2.1/32")
    assert (caught.value.limit, caught.value.in_use) == (8, 8)
    assert "allow" in caught.value.remedy
    subnets.enter(IPv4Address("192.0.2.2"), 0.0)
    subnets.leave(entered.pop())
    subnets.enter(IPv4Address("192.0.2.1"), 0.0)
    assert subnets.refused == 1


def test_an_ipv6_subscriber_is_its_56_bits() -> None:
    subnets = Subnets(SUBNETS, 100)
    for host in range(8):  # other interfaces, other /64s: the same subscriber
        subnets.enter(IPv6Address(SITE + (host << 64) + host + 1), 0.0)
    with pytest.raises(ResourceLimitExceeded, match=r"2001:db8:1::/56"):
        subnets.enter(IPv6Address(SITE + (255 << 64)), 0.0)
    subnets.enter(IPv6Address(SITE + (256 << 64)), 0.0)


def test_an_ipv6_site_is_its_48_bits() -> None:
    subnets = Subnets(SUBNETS, 100)
    for subscriber in range(8):
        for _ in range(8):
            subnets.enter(IPv6Address(SITE + (subscriber << 72)), 0.0)
    with pytest.raises(ResourceLimitExceeded, match=r"2001:db8:1::/48: 64 in use"):
        subnets.enter(IPv6Address(SITE + (8 << 72)), 0.0)
    subnets.enter(IPv6Address(SITE + (1 << 80)), 0.0)


@pytest.mark.parametrize("text", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_exempt(text: str) -> None:
    subnets = Subnets([fast(connections=0), fast(connections=0, version=6, prefix=48)], 100)
    for _ in range(1000):
        assert subnets.enter(ip_address(text), 0.0) == ()
    assert len(subnets) == subnets.refused == 0


def test_an_ipv4_address_in_ipv6_clothes_is_the_ipv4_address() -> None:
    subnets = Subnets(SUBNETS, 100)
    for _ in range(4):
        subnets.enter(IPv4Address("192.0.2.1"), 0.0)
        subnets.enter(IPv6Address("::ffff:192.0.2.1"), 0.0)
    for text in ("192.0.2.1", "::ffff:192.0.2.1"):
        with pytest.raises(ResourceLimitExceeded):
            subnets.enter(ip_address(text), 0.0)


@pytest.mark.parametrize(("text", "burst", "rate"), [("192.0.2.1", 16, 0.2), ("2001:db8::1", 16, 0.2)])
def test_a_burst_and_then_a_rate(text: str, burst: int, rate: float) -> None:
    subnets = Subnets(SUBNETS, 100)

    def comes_and_goes(now: float) -> None:
        subnets.leave(subnets.enter(ip_address(text), now))

    for _ in range(burst):
        comes_and_goes(0.0)
    with pytest.raises(ResourceLimitExceeded) as caught:
        comes_and_goes(0.9 / rate)
    assert caught.value.scope == "subnets.rate"
    comes_and_goes(1.0 / rate)
    with pytest.raises(ResourceLimitExceeded):
        comes_and_goes(1.0 / rate)
    for _ in range(burst):
        comes_and_goes(1000.0)


def test_the_rate_of_a_site() -> None:
    subnets = Subnets(SUBNETS, 100)
    for n in range(80):
        subnets.leave(subnets.enter(IPv6Address(SITE + (n << 72)), 0.0))
    with pytest.raises(ResourceLimitExceeded, match="/48"):
        subnets.enter(IPv6Address(SITE + (200 << 72)), 1.9)
    subnets.enter(IPv6Address(SITE + (200 << 72)), 2.0)


def test_what_is_refused_spends_nothing() -> None:
    """Neither a token of the subnet that had one, nor a place in a subnet that had room."""
    limits = [
        SubnetLimit(6, 56, connections=8, burst=3, rate=0.0),
        SubnetLimit(6, 48, connections=2, burst=100, rate=0.0),
    ]
    subnets = Subnets(limits, 100)
    first, second = IPv6Address(SITE), IPv6Address(SITE + (1 << 72))
    entered = [subnets.enter(first, 0.0) for _ in range(2)]
    for _ in range(10):
        with pytest.raises(ResourceLimitExceeded, match="/48"):
            subnets.enter(second, 0.0)
    subnets.leave(entered[0])
    for _ in range(3):
        subnets.leave(subnets.enter(second, 0.0))


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.booleans()), max_size=60), st.integers(1, 5))
def test_counts_end_with_their_connections_and_buckets_are_bounded(
    events: list[tuple[int, bool]], remembered: int
) -> None:
    subnets = Subnets([fast(connections=3), SubnetLimit(4, 8, 10**6, 2, 0.001)], remembered)
    entered = []
    for number, stays in events:
        try:
            here = subnets.enter(IPv4Address(number | 0x01000000), 0.0)
        except ResourceLimitExceeded:
            continue
        if stays:
            entered.append(here)
        else:
            subnets.leave(here)
        assert all(len(kept) <= remembered for kept in subnets._buckets)
    for here in entered:
        subnets.leave(here)
    assert len(subnets) == 0


def test_a_bucket_that_is_full_again_is_forgotten() -> None:
    subnets = Subnets([SubnetLimit(4, 32, 8, burst=2, rate=1.0)], 100)
    for number in range(50):
        subnets.enter(IPv4Address(0x01000000 + number), float(number))
        assert len(subnets._buckets[0]) <= 2


@pytest.mark.parametrize(
    "wrong",
    [(5, 32, 1, 1, 1.0), (4, 33, 1, 1, 1.0), (6, 129, 1, 1, 1.0), (4, 32, -1, 1, 1.0), (4, 32, 1, 1, -1.0)],
)
def test_a_limit_that_makes_no_sense_is_refused(wrong: tuple[int, int, int, int, float]) -> None:
    with pytest.raises(ValueError):
        SubnetLimit(*wrong)
