"""``p2p get``: what somebody shares with ``p2p send``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import trio

from p2p.cli.hosts import dialing_host
from p2p.cli.output import Output, size
from p2p.cli.progress import Progress
from p2p.errors import InvalidAddress
from p2p.limits import DEFAULT_LIMITS
from p2p.protocols.identify import Identify
from p2p.protocols.share import DiskTarget, ShareAddress, get
from p2p.protocols.share.reports import ChunkFetched, ManifestRead, Report, SenderLost
from p2p.wire.printable import printable


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "get",
        help="get what somebody shares",
        description="Get a file or folder that somebody shares with 'p2p send'. Interrupted, the same command goes "
        "on where it was. Nothing that is there already is ever overwritten.",
    )
    parser.add_argument(
        "address", metavar="ADDRESS", type=_share_address, help="as 'p2p send' printed it, in quotes"
    )
    parser.add_argument(
        "-o", metavar="DIR", dest="directory", default=".", help="where to put it (default: here)"
    )
    return parser


def _share_address(text: str) -> ShareAddress:
    try:
        return ShareAddress.from_text(text)
    except InvalidAddress as error:
        raise argparse.ArgumentTypeError(str(error)) from error


async def run(arguments: argparse.Namespace, output: Output) -> None:
    watching = _Watching(output)
    start = trio.current_time()
    with DiskTarget(arguments.directory, DEFAULT_LIMITS.share) as target:
        try:
            async with dialing_host([Identify()]) as host:
                manifest = await get(host, arguments.address, target, watch=watching.watch)
        finally:
            watching.close()
        path = target.path
    seconds = trio.current_time() - start
    facts = {
        "path": path,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "fetched_bytes": watching.fetched,
        "fetched_chunks": watching.chunks,
        "seconds": round(seconds, 6),
        "sha256": manifest.files[0].sha256.hex()
        if manifest.entries[0].path == manifest.name and manifest.files
        else None,
    }
    output.tell("fetched", printable(path, 4096), **facts)
    if not output.as_json:
        rate = f", {size(watching.fetched / seconds)}/s" if watching.fetched else ""
        files = f"{facts['files']} {'file' if facts['files'] == 1 else 'files'}"
        already = watching.held and not watching.fetched
        fetched = "all there already" if already else f"{size(watching.fetched)} fetched"
        output.note("fetched", f"{files}, {size(manifest.size)}, {fetched} in {seconds:.2f} s{rate}")


@dataclass(slots=True)
class _Watching:
    """Tells how far it is."""

    output: Output
    fetched: int = 0
    chunks: int = 0
    #: Bytes that were there before.
    held: int = 0
    _progress: Progress | None = None

    def watch(self, report: Report) -> None:
        match report:
            case ManifestRead(manifest=manifest, held=held):
                self.output.aside(
                    "getting",
                    f"{printable(manifest.name)}: {size(manifest.size)}, {size(held)} of it here",
                    name=manifest.name,
                    files=len(manifest.files),
                    bytes=manifest.size,
                    held_bytes=held,
                )
                self.held = held
                self._progress = Progress(self.output, manifest.size, "getting")
                self._progress.reach(held)
            case ChunkFetched(size=fetched):
                self.fetched += fetched
                self.chunks += 1
                if self._progress is not None:
                    self._progress.advance(fetched)
            case SenderLost(chunks=chunks, reason=reason):
                self.output.aside(
                    "sender_lost",
                    f"lost the sender, trying again: {printable(reason)}",
                    chunks=chunks,
                    reason=reason,
                )

    def close(self) -> None:
        if self._progress is not None:
            self._progress.close()
