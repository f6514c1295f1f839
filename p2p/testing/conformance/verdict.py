"""How a check says that something is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TypeVar

import trio

from p2p.errors import P2PError

_Maker = TypeVar("_Maker")

#: A check that takes longer hangs: seconds, by whatever clock it runs under.
DEADLINE = 30.0

# What a part may raise where it should not, or with the wrong words. Anything else is a crash, and passes
# bare.
_VERDICTS = (
    AssertionError,
    P2PError,
    OSError,
    ValueError,
    EOFError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.BusyResourceError,
    trio.EndOfChannel,
    trio.TooSlowError,
    ExceptionGroup,
)


class CheckFailed(AssertionError):
    """A law was broken: ``check`` is the name of the check that found out."""

    def __init__(self, check: str, reason: str) -> None:
        self.check = check
        self.reason = reason
        super().__init__(f"{check}: {reason}")


def check(function: Callable[[_Maker], Awaitable[None]]) -> Callable[[_Maker], Awaitable[None]]:
    """Bound ``function`` by :data:`DEADLINE`, and make of its failures :class:`CheckFailed`."""

    @wraps(function)
    async def checked(maker: _Maker) -> None:
        try:
            with trio.fail_after(DEADLINE):
                await function(maker)
        except CheckFailed:
            raise
        except _VERDICTS as error:
            raise CheckFailed(_name(function), _reason(error)) from error

    return checked


async def run_checks(checks: Sequence[Callable[[_Maker], Awaitable[None]]], maker: _Maker) -> None:
    """Run all of ``checks``, one after the other; those that failed are raised together."""
    failures: list[CheckFailed] = []
    for each in checks:
        try:
            await each(maker)
        except CheckFailed as failure:
            failures.append(failure)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(checks)} checks failed", failures)


@contextmanager
def must_raise(*kinds: type[BaseException], what: str) -> Iterator[None]:
    """Asserts that the block raises one of ``kinds``."""
    expected = " or ".join(kind.__name__ for kind in kinds)
    try:
        yield
    except kinds:
        return
    except _VERDICTS as error:
        raise AssertionError(f"{what} raised {_reason(error)}, expected {expected}") from error
    raise AssertionError(f"{what} raised nothing, expected {expected}")


@contextmanager
def must_be_checkpoint(what: str) -> Iterator[None]:
    """Asserts that the block lets other tasks run."""
    try:
        with trio.testing.assert_checkpoints():
            yield
    except AssertionError:
        raise AssertionError(f"{what} is not a checkpoint") from None


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__name__", repr(function))


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, trio.TooSlowError):
        return f"it did not end within {DEADLINE:g} seconds"
    if isinstance(error, AssertionError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
