"""Content in memory, and hosts that share it: for tests in virtual time, where no thread may run."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from p2p.abc import Stream
from p2p.errors import RemoteProtocolError
from p2p.limits import DEFAULT_LIMITS, Limits
from p2p.protocols.share import SHARE, Manifest, Secret, Share, ShareAddress, SourceChanged
from p2p.protocols.share.reports import Report
from p2p.streams import read_lp, write_lp
from p2p.wire.share_messages import EntryKind, EntryMessage, Hello, encode_hello
from tests.trio.two_hosts import TwoHosts, two_hosts

SECRET = Secret(b"sixteen bytes ok")
NONCE = bytes(16)


def manifest_of(files: dict[str, bytes], chunk_size: int) -> Manifest:
    """Of these files, whose paths must be in order."""
    entries = [
        EntryMessage(path, EntryKind.FILE, len(data), hashlib.sha256(data).digest())
        for path, data in files.items()
    ]
    whole = b"".join(files.values())
    cuts = range(0, len(whole), chunk_size)
    hashes = b"".join(hashlib.sha256(whole[at : at + chunk_size]).digest() for at in cuts)
    return Manifest.of(entries, chunk_size, hashes)


class MemorySource:
    """What ``Source`` asks for. ``reads`` counts; chunks in ``changed`` are no longer what they were."""

    def __init__(self, files: dict[str, bytes], chunk_size: int = 1000) -> None:
        self._manifest = manifest_of(files, chunk_size)
        self._whole = b"".join(files.values())
        self.reads: list[int] = []
        self.changed: set[int] = set()

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    async def read(self, chunk: int) -> bytes:
        await trio.lowlevel.checkpoint()
        if chunk in self.changed:
            raise SourceChanged(self._manifest.files[0].path)
        self.reads.append(chunk)
        size = self._manifest.chunk_size
        return self._whole[chunk * size : (chunk + 1) * size]


class MemoryTarget:
    """What ``Target`` asks for."""

    def __init__(self) -> None:
        self.chunks: dict[int, bytes] = {}
        self.manifest: Manifest | None = None
        self.finished = False

    @property
    def held(self) -> Set[int]:
        return self.chunks.keys()

    async def prepare(self, manifest: Manifest) -> bool:
        await trio.lowlevel.checkpoint()
        self.manifest = manifest
        return not self.finished

    async def write(self, chunk: int, data: bytearray) -> None:
        assert self.manifest is not None
        await trio.lowlevel.checkpoint()
        if hashlib.sha256(data).digest() != self.manifest.hash_of(chunk):
            raise RemoteProtocolError("not what its hash says")
        self.chunks[chunk] = bytes(data)

    async def finish(self) -> None:
        await trio.lowlevel.checkpoint()
        self.finished = True

    @property
    def whole(self) -> bytes:
        return b"".join(data for _, data in sorted(self.chunks.items()))


@dataclass
class Sharing:
    """``alice`` shares ``source``; ``reports`` is what her service told."""

    hosts: TwoHosts
    source: MemorySource
    service: Share
    reports: list[Report] = field(default_factory=list)

    @property
    def address(self) -> ShareAddress:
        return ShareAddress(self.hosts.alice.addrs[0], SECRET)

    async def stream(self) -> Stream:
        return await self.hosts.bob.open_stream(self.hosts.alice.peer_id, SHARE)

    async def knock(self, secret: Secret = SECRET) -> tuple[Stream, bytes]:
        """A stream on which bob showed a proof, and the answer."""
        stream = await self.stream()
        await write_lp(stream, self.hello(secret))
        return stream, await read_lp(stream, max=256)

    def hello(self, secret: Secret = SECRET) -> bytes:
        sender, getter = self.hosts.alice.peer_id, self.hosts.bob.peer_id
        proof = secret.prove_getter(sender=sender, getter=getter, nonce=NONCE)
        return encode_hello(Hello(secret.share_id, NONCE, proof))


FILES = {"top/a": bytes(range(256)) * 16, "top/b": b"", "top/c/d": b"x" * 77}


@asynccontextmanager
async def sharing(
    files: dict[str, bytes] | None = None, *, limits: Limits = DEFAULT_LIMITS
) -> AsyncIterator[Sharing]:
    source = MemorySource(files or FILES)
    reports: list[Report] = []
    service = Share({SECRET: source}, watch=reports.append)
    async with two_hosts([service], limits=limits) as hosts:
        yield Sharing(hosts, source, service, reports)
