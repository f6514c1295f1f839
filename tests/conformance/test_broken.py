"""The suites are tested too: a part with one defect fails the one check that is named for it, and no other."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2p.testing.conformance import CheckFailed, muxers, raw_streams, securities, streams
from tests.conformance import makers
from tests.conformance.broken import muxers as broken_muxers
from tests.conformance.broken import raw as broken_raw
from tests.conformance.broken import securities as broken_securities
from tests.conformance.broken import streams as broken_streams


def failing(checks, maker) -> set[str]:
    failed = set()
    for check in checks:
        try:
            trio.run(check, maker, clock=trio.testing.MockClock(autojump_threshold=0))
        except CheckFailed as failure:
            assert failure.check == check.__name__
            assert str(failure).startswith(f"{check.__name__}: ")
            failed.add(failure.check)
    return failed


def named(broken):
    return [pytest.param(kind, check, id=f"{kind.__name__}-{check}") for kind, check in broken.items()]


STREAM_CHECKS = [check for check in streams.CHECKS if check not in streams.RESTATED]


@pytest.mark.parametrize(("kind", "check"), named(broken_raw.BROKEN))
def test_raw_stream(kind, check):
    assert failing(raw_streams.CHECKS, makers.raw_streams(kind)) == {check}


@pytest.mark.parametrize(("kind", "check"), named(broken_streams.BROKEN))
def test_stream(kind, check):
    assert failing(STREAM_CHECKS, makers.streams(wrap=kind)) == {check}


@pytest.mark.parametrize(("kind", "check"), named(broken_muxers.BROKEN))
def test_muxer(kind, check):
    assert failing(muxers.CHECKS, lambda: broken_muxers.BrokenYamux(kind)) == {check}


@pytest.mark.parametrize("kind", broken_muxers.BROKEN_STREAMS)
def test_stream_of_a_broken_muxer(kind):
    maker = makers.streams(broken_muxers.BrokenYamux(kind))
    assert failing(STREAM_CHECKS, maker) == broken_muxers.BROKEN_STREAMS[kind]


@pytest.mark.parametrize(("kind", "check"), named(broken_muxers.BROKEN_MPLEX))
def test_muxer_without_flow_control(kind, check):
    assert failing(muxers.CHECKS_WITHOUT_FLOW_CONTROL, lambda: broken_muxers.BrokenMplex(kind)) == {check}


@pytest.mark.parametrize("kind", broken_muxers.BROKEN_MPLEX_STREAMS)
def test_stream_of_a_broken_muxer_without_flow_control(kind):
    maker = makers.streams(broken_muxers.BrokenMplex(kind))
    checks = [check for check in streams.CHECKS_WITHOUT_FLOW_CONTROL if check not in streams.RESTATED]
    assert failing(checks, maker) == broken_muxers.BROKEN_MPLEX_STREAMS[kind]


@pytest.mark.parametrize(("kind", "check"), named(broken_securities.BROKEN))
def test_security(kind, check):
    with broken_securities.spoilt(kind):
        assert failing(securities.CHECKS, kind) == {check}


def test_what_is_spoilt_was_sound_before():
    assert not failing(raw_streams.CHECKS, makers.raw_streams(broken_raw.Wrapped))
    assert not failing(STREAM_CHECKS, makers.streams(wrap=broken_streams.Wrapped))
    assert not failing(securities.CHECKS, broken_securities.SoundChannel)


def test_run_all_tells_of_every_check_that_failed():
    with pytest.raises(ExceptionGroup) as caught:
        trio.run(
            raw_streams.run_all,
            makers.raw_streams(broken_raw.EndSaidOnce),
            clock=trio.testing.MockClock(autojump_threshold=0),
        )
    assert [failure.check for failure in caught.value.exceptions] == ["check_end_stays"]
    assert all(isinstance(failure, AssertionError) for failure in caught.value.exceptions)
