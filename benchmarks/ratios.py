"""What is asserted of speed: ratios within one run, each with a wide margin. PURE.

They are alarms and not goals: a run breaks one only when something is wrong, whatever else the machine does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours is at least ``factor`` times as good at ``work`` as ``other``."""

    work: str
    other: str
    factor: float


ASSERTED: Sequence[Ratio] = (
    Ratio("bulk-64k", "floor", 0.2),
    Ratio("bulk-1m", "floor", 0.25),
    Ratio("bulk-8-streams", "floor", 0.2),
    Ratio("round-trip", "floor", 0.25),
    Ratio("bulk-64k", "py", 2),
    Ratio("bulk-1k", "py", 2),
    Ratio("requests", "py", 1.5),
    Ratio("round-trip", "py", 1),
    Ratio("bulk-64k", "js", 1),
)


def broken(result: dict[str, Any], *, timed: bool = True) -> list[str]:
    """What does not hold, in words: what ours failed at, and (unless it was not ``timed``) which ratios are off."""
    problems = []
    works = {work["name"]: work for work in result["works"]}
    for work in works.values():
        if why := work["results"].get("ours", {}).get("failed"):
            problems.append(f"{work['name']}: ours failed: {why}")
    for ratio in ASSERTED if timed else ():
        results = works.get(ratio.work, {}).get("results", {})
        ours, other = (results.get(name, {}).get("median") for name in ("ours", ratio.other))
        if ours and other:
            better = ours / other if works[ratio.work]["higher_is_better"] else other / ours
            if better < ratio.factor:
                problems.append(
                    f"{ratio.work}: ours is {better:.2f} times as good as {ratio.other}, not {ratio.factor:g}"
                )
    return problems
