"""``pytest --lifted``: attack tests once more, each with its bound lifted, and each must fail.

A test says how with ``@pytest.mark.lifted(limits={…}, patches={…})``: overrides for the victim (``victim.py``).
Other tests are left out of such a run.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

#: Faults of the test itself: they prove nothing about the bound.
MISTAKES = (NameError, AttributeError, TypeError, ImportError, SyntaxError, KeyError)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--lifted", action="store_true", help="run attacks with their bounds lifted; each must fail"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "lifted(limits, patches): what lifts the bound that this attack tests (see --lifted)"
    )


def overrides(item: pytest.Item) -> dict[str, Any]:
    """What lifts the bound of this test, in a run that lifts bounds."""
    marker = item.get_closest_marker("lifted")
    return dict(marker.kwargs) if marker and item.config.getoption("--lifted") else {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--lifted"):
        kept = [item for item in items if item.get_closest_marker("lifted")]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def leaves(error: BaseException) -> list[BaseException]:
    """What an exception is made of, groups taken apart."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    if not overrides(item):
        return (yield)
    try:
        yield
    except Exception as error:
        found = leaves(error)
        if any(isinstance(leaf, MISTAKES) for leaf in found):
            raise
        for leaf in found:
            print(f"with its bound lifted it fails, as it must: {type(leaf).__name__}: {str(leaf)[:400]}")
    else:
        pytest.fail("it passed with its bound lifted: it does not test that bound")
