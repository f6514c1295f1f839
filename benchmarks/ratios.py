"""What is asserted of speed: ratios within one run, each with a wide margin. PURE.

They are alarms and not goals: a run breaks one only when something is wrong, whatever else the machine does. Most are
the targets that are ratios, with half of what these ask for; what is measured in times alone is told and not asserted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.targets import TARGETS, Target, judge

#: The part of a target's ratio below which (for a ratio from above: beyond its inverse) something is wrong.
MARGIN = 0.5


def _alarm(target: Target) -> Target:
    if target.at_least is not None:
        return replace(target, at_least=target.at_least * MARGIN)
    assert target.at_most is not None
    return replace(target, at_most=target.at_most / MARGIN)


ASSERTED: Sequence[Target] = (
    *(_alarm(target) for target in TARGETS if target.relative),
    Target("bulk-64k", at_least=2, against="py"),
    Target("bulk-1k", at_least=2, against="py"),
    Target("requests", at_least=1.5, against="py"),
    Target("round-trip", at_least=1, against="py"),
)


def broken(result: dict[str, Any], *, timed: bool = True) -> list[str]:
    """What does not hold, in words: what ours failed at, and (unless it was not ``timed``) which ratios are off."""
    problems = []
    for work in result["works"]:
        ours = work["results"].get("ours", {})
        if why := ours.get("failed") or ours.get("unmeasured"):
            problems.append(f"{work['name']}: ours failed: {why}")
    for verdict in judge(result, ASSERTED) if timed else ():
        if verdict.held is False:
            target = verdict.target
            than = target.against or target.beside
            least = target.at_least is not None
            times = f"{verdict.value:.2f} times as {'good' if least else 'much'} as {than}"
            wanted = f"{'at least' if least else 'at most'} {verdict.bound:.3g}"
            problems.append(f"{target.work}: ours is {times}, not {wanted}")
    return problems
