"""A window opens as far as a long, fat link needs it, and lets through what it allows: exact, in virtual time."""

from __future__ import annotations

import trio.testing

from benchmarks.macro.virtual import open_window


async def test_at_200_ms_and_1_gbit_a_window_is_open_within_ten_round_trips_and_is_used(
    autojump_clock: trio.testing.MockClock,
) -> None:
    found = await open_window(20)
    assert found.round_trips <= 10
    assert found.share >= 0.9
