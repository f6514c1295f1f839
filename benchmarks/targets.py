"""What the figures are to reach, as data, and how a record is judged by it. PURE.

A target is absolute, or relative to somebody else, or to another work, of the same run. They are goals; what a run is
asserted to keep is in ``ratios.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.record import Json

OURS = "ours"
#: In ``figure``: the processor's time of both processes together.
CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on one figure of ours: exactly one of ``at_least`` and ``at_most``.

    With ``against`` or ``beside`` the bound is on a ratio. ``at_least`` counts how many times as good ours is,
    whichever way the figure is good; ``at_most`` how many times as much it is.
    """

    work: str
    at_least: float | None = None
    at_most: float | None = None
    #: Whose figure ours is divided by; with ``beside``, of which other work.
    against: str = ""
    beside: str = ""
    #: The work's figure, or ``CPU``, or a key of what else was seen.
    figure: str = "median"
    #: Behind the work's title, where the figure is another.
    what: str = ""

    @property
    def relative(self) -> bool:
        return bool(self.against or self.beside)


TARGETS: Sequence[Target] = (
    Target("bulk-64k", at_least=0.65, against="floor"),
    Target("bulk-64k", at_most=1.35, against="floor", figure=CPU),
    Target("bulk-64k", at_least=4, against="js"),
    Target("bulk-64k", at_least=1, against="go"),
    Target("bulk-64k", at_least=1, against="rust"),
    Target("bulk-1m", at_least=0.8, against="floor"),
    Target("bulk-1k", at_least=100),
    Target("bulk-1k-nowait", at_least=300),
    Target("bulk-mplex", at_least=300),
    Target("bulk-8-streams", at_least=0.9, beside="bulk-64k"),
    Target("bulk-8-streams-shares", at_most=1.1),
    Target("bulk-50ms", at_least=1, against="go"),
    Target("bulk-50ms", at_least=1, against="js"),
    Target("bulk-loss", at_least=1, against="go"),
    Target("bulk-loss", at_least=1, against="js"),
    Target("bulk-100-connections", at_least=1, against="go"),
    Target("bulk-100-connections", at_least=1, against="js"),
    Target("handshake-dialed", at_most=1.6),
    Target("handshake-dialed", at_least=4, against="js"),
    Target("handshake", at_least=4, against="js"),
    Target("requests", at_least=4, against="js"),
    Target("requests-100", at_least=4, against="js"),
    Target("round-trip", at_most=1.6, against="floor"),
    Target("ping-beside-bulk-p95", at_most=2),
    Target("idle-1000", at_most=24),
    Target("idle-dialing-1000", at_most=24),
    Target("import", at_most=1.6, against="floor"),
    Target("import", at_most=450, figure="modules", what="modules"),
    Target("host-start", at_most=5),
    Target("host-start-first", at_most=5),
    Target("pings-listening", at_most=40),
    Target("pings-dialing", at_most=40),
    Target("virtual-share", at_least=90),
    Target("virtual-opening", at_most=10),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a record says of one target."""

    target: Target
    title: str
    unit: str
    #: The figure, or the ratio, that is judged; None: it was not measured.
    value: float | None

    @property
    def bound(self) -> float:
        target = self.target
        bound = target.at_most if target.at_least is None else target.at_least
        assert bound is not None
        return bound

    @property
    def margin(self) -> float | None:
        """How far on the good side of the bound it is, as a part of the bound; below zero: it was missed by that."""
        if self.value is None:
            return None
        beyond = self.value / self.bound - 1
        return beyond if self.target.at_least is not None else -beyond

    @property
    def held(self) -> bool | None:
        return None if self.margin is None else self.margin >= 0


def judge(record: Json, targets: Sequence[Target] = TARGETS) -> list[Verdict]:
    """One verdict for each target."""
    works = {work["name"]: work for work in record["works"]}
    return [_judge(works, target) for target in targets]


def _judge(works: dict[str, Json], target: Target) -> Verdict:
    work = works.get(target.work, {})
    title = work.get("title", target.work)
    unit = work.get("unit", "")
    if target.figure == CPU:
        title, unit = f"{title}: processor's time", work.get("cpu_unit", "")
    elif target.figure != "median":
        title, unit = f"{title}: {target.what}", ""
    return Verdict(target, title, unit, _value(works, target))


def _value(works: dict[str, Json], target: Target) -> float | None:
    ours = figure(works.get(target.work), OURS, target.figure)
    if ours is None or not target.relative:
        return ours
    other = figure(works.get(target.beside or target.work), target.against or OURS, target.figure)
    if not other or not ours:
        return None
    upwards = works[target.work]["higher_is_better"] and target.figure == "median"
    return other / ours if target.at_least is not None and not upwards else ours / other


def figure(work: Json | None, name: str, which: str = "median") -> float | None:
    """One figure of an implementation's result, if it has it."""
    result = {} if work is None else work["results"].get(name, {})
    if which == CPU:
        return sum(result["cpu"].values()) if "cpu" in result else None
    found = result.get(which, result.get("extra", {}).get(which))
    return None if found is None else float(found)
