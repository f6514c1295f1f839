"""The front door: what it offers exists, is all there is, and costs little to open."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import p2p

#: Packages a user imports from.
PUBLIC = ["p2p", "p2p.abc", "p2p.errors", "p2p.muxers", "p2p.transports", "p2p.testing"]

#: What a program that only opens streams has no use for.
HEAVY = {
    "hypothesis",
    "pytest",
    "sphinx",
    "mypy",
    "tqdm",
    "argparse",
    "asyncio",
    "requests",
    "grpc_tools",
    "google.protobuf.compiler",
    "p2p.cli",
    "p2p.testing",
    "trio.testing",
}


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_exported_exists(name: str) -> None:
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    if exported is None:  # a module, and not a package: its public names are its exports
        assert not module.__file__ or not module.__file__.endswith("__init__.py"), f"{name} has no __all__"
        return
    assert len(exported) == len(set(exported))
    missing = [entry for entry in exported if not hasattr(module, entry)]
    assert not missing


def test_the_front_door_has_what_the_readme_shows() -> None:
    assert {"Host", "Identity", "PeerId", "Multiaddr", "P2PError"} <= set(p2p.__all__)


def test_the_front_door_has_every_error() -> None:
    errors = importlib.import_module("p2p.errors")
    named = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.P2PError)
    }
    assert named <= set(p2p.__all__)


def test_every_module_imports() -> None:
    for module in pkgutil.walk_packages(p2p.__path__, "p2p."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_importing_is_light() -> None:
    """No clock: what is loaded is exact, how long it takes is the machine's."""
    script = "import sys, json; import p2p; print(json.dumps(sorted(set(sys.modules))))"
    loaded = set(
        json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    )
    print(f"import p2p loads {len(loaded)} modules")
    assert not loaded & HEAVY
