"""Trio's scheduling made a function of a seed. The one module that touches Trio's private names for it.

Trio runs the tasks of one tick in an order it draws at random, so that no program comes to rely on one. For a
run that can be repeated, it has a switch that pytest-trio turns on under Hypothesis: the tasks are then
sorted by age and shuffled by one random generator. Both have been there since Trio 0.12; ``tests/trio``
holds the contract test that fails should they go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import trio
import trio.testing
from trio._core import _run

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


@contextmanager
def deterministic_scheduling(seed: int = 0) -> Iterator[None]:
    """Within the block, what Trio runs is scheduled alike for the same ``seed``, in a run begun before it
    too.

    Affects every ``trio.run`` of the process. Nothing is known of tasks that wait for the outside: sockets,
    threads.
    """
    was, state = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    vars(_run)["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    _run._r.seed(seed)
    try:
        yield
    finally:
        vars(_run)["_ALLOW_DETERMINISTIC_SCHEDULING"] = was
        _run._r.setstate(state)


def run(async_fn: Callable[[*_Ts], Awaitable[_T]], *args: *_Ts, seed: int = 0) -> _T:
    """``trio.run`` in virtual time (an autojump clock that starts at 0), scheduled by ``seed``."""
    with deterministic_scheduling(seed):
        return trio.run(async_fn, *args, clock=trio.testing.MockClock(autojump_threshold=0))
