"""Links with latency and losses: two network namespaces, with netem between them, or a relay of ours without it.

They are made and removed here, under names with our process id, and nothing outside them is touched. It takes root.
Where that is not allowed, ``benchmarks.macro.virtual`` says what can be said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from benchmarks.macro.relay import DEVICE
from benchmarks.macro.runner import Place

ROOT = Path(__file__).resolve().parent.parent.parent
NEAR, FAR = "10.77.0.1", "10.77.0.2"
#: Packets a device of ours may hold before the link takes them.
DEVICE_QUEUE = 5000
MTU = 1500
COMMAND_TIMEOUT = 10  # seconds
READY_TIMEOUT = 10  # seconds


@dataclass(frozen=True, slots=True)
class Link:
    """Both directions alike: 200 Mbit/s, as a good line to a home has."""

    delay: float  # seconds, one way
    loss: float  # share of the packets, each way
    rate: float = 25e6  # bytes per second
    queue: float = 2.5e6  # bytes waiting for their turn: twice what is under way at 50 ms

    @property
    def in_words(self) -> str:
        megabits, round_trip = self.rate * 8 / 1e6, self.delay * 2000
        return f"{megabits:g} Mbit/s, {round_trip:g} ms round-trip time, {self.loss:.0%} loss each way"


LINKS = {"50ms": Link(0.025, 0.0), "loss": Link(0.005, 0.01)}


class Unavailable(Exception):
    """This machine does not let us make a link."""


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


@contextmanager
def _namespaces() -> Iterator[tuple[str, str]]:
    """Two of them, empty but for their loopbacks, and what is in them gone with them."""
    if missing := [tool for tool in ("ip", "tc") if shutil.which(tool) is None]:
        raise Unavailable(f"{missing[0]} (of iproute2) is not installed")
    names = (f"p2pbench{os.getpid()}a", f"p2pbench{os.getpid()}b")
    made = []
    try:
        for name in names:
            _ip("netns", "add", name)
            made.append(name)
            _ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in made:
            _ip("netns", "del", name)


def _netem(name: str, device: str, link: Link) -> None:
    packets = int((link.queue + link.rate * link.delay) / MTU)
    _run(
        *("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", device, "root", "netem"),
        *("delay", f"{link.delay * 1000:g}ms", "loss", f"{link.loss:.4%}"),
        *("rate", f"{link.rate * 8:.0f}bit", "limit", str(packets)),
    )


def how() -> str:
    """How links are made here. Raises :exc:`Unavailable` where they cannot be."""
    with _namespaces() as (near, _):
        try:
            _netem(near, "lo", LINKS["50ms"])
        except Unavailable:
            if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
                raise Unavailable("the kernel has neither netem nor TUN devices") from None
            return "network namespaces joined by a relay over TUN devices (the kernel has no netem)"
        return "network namespaces, veth and netem"


@asynccontextmanager
async def made(link: Link) -> AsyncIterator[Place]:
    """Where to run a pair so that ``link`` is between its processes. Raises :exc:`Unavailable`."""
    with_netem = "netem" in how() and "no netem" not in how()
    with _namespaces() as (near, far):
        place = Place(
            listener=("ip", "netns", "exec", near),
            dialer=("ip", "netns", "exec", far),
            addr=f"/ip4/{NEAR}/tcp/0",
        )
        if with_netem:
            _ip("-n", near, "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", far)
            _addresses(near, far)
            for name in (near, far):
                _netem(name, DEVICE, link)
            yield place
            return
        async with trio.open_nursery() as nursery:
            relay = await nursery.start(_relay, near, far, link)
            _addresses(near, far)
            try:
                yield place
            finally:
                await relay.aclose()  # the end of its stdin


def _addresses(near: str, far: str) -> None:
    for name, addr in ((near, NEAR), (far, FAR)):
        _ip("-n", name, "addr", "add", f"{addr}/30", "dev", DEVICE)
        _ip("-n", name, "link", "set", DEVICE, "mtu", str(MTU), "txqueuelen", str(DEVICE_QUEUE), "up")


async def _relay(
    near: str, far: str, link: Link, *, task_status: trio.TaskStatus[trio.abc.SendStream]
) -> None:
    command = [
        *(
            "ip",
            "netns",
            "exec",
            near,
            "env",
            f"PYTHONPATH={ROOT}",
            sys.executable,
            "-m",
            "benchmarks.macro.relay",
        ),
        *(
            far,
            f"--delay={link.delay}",
            f"--loss={link.loss}",
            f"--rate={link.rate}",
            f"--queue={link.queue}",
        ),
    ]
    run = partial(trio.run_process, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        assert process.stdin is not None and process.stdout is not None
        with trio.fail_after(READY_TIMEOUT):
            await process.stdout.receive_some()
        task_status.started(process.stdin)
