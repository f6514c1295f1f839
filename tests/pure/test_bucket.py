"""A token bucket gives a burst and then its rate, whatever the order of calls."""

from hypothesis import given
from hypothesis import strategies as st

from p2p.resources.bucket import TokenBucket


def test_burst_then_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3, now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(100.05)
    assert bucket.take(100.11)
    assert not bucket.take(100.11)
    assert [bucket.take(1e6) for _ in range(4)] == [True, True, True, False]


def test_reserving_spaces_callers_out() -> None:
    bucket = TokenBucket(rate=10, burst=2, now=0.0)
    assert [round(bucket.reserve(0.0), 6) for _ in range(5)] == [0.0, 0.0, 0.1, 0.2, 0.3]
    assert not bucket.take(0.3)
    assert bucket.take(0.4)
    assert TokenBucket(rate=0, burst=0, now=0).reserve(1e9) == float("inf")


def test_waiting_as_long_as_it_says_is_enough() -> None:
    bucket = TokenBucket(rate=4, burst=2, now=0.0)
    assert bucket.until(0.0) == 0.0
    assert bucket.take(0.0, 2)
    assert bucket.until(0.0) == 0.25
    assert bucket.until(0.0, 2) == 0.5, "asking takes nothing"
    assert bucket.until(0.125) == 0.125
    assert not bucket.take(0.24) and bucket.take(0.25)
    assert TokenBucket(rate=0, burst=0, now=0).until(1e9) == float("inf")


@given(st.lists(st.tuples(st.floats(0, 2), st.sampled_from([1.0, 2.0, 5.0]), st.booleans()), max_size=60))
def test_never_more_than_burst_and_rate_allow(steps: list[tuple[float, float, bool]]) -> None:
    bucket = TokenBucket(rate=4, burst=5, now=0.0)
    now = taken = 0.0
    for pause, n, reserve in steps:
        now += pause
        if reserve:
            taken += n
            assert taken <= 5 + 4 * (now + bucket.reserve(now, n)) + 1e-6
        elif bucket.take(now, n):
            taken += n
            assert taken <= 5 + 4 * now + 1e-6


def test_a_clock_that_goes_back_adds_nothing() -> None:
    bucket = TokenBucket(rate=1, burst=1, now=10.0)
    assert bucket.take(10.0)
    assert not bucket.take(5.0)
    assert not bucket.take(10.5)
