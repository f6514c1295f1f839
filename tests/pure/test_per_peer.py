"""Counts by peer: a share each, and nothing of a peer that has none."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from p2p.identity import Identity
from p2p.resources.per_peer import PerPeer

ALICE, BOB = (Identity.generate().peer_id for _ in range(2))


def test_each_peer_has_its_share_and_gives_it_back() -> None:
    streams = PerPeer()
    with ExitStack() as held:
        assert [held.enter_context(streams.one_more(ALICE, 2)) for _ in range(4)] == [
            True,
            True,
            False,
            False,
        ]
        assert held.enter_context(streams.one_more(BOB, 2))
        assert len(streams) == 2
    assert len(streams) == 0
    with streams.one_more(ALICE, 1) as allowed:
        assert allowed


def test_a_failure_gives_it_back() -> None:
    streams = PerPeer()
    with pytest.raises(KeyError):
        with streams.one_more(ALICE, 1):
            raise KeyError
    assert len(streams) == 0
