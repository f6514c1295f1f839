"""The harness notices: each way of doing badly is judged by the bound for it, and doing well is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from tests.attacks import harness, measuring, wire
from tests.attacks.harness import MIB, Report, Verdict

QUICK = Verdict(settle=1.0)


async def call(scene: harness.Scene, protocol: str) -> None:
    """Open a stream to one of the victim's bad handlers and wait until it is done."""
    connection = await scene.secure()
    await connection.send(wire.opening(1, protocol))
    with trio.fail_after(20):
        assert await connection.receive_end_of(1) is not None


async def test_an_honest_visitor_is_no_attack(attack):
    async with attack() as scene:
        connection = await scene.secure()
        await connection.send(wire.opening(1, "/echo/1.0.0") + wire.data(1, b"hello"))
        frame = None
        with trio.fail_after(10):
            while frame is None or b"hello" not in frame.payload:
                frame = await connection.receive_frame()
                assert frame is not None
    assert scene.report.canary_echoes >= 5
    assert scene.report.settled is not None
    assert 0 < scene.report.stall < 0.05


async def test_memory_is_seen(attack):
    with pytest.raises(AssertionError, match="memory grew by 6"):
        async with attack(verdict=QUICK) as scene:
            await call(scene, "/attacks/hoard")


async def test_a_stall_is_seen(attack):
    with pytest.raises(AssertionError, match="held the loop"):
        async with attack(verdict=QUICK) as scene:
            await call(scene, "/attacks/stall")


async def test_a_flood_of_log_lines_is_seen(attack):
    with pytest.raises(AssertionError, match="200 lines logged in one second"):
        async with attack(verdict=QUICK) as scene:
            await call(scene, "/attacks/log")


async def test_a_traceback_is_seen(attack):
    with pytest.raises(AssertionError, match="1 tracebacks were logged"):
        async with attack(verdict=QUICK) as scene:
            await call(scene, "/attacks/fail")


async def test_what_is_left_in_use_is_seen(attack):
    """A connection that outlives the attack's sockets: here one that the test keeps to itself."""
    raw = None
    try:
        with pytest.raises(AssertionError, match=r"still in use after 1.0 s: .*'connections': \(1, 2\)"):
            async with attack(verdict=QUICK) as scene:
                raw = await trio.open_tcp_stream(scene.ip, scene.port)
                connection = await wire.secure(raw)
                await connection.send(wire.header(wire.PING, wire.SYN, 0, 7))
                with trio.fail_after(5):
                    assert await connection.receive()
    finally:
        if raw is not None:
            await raw.aclose()


async def test_a_victim_that_died_is_seen(attack):
    with pytest.raises(AssertionError, match="the process ended"):
        async with attack(verdict=QUICK) as scene:
            scene.victim.kill()


async def test_limits_and_patches_reach_the_victim(attack):
    one = {"inbound_connections": 1}
    limits = {"resources": {"system": one}, "yamux": {"max_inbound_streams": 8}}
    patches = {"tests.attacks.victim:HANDLERS": "{'/only': original['/attacks/hang']}"}
    async with attack(limits=limits, patches=patches) as scene:
        # The canary is the one connection there may be.
        raw = await scene.connect()
        with trio.fail_after(5):
            await wire.closed(raw)


# --- the verdict, without processes -------------------------------------------------------------------

GOOD = Report(idle_p99=0.01, canary_p99=0.02, canary_echoes=10, rss=MIB, stall=0.01, settled=0.1)
BAD = {
    "memory grew": {"rss": 17 * MIB},
    "the canary failed": {"canary_failures": ["late"]},
    "the canary waited": {"canary_p99": 0.26},
    "held the loop": {"stall": 0.051},
    "still in use": {"settled": None},
    "tracebacks were logged": {"errors": "Traceback (most recent call last):"},
    "lines logged": {"log_rate": 11},
}


def test_a_good_report_has_no_faults() -> None:
    assert not GOOD.faults(Verdict())
    assert not replace(GOOD, idle_p99=0.2, canary_p99=0.9).faults(Verdict())


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_report_has_its_fault(fault: str) -> None:
    (found,) = replace(GOOD, **BAD[fault]).faults(Verdict())
    assert fault in found


def test_percentiles() -> None:
    assert harness.percentile([]) == 0
    assert harness.percentile([3.0]) == 3
    assert harness.percentile([float(n) for n in range(1000)]) == 990


def test_overrides_are_merged() -> None:
    assert harness.merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}}) == {"a": {"b": 4, "c": 2}, "d": 3}


def test_the_calibration_measures_something() -> None:
    assert 0.05 < measuring.slowness() < 50
