"""A network in memory, under virtual time: hosts with IP addresses, and links as bad as a test wants them.

Use it under Trio's autojump clock (``trio.testing.MockClock(autojump_threshold=0)``): an hour passes in no
time, and an elapsed time is exact. For the same seed the same happens, provided that Trio's scheduling is
made deterministic too (:mod:`p2p.testing.deterministic`).
"""

from __future__ import annotations

import errno
import ipaddress
import os
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

import trio

from p2p.errors import InvalidAddress
from p2p.testing.links import PERFECT, Agenda, Depth, Link, LinkOptions, Route
from p2p.testing.trace import Trace
from p2p.transports.pipe import PipeListener, PipeStream
from p2p.transports.socket_addr import from_socket, is_socket_addr, to_socket
from p2p.wire.addresses import Multiaddr

_FIRST_EPHEMERAL = 49152


class NetworkStream(PipeStream):
    """One end of a TCP connection of the virtual network."""

    def __init__(self, inlet: Link, outlet: Link, depth: Depth, local: Multiaddr, remote: Multiaddr) -> None:
        super().__init__(inlet.pipe, outlet, local, remote)
        self._link_in = inlet
        self._depth = depth

    @property
    def round_trips(self) -> float:
        """The longest chain of messages on this connection, each sent after the one before was received, that
        this end knows of, in round trips. Connecting is the first; half a one: it came from the other end."""
        return self._depth.value / 2

    async def receive_into(self, buffer: memoryview) -> int:
        n = await super().receive_into(buffer)
        self._link_in.took(self.bytes_received, n)
        return n


class VirtualNetwork:
    """Any number of hosts; ``async with`` it, since a task of its own delivers what is under way.

    ``options`` hold for every pair of hosts that :meth:`link` says nothing of; at first there is no
    latency, no loss, no limit but the window. Leaving it resets the connections there are.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        options: LinkOptions = PERFECT,
        trace: Trace | None = None,
    ) -> None:
        self.trace = trace
        self._seed = seed
        self._options = options
        self._agenda = Agenda()
        self._routes: dict[tuple[str, str], Route] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._group_of: dict[str, int] = {}
        self._listeners: dict[tuple[str, int], PipeListener] = {}
        self._last_port: dict[str, int] = {}
        self._dials = 0

    async def __aenter__(self) -> VirtualNetwork:
        self._manager = self._run()
        await self._manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._agenda.run)
            try:
                yield
            except BaseException as error:
                failure = error
            for route in self._routes.values():
                _reset(route)
            nursery.cancel_scope.cancel()
        if failure is not None:  # bare, and not in the group of a nursery the caller knows nothing of
            raise failure

    # --- hosts

    def transport(self, ip: str) -> VirtualTransport:
        """The stream transport of the host at ``ip`` (IPv4 or IPv6), for ``/ip4|ip6/HOST/tcp/PORT``."""
        return VirtualTransport(self, str(ipaddress.ip_address(ip)))

    # --- what lies between them

    def link(self, a: str, b: str, *, one_way: bool = False, **options: Any) -> None:
        """Change options (fields of :class:`LinkOptions`) between ``a`` and ``b``, for what is sent from
        now on.

        The window, and whether there are segments, are those of the time when a connection is made.
        """
        for source, target in [(a, b)] if one_way else [(a, b), (b, a)]:
            route = self.route(source, target)
            route.options = replace(route.options, **options)

    def route(self, source: str, target: str) -> Route:
        """The way from ``source`` to ``target``, with its counters."""
        key = (source, target)
        if key not in self._routes:
            self._routes[key] = Route(source, target, self._options)
            self._routes[key].blocked = self._is_blocked(key)
        return self._routes[key]

    def block(self, source: str, target: str) -> None:
        """Nothing gets from ``source`` to ``target`` until :meth:`unblock`; nobody is told. One way."""
        self._blocked.add((source, target))
        self._apply_blocks("block", f"{source} to {target}")

    def unblock(self, source: str, target: str) -> None:
        """What is waiting is sent again."""
        self._blocked.discard((source, target))
        self._apply_blocks("unblock", f"{source} to {target}")

    def partition(self, *groups: Iterable[str]) -> None:
        """Only hosts of one group reach each other from now on, those of no group being a group of their
        own.
        """
        self._group_of = {ip: number for number, group in enumerate(groups, 1) for ip in group}
        self._apply_blocks("partition", "")

    def heal(self) -> None:
        """Undo the partition and every block."""
        self._blocked.clear()
        self._group_of = {}
        self._apply_blocks("heal", "")

    def reset(self, a: str, b: str) -> None:
        """Every connection between ``a`` and ``b`` fails at both ends, now."""
        for route in (self.route(a, b), self.route(b, a)):
            _reset(route)
        self._note("reset", f"{a} and {b}")

    def _apply_blocks(self, kind: str, subject: str) -> None:
        self._note(kind, subject)
        for key, route in self._routes.items():
            blocked = self._is_blocked(key)
            if blocked != route.blocked:
                if blocked:
                    route.block()
                else:
                    route.unblock()

    def _is_blocked(self, key: tuple[str, str]) -> bool:
        source, target = key
        return key in self._blocked or self._group_of.get(source) != self._group_of.get(target)

    def _note(self, kind: str, subject: str) -> None:
        if self.trace is not None:
            self.trace.note(kind, subject)

    # --- for the transports

    async def _dial(self, ip: str, target: str, port: int) -> NetworkStream:
        self._dials += 1
        number = self._dials
        there, back = self.route(ip, target), self.route(target, ip)
        local, remote = from_socket(ip, self._free_port(ip), "tcp"), from_socket(target, port, "tcp")
        name = f"{number} {local} to {remote}"
        self._note("dial", name)
        # Text seeds alike in every process, whatever its hash seed.
        rng = random.Random(f"{self._seed} {number}")
        await there.cross(rng)
        listener = self._listeners.get((target, port))
        await back.cross(rng)
        if listener is None:
            self._note("refused", name)
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"{os.strerror(errno.ECONNREFUSED)}: {remote}")

        def arrive() -> None:
            if listener.has_room:
                listener.offer(NetworkStream(outward, inward, responder, remote, local))
            else:
                inward.break_off()
                outward.pipe.stop_reading()

        dialer, responder = Depth(2), Depth(0)
        outward = Link(
            name, there, back, agenda=self._agenda, rng=rng, depth=dialer, trace=self.trace, on_open=arrive
        )
        inward = Link(
            f"{number} {remote} to {local}",
            back,
            there,
            agenda=self._agenda,
            rng=rng,
            depth=responder,
            trace=self.trace,
        )
        outward.reverse, inward.reverse = inward, outward
        outward.open()
        return NetworkStream(inward, outward, dialer, local, remote)

    def _free_port(self, ip: str) -> int:
        port = self._last_port.get(ip, _FIRST_EPHEMERAL - 1) + 1
        while (ip, port) in self._listeners:
            port += 1
        self._last_port[ip] = port
        return port


class VirtualTransport:
    """The TCP of one virtual host: a ``StreamTransport``."""

    def __init__(self, network: VirtualNetwork, ip: str) -> None:
        self._network = network
        self._ip = ip

    def can_dial(self, addr: Multiaddr) -> bool:
        return is_socket_addr(addr, "tcp")

    def can_listen(self, addr: Multiaddr) -> bool:
        return is_socket_addr(addr, "tcp")

    async def dial(self, addr: Multiaddr) -> NetworkStream:
        """Takes one round trip. Raises ``ConnectionRefusedError``; where nothing gets through it waits for
        ever.
        """
        _, target, port = to_socket(addr, "tcp")
        if port == 0:
            raise InvalidAddress(f"{addr} has port 0, which nobody listens on")
        await trio.lowlevel.checkpoint()
        return await self._network._dial(self._ip, str(ipaddress.ip_address(target)), port)

    def listen(self, addr: Multiaddr) -> AbstractAsyncContextManager[PipeListener]:
        """Listen on an address of this host or on the wildcard, which becomes that address.

        Entering raises ``OSError`` (EADDRINUSE, EADDRNOTAVAIL), ``InvalidAddress``.
        """
        return self._listen(addr)

    @asynccontextmanager
    async def _listen(self, addr: Multiaddr) -> AsyncIterator[PipeListener]:
        where = to_socket(addr, "tcp")
        if not where.is_wildcard and str(ipaddress.ip_address(where.host)) != self._ip:
            raise OSError(errno.EADDRNOTAVAIL, f"{os.strerror(errno.EADDRNOTAVAIL)}: {addr}")
        key = (self._ip, where.port or self._network._free_port(self._ip))
        if key in self._network._listeners:
            raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: {addr}")
        listener = PipeListener(from_socket(*key, "tcp"))
        self._network._listeners[key] = listener
        try:
            yield listener
        finally:
            del self._network._listeners[key]
            listener.close()


def _reset(route: Route) -> None:
    for link in list(route.links):
        for each in (link, link.reverse):
            each.fail()
            each.pipe.break_off()
    route.links.clear()
