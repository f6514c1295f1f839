"""What a wildcard listen address stands for: the addresses of this machine's interfaces."""

from __future__ import annotations

import ipaddress
import socket

import ifaddr

from p2p.wire.addresses import Multiaddr, parts


def expand(addr: Multiaddr) -> list[Multiaddr]:
    """The addresses under which a listener bound to ``addr`` is reached on this machine.

    ``/ip4/0.0.0.0/…`` and ``/ip6/::/…`` become one address per interface address of that family, loopback
    last; what follows the address is kept. Any other address is returned alone. IPv6 link-local addresses are
    left out: without a zone nobody can dial them, and a zone means something on this machine only. A few
    system calls, no waiting.
    """
    first, *_ = parts(addr)
    if first.protocol not in ("ip4", "ip6") or first.value is None:
        return [addr]
    if not ipaddress.ip_address(first.value).is_unspecified:
        return [addr]
    length = 4 if first.protocol == "ip4" else 16
    # The binary form is a one-byte code, the address, the rest (multiaddr spec: 0x04 and 0x29).
    raw = addr.to_bytes()
    return [
        Multiaddr(raw[:1] + socket.inet_pton(_family(host), host) + raw[1 + length :])
        for host in _interface_hosts(6 if length == 16 else 4)
    ]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _interface_hosts(version: int) -> list[str]:
    hosts: dict[str, bool] = {}
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            host = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            address = ipaddress.ip_address(host)
            if address.version == version and not address.is_unspecified:
                if not (version == 6 and address.is_link_local):
                    hosts[host] = address.is_loopback
    return sorted(hosts, key=lambda host: hosts[host])
