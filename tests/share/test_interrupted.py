"""Two processes, a wire that is cut and kill -9 of either: all is there in the end, and little was fetched twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p.limits import MIB, ShareLimits
from tests.share.wire import Wire
from tests.trio.commands import P2P

CHUNK = ShareLimits().chunk
#: Before any chunk: handshake, identify, the manifest of one file.
INTRODUCTION = 200_000
PATIENCE = 120
SENDER, GETTER, WIRE = "sender", "getter", "wire"
TEN = [GETTER, SENDER] * 2 + [WIRE] * 6


class Side:
    """A process, and everything that it told."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._told: list[dict[str, Any]] = []
        self._news = trio.Event()
        self.heard_all = trio.Event()

    async def listen(self) -> None:
        """Until it ends."""
        rest = b""
        assert self.process.stdout is not None
        async for chunk in self.process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            self._told += map(json.loads, lines)
            self._news.set()
            self._news = trio.Event()
        self.heard_all.set()

    def all(self, name: str) -> list[dict[str, Any]]:
        return [facts for facts in self._told if facts["event"] == name]

    async def wait(self, name: str, *, more_than: int = 0) -> dict[str, Any]:
        """The last event called so, once there are more than that."""
        with trio.fail_after(PATIENCE):
            while len(self.all(name)) <= more_than:
                await self._news.wait()
        return self.all(name)[-1]


class Transfer:
    """A sender and a getter of ``source``, each started again when it was killed."""

    def __init__(self, source: Path, directory: Path, wire: Wire, port: int, nursery: trio.Nursery) -> None:
        self._source = source
        self._directory = directory
        self._wire = wire
        self._port = port
        self._nursery = nursery
        self._address = ""
        self._sides: dict[str, Side] = {}
        self._ended: list[Side] = []
        self._told_by_senders = 0
        self._interruptions = 0

    async def start(self, side: str) -> None:
        if side == GETTER:
            command = ["get", self._address, "-o", str(self._directory / "got")]
        else:
            listen = ["--listen", "/ip4/127.0.0.1/tcp/0"]
            command = ["send", str(self._source), "--key", str(self._directory / "key"), *listen]
        started = partial(trio.run_process, [*P2P, *command, "--json"], stdout=subprocess.PIPE, check=False)
        self._sides[side] = process = Side(await self._nursery.start(started))
        self._nursery.start_soon(process.listen)
        if side == SENDER:
            addr, _, peer = (await process.wait("sharing"))["address"].partition("/p2p/")
            self._wire.port = int(addr.rpartition("/")[2])
            address = f"/ip4/127.0.0.1/tcp/{self._port}/p2p/{peer}"
            assert self._address in ("", address), "the same key, the same content, another address"
            self._address = address

        elif self._ended:
            # One chunk at the most was lost at each interruption: what is held now says so after each.
            held = (await process.wait("getting"))["held_bytes"]
            assert held // CHUNK >= self.sent() - self._interruptions

    async def interrupt(self, what: str) -> None:
        """Kill a side with SIGKILL, or cut the wire between them."""
        self._interruptions += 1
        if what == WIRE:
            self._wire.cut()
            return
        sender, killed = self._sides[SENDER], self._sides[what]
        left = len(sender.all("getter_left"))
        killed.process.kill()
        await killed.process.wait()
        await killed.heard_all.wait()
        if what == GETTER:
            self._told_by_senders += (await sender.wait("getter_left", more_than=left))["chunks"]
            self._ended.append(killed)

    async def finish(self) -> None:
        """Wait for the end."""
        sender, getter = self._sides[SENDER], self._sides[GETTER]
        await getter.wait("fetched")
        self._told_by_senders += (await sender.wait("finished"))["chunks"]
        assert await getter.process.wait() == 0
        await getter.heard_all.wait()
        self._ended.append(getter)
        sender.process.send_signal(signal.SIGINT)
        assert await sender.process.wait() == 130

    def sent(self) -> int:
        """Chunks of all connections of getters that ended. Of its last one the sender says how many there were, and
        of those that broke before the getter.
        """
        lost = sum(lost["chunks"] for getter in self._ended for lost in getter.all("sender_lost"))
        return lost + self._told_by_senders


async def interrupted(tmp_path: Path, size: int, victims: Sequence[str], seed: int) -> None:
    """``size`` bytes cross while each of ``victims`` is killed at a point that ``seed`` chooses."""
    chance = random.Random(seed)
    source = tmp_path / "source"
    with source.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(chance.randbytes(min(MIB, size - start)))
    wire = Wire()
    async with trio.open_nursery() as nursery:
        transfer = Transfer(source, tmp_path, wire, await nursery.start(wire.run), nursery)
        await transfer.start(SENDER)
        side = GETTER
        for victim in victims:
            wire.allow(chance.randint(INTRODUCTION, size // (len(victims) + 1)))
            if side != WIRE:
                await transfer.start(side)
            with trio.fail_after(PATIENCE):
                await wire.spent.wait()
            await transfer.interrupt(victim)
            side = victim
        wire.allow(2 * size)
        if side != WIRE:
            await transfer.start(side)
        await transfer.finish()
        nursery.cancel_scope.cancel()
    assert os.listdir(tmp_path / "got") == ["source"]
    assert digest_of(tmp_path / "got" / "source") == digest_of(source)
    chunks = -(-size // CHUNK)
    print(f"{chunks} chunks, {len(victims)} interruptions, {transfer.sent()} chunks sent")
    assert chunks <= transfer.sent() <= chunks + len(victims)


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.timeout(150)
async def test_interrupted_ten_times(tmp_path: Path) -> None:
    """In any order. A large file: ``test_large.py``."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    await interrupted(tmp_path, 64 * MIB + 1, random.Random(seed).sample(TEN, len(TEN)), seed)
