"""Deterministic scheduling: the contract with Trio's private names, and what it is good for."""

from __future__ import annotations

import random

import trio
from trio._core import _run

from p2p.testing import deterministic
from p2p.testing.deterministic import deterministic_scheduling


async def order_of(tasks: int) -> list[int]:
    order = []

    async def step(i: int) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            order.append(i)

    async with trio.open_nursery() as nursery:
        for i in range(tasks):
            nursery.start_soon(step, i)
    return order


def test_trio_still_has_the_names_we_use():
    assert isinstance(vars(_run)["_ALLOW_DETERMINISTIC_SCHEDULING"], bool)
    assert isinstance(vars(_run)["_r"], random.Random)


def test_the_switch_is_read_and_the_seed_decides():
    orders = [tuple(deterministic.run(order_of, 10, seed=seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_everything_is_as_before_afterwards():
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    with deterministic_scheduling(5):
        assert _run._ALLOW_DETERMINISTIC_SCHEDULING
        _run._r.random()
    assert (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()) == before


async def test_it_holds_in_a_run_begun_before():
    orders = []
    for seed in (3, 3, 4):
        with deterministic_scheduling(seed):
            orders.append(await order_of(10))
    assert orders[0] == orders[1] != orders[2]


def test_virtual_time_begins_at_zero():
    async def sleep() -> float:
        await trio.sleep(3600)
        return trio.current_time()

    assert deterministic.run(sleep) == 3600
