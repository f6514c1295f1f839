"""A link with latency, a rate and losses, as a process between two network namespaces: where the kernel has no netem.

It holds the one end of a TUN device in each: what the kernel sends into one comes out of the other, as late as the link
is long, or not at all. The sockets at both ends are the kernel's own. ``ip netns exec A python -m
benchmarks.macro.relay B --delay …`` says ``ready`` and runs until its stdin ends.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

DEVICE = "link0"  # in either namespace
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
PACKET = 2048  # bytes: more than the MTU
AT_ONCE = 64  # packets read before the other direction has its turn


def open_tun() -> int:
    """A TUN device in the namespace this process is in."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    return device


def enter(namespace: str) -> None:
    """Go into a network namespace. (``os.setns`` is Python 3.12's.)"""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


class Way:
    """One direction: packets leave as the rate allows and arrive a delay later; a full queue takes no more."""

    def __init__(self, source: int, target: int, flags: argparse.Namespace) -> None:
        self.source = source
        self._target = target
        self._delay = flags.delay
        self._loss = flags.loss
        self._rate = flags.rate
        self._queue = flags.queue / flags.rate  # seconds a packet may wait for its turn
        self._random = random.Random(source)
        self._free = 0.0  # when the last packet taken has left
        self._under_way: deque[tuple[float, bytes]] = deque()

    def take(self, now: float) -> None:
        """Read what the kernel sends."""
        for _ in range(AT_ONCE):
            try:
                packet = os.read(self.source, PACKET)
            except BlockingIOError:
                return
            begins = max(self._free, now)
            if self._random.random() < self._loss or begins - now > self._queue:
                continue
            self._free = begins + len(packet) / self._rate
            self._under_way.append((self._free + self._delay, packet))

    def deliver(self, now: float) -> None:
        while self._under_way and self._under_way[0][0] <= now:
            _, packet = self._under_way.popleft()
            # EIO: the other end is not up yet, or not any more. The kernel says things of itself before anybody asks.
            with contextlib.suppress(OSError):
                os.write(self._target, packet)

    @property
    def due(self) -> float:
        return self._under_way[0][0] if self._under_way else float("inf")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("other", help="the namespace of the other end")
    parser.add_argument("--delay", type=float, required=True, help="seconds, one way")
    parser.add_argument("--loss", type=float, required=True, help="share of the packets, each way")
    parser.add_argument("--rate", type=float, required=True, help="bytes per second, each way")
    parser.add_argument("--queue", type=float, required=True, help="bytes that may wait for their turn")
    flags = parser.parse_args()
    here = open_tun()
    enter(flags.other)
    there = open_tun()
    print("ready", flush=True)
    ways = [Way(here, there, flags), Way(there, here, flags)]
    stdin = sys.stdin.fileno()
    while True:
        now = time.monotonic()
        wait = min(ways[0].due, ways[1].due) - now
        timeout = None if wait == float("inf") else max(wait, 0)
        readable, _, _ = select.select([here, there, stdin], [], [], timeout)
        if stdin in readable:
            return
        now = time.monotonic()
        for way in ways:
            if way.source in readable:
                way.take(now)
            way.deliver(now)


if __name__ == "__main__":
    main()
