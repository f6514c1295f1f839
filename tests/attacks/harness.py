"""An attack: a victim in its own process, an honest canary in another, the attacker in the test itself.

::

    @pytest.mark.lifted(limits={"upgrade": 1000.0})
    async def test_row_01_silent_sockets(attack):
        async with attack(limits={"upgrade": 1.0}) as scene:
            sockets = [await scene.connect() for _ in range(500)]
            ...

Before the body runs the canary has been idle for a while and what the victim has in use was counted. When the
body ends its sockets are closed, the victim gets ten seconds to be as it was, and everything is judged by one
:class:`Verdict`, whose bounds an attack may replace: ``attack(verdict=Verdict(rss=8 * MIB))``.

``pytest --lifted`` runs each attack that has the mark ``lifted`` with these overrides added to the victim's, and
expects it to fail: a test that cannot fail says nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import trio

from p2p import Identity, Multiaddr, PeerId
from p2p.abc import ProtocolId
from p2p.wire.addresses import parse_user_addr
from tests.attacks import wire
from tests.attacks.control import Controlled, controlled

MIB = 1024 * 1024

#: The canary sings alone for so long, so that it is known how fast it is here and now.
IDLE = 1.5
#: How often a process is looked at.
GLANCE = 0.05
#: The least time an attack is watched: a canary that had no time to sing heard nothing.
LEAST = 1.0


@dataclass(frozen=True)
class Verdict:
    """What must hold of every attack; durations in seconds, sizes in bytes."""

    rss: int = 16 * MIB
    canary_failures: int = 0
    #: The greater of the two bounds the canary's 99th percentile.
    canary_p99: float = 0.25
    canary_times_idle: float = 5.0
    #: The longest step of the victim's loop, in thread CPU time, scaled to the reference machine.
    stall: float = 0.05
    #: After this long the victim has in use what it had before.
    settle: float = 10.0
    tracebacks: int = 0
    log_rate: int = 10
    #: The victim is allowed to die: never.
    alive: bool = True


@dataclass
class Report:
    """What was measured. ``unsettled`` names counters still above what they were before the attack."""

    idle_p99: float = 0.0
    canary_p99: float = 0.0
    canary_echoes: int = 0
    canary_failures: list[str] = field(default_factory=list)
    rss: int = 0
    stall: float = 0.0
    stall_task: str = ""
    slowness: float = 1.0
    collector_pauses: int = 0
    longest_pause: float = 0.0
    tracebacks: int = 0
    log_rate: int = 0
    settled: float | None = None
    unsettled: dict[str, tuple[float, float]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    errors: str = ""

    def faults(self, verdict: Verdict) -> list[str]:
        """Every bound that was broken, in words."""
        found = []
        if self.rss > verdict.rss:
            found.append(f"memory grew by {self.rss / MIB:.1f} MiB, the bound is {verdict.rss / MIB:.1f}")
        if len(self.canary_failures) > verdict.canary_failures:
            found.append(f"the canary failed {len(self.canary_failures)} times: {self.canary_failures[0]}")
        bound = max(verdict.canary_p99, verdict.canary_times_idle * self.idle_p99)
        if self.canary_p99 > bound:
            found.append(f"the canary waited {self.canary_p99:.3f} s, the bound is {bound:.3f}")
        if self.stall > verdict.stall:
            found.append(f"{self.stall_task} held the loop {self.stall * 1e3:.0f} ms")
        if self.settled is None:
            found.append(f"still in use after {verdict.settle} s: {self.unsettled}")
        if self.tracebacks > verdict.tracebacks or "Traceback" in self.errors:
            found.append(f"{self.tracebacks} tracebacks were logged")
        if self.log_rate > verdict.log_rate:
            found.append(f"{self.log_rate} lines logged in one second")
        return found

    def summary(self) -> str:
        """One line of JSON: what a run leaves to be compared with the next."""
        values = asdict(self)
        for name in ("log", "errors"):
            del values[name]
        return json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in values.items()})


class Process:
    """The memory of a process, as the kernel tells."""

    def __init__(self, pid: int) -> None:
        self._proc = Path("/proc") / str(pid)

    def _status(self, name: str) -> int:
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"the process {self._proc.name} has no memory: it died")

    def rss(self) -> int:
        return self._status("VmRSS")

    def peak(self) -> int:
        """The most since :meth:`reset_peak`."""
        return self._status("VmHWM")

    def cpu(self) -> float:
        """Seconds of processor it has used, in user space and for its system calls."""
        _, _, fields = (self._proc / "stat").read_text().rpartition(")")
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def reset_peak(self) -> None:
        (self._proc / "clear_refs").write_text("5")


class Scene:
    """What an attack sees: the victim's address, and ways to speak to it."""

    def __init__(self, victim: Controlled, canary: Controlled, sockets: AsyncExitStack) -> None:
        self.victim = victim
        self.canary = canary
        self.process = Process(victim.pid)
        self.report = Report()
        self._sockets = sockets
        self._rss = 0
        self._before: dict[str, float] = {}
        self._began = 0.0
        self.addr: Multiaddr = parse_user_addr(victim.ready["addrs"][0])
        self.peer_id = PeerId.from_text(victim.ready["peer_id"])
        parts = victim.ready["addrs"][0].split("/")
        self.ip, self.port = parts[2], int(parts[4])

    async def connect(
        self, *, receive_buffer: int | None = None, source: str | None = None
    ) -> trio.SocketStream:
        """A TCP connection to the victim, from the address ``source``; closed, if need be, when the attack ends.

        With ``receive_buffer`` the kernel takes hardly more for us than so many bytes while we do not read.
        """
        sock = trio.socket.socket()
        if receive_buffer is not None:  # before connecting, as it settles how the window is scaled
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
        try:
            if source is not None:
                await sock.bind((source, 0))
            await sock.connect((self.ip, self.port))
        except BaseException:
            sock.close()
            raise
        return await self._sockets.enter_async_context(trio.SocketStream(sock))

    async def secure(self, identity: Identity | None = None, *, muxer: ProtocolId = wire.YAMUX) -> wire.Wire:
        """A connection with Noise done and a muxer settled; what goes over it from there is up to the attacker."""
        return await wire.secure(await self.connect(), self.peer_id, identity=identity, muxers=(muxer,))

    async def counters(self) -> dict[str, float]:
        """What the victim has in use now."""
        return await self.victim.ask("counters")

    async def wait_until(self, name: str, at_most: float) -> None:
        """Look at a counter until it is no more than that."""
        await self._look_until(lambda counters: counters[name] <= at_most)

    async def wait_for(self, name: str, at_least: float) -> None:
        """Look at a counter until it is that or more."""
        await self._look_until(lambda counters: counters[name] >= at_least)

    async def _look_until(self, done: Callable[[dict[str, float]], bool]) -> None:
        while True:
            with trio.CancelScope(shield=True):
                counters = await self.counters()
            if done(counters):
                return
            await trio.sleep(GLANCE)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[dict[str, float]]:
        """The most of each counter while the block runs, looked at every ``GLANCE`` seconds and at its end."""
        most: dict[str, float] = {}

        async def look() -> None:
            with trio.CancelScope(shield=True):  # an answer nobody took would be taken for the next one
                counters = await self.counters()
            for name, value in counters.items():
                most[name] = max(value, most.get(name, 0))

        async def keep_looking() -> None:
            while True:
                await look()
                await trio.sleep(GLANCE)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_looking)
            yield most
            nursery.cancel_scope.cancel()
        await look()

    async def begin(self) -> None:
        """Measure the canary alone, and the victim with nobody but the canary."""
        await self.canary.ask("tell")
        await trio.sleep(IDLE)
        self.report.idle_p99 = percentile((await self.canary.ask("tell"))["latencies"])
        for _ in range(10):
            counters = await self.counters()
            for name, value in counters.items():
                self._before[name] = min(value, self._before.get(name, value))
            await trio.sleep(GLANCE)
        await self.victim.ask("begin")
        self.process.reset_peak()
        self._rss = self.process.rss()
        self._began = trio.current_time()

    async def settle(self, verdict: Verdict) -> None:
        """Wait until the victim has in use what it had, as long as the verdict allows."""
        began = trio.current_time()
        while (passed := trio.current_time() - began) < verdict.settle:
            counters = await self.counters()
            self.report.unsettled = {
                name: (before, counters[name])
                for name, before in self._before.items()
                if counters[name] > before
            }
            if not self.report.unsettled:
                self.report.settled = passed
                return
            await trio.sleep(GLANCE)

    async def end(self) -> None:
        """Gather what was measured."""
        report = self.report
        await trio.sleep(max(0.0, self._began + LEAST - trio.current_time()))
        told = await self.canary.ask("tell")
        report.canary_p99 = max(percentile(told["latencies"]), told["waiting"])
        report.canary_echoes = len(told["latencies"])
        report.canary_failures = told["failures"]
        measured = await self.victim.ask("end")
        report.rss = self.process.peak() - self._rss
        report.slowness = measured["slowness"]
        report.stall = measured["stall"] / measured["slowness"]
        report.stall_task = measured["stall_task"]
        report.collector_pauses = measured["pauses"]
        report.longest_pause = measured["longest_pause"]
        report.tracebacks = measured["tracebacks"]
        report.log_rate = measured["busiest_second"]
        report.log = measured["log"]
        report.errors = self.victim.errors()


def percentile(latencies: list[float], fraction: float = 0.99) -> float:
    """The value that ``fraction`` of all do not exceed; 0 of nothing."""
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] if ordered else 0.0


@asynccontextmanager
async def attacking(
    *, limits: dict[str, Any], patches: dict[str, str], verdict: Verdict
) -> AsyncIterator[Scene]:
    """Everything around an attack; judges it when its body ends without an exception."""
    config = {"limits": limits, "patches": patches}
    async with controlled("tests.attacks.victim", config) as victim:
        addr = victim.ready["addrs"][0]
        async with controlled("tests.attacks.canary", {"addr": addr}) as canary:
            async with AsyncExitStack() as sockets:
                scene = Scene(victim, canary, sockets)
                await scene.begin()
                yield scene
            # What the attacker held is closed by now.
            await scene.settle(verdict)
            await scene.end()
            print(scene.report.summary())
            faults = scene.report.faults(verdict)
            if faults:
                log = "\n".join(scene.report.log[:20])
                raise AssertionError("\n".join([*faults, "the victim's log:", log, scene.report.errors]))


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Nested overrides joined; ``other`` wins."""
    both = dict(one)
    for name, value in other.items():
        mine = both.get(name)
        both[name] = merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return both
