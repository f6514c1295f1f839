"""``p2p perf``: how fast bytes go to a peer, and come from it."""

from __future__ import annotations

import argparse
from typing import Final

from p2p.cli.hosts import dialing_host, peer_address
from p2p.cli.output import Output, size
from p2p.cli.progress import progress_bar
from p2p.protocols.identify import Identify
from p2p.protocols.perf import MAX_SIZE, Transfer, measure_download, measure_upload

#: Bytes each way: a second or so.
DEFAULT_SIZE: Final = 64 * 1024 * 1024
#: Of MAX_SIZE; Python reads no number of some thousands.
_MAX_DIGITS: Final = len(str(MAX_SIZE))


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "perf",
        help="measure the throughput to a peer and back",
        description="Send bytes to a peer that speaks perf, have as many sent back, and measure how long each took.",
    )
    parser.add_argument("addr", metavar="ADDR", type=peer_address, help="where it is, ending in /p2p/PEER-ID")
    for name, what in (("--upload", "sent to the peer"), ("--download", "asked of it")):
        text = f"how many are {what} (default: {DEFAULT_SIZE})"
        parser.add_argument(name, metavar="BYTES", type=_size, default=DEFAULT_SIZE, help=text)
    return parser


async def run(arguments: argparse.Namespace, output: Output) -> None:
    addr = arguments.addr
    async with dialing_host([Identify()]) as host:
        with progress_bar(output, arguments.upload, "up") as bar:
            upload = await measure_upload(host, addr, arguments.upload, bar.update)
        with progress_bar(output, arguments.download, "down") as bar:
            download = await measure_download(host, addr, arguments.download, bar.update)
    output.tell(
        "perf",
        f"up:   {_sentence(upload)}\ndown: {_sentence(download)}",
        upload=_facts(upload),
        download=_facts(download),
    )


def _sentence(transfer: Transfer) -> str:
    rate = transfer.bytes / transfer.seconds
    return f"{size(transfer.bytes)} in {transfer.seconds:.2f} s, {size(rate)}/s"


def _facts(transfer: Transfer) -> dict[str, float]:
    return {"bytes": transfer.bytes, "seconds": round(transfer.seconds, 6)}


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS or int(text) > MAX_SIZE:
        raise argparse.ArgumentTypeError(f"{text[:32]!r} is not a number of bytes")
    return int(text)
