"""The front door: what it offers exists, is all there is, and costs little to open."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from importlib import metadata

import pytest

import p2p
from p2p import version

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
    "sqlite3",
    "unittest",
    "email",
    "http",
    "json",
    "netaddr",
    "cid",
    "multihash",
    "psutil",
    "importlib.metadata",
    "p2p.muxers.mplex",
    "p2p.peerstore.sqlite",
    "p2p.transports.interfaces",
    "ifaddr",
    "p2p.transports.memory",
    "p2p.transports.unix",
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


#: What a program does to have a host, and how many modules that may load in all: Trio itself loads 224.
LOADED = {
    "import p2p": 440,
    "from p2p import Host, Identity": 440,
    "from p2p.transports import TCP": 440,
    "from p2p.muxers import Yamux": 440,
}


def loaded_by(program: str) -> set[str]:
    script = f"{program}; import sys; names = sorted(sys.modules); import json; print(json.dumps(names))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=50)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("program", LOADED)
def test_importing_is_light(program: str) -> None:
    """No clock: what is loaded is exact, how long it takes is the machine's."""
    loaded = loaded_by(program)
    print(f"{program} loads {len(loaded)} modules")
    assert not loaded & HEAVY
    assert len(loaded) <= LOADED[program]


def test_names_that_come_later_come_when_asked_for() -> None:
    assert "p2p.muxers.mplex" in loaded_by("from p2p.muxers import Mplex")
    for name in ("memory", "unix"):
        assert f"p2p.transports.{name}" in loaded_by("from p2p.transports import *")
    with pytest.raises(ImportError, match="Carrier"):
        exec("from p2p.transports import Carrier")


@pytest.mark.parametrize("package", ["p2p.muxers", "p2p.transports"])
def test_names_that_come_later_are_in_the_list(package: str) -> None:
    """In another process: here all of them have come."""
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import {package} as it; print(set(it.__all__) - set(dir(it)), 'os' in dir(it))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "set() False"


def test_the_version_is_that_of_the_distribution() -> None:
    assert version.VERSION == metadata.version(version.DISTRIBUTION)
