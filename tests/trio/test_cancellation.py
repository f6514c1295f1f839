"""The tool that cancels everywhere."""

from __future__ import annotations

import trio

from p2p.testing.cancellation import cancelled_after, cancelled_everywhere


async def test_every_step_is_struck_once(autojump_clock):
    reached = []

    async def operation() -> str:
        reached.append(0)
        for step in (1, 2, 3):
            await trio.lowlevel.checkpoint()
            reached[-1] = step
        return "done"

    outcomes = []

    async def look(outcome) -> None:
        outcomes.append(outcome)

    assert await cancelled_everywhere(operation, look) == outcomes[-1].steps
    # A cancellation is delivered where the operation waits, so the last step it reached is the one before.
    assert reached == [0, 0, 1, 2, 3]
    assert [outcome.finished for outcome in outcomes] == [False] * 4 + [True]
    assert outcomes[-1].results == ("done",)


async def test_steps_of_all_tasks_count(autojump_clock):
    async def other() -> None:
        for _ in range(5):
            await trio.lowlevel.checkpoint()

    async def operation() -> None:
        await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert not (await cancelled_after(3, operation)).finished  # the operation itself had one step
    assert (await cancelled_after(3, operation)).finished
