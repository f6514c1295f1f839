"""The one place where multiaddrs become socket addresses and back."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

from p2p.errors import InvalidAddress
from p2p.wire.addresses import Multiaddr, ip_port_addr, parts, protocols


class SocketAddress(NamedTuple):
    """An address as :mod:`socket` wants it."""

    family: socket.AddressFamily
    host: str
    port: int

    @property
    def is_wildcard(self) -> bool:
        return ipaddress.ip_address(self.host).is_unspecified


_FAMILIES = {"ip4": socket.AF_INET, "ip6": socket.AF_INET6}


def is_socket_addr(addr: Multiaddr, protocol: str) -> bool:
    """Whether ``addr`` is just ``/ip4|ip6/HOST/PROTOCOL/PORT`` (``protocol`` is tcp or udp)."""
    names = protocols(addr)
    return len(names) == 2 and names[0] in _FAMILIES and names[1] == protocol


def to_socket(addr: Multiaddr, protocol: str) -> SocketAddress:
    """Raises ``InvalidAddress`` for anything but ``/ip4|ip6/HOST/PROTOCOL/PORT``."""
    if not is_socket_addr(addr, protocol):
        raise InvalidAddress(f"{addr} is neither /ip4/HOST/{protocol}/PORT nor /ip6/HOST/{protocol}/PORT")
    (family, host), (_, port) = parts(addr)
    if host is None or port is None:
        raise InvalidAddress(f"{addr} lacks a value")
    return SocketAddress(_FAMILIES[family], host, int(port))


def from_socket(host: str, port: int, protocol: str) -> Multiaddr:
    """``host`` is a literal IPv4 or IPv6 address; the zone of a link-local one is left out."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return ip_port_addr(socket.inet_pton(family, host.partition("%")[0]), protocol, port)
