"""Works that need processes of their own: how they start, and what a crowd of connections costs them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import trio

from benchmarks.macro.runner import (
    BUDGET,
    CROWD_TIMEOUT,
    FAILURES,
    LOOPBACK,
    Implementation,
    Json,
    Pair,
    Say,
    Taken,
    pair,
    tell,
)
from benchmarks.macro.works import Figure
from tests.interop.peer import Peer

IDLE_WARM_UP = 8  # connections before the first look, so that what is loaded late is loaded
PERIOD = 1000  # milliseconds between two pings of one connection
PINGS = 6  # of each


async def starts(implementations: Sequence[Implementation], *, repeats: int, say: Say) -> Json:
    """From the start of a process to the line that says that its host listens."""
    say("start of a process, until its host listens")
    taken = {each.name: Taken() for each in implementations}
    for _ in range(repeats):
        for each in implementations:
            begin = time.perf_counter()
            flags = [*each.flags, "--muxer=yamux"]
            try:
                async with Peer(each.name, each.command, listen=[LOOPBACK.addr], flags=flags):
                    seconds = time.perf_counter() - begin
            except FAILURES as error:
                taken[each.name].fail(error)
            else:
                taken[each.name].take(Figure(seconds * 1000, 1), None)
    return _told("start", "process start until the host listens", "ms", taken, say)


# --- crowds -------------------------------------------------------------------------------------------

#: Adds so many connections to a pair.
More = Callable[[Pair, int], Awaitable[None]]


async def listening(
    implementations: Sequence[Implementation], counts: Sequence[int], *, pings: int, repeats: int, say: Say
) -> list[Json]:
    """One host there that accepts, a crowd of hosts here: its memory while all are idle; then the processor's time that
    ``pings`` of each connection take, one a period."""
    say(f"one host that accepts {_listed(counts)} connections: memory, and pings")
    names = [each.name for each in implementations]
    idle = {count: {name: Taken() for name in names} for count in counts}
    busy = {side: {name: Taken() for name in names} for side in ("listening", "dialing")}

    async def measure(name: str, subject: Pair) -> None:
        def take(count: int, dialer: float, listener: float) -> None:
            idle[count][name].take(Figure(listener / 1000, count, {"with_a_host": dialer / 1000}), None)

        await _grow(subject, counts, _more_hosts, take)
        try:
            shares = await _pinging(subject, pings)
        except FAILURES as error:
            _fail(error, [of_side[name] for of_side in busy.values()])
        else:
            busy["dialing"][name].take(Figure(shares[0] * 100, 1), None)
            busy["listening"][name].take(Figure(shares[1] * 100, 1), None)

    await _in_turn(implementations, repeats, measure, [*idle.values(), *busy.values()])
    rows = []
    for count, taken in idle.items():
        title = f"memory per idle connection, {count:,} that one host accepted"
        rows.append(_told(f"idle-{count}", title, "KB", taken, say))
    for side, taken in busy.items():
        title = f"{max(counts):,} connections, each with a ping a second, {side} side"
        rows.append(_told(f"pings-{side}", title, "% of a core", taken, say))
    return rows


async def dialing(
    implementations: Sequence[Implementation], counts: Sequence[int], *, repeats: int, say: Say
) -> list[Json]:
    """The other way round: one host here that dials a crowd of hosts there; its memory while all are idle."""
    say(f"one host that dials {_listed(counts)} connections: memory")
    idle = {count: {each.name: Taken() for each in implementations} for count in counts}

    async def measure(name: str, subject: Pair) -> None:
        def take(count: int, dialer: float, listener: float) -> None:
            idle[count][name].take(Figure(dialer / 1000, count, {"with_a_host": listener / 1000}), None)

        await _grow(subject, counts, _more_listeners, take)

    await _in_turn(implementations, repeats, measure, list(idle.values()))
    rows = []
    for count, taken in idle.items():
        title = f"memory per idle connection, {count:,} that one host dialed"
        rows.append(_told(f"idle-dialing-{count}", title, "KB", taken, say))
    return rows


async def _in_turn(
    implementations: Sequence[Implementation],
    repeats: int,
    measure: Callable[[str, Pair], Awaitable[None]],
    taken: Sequence[Mapping[str, Taken]],
) -> None:
    """Give each a pair of its own, again and again; who fails, fails at all that is ``taken`` and not measured yet."""
    spent = dict.fromkeys((each.name for each in implementations), 0.0)
    for _ in range(repeats):
        for each in implementations:
            if spent[each.name] > BUDGET:
                continue  # memory hardly differs from one time to the next
            begin = trio.current_time()
            try:
                async with pair(each, "yamux") as subject:
                    await measure(each.name, subject)
            except FAILURES as error:
                _fail(error, [every[each.name] for every in taken])
            spent[each.name] += trio.current_time() - begin


def _fail(error: Exception, taken: Iterable[Taken]) -> None:
    for each in taken:
        if not each.values:
            each.fail(error)


async def _grow(
    subject: Pair, counts: Sequence[int], more: More, take: Callable[[int, float, float], None]
) -> None:
    """``take`` is given, for each count, bytes per connection in the dialing and in the listening process."""
    await more(subject, IDLE_WARM_UP)
    await subject.settle()
    base = await subject.resident()
    have = 0
    for count in counts:
        await more(subject, count - have)
        have = count
        await subject.settle()
        dialer, listener = await subject.resident()
        take(count, (dialer - base[0]) / count, (listener - base[1]) / count)


async def _more_hosts(subject: Pair, count: int) -> None:
    await subject.call("bench_crowd", count=count)


async def _more_listeners(subject: Pair, count: int) -> None:
    new = await subject.listener.call(
        "bench_listening_crowd", count=count, listen=LOOPBACK.addr, timeout_ms=CROWD_TIMEOUT * 1000
    )
    await subject.call("bench_dials", addrs=new["addrs"])


async def _pinging(subject: Pair, count: int) -> tuple[float, float]:
    """The share of a core that the dialing and the listening process take while every connection pings."""
    await subject.call("bench_pings", count=1, period=PERIOD // 10)  # which opens the streams
    before = await subject.used()
    begin = trio.current_time()
    await subject.call("bench_pings", count=count, period=PERIOD)
    seconds = trio.current_time() - begin
    after = await subject.used()
    return (after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds


def _listed(counts: Sequence[int]) -> str:
    return " and ".join(f"{count:,}" for count in counts)


def _told(name: str, title: str, unit: str, taken: Mapping[str, Taken], say: Say) -> Json:
    row = {
        "name": name,
        "title": title,
        "unit": unit,
        "cpu_unit": "",
        "higher_is_better": False,
        "link": "",
        "arguments": {},
        "results": {each: one.result() for each, one in taken.items()},
    }
    say(f"  {title}")
    tell(row, say)
    return row
