"""Under which addresses a host is reached: those it listens on, and those under which peers see it.

A peer can say anything about how it sees us, so an address seen counts only when peers at several different IP
addresses say the same at the same time: what one said is forgotten with its connection.

Source: go-libp2p ``p2p/host/observedaddrs/manager.go``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import NamedTuple

from p2p import transports
from p2p.abc import Connection
from p2p.identity import PeerId
from p2p.limits import Limits
from p2p.wire.addresses import Multiaddr, leading_ip, parts, with_peer

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Seen(NamedTuple):
    """What one connection's peer says: that address of ours, and by whom it is said."""

    local: Multiaddr
    external: Multiaddr
    observer: Network


class Addresses:
    """The addresses of one host; ``changed`` is called after each change, with all of them."""

    def __init__(
        self,
        peer_id: PeerId,
        limits: Limits,
        announce: Sequence[Multiaddr] | None,
        changed: Callable[[tuple[Multiaddr, ...]], None],
    ) -> None:
        self._text_id = str(peer_id)
        self._limits = limits
        self._announce = announce
        self._changed = changed
        self._listened: dict[Multiaddr, None] = {}  # without wildcards
        self._seen: dict[Connection, _Seen] = {}
        self._full: tuple[Multiaddr, ...] = ()
        self._update()

    @property
    def full(self) -> tuple[Multiaddr, ...]:
        """All of them, ``/p2p/ID`` included."""
        return self._full

    def listened(self, addr: Multiaddr) -> None:
        """A listener is bound to ``addr``; a wildcard stands for this machine's interfaces as they are now."""
        ip = leading_ip(addr)
        wildcard = ip is not None and ip.is_unspecified
        self._listened.update(dict.fromkeys(transports.expand(addr) if wildcard else (addr,)))
        self._update()

    def unlistened(self) -> None:
        """No listener is left."""
        self._listened.clear()
        self._seen.clear()
        self._update()

    def observed(self, connection: Connection, addr: Multiaddr) -> None:
        """The peer says that it sees our end of ``connection`` at ``addr``; its last word counts."""
        local = self._listener_of(connection.local_addr)
        external = None if local is None else _external(addr, local)
        observer = None if external is None else _observer(connection.remote_addr)
        if observer is None or local is None or external is None:
            self.forget(connection)
            return
        self._seen[connection] = _Seen(local, external, observer)
        self._update()

    def forget(self, connection: Connection) -> None:
        """``connection`` is over, and with it what its peer said."""
        if self._seen.pop(connection, None) is not None:
            self._update()

    def _listener_of(self, local: Multiaddr) -> Multiaddr | None:
        """Which listener ``local`` belongs to: same IP address, same port. None for a port of the moment."""
        socket = parts(local)[:2]
        return next((addr for addr in self._listened if parts(addr)[:2] == socket), None)

    def _confirmed(self) -> list[Multiaddr]:
        observers: dict[Multiaddr, dict[Multiaddr, set[Network]]] = {}
        for seen in self._seen.values():
            observers.setdefault(seen.local, {}).setdefault(seen.external, set()).add(seen.observer)
        confirmed = []
        for externals in observers.values():
            enough = [addr for addr, by in externals.items() if len(by) >= self._limits.observers]
            enough.sort(key=lambda addr: len(externals[addr]), reverse=True)
            confirmed += enough[: self._limits.observed_addrs]
        return confirmed

    def _update(self) -> None:
        announced = [*self._listened, *self._confirmed()] if self._announce is None else self._announce
        full = tuple(dict.fromkeys(with_peer(addr, self._text_id) for addr in announced))
        if full != self._full:
            self._full = full
            self._changed(full)


def _ip(addr: Multiaddr) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    first = parts(addr)[0]
    if first.protocol not in ("ip4", "ip6") or first.value is None:
        return None
    return ipaddress.ip_address(first.value)


def _observer(remote: Multiaddr) -> Network | None:
    """Who counts as one observer: an IPv4 address, or the /56 that one IPv6 subscriber has."""
    ip = _ip(remote)
    if ip is None or any(part.protocol == "p2p-circuit" for part in parts(remote)):
        return None
    return ipaddress.ip_network((ip, 32 if ip.version == 4 else 56), strict=False)


def _external(addr: Multiaddr, local: Multiaddr) -> Multiaddr | None:
    """``addr`` as the address of the listener at ``local``; None when it cannot be one."""
    ip = _ip(addr)
    seen, own = parts(addr), parts(local)
    if ip is None or ip.is_loopback or ip.is_unspecified or ip.is_multicast or ip.is_link_local:
        return None
    if len(seen) < 2 or [part.protocol for part in seen[:2]] != [part.protocol for part in own[:2]]:
        return None
    text = "".join(
        f"/{name}" if value is None else f"/{name}/{value}" for name, value in (*seen[:2], *own[2:])
    )
    return Multiaddr(text)
