"""Names of a package that are loaded when somebody asks for them (PEP 562).

For the front doors of packages that offer several of a kind, of which a program uses one or two. What every program
needs is imported there as usual.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """A ``__getattr__`` and a ``__dir__`` for ``package``: ``homes`` has the module of each name.

    The one raises ``AttributeError`` for other names; the other is what ``help`` and an editor go by.
    """

    def load(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return vars(import_module(homes[name]))[name]

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, names
