"""The version of this distribution, as installed."""

from __future__ import annotations

from importlib import metadata
from typing import Final

DISTRIBUTION: Final = "p2p-trio"


def _version() -> str:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # run from a checkout
        return "0+checkout"


VERSION: Final = _version()
