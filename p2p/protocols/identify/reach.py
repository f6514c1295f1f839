"""Which of its addresses a peer is believed to have. PURE.

Whoever told any address, signed or not, could have this host dial services of its own machine and network. So an
address must be reachable from where the peer itself is: one on the internet has no addresses in our network, and
none but this machine has its loopback, or sockets in its files.

Source: go-libp2p ``p2p/protocol/identify/id.go``, which does the same.
"""

from __future__ import annotations

import ipaddress

from p2p.wire.addresses import Multiaddr, leading_ip, protocols

_LOOPBACK, _LOCAL, _GLOBAL = range(3)


def believable(addr: Multiaddr, seen_at: Multiaddr) -> bool:
    """Whether a peer that this host sees at ``seen_at`` may say that it is at ``addr``.

    Where there is no IP address (names, memory, circuits of a relay at a name) nothing is known: believed.
    """
    told, seen = _reach(addr), _reach(seen_at)
    return told is None or seen is None or told >= seen


def worth_telling(addr: Multiaddr, seen_at: Multiaddr) -> bool:
    """Whether to tell a peer seen at ``seen_at`` of ``addr``: paths of this machine are of no use elsewhere, and
    nobody's business there.
    """
    return not _is_path(addr) or believable(addr, seen_at)


def _is_path(addr: Multiaddr) -> bool:
    return protocols(addr)[:1] == ("unix",)


def _reach(addr: Multiaddr) -> int | None:
    ip = leading_ip(addr)
    if ip is None:
        return _LOOPBACK if _is_path(addr) else None
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if ip.is_loopback or ip.is_unspecified:  # dialing 0.0.0.0 leads to this machine too
        return _LOOPBACK
    return _GLOBAL if ip.is_global else _LOCAL
