"""The victim: a host like any other, in a process with 1 GiB of address space, that tells how it fares.

``python -m tests.attacks.victim CONFIG``. CONFIG is a JSON object: ``limits`` overrides fields of
``p2p.limits.Limits``, nested as they are there; ``patches`` maps ``module:attribute.path`` to a Python
expression that takes its place (``original`` is what was there, ``lifts`` the module of that name): bounds that
are no field are lifted by that.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import resource
import sys
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import trio

from p2p import Host, Identity, PeerId
from p2p.abc import Stream
from p2p.errors import DialError, P2PError
from p2p.limits import Limits
from p2p.muxers import Mplex, Yamux
from p2p.protocols.echo import Echo
from p2p.protocols.fetch import Fetch
from p2p.protocols.identify import Identify
from p2p.protocols.perf import Perf
from p2p.protocols.ping import Ping
from p2p.protocols.share import Share
from p2p.transports.tcp import TCP
from tests.attacks import lifts
from tests.attacks.control import CONTROL_TASK, answer_commands
from tests.attacks.measuring import LogWatch, StepWatch, open_descriptors, slowness
from tests.attacks.shared import SECRET, Zeros

ADDRESS_SPACE = 1 << 30
#: What is watched of its log; patched (as ``__main__:LOG_LEVEL``) where the subject is the log.
LOG_LEVEL = logging.INFO
#: A dial that takes longer has failed.
PATIENCE = 20.0


def with_overrides(value: Any, overrides: dict[str, Any]) -> Any:
    """A frozen dataclass with some fields replaced; a mistyped name raises."""
    changes = {
        name: with_overrides(getattr(value, name), new) if isinstance(new, dict) else new
        for name, new in overrides.items()
    }
    return dataclasses.replace(value, **changes)


def patch(where: str, expression: str) -> None:
    module, _, path = where.partition(":")
    *parents, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, eval(expression, {"original": getattr(owner, name), "lifts": lifts}))


async def find_nothing(key: bytes, peer: PeerId) -> None:
    """What it looks up for those who fetch."""


# --- handlers for attacks to call ---------------------------------------------------------------------


async def hang(stream: Stream) -> None:
    """Never reads, never returns."""
    await trio.sleep_forever()


async def fail(stream: Stream) -> None:
    raise RuntimeError("a handler failed on purpose")


async def fail_late(stream: Stream) -> None:
    """Once the remote is done."""
    async for _ in stream:
        pass
    raise RuntimeError("a handler failed late, on purpose")


async def fail_cleaning_up(stream: Stream) -> None:
    """In place of another failure."""
    try:
        await fail(stream)
    finally:
        raise KeyError("a handler failed while it cleaned up")


async def fail_in_groups(stream: Stream) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(fail, stream)
        nursery.start_soon(fail_cleaning_up, stream)


async def recurse(stream: Stream) -> None:
    await recurse(stream)


async def exhaust(stream: Stream) -> None:
    bytearray(2 * ADDRESS_SPACE)


async def spawn(stream: Stream) -> None:
    """Tasks that never end."""
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(trio.sleep_forever)


async def ignore(stream: Stream) -> None:
    """Takes no failure of the stream for an end."""
    while True:
        try:
            await stream.receive_some()
        except trio.BrokenResourceError:
            await trio.sleep_forever()


async def give_up(stream: Stream) -> None:
    """Returns at once, whatever the remote still sends."""


BLOCK = bytes(16 * 1024)


async def pour(stream: Stream) -> None:
    """Sends without end."""
    while True:
        await stream.send_all(BLOCK)


async def count(stream: Stream) -> None:
    """Reads to the end, and says how many bytes that was."""
    total = 0
    async for chunk in stream:
        total += len(chunk)
    await stream.send_all(str(total).encode())


# Handlers that are bad for everybody, to see that the verdicts notice.
hoard: list[bytearray] = []


async def do_hoard(stream: Stream) -> None:
    hoard.append(bytearray(b"\x01") * (64 << 20))


async def do_stall(stream: Stream) -> None:
    slow = slowness()
    for _ in range(40):
        slow += slowness()


async def do_log(stream: Stream) -> None:
    for number in range(200):
        logging.getLogger("p2p.victim").warning("line %d", number)


HANDLERS = {
    "/attacks/hang": hang,
    "/attacks/fail": fail,
    "/attacks/fail-late": fail_late,
    "/attacks/fail-cleaning-up": fail_cleaning_up,
    "/attacks/fail-in-groups": fail_in_groups,
    "/attacks/recurse": recurse,
    "/attacks/exhaust": exhaust,
    "/attacks/spawn": spawn,
    "/attacks/ignore": ignore,
    "/attacks/give-up": give_up,
    "/attacks/pour": pour,
    "/attacks/count": count,
    "/attacks/hoard": do_hoard,
    "/attacks/stall": do_stall,
    "/attacks/log": do_log,
}


# --- the process --------------------------------------------------------------------------------------


class Victim:
    def __init__(self, host: Host, watch: StepWatch, log: LogWatch) -> None:
        self._host = host
        self._watch = watch
        self._log = log
        self._slowness = slowness()

    async def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        if command["do"] == "dial":
            return await self.dial(command["to"])
        answers = {"begin": self.begin, "counters": self.counters, "end": self.end, "peers": self.peers}
        return answers[command["do"]]()

    async def dial(self, to: str) -> dict[str, Any]:
        """Who answered; or how the dial failed, with the class of what failed at each address."""
        try:
            with trio.fail_after(PATIENCE):
                connection = await self._host.dial(to)
        except (P2PError, trio.TooSlowError) as error:
            attempts = error.attempts if isinstance(error, DialError) else ()
            return {
                "peer": "",
                "error": type(error).__name__,
                "attempts": [type(failure).__name__ for _, failure in attempts],
                "text": str(error),
            }
        return {"peer": str(connection.remote_peer), "error": "", "attempts": [], "text": ""}

    def peers(self) -> dict[str, Any]:
        """The addresses it knows of each peer."""
        store, now = self._host.peerstore, trio.current_time()
        return {str(peer): [str(addr) for addr in store.addrs(peer, now=now)] for peer in store}

    def counters(self) -> dict[str, Any]:
        """What is in use."""
        return {
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "descriptors": open_descriptors(),
            **{name: value for name, value in self._in_use().items() if isinstance(value, int)},
        }

    def _in_use(self) -> dict[str, Any]:
        statistics = asdict(self._host.statistics())
        del statistics["refusals"]  # what went wrong only ever grows
        return statistics

    def begin(self) -> dict[str, Any]:
        self._slowness = slowness()
        self._watch.begin()
        self._log.begin()
        return {}

    def end(self) -> dict[str, Any]:
        lines = [*self._log.first, *self._log.last]
        return {
            "stall": self._watch.longest / 1e9,
            "stall_task": self._watch.longest_task,
            "pauses": self._watch.pauses,
            "longest_pause": self._watch.longest_pause / 1e9,
            "slowness": max(self._slowness, slowness()),
            "tracebacks": self._log.tracebacks,
            "busiest_second": self._log.busiest_second,
            "log": [f"{line.level} {line.name}: {line.text}\n{line.traceback}".rstrip() for line in lines],
        }


async def main(config: dict[str, Any], watch: StepWatch, log: LogWatch) -> None:
    limits = with_overrides(Limits(), config.get("limits", {}))
    host = Host(
        Identity.generate(),
        transports=[TCP()],
        muxers=[Yamux(limits.yamux), Mplex(limits.mplex)],
        listen=["/ip4/127.0.0.1/tcp/0"],
        services=[Identify(), Ping(), Echo(), Perf(), Fetch({b"": find_nothing}), Share({SECRET: Zeros()})],
        limits=limits,
    )
    async with host:
        with ExitStack() as handling:
            for protocol, handler in HANDLERS.items():
                handling.enter_context(host.handle(protocol, handler))
            victim = Victim(host, watch, log)
            ready = {"peer_id": str(host.peer_id), "addrs": [str(addr) for addr in host.addrs]}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer_commands, ready, victim.answer, name=CONTROL_TASK)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    settings = json.loads(sys.argv[1])
    for place, expression in settings.get("patches", {}).items():
        patch(place, expression)
    log_watch = LogWatch(LOG_LEVEL)
    logging.getLogger().addHandler(log_watch)
    logging.getLogger().setLevel(LOG_LEVEL)
    step_watch = StepWatch(ignore=CONTROL_TASK)
    trio.run(main, settings, step_watch, log_watch, instruments=[step_watch])
