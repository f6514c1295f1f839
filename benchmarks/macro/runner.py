"""Run works on pairs of processes, every implementation in turn within each repeat.

The pairs live for the whole run and wait while others work: what one minute does to the machine, it does to all of
them. A work that fails for one implementation is told as failed, and the rest goes on.
"""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from benchmarks import record
from benchmarks.macro.works import Figure, Work
from tests.interop.peer import Peer, PeerDied, PeerError

WORK_TIMEOUT = 60  # seconds for one measurement
CROWD_TIMEOUT = 180  # seconds for a thousand connections, where each takes a quarter of a second
#: Seconds that all repeats of a work may take one implementation: then two are enough, so that the slow do not make
#: the run endless.
BUDGET = 8
ENOUGH = 2  # repeats
SETTLE_TIMEOUT = 5  # seconds for a process to fall idle
SETTLE_STEP = 0.25  # seconds between two looks
SETTLED = 0.004  # CPU seconds in one step that still count as idle

Json = record.Json
Say = Callable[[str], None]

#: What can go wrong with one implementation without an end to the run.
FAILURES = (PeerDied, PeerError, trio.TooSlowError)


@dataclass(frozen=True, slots=True)
class Implementation:
    """How to start one, and what it is."""

    name: str
    command: Sequence[str]
    version: str
    flags: Sequence[str] = ()
    muxers: frozenset[str] = frozenset({"yamux"})
    #: The start of a command line that runs Python with it, where that is what it is written in.
    python: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pair runs: what its commands begin with, and where its listener listens."""

    listener: Sequence[str] = ()
    dialer: Sequence[str] = ()
    addr: str = "/ip4/127.0.0.1/tcp/0"


LOOPBACK = Place()


class Pair:
    """Two processes of one implementation."""

    def __init__(self, listener: Peer, dialer: Peer) -> None:
        self.listener = listener
        self.dialer = dialer

    async def call(self, command: str, **arguments: Any) -> Mapping[str, Any]:
        """Have the dialer do something with the listener."""
        timeout = (CROWD_TIMEOUT if command in ("bench_crowd", "bench_dials") else WORK_TIMEOUT) * 1000
        return await self.dialer.call(command, timeout_ms=timeout, addr=self.listener.addr, **arguments)

    async def used(self, *, settle: bool = False) -> tuple[float, float]:
        """CPU seconds since they started: the dialer's, the listener's."""
        dialer = await self.dialer.call("bench_usage", settle=settle)
        listener = await self.listener.call("bench_usage", settle=settle)
        return dialer["cpu_micros"] / 1e6, listener["cpu_micros"] / 1e6

    async def settle(self) -> None:
        """Wait until the listener is idle and has thrown away what it could, as far as it can be told to."""
        with trio.move_on_after(SETTLE_TIMEOUT):
            _, before = await self.used()
            while True:
                await trio.sleep(SETTLE_STEP)
                _, after = await self.used()
                if after - before < SETTLED:
                    break
                before = after
        await self.used(settle=True)

    async def resident(self) -> tuple[int, int]:
        """Bytes of memory that are really there: the dialer's, the listener's."""
        return await _resident(self.dialer), await _resident(self.listener)


async def _resident(peer: Peer) -> int:
    pid = (await peer.call("bench_usage"))["pid"]
    pages = (await trio.Path(f"/proc/{pid}/statm").read_text()).split()[1]
    return int(pages) * resource.getpagesize()


@asynccontextmanager
async def pair(implementation: Implementation, muxer: str, place: Place = LOOPBACK) -> AsyncIterator[Pair]:
    """Start a listener, then a dialer."""
    flags = [*implementation.flags, f"--muxer={muxer}"]
    command = implementation.command
    listener = Peer(implementation.name, [*place.listener, *command], listen=[place.addr], flags=flags)
    dialer = Peer(implementation.name, [*place.dialer, *command], flags=flags)
    async with listener, dialer:
        yield Pair(listener, dialer)


@dataclass
class Taken:
    """What the repeats of one implementation gave."""

    values: list[float] = field(default_factory=list)
    cpu: list[tuple[float, float]] = field(default_factory=list)
    extra: list[Json] = field(default_factory=list)
    failed: str = ""
    #: Why it could not be asked at all, which is no failure of what is measured.
    unmeasured: str = ""
    spent: float = 0.0  # seconds

    @property
    def goes_on(self) -> bool:
        """Whether another repeat is worth its time."""
        return not (self.failed or self.unmeasured) and (len(self.values) < ENOUGH or self.spent < BUDGET)

    def take(self, figure: Figure, cpu: tuple[float, float] | None) -> None:
        self.values.append(figure.value)
        self.extra.append(dict(figure.extra))
        if cpu is not None:
            self.cpu.append(cpu)

    def fail(self, error: Exception) -> None:
        if isinstance(error, PeerError) and error.kind == "bad_request":
            self.unmeasured = f"its peer cannot be asked: {error.answer.get('error')}"
        else:
            self.failed = f"{type(error).__name__}: {error}"

    def result(self) -> Json:
        if (unable := self._unable()) is not None:
            return unable
        return record.summary(self.values, self.cpu, self.extra)

    def sees(self, key: str) -> bool:
        """Whether it tells that as well (a floor has no shares), or would have but for a failure."""
        return not self.extra or key in self.extra[0]

    def result_also(self, key: str) -> Json:
        """Of something else that was seen."""
        if (unable := self._unable()) is not None:
            return unable
        return record.summary([each[key] for each in self.extra], [], [])

    def _unable(self) -> Json | None:
        if self.unmeasured:
            return {"unmeasured": self.unmeasured}
        if self.failed or not self.values:
            return {"failed": self.failed or "nothing was measured"}
        return None


async def run(
    works: Sequence[Work],
    implementations: Sequence[Implementation],
    *,
    repeats: int,
    say: Say,
    place: Place = LOOPBACK,
) -> list[Json]:
    """Measure all of it at one place; works of different muxers get pairs of their own."""
    told = []
    for muxer in dict.fromkeys(work.muxer for work in works):
        able = [each for each in implementations if muxer in each.muxers]
        if not able:
            continue
        async with AsyncExitStack() as stack:
            pairs: dict[str, Pair] = {}
            broken: dict[str, str] = {}
            for each in able:
                try:
                    pairs[each.name] = await stack.enter_async_context(pair(each, muxer, place))
                except FAILURES as error:
                    broken[each.name] = f"did not start: {error}"
            for work in works:
                if work.muxer == muxer:
                    told += await _measure(work, pairs, broken, repeats, say)
    return told


async def _measure(
    work: Work, pairs: Mapping[str, Pair], broken: Mapping[str, str], repeats: int, say: Say
) -> list[Json]:
    """The work's row, and those of what else it tells."""
    say(f"{work.title}")
    able = [name for name in pairs if name not in work.without]
    taken = {name: Taken() for name in able}
    for name in able:
        await _attempt(taken[name], _warm_up(work, pairs[name]))
    for repeat in range(repeats):
        # Another goes first each time.
        start = repeat % max(len(able), 1)
        for name in able[start:] + able[:start]:
            if taken[name].goes_on:
                await _attempt(taken[name], _once(work, pairs[name], taken[name]))
    failed = {name: {"failed": why} for name, why in broken.items() if name not in work.without}
    rows = [{**work.told(), "results": {name: each.result() for name, each in taken.items()} | failed}]
    for also in work.also:
        seeing = {name: each for name, each in taken.items() if each.sees(also.key)}
        results = {name: each.result_also(also.key) for name, each in seeing.items()} | failed
        rows.append({**work.told_also(also), "results": results})
    if work.crowd:
        for name in able:
            await _attempt(Taken(), pairs[name].call("bench_disperse"))
    tell(rows[0], say)
    for row in rows[1:]:
        say(f"  {row['title']}")
        tell(row, say)
    return rows


def tell(row: Json, say: Say) -> None:
    """Every result of a row, in words."""
    for name, result in row["results"].items():
        say(f"    {name:12} {in_words(result, row['unit'])}")


async def _attempt(taken: Taken, doing: Awaitable[object]) -> None:
    begin = trio.current_time()
    try:
        await doing
    except FAILURES as error:
        taken.fail(error)
    taken.spent += trio.current_time() - begin


async def _warm_up(work: Work, subject: Pair) -> None:
    if work.crowd:
        await subject.call("bench_crowd", count=work.crowd)
    await subject.call(work.command, **{**work.arguments, **work.warm_up})


async def _once(work: Work, subject: Pair, taken: Taken) -> None:
    before = await subject.used()
    figure = work.figure(await subject.call(work.command, **work.arguments))
    after = await subject.used()
    per = figure.amount if work.unit == "MB/s" else figure.amount / 1e6
    taken.take(figure, ((after[0] - before[0]) / per, (after[1] - before[1]) / per))


def in_words(result: Json, unit: str) -> str:
    for reason in ("failed", "unmeasured"):
        if reason in result:
            return f"{reason}: {result[reason].splitlines()[0][:150]}"
    words = f"{result['median']:10,.1f} {unit:5} ({result['low']:,.1f} to {result['high']:,.1f})"
    if "cpu" in result:
        words += f"   CPU {result['cpu']['dialer']:,.2f} + {result['cpu']['listener']:,.2f}"
    return words
