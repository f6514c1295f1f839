"""What comes out of a host when parts of it fail: wrapped once, and unwrapped by identity only."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

import trio

from p2p.errors import HostCrashed


class Crashing:
    """A context out of which every ``Exception`` comes as ``HostCrashed``, with the failure as its cause.

    What is mixed with it in a group (``Cancelled``, ``KeyboardInterrupt``) goes on beside it.
    """

    def __init__(self, part: object) -> None:
        self._name = type(part).__name__

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, HostCrashed):
            return
        if isinstance(error, Exception):
            raise HostCrashed(self._name) from error
        if isinstance(error, BaseExceptionGroup):
            bugs, rest = error.split(Exception)
            if bugs is not None and rest is not None:
                crash = HostCrashed(self._name)
                crash.__cause__ = bugs
                raise BaseExceptionGroup(rest.message, [crash, rest]) from None


def failures_in(error: BaseException) -> list[BaseException]:
    """The failures in the groups that nurseries made, as they were raised; ``Cancelled`` is none."""
    if isinstance(error, BaseExceptionGroup):
        return [failure for part in error.exceptions for failure in failures_in(part)]
    return [] if isinstance(error, trio.Cancelled) else [error]


class Unwrapping:
    """A context that adds what the nurseries inside raise to ``failures``, and raises one bare, several in a group.

    ``body`` alone is not raised, since its own ``async with`` does that. With no failure at all, what comes is
    Trio's ``Cancelled``, and goes on untouched.
    """

    def __init__(self, failures: Sequence[BaseException], body: BaseException | None) -> None:
        self._failures = failures
        self._body = body

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        failures = [*self._failures, *([] if error is None else failures_in(error))]
        if not failures:
            return False
        if len(failures) == 1 and failures[0] is self._body:
            return True
        _raise_as_is(
            failures[0]
            if len(failures) == 1
            else BaseExceptionGroup("several failures ended the host", failures)
        )


def _raise_as_is(error: BaseException) -> NoReturn:
    """Raise without putting what is being handled into the error's context."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error
