"""``p2p send``: a file or folder, to whoever is given the address that it prints."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from p2p.abc import Service
from p2p.cli.hosts import address
from p2p.cli.id import identity_of
from p2p.cli.output import Output, StdoutClosed, size
from p2p.cli.progress import Progress
from p2p.host import Host
from p2p.limits import DEFAULT_LIMITS
from p2p.protocols.identify import Identify
from p2p.protocols.share import DiskSource, Manifest, Secret, Share, ShareAddress, SourceChanged, scan
from p2p.protocols.share.reports import ChunkSent, GetterCame, GetterLeft, Report, SourceSpoilt
from p2p.protocols.share.secret import SECRET_SIZE
from p2p.transports.tcp import TCP
from p2p.wire.addresses import Multiaddr, leading_ip, parse_user_addr
from p2p.wire.printable import printable


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "send",
        help="send a file or folder to whoever has the address that this prints",
        description="Share a file or folder until interrupted. The address on stdout holds a secret: whoever has "
        "it can get what is shared, with 'p2p get', and nobody else can.",
    )
    parser.add_argument("path", metavar="PATH", help="the file or folder")
    parser.add_argument(
        "--listen",
        metavar="ADDR",
        type=address,
        action="append",
        help="where to listen, as /ip4/0.0.0.0/tcp/4001; may be repeated (default: a free port, all of IPv4)",
    )
    parser.add_argument(
        "--key",
        metavar="FILE",
        help="the private key; made when there is none (default: a new one). With the same key, content and "
        "--listen, the address is the same again",
    )
    return parser


async def run(arguments: argparse.Namespace, output: Output) -> None:
    identity, _ = identity_of(arguments.key, "ed25519")
    listen: list[Multiaddr] = arguments.listen or [parse_user_addr("/ip4/0.0.0.0/tcp/0")]
    with await _scanned(arguments.path, output) as source:
        manifest = source.manifest
        secret = Secret(os.urandom(SECRET_SIZE))
        if arguments.key is not None:
            secret = Secret.of_key(identity.private_key, manifest.content_id)
        watching = _Watching(manifest, output)
        services: list[Service] = [Identify(), Share({secret: source}, watch=watching.watch)]
        async with Host(identity, transports=[TCP()], listen=listen, services=services) as host:
            addresses = [str(ShareAddress(addr, secret)) for addr in best_first(host.addrs)]
            output.tell("sharing", addresses[0], address=addresses[0], addresses=addresses)
            if not output.as_json:
                _explain(manifest, addresses, output)
            await watching.over.wait()
    assert watching.why is not None
    raise watching.why


async def _scanned(path: str, output: Output) -> DiskSource:
    with Progress(output, 0, "reading", early=True, doing="reading") as progress:
        return await scan(path, DEFAULT_LIMITS.share, progress.reach)


def best_first(addrs: Sequence[Multiaddr]) -> list[Multiaddr]:
    """Those first that others can use: this machine's loopback is for itself."""

    def of_this_machine_only(addr: Multiaddr) -> bool:
        ip = leading_ip(addr)
        return ip is not None and (ip.is_loopback or ip.is_link_local)

    return sorted(addrs, key=of_this_machine_only)


def _explain(manifest: Manifest, addresses: Sequence[str], output: Output) -> None:
    files = len(manifest.files)
    what = f"{printable(manifest.name)}: {files} {'file' if files == 1 else 'files'}, {size(manifest.size)}"
    others = "".join(f"\n  {other}" for other in addresses[1:])
    output.note("sharing", f"{what}; until interrupted, whoever has the address can: p2p get 'ADDRESS'")
    if others:
        output.note("sharing", f"other addresses of the same:{others}")


@dataclass(slots=True)
class _Watching:
    """Tells what the service does."""

    manifest: Manifest
    output: Output
    #: Set when there is no use in going on, and ``why``.
    over: trio.Event = field(default_factory=trio.Event)
    why: SourceChanged | StdoutClosed | None = None
    #: By the numbers of the getters.
    _sending: dict[int, Progress] = field(default_factory=dict)

    def watch(self, report: Report) -> None:
        try:
            self._tell(report)
        except (
            StdoutClosed
        ) as error:  # the command's end, and not the fault of the stream that is served here
            self._end(error)

    def _end(self, why: SourceChanged | StdoutClosed) -> None:
        self.why = self.why or why
        self.over.set()

    def _tell(self, report: Report) -> None:
        match report:
            case GetterCame(peer=peer, getter=getter):
                self.output.aside("getter", f"{peer} gets it", peer_id=str(peer), getter=getter)
                self._sending[getter] = Progress(
                    self.output, self.manifest.size, str(peer)[-6:], peer_id=str(peer), getter=getter
                )
            case ChunkSent(getter=getter, size=sent):
                if getter in self._sending:
                    self._sending[getter].advance(sent)
            case GetterLeft(peer=peer, getter=getter, chunks=chunks, finished=finished):
                sent = 0
                if getter in self._sending:
                    progress = self._sending.pop(getter)
                    progress.close()
                    sent = progress.done
                how = "has it all" if finished else "left before it had all"
                self.output.aside(
                    "finished" if finished else "getter_left",
                    f"{peer} {how}, {size(sent)} sent",
                    peer_id=str(peer),
                    getter=getter,
                    chunks=chunks,
                    bytes=sent,
                )
            case SourceSpoilt(path=path):
                self._end(SourceChanged(path))
