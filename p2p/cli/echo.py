"""``p2p echo``: stdin to a peer, what comes back to stdout, and whether it is the same."""

from __future__ import annotations

import argparse
import hashlib
import os
import stat
from dataclasses import dataclass, field
from typing import Final, Never, Protocol

import trio
from tqdm import tqdm

from p2p.abc import Stream
from p2p.cli.hosts import dialing_host, peer_address
from p2p.cli.output import Output, size
from p2p.cli.progress import progress_bar
from p2p.cli.standard_streams import read_chunk, write_all
from p2p.errors import RemoteProtocolError
from p2p.protocols.echo import ECHO
from p2p.protocols.identify import Identify

_STDIN: Final = 0
_STDOUT: Final = 1


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "echo",
        help="send stdin to a peer that echoes it",
        description="Send stdin to a peer that speaks echo, write what comes back to stdout, and check that it is "
        "the same. The rest is told on stderr.",
    )
    parser.add_argument("addr", metavar="ADDR", type=peer_address, help="where it is, ending in /p2p/PEER-ID")
    return parser


class _Hash(Protocol):
    def update(self, data: bytes | bytearray, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(slots=True)
class _Tally:
    """One direction."""

    count: int = 0
    ended: bool = False
    hash: _Hash = field(default_factory=hashlib.sha256)

    def add(self, data: bytes | bytearray) -> None:
        self.count += len(data)
        self.hash.update(data)


async def run(arguments: argparse.Namespace, output: Output) -> None:
    sent, received = _Tally(), _Tally()
    async with dialing_host([Identify()]) as host:
        start = trio.current_time()
        async with await host.open_stream(arguments.addr, ECHO) as stream:
            with progress_bar(output, _stdin_size()) as bar:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_send, stream, sent)
                    await _receive(stream, sent, received, bar)
        seconds = trio.current_time() - start
    digest = sent.hash.hexdigest()
    rate = received.count / seconds
    output.note(
        "echoed",
        f"{size(received.count)} there and back in {seconds:.2f} s, {size(rate)}/s\nsha256 {digest} both ways",
        bytes=received.count,
        seconds=round(seconds, 6),
        bytes_per_second=round(rate),
        sha256=digest,
    )


async def _send(stream: Stream, sent: _Tally) -> None:
    while chunk := await read_chunk(_STDIN):
        sent.add(chunk)
        await stream.send_all(chunk)
    sent.ended = True
    await stream.send_eof()


async def _receive(stream: Stream, sent: _Tally, received: _Tally, bar: tqdm[Never]) -> None:
    """Raises ``RemoteProtocolError`` when what came is not what was sent."""
    async for chunk in stream:
        received.add(chunk)
        await write_all(_STDOUT, chunk)
        bar.update(len(chunk))
    if not sent.ended:
        raise RemoteProtocolError(f"the remote ended after {received.count} bytes, before all was sent")
    if (received.count, received.hash.hexdigest()) != (sent.count, sent.hash.hexdigest()):
        raise RemoteProtocolError(
            f"not an echo: {received.count} bytes with sha256 {received.hash.hexdigest()} came back, "
            f"{sent.count} with {sent.hash.hexdigest()} were sent"
        )


def _stdin_size() -> int | None:
    status = os.fstat(_STDIN)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
