"""Priorities as values."""

from __future__ import annotations

import pytest

from p2p.flow import DEFAULT_PRIORITY, MOST_URGENT, Priority


def test_the_default_is_in_the_middle_and_shares() -> None:
    assert Priority(urgency=3, incremental=True) == DEFAULT_PRIORITY
    assert Priority(urgency=0, incremental=True) == MOST_URGENT


@pytest.mark.parametrize("urgency", [-1, 8, 3.5 * 4])
def test_an_urgency_beyond_the_range_is_refused(urgency: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 7"):
        Priority(urgency)
