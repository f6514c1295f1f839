"""The canary: an honest host in its own process, that has 1 KiB echoed by the victim every 100 ms.

``python -m tests.attacks.canary CONFIG``, CONFIG being a JSON object with the ``addr`` of the victim.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import trio

from p2p import Host, Identity, P2PError
from p2p.protocols.echo import ECHO
from p2p.streams import read_exactly
from p2p.transports.tcp import TCP
from tests.attacks.control import answer_commands

PERIOD = 0.1
#: An echo that takes longer has failed.
PATIENCE = 10.0
BLOCK = 1024


class Canary:
    def __init__(self, host: Host, addr: str) -> None:
        self._host = host
        self._addr = addr
        self._latencies: list[float] = []
        self._failures: list[str] = []
        self._begun = 0.0

    async def sing(self) -> None:
        due = trio.current_time()
        while True:
            self._begun = trio.current_time()
            try:
                with trio.fail_after(PATIENCE):
                    await self._echo()
            except (P2PError, trio.TooSlowError, trio.BrokenResourceError, OSError) as error:
                self._failures.append(repr(error))
            else:
                self._latencies.append(trio.current_time() - self._begun)
            self._begun = 0.0
            due = max(due + PERIOD, trio.current_time())
            await trio.sleep_until(due)

    async def _echo(self) -> None:
        block = os.urandom(BLOCK)
        async with await self._host.open_stream(self._addr, ECHO) as stream:
            await stream.send_all(block)
            if await read_exactly(stream, BLOCK) != block:
                self._failures.append("what came back is not what was sent")

    async def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """What happened since the last time it was asked; an echo under way counts with its age."""
        waiting = trio.current_time() - self._begun if self._begun else 0.0
        told = {"latencies": self._latencies, "failures": self._failures, "waiting": waiting}
        self._latencies, self._failures = [], []
        return told


async def main(config: dict[str, Any]) -> None:
    async with Host(Identity.generate(), transports=[TCP()], listen=[], services=[]) as host:
        canary = Canary(host, config["addr"])
        await canary._echo()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(canary.sing)
            await answer_commands({}, canary.answer)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
