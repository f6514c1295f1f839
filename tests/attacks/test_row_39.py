"""Row 39: text of a peer that would break a line, move a cursor or turn the writing direction where it is shown.

It is put wherever a peer can put text, and looked for in all that the victim logs and in all that ``p2p node``
prints: one line for each thing said, of printable ASCII, and not long.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio

from p2p import Identity, PeerId
from p2p.protocols.identify.service import IDENTIFY
from p2p.wire.framing import encode_frame
from tests import lifting
from tests.attacks import identifying, wire, xx
from tests.attacks.control import ROOT, Lines
from tests.attacks.harness import Scene, Verdict
from tests.attacks.identifying import (
    AGENT_VERSION,
    LISTEN_ADDR,
    OBSERVED_ADDR,
    PROTOCOL,
    PROTOCOL_VERSION,
    SIGNED_RECORD,
    field,
    varint,
)

PROMPT = 5.0

#: A line of its own, one that overwrites the line before, colours, a cleared screen, a bell, a direction, a name
#: with an invisible letter, a line separator.
MARK = "forged"
HOSTILE = f"a\nERROR {MARK}\r{MARK}\x1b[31m\x1b[2J\x07\x00\x9b\u202e\u2066{MARK}\u200b\u2028\ufeff\\x"
ONE_LINE = HOSTILE.replace("\n", "\x0b")
LONG = (HOSTILE * 1000).encode()[: 7 * 1024].decode(errors="ignore").encode()
#: What a line may take: a peer's text of 128 characters, who that peer is, and what was being done.
LINE = 400


def line(text: str) -> bytes:
    """A multistream message."""
    return encode_frame(text.encode() + b"\n")


def addr(code: int, text: str) -> bytes:
    """An address of one part."""
    value = text.encode()
    return varint(code) + varint(len(value)) + value


#: Parts with whatever text they take: ``/unix``, ``/http-path``, and a name that is written from right to left.
PATHS = [
    addr(0x0190, f"tmp/a\nERROR {MARK}\x1b[31m\u202e"),
    addr(0x01E1, HOSTILE.replace("/", "")),
    addr(0x36, f"\u05d0\u05d1.{MARK}"),
]


#: Answers to identify.
ANSWERS = {
    "agent": [field(AGENT_VERSION, LONG)],
    "all": [
        field(AGENT_VERSION, HOSTILE.encode())
        + field(PROTOCOL_VERSION, HOSTILE.encode())
        + field(PROTOCOL, b"/" + HOSTILE.encode())
        + b"".join(field(LISTEN_ADDR, path) for path in PATHS)
    ],
    "observed": [field(OBSERVED_ADDR, path) for path in PATHS],
    "no UTF-8": [field(AGENT_VERSION, HOSTILE.encode() + b"\xff")],
    "record": [field(SIGNED_RECORD, HOSTILE.encode())],
    "not a message": [HOSTILE.encode()],
}


# --- the log of a victim ------------------------------------------------------------------------------


async def said_before_security(scene: Scene) -> None:
    for text in (HOSTILE, ONE_LINE):
        raw = await scene.connect()
        await raw.send_all(line(text))
        await wire.closed(raw)
        raw = await scene.connect()
        await raw.send_all(wire.token("/multistream/1.0.0") + line(ONE_LINE) + line(text))
        await raw.send_eof()
        await wire.closed(raw)


async def said_in_noise(scene: Scene) -> None:
    """Names of muxers, and a payload and a key that are nothing but text."""
    text = HOSTILE.encode()
    muxers = field(4, field(2, text))
    await xx.dial(scene, xx.Hand(payload=lambda static: xx.honest_payload(static)[:-16] + muxers))
    await xx.dial(scene, xx.Hand(payload=lambda static: text))
    await xx.dial(scene, xx.Hand(payload=lambda static: field(1, text) + field(2, text)))


async def said_on_streams(scene: Scene) -> None:
    """In proposals, in answers to the victim's own, and in place of frames."""
    for text in (HOSTILE, ONE_LINE):
        connection = await scene.secure()
        await connection.send(wire.data(1, line(text), wire.SYN))
        await connection.send(wire.data(3, wire.token("/multistream/1.0.0") + line(text), wire.SYN))
        await connection.receive_end_of(1)
        await connection.raw.aclose()
        connection = await scene.secure()
        await connection.send(b"")
        while (frame := await connection.receive_frame()) is not None:
            if IDENTIFY.encode() in frame.payload:
                answer = wire.token("/multistream/1.0.0") + line(text)
                await connection.send(wire.data(frame.stream, answer, wire.ACK))
                await connection.receive_end_of(frame.stream)
                break
        await connection.raw.aclose()
    connection = await scene.secure()
    await connection.send(HOSTILE.encode())
    await connection.receive_until_closed()


async def said_to_a_dialer(scene: Scene) -> list[str]:
    """In answers to a dial; what the victim tells its user about it."""
    told = []

    async def refuse(raw: trio.SocketStream) -> None:
        await raw.receive_some()
        await raw.send_all(wire.token("/multistream/1.0.0") + line(ONE_LINE))
        await wire.closed(raw)

    async def break_lines(raw: trio.SocketStream) -> None:
        await raw.receive_some()
        await raw.send_all(line(HOSTILE))
        await wire.closed(raw)

    for serve in (refuse, break_lines):
        async with xx.listening(serve) as addr:
            told.append((await scene.victim.ask("dial", to=addr))["text"])
    return told


def is_shown_well(text: str) -> bool:
    return text.isascii() and text.isprintable()


@pytest.mark.lifted(
    patches={
        "p2p.host.reports:printable": "lifts.verbatim",
        "p2p.negotiation.multistream:_shown": "lifts.verbatim",
    }
)
async def test_row_39_log_injection(attack):
    """The victim logs for those who debug, so that nothing it may say is left out."""
    identity = Identity.generate()
    verdict = Verdict(log_rate=1000)
    async with attack(patches={"__main__:LOG_LEVEL": "10"}, verdict=verdict) as scene:
        with trio.fail_after(2 * PROMPT):
            await said_before_security(scene)
            await said_in_noise(scene)
            await said_on_streams(scene)
            for answer in ANSWERS.values():
                _, connection = await identifying.join(scene, answer, identity=identity)
                await connection.raw.aclose()
            told = await said_to_a_dialer(scene)
            await scene.wait_until("connections", 1)  # the canary's
            # The addresses it said are dialed, and told as what could not be.
            told.append((await scene.victim.ask("dial", to=str(identity.peer_id)))["text"])
    log = scene.report.log
    assert sum(MARK in text for text in log) >= 5, "\n".join(log)
    for text in log:
        assert is_shown_well(text) and len(text) <= LINE, repr(text)
    for text in told:
        assert all(map(str.isprintable, text.split("\n"))), repr(text)
    assert told[-1].count("\n") == len(PATHS), told[-1]


# --- what a node prints -------------------------------------------------------------------------------

#: ``p2p`` with what a run that lifts bounds puts in the place of others (see ``victim.py``).
COMMAND = """
import json, sys
from p2p.cli.command import main
from tests.attacks.victim import patch
for place, expression in json.loads(sys.argv.pop(1)).items():
    patch(place, expression)
sys.exit(main())
"""


@dataclass
class Node:
    """``p2p node`` in its own process."""

    process: trio.Process
    lines: Lines
    peer_id: PeerId
    port: int

    async def secure(self, identity: Identity | None = None) -> wire.Wire:
        raw = await trio.open_tcp_stream("127.0.0.1", self.port)
        return await wire.secure(raw, self.peer_id, identity=identity)

    async def until(self, beginning: bytes) -> bytes:
        """What it prints up to a line that begins so, that one included."""
        printed = b""
        while not (text := await self.lines.next()).startswith(beginning):
            assert text, "the node ended"
            printed += text + b"\n"
        return printed + text + b"\n"


@asynccontextmanager
async def node(patches: dict[str, str], *options: str) -> AsyncIterator[Node]:
    command = [sys.executable, "-c", COMMAND, json.dumps(patches), "node", *options]
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        lines = Lines(process.stdout)
        text = b""
        with trio.fail_after(PROMPT * 2):
            while (found := re.search(rb"/tcp/([0-9]+)/p2p/([0-9A-Za-z]+)", text)) is None:
                text = await lines.next()
                assert text, "the node ended"
        yield Node(process, lines, PeerId.from_text(found[2].decode()), int(found[1]))
    finally:
        with trio.move_on_after(PROMPT, shield=True):
            process.send_signal(signal.SIGINT)
            await process.wait()
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


SENTENCES = (b"connected: ", b"identified: ", b"disconnected: ")
EVENTS = {"connected", "identified", "disconnected"}


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["for people", "json"])
@pytest.mark.lifted(
    patches={
        "p2p.protocols.identify.state:printable": "lifts.verbatim",
        "p2p.cli.output:json.dumps": "__import__('functools').partial(original, ensure_ascii=False)",
    }
)
async def test_row_39_node_output(request, options):
    """Each answer gives the lines that an honest one would."""
    async with node(lifting.overrides(request.node).get("patches", {}), *options) as visited:
        printed = b""
        last = b'{"event": "disconnected"' if options else b"disconnected: "
        for name, answer in ANSWERS.items():
            with trio.fail_after(PROMPT):
                outcome, connection = await identifying.join(visited, answer)
                assert outcome in (identifying.READ, identifying.RESET), (name, outcome)
                async with connection.raw:
                    pass
                printed += await visited.until(last)
    shown = printed.decode().removesuffix("\n").split("\n")
    assert 2 * len(ANSWERS) <= len(shown) <= 3 * len(ANSWERS)
    for text in shown:
        assert is_shown_well(text), repr(text)
        if options:
            assert json.loads(text)["event"] in EVENTS
            assert len(json.loads(text).get("agent_version") or "") <= 128
        else:
            assert text.encode().startswith(SENTENCES) and len(text) <= LINE, repr(text)
    assert MARK in printed.decode()
