"""A program that is killed while it writes its peerstore: nothing acknowledged is lost, and nothing is torn."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import trio

from p2p.identity import Identity
from p2p.peerstore.memory import KnownPeer
from p2p.peerstore.sqlite import SQLitePeerstore
from tests.trio.peerstore_writer import PEOPLE, change

WRITER = Path(__file__).with_name("peerstore_writer.py")
#: How long a life is at most, after the file was read; a flush takes some milliseconds.
LONGEST = 0.05


@contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    root = str(WRITER.parent.parent.parent)
    program = [sys.executable, str(WRITER), str(path)]
    with subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)


def one_life(process: subprocess.Popen[str], first: int, rng: random.Random) -> tuple[int, int, bool]:
    """The last step that was acknowledged, the last that was begun, and whether the file was read by then."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{first} {rng.randrange(2**32)}\n")
    process.stdin.flush()
    told = lines(process.stdout)
    _, pid = next(told)
    if rng.random() < 0.9:
        assert next(told) == ("open", "")
    # At a random moment: the program does not know when, and neither does this test.
    trio.run(trio.sleep, rng.uniform(0, LONGEST))
    os.kill(int(pid), signal.SIGKILL)
    acknowledged = begun = first - 1
    opened = False
    for word, number in told:
        if word == "gone":
            return acknowledged, begun, opened
        if word == "ack":
            acknowledged = int(number)
        if word == "step":
            opened, begun = True, int(number)
    raise AssertionError("the writer ended")


def lines(output: IO[str]) -> Iterator[tuple[str, str]]:
    for line in output:
        word, _, number = line.strip().partition(" ")
        yield word, number


async def found(path: Path) -> dict[Identity, KnownPeer]:
    """What a restart finds."""
    async with SQLitePeerstore(path) as store:
        known = {who: store.describe(who.peer_id) for who in PEOPLE}
    return {who: one for who, one in known.items() if one is not None}


def check(known: dict[Identity, KnownPeer], acknowledged: dict[Identity, int], begun: int) -> None:
    """Of each peer there stands what some step left, whole, and not one before the last acknowledged."""
    for who in PEOPLE:
        last = acknowledged.get(who, -1)
        one = known.get(who)
        if one is None:
            # Forgotten by the acknowledged step, or by one after it.
            later = range(max(last, 0), begun + 1)
            assert last < 0 or any(change(n).who is who and not change(n).addrs for n in later)
            continue
        step = int(one.metadata["step"])
        assert last <= step <= begun, f"step {last} was acknowledged, and step {step} is there"
        made = change(step)
        assert made.who is who and made.addrs
        assert {addr for addr, _, _ in one.addrs} == set(made.addrs)
        assert (one.record, one.protocols) == (made.record, made.protocols)
        assert (one.agent_version, one.public_key) == (f"step/{step}", who.public_key)


def kill(path: Path, times: int, seed: int) -> tuple[int, int]:
    """Kill it so often; how many steps were acknowledged, and how many were lost unacknowledged."""
    rng = random.Random(seed)
    acknowledged: dict[Identity, int] = {}
    step = lost = 0
    with writer(path) as process:
        for _ in range(times):
            last, begun, _ = one_life(process, step, rng)
            acknowledged |= {change(number).who: number for number in range(step, last + 1)}
            check(trio.run(found, path), acknowledged, begun)
            lost += begun - last
            step = begun + 1
    return step - lost, lost


def test_killed_ten_times(tmp_path: Path) -> None:
    acknowledged, _ = kill(tmp_path / "peers.db", 10, seed=1)
    assert acknowledged > 10


@pytest.mark.property
def test_killed_two_hundred_times(tmp_path: Path) -> None:
    acknowledged, lost = kill(tmp_path / "peers.db", 200, seed=random.randrange(2**32))
    print(f"200 times killed: {acknowledged} steps acknowledged and found, {lost} begun and not acknowledged")
    assert acknowledged > 200 and lost > 50
