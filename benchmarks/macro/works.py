"""What is measured between two processes: the work, its size, and how its answer becomes a figure. PURE.

A work is a command of the interop contract (``tests/interop/README.md``), the same for every implementation, with the
same counts and sizes for each.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

KIB, MIB = 1024, 1024 * 1024

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement: the figure itself, how many units of work it took, and what else was seen."""

    value: float
    #: What the CPU time is told per: gigabytes (1e9 bytes) of bulk, else operations.
    amount: float
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Also:
    """What else one measurement tells, with a row of its own: ``key`` of what :class:`Figure` says was seen."""

    key: str
    #: Behind the work's own name.
    name: str
    title: str
    unit: str
    higher_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to measure."""

    name: str
    title: str
    command: str
    arguments: Mapping[str, Any]
    figure: Callable[[Answer], Figure]
    unit: str
    #: Arguments of the run before the first that counts.
    warm_up: Mapping[str, Any] = field(default_factory=dict)
    higher_is_better: bool = True
    #: Connections of hosts of their own that are made before, and used.
    crowd: int = 0
    #: Which link it needs: a name of ``links.LINKS``, or none for the loopback.
    link: str = ""
    #: Implementations it says nothing of, by name.
    without: frozenset[str] = frozenset()
    #: Flags of the processes that speak of this work, beside their own.
    muxer: str = "yamux"
    also: Sequence[Also] = ()

    @property
    def cpu_unit(self) -> str:
        return "CPU s/GB" if self.unit == "MB/s" else "CPU µs each"

    def told(self) -> dict[str, Any]:
        """What a record says of it, but for its results."""
        return {
            "name": self.name,
            "title": self.title,
            "unit": self.unit,
            "cpu_unit": self.cpu_unit,
            "higher_is_better": self.higher_is_better,
            "link": self.link,
            "arguments": dict(self.arguments),
        }

    def told_also(self, also: Also) -> dict[str, Any]:
        """The same of another row."""
        return {
            **self.told(),
            "name": f"{self.name}-{also.name}",
            "title": also.title,
            "unit": also.unit,
            "cpu_unit": "",
            "higher_is_better": also.higher_is_better,
        }


def percentile(samples: Sequence[float], percent: int) -> float:
    return sorted(samples)[min(len(samples) * percent // 100, len(samples) - 1)]


def _throughput(answer: Answer) -> Figure:
    shares = answer.get("shares") or [answer["micros"]]
    extra = {"slowest_by_fastest": max(shares) / min(shares)} if len(shares) > 1 else {}
    return Figure(answer["bytes"] / answer["micros"], answer["bytes"] / 1e9, extra)


def _rate(answer: Answer) -> Figure:
    samples = answer["samples"]
    extra = {"median_micros": statistics.median(samples), "p95_micros": percentile(samples, 95)}
    return Figure(len(samples) * 1e6 / answer["micros"], len(samples), extra)


def _latency(answer: Answer) -> Figure:
    samples = answer["samples"]
    extra = {f"p{percent}_micros": percentile(samples, percent) for percent in (5, 95, 99)}
    return Figure(statistics.median(samples), len(samples), extra)


def _handshake(answer: Answer) -> Figure:
    answered = answer["answered"]
    extra = {
        "dialed": statistics.median(answer["dialed"]) / 1000,
        "p95_micros": percentile(answered, 95),
    }
    return Figure(statistics.median(answered) / 1000, len(answered), extra)


def _beside(answer: Answer) -> Figure:
    latency = _latency(answer)
    more = {"p95": latency.extra["p95_micros"] / 1000, "bulk": answer["bytes"] / answer["micros"]}
    return Figure(latency.value / 1000, latency.amount, {**latency.extra, **more, "samples": latency.amount})


def _bulk(name: str, title: str, *, size: int, write: int, **more: Any) -> Work:
    arguments = {"bytes": size, "write": write, **more.pop("arguments", {})}
    warm_up = {"bytes": max(size // 4, write)}
    return Work(name, title, "bench_bulk", arguments, _throughput, "MB/s", warm_up, **more)


#: Nothing is opened on these, or a whole connection would have to be; and nothing is beside anything else.
FLOORS = frozenset({"floor-plain", "floor", "floor-aes"})
#: The libraries with no call that takes what fits now.
OTHERS = frozenset({"go", "rust", "js", "py"})

WORKS: Sequence[Work] = (
    _bulk("bulk-64k", "bulk, one stream, 64 KiB writes", size=384 * MIB, write=64 * KIB),
    _bulk("bulk-1m", "bulk, one stream, 1 MiB writes", size=384 * MIB, write=MIB),
    _bulk("bulk-1k", "bulk, one stream, 1 KiB writes", size=48 * MIB, write=KIB),
    _bulk(
        "bulk-1k-nowait",
        "bulk, one stream, 1 KiB writes by `send_nowait`",
        size=256 * MIB,
        write=KIB,
        arguments={"nowait": True},
        without=OTHERS,
    ),
    _bulk(
        "bulk-8-streams",
        "bulk, eight streams at once, 64 KiB writes",
        size=384 * MIB,
        write=64 * KIB,
        arguments={"streams": 8},
        also=[Also("slowest_by_fastest", "shares", "eight streams at once: the slowest by the fastest", "×")],
    ),
    _bulk(
        "bulk-100-connections",
        "bulk, 100 connections at once, 64 KiB writes",
        size=150 * MIB,
        write=64 * KIB,
        arguments={"crowd": True},
        crowd=100,
    ),
    Work(
        "handshake",
        "new connection to the first answer",
        "bench_handshakes",
        {"count": 20},
        _handshake,
        "ms",
        {"count": 5},
        higher_is_better=False,
        also=[Also("dialed", "dialed", "new connection until `dial` returns", "ms")],
    ),
    Work(
        "requests",
        "stream, 32 B request and answer, one after the other",
        "bench_requests",
        {"count": 400},
        _rate,
        "/s",
        {"count": 100},
        without=FLOORS,
    ),
    Work(
        "requests-100",
        "stream, 32 B request and answer, 100 at once",
        "bench_requests",
        {"count": 2000, "at_once": 100},
        _rate,
        "/s",
        {"count": 300},
        without=FLOORS,
    ),
    Work(
        "round-trip",
        "32 B round trip on an open stream",
        "bench_round_trips",
        {"count": 2000},
        _latency,
        "µs",
        {"count": 300},
        higher_is_better=False,
    ),
    Work(
        "ping-beside-bulk",
        "32 B round trip beside bulk on the same connection, median",
        "bench_beside",
        {"bytes": 8 * MIB, "write": 64 * KIB, "millis": 2000, "pause": 5},
        _beside,
        "ms",
        {"millis": 300},
        higher_is_better=False,
        without=FLOORS,
        also=[
            Also("p95", "p95", "32 B round trip beside bulk on the same connection, 95th percentile", "ms"),
            Also("bulk", "rate", "the bulk beside which these went", "MB/s", higher_is_better=True),
        ],
    ),
    _bulk(
        "bulk-50ms",
        "bulk, one stream, 64 KiB writes, 50 ms round-trip time",
        size=48 * MIB,
        write=64 * KIB,
        link="50ms",
    ),
    _bulk(
        "bulk-loss",
        "bulk, one stream, 64 KiB writes, 10 ms round-trip time, 1 % loss",
        size=48 * MIB,
        write=64 * KIB,
        link="loss",
    ),
)

#: The same bulk over the other muxer, for those who have it.
MPLEX = _bulk(
    "bulk-mplex", "bulk, one stream, 64 KiB writes, mplex", size=96 * MIB, write=64 * KIB, muxer="mplex"
)


#: Arguments that say how much of a work there is.
SHRINKING = ("bytes", "count", "millis")


def shrunk(work: Work, by: int) -> Work:
    """The same work, smaller: to see that it runs."""
    scaled = {
        name: max(value // by, 1) if name in SHRINKING else value for name, value in work.arguments.items()
    }
    return replace(
        work,
        arguments=scaled,
        warm_up={name: max(value // by, 1) for name, value in work.warm_up.items()},
        crowd=work.crowd and max(work.crowd // by, 2),
    )
