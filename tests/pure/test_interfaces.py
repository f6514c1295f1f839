"""What a wildcard listen address stands for."""

from __future__ import annotations

import pytest

from p2p.transports import interfaces
from p2p.transports.interfaces import expand
from p2p.wire.addresses import Multiaddr


class Ip:
    def __init__(self, ip) -> None:
        self.ip = ip


class Adapter:
    def __init__(self, *ips) -> None:
        self.ips = [Ip(ip) for ip in ips]


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    adapters = [
        Adapter("127.0.0.1", ("::1", 0, 0)),
        Adapter("192.0.2.7", "198.51.100.7", ("2001:db8::7", 0, 0), ("fe80::7", 0, 3)),
    ]
    monkeypatch.setattr(interfaces.ifaddr, "get_adapters", lambda: adapters)


@pytest.mark.parametrize(
    ("addr", "expected"),
    [
        (
            "/ip4/0.0.0.0/tcp/4001",
            ["/ip4/192.0.2.7/tcp/4001", "/ip4/198.51.100.7/tcp/4001", "/ip4/127.0.0.1/tcp/4001"],
        ),
        ("/ip6/::/udp/1/quic-v1", ["/ip6/2001:db8::7/udp/1/quic-v1", "/ip6/::1/udp/1/quic-v1"]),
        ("/ip4/192.0.2.1/tcp/1", ["/ip4/192.0.2.1/tcp/1"]),
        ("/dns4/example.org/tcp/1", ["/dns4/example.org/tcp/1"]),
        ("/memory/1", ["/memory/1"]),
    ],
)
def test_expand(addr, expected):
    assert expand(Multiaddr(addr)) == [Multiaddr(text) for text in expected]


def test_this_machine_has_a_loopback(monkeypatch):
    monkeypatch.undo()
    assert Multiaddr("/ip4/127.0.0.1/tcp/1") in expand(Multiaddr("/ip4/0.0.0.0/tcp/1"))
