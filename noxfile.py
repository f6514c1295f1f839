"""The project's sessions. ``nox`` alone runs the tests; ``nox -l`` lists the rest.

Everything comes through plain ``venv`` and ``pip``, so whatever these are configured with is used.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")
#: Everything but what has a session of its own.
QUICK = "not attacks and not interop and not property"


def install(session: nox.Session, *groups: str, package: str = ".[all]") -> None:
    """The package, editable, and the named dependency groups."""
    needed = [line for group in groups for line in nox.project.dependency_groups(GROUPS, group)]
    session.install("-e", package, *needed)


def pytest(session: nox.Session, *args: str) -> None:
    session.run("python", "-X", "dev", "-m", "pytest", *args, *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Two processes, a file sent and fetched, checked: ``nox -s demo -- FILE`` takes yours."""
    session.install("-e", ".")
    session.run("python", "-m", "p2p.cli.demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that is quick."""
    install(session, "test")
    pytest(session, "-m", QUICK)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, and the rules of this house."""
    install(session, "lint", "test")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "-X", "dev", "-m", "pytest", "-q", "tests/test_architecture.py")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strictly: the package, what its users would write, and what measures it."""
    install(session, "types")
    # multiaddr pulls it in; its stubs describe a Trio of long ago and hide the types Trio ships.
    session.run("python", "-m", "pip", "uninstall", "-q", "-y", "trio-typing")
    session.run("mypy", "--strict", "p2p", *session.posargs)
    users = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/typing/*.py"))
    users += sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/examples/*.py"))
    if users:
        session.run("mypy", "--strict", *users)
    measuring = ("-p", "benchmarks.macro", "-p", "benchmarks.compare", "-m", "benchmarks.page")
    session.run("mypy", "--strict", "--explicit-package-bases", *measuring)


@nox.session(name="property")
def property_(session: nox.Session) -> None:
    """Every hypothesis test with many more examples."""
    install(session, "test")
    session.env["HYPOTHESIS_PROFILE"] = "property"
    # Shrinking a failure takes its time, and dumping the stacks of a busy thread has crashed Python 3.11.
    slow = ("--timeout=600", "-o", "faulthandler_timeout=0")
    pytest(session, "-m", "property or (hypothesis and not attacks and not interop)", *slow)


@nox.session
def attacks(session: nox.Session) -> None:
    """Victims, attackers, canaries."""
    install(session, "test")
    pytest(session, "-m", "attacks")
    if not session.posargs:
        # Each attack with its bound lifted: the test must fail, or it tests nothing.
        pytest(session, "-m", "attacks", "--lifted")


@nox.session
def interop(session: nox.Session) -> None:
    """Other implementations, at their current releases; needs what the tools stage of ``.ci/run`` asks for."""
    install(session, "test")
    # A peer that is built for the first time takes its time, and is not hung.
    pytest(session, "-m", "interop", "-s", "-o", "faulthandler_timeout=0")


@nox.session(name="bench-micro")
def bench_micro(session: nox.Session) -> None:
    """The pure code by itself, call by call."""
    install(session, "bench")
    told = Path(session.create_tmp()) / "micro.json"
    measuring = ("--benchmark-max-time=0.5", "--benchmark-columns=median,iqr,ops", "--benchmark-sort=name")
    session.run(
        "python", "-m", "pytest", "-q", "benchmarks", *measuring, f"--benchmark-json={told}", *session.posargs
    )


@nox.session(name="bench-macro")
def bench_macro(session: nox.Session) -> None:
    """Two processes of ours beside the floor; ``-- --quick`` only sees that it runs, ``-- --help`` tells the rest."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks.macro", *session.posargs)


@nox.session(name="bench-compare")
def bench_compare(session: nox.Session) -> None:
    """The same work by py, js, go and rust, by ours and by the floor, in one run; takes what ``bench-macro`` takes."""
    install(session, "bench")
    try:
        session.run("python", "-m", "benchmarks.compare", *session.posargs)
    finally:
        if (
            not session.posargs
        ):  # the whole of it: then the page in the documentation tells it, whatever it is
            session.run("python", "-m", "benchmarks.report")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, where a warning is an error, and everything in it that runs."""
    install(session, "docs", "test")
    pytest(session, "-q", "tests/docs")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session
def protos(session: nox.Session) -> None:
    """Generate the protobuf modules again; ``-- --check`` only says whether they are as generated."""
    session.install(*nox.project.dependency_groups(GROUPS, "protos"))
    session.run("python", "tools/generate_protobuf.py", *session.posargs)


@nox.session
def flake(session: nox.Session) -> None:
    """The tests five times, beside two processes that take all the time they can get."""
    install(session, "test")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        for turn in range(1, 6):
            session.log(f"turn {turn} of 5")
            pytest(session, "-q", "-m", QUICK, "-p", "no:cacheprovider")
    finally:
        for process in busy:
            process.kill()
            process.wait()


if os.environ.get("CI"):
    nox.options.stop_on_first_error = False
