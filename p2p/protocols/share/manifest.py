"""What a share holds: its files and empty folders, and the hashes of its chunks. PURE.

Paths begin with the share's own name, be it one file or a folder. Folders that hold something follow from the paths
in them, so only those that hold nothing are listed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from p2p.errors import RemoteProtocolError
from p2p.limits import ShareLimits
from p2p.protocols.share.layout import Layout
from p2p.protocols.share.names import Tree, UnfitName
from p2p.wire.printable import printable
from p2p.wire.share_messages import HASH_SIZE, Answer, EntryKind, EntryMessage, Part, decode_part, encode_part

Entry = EntryMessage


@dataclass(frozen=True)
class Manifest:
    """Entries in the order of :class:`Tree`; ``hashes`` holds SHA-256 of the chunks, one after the other;
    ``content_id`` is that of the entries (:class:`ContentId`).
    """

    entries: tuple[Entry, ...]
    chunk_size: int
    hashes: bytes
    content_id: bytes

    @classmethod
    def of(cls, entries: Sequence[Entry], chunk_size: int, hashes: bytes) -> Manifest:
        """With the id that its entries make."""
        content = ContentId()
        for entry in entries:
            content.add(entry)
        return cls(tuple(entries), chunk_size, hashes, content.digest())

    @property
    def name(self) -> str:
        """Of the file or folder that is shared."""
        return self.entries[0].path.partition("/")[0]

    @cached_property
    def files(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.kind is not EntryKind.FOLDER)

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """Those with nothing in them."""
        return tuple(entry.path for entry in self.entries if entry.kind is EntryKind.FOLDER)

    @cached_property
    def layout(self) -> Layout:
        return Layout([file.size for file in self.files], self.chunk_size)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.layout.size

    def hash_of(self, chunk: int) -> bytes:
        return self.hashes[chunk * HASH_SIZE : (chunk + 1) * HASH_SIZE]


class ContentId:
    """What content is called: the same for the same, wherever it comes from and however it is cut into chunks.

    SHA-256 over one line for each entry: kind, hash, size and path. Paths hold no line breaks.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256(b"p2p-trio share content 1\n")

    def add(self, entry: Entry) -> None:
        line = f"{entry.kind.name.lower()} {entry.sha256.hex()} {entry.size} {entry.path}\n"
        self._digest.update(line.encode("utf-8"))

    def digest(self) -> bytes:
        """32 bytes, of what was added so far."""
        return self._digest.digest()


def encode_manifest(manifest: Manifest, limits: ShareLimits) -> Iterator[bytes]:
    """The parts that tell ``manifest``, each within the limits of a message."""
    gathered: list[Entry] = []
    used = 0
    for entry in manifest.entries:
        cost = 3 * len(entry.path) + 80  # more than it can take
        if gathered and (used + cost > limits.max_message or len(gathered) == limits.max_message_entries):
            yield encode_part(Part(tuple(gathered)))
            gathered, used = [], 0
        gathered.append(entry)
        used += cost
    yield encode_part(Part(tuple(gathered)))
    step = (limits.max_message - 16) // HASH_SIZE * HASH_SIZE
    for start in range(0, len(manifest.hashes), step):
        yield encode_part(Part(chunks=manifest.hashes[start : start + step]))


class Assembling:
    """A manifest on its way from the sender: :meth:`receive` the parts until :attr:`manifest` is there.

    Every entry is judged as it comes. What is kept is bounded by what the answer announced, and that by the limits.
    """

    def __init__(self, answer: Answer, limits: ShareLimits) -> None:
        self._answer = answer
        self._limits = limits
        self._tree = Tree(limits)
        self._entries: list[Entry] = []
        self._content = ContentId()
        self._paths = 0
        self._size = 0
        self._hashes = bytearray()
        self._hashes_size = HASH_SIZE * -(-answer.size // answer.chunk_size)
        self.manifest: Manifest | None = None

    def receive(self, data: bytes) -> None:
        """Take one encoded part. Raises ``RemoteProtocolError``: malformed, more than announced, or unfit."""
        part = decode_part(data)
        if self.manifest is not None:
            raise RemoteProtocolError("share: more of a manifest that was complete")
        if part.entries and self._hashes:
            raise RemoteProtocolError("share: entries after the hashes")
        for entry in part.entries:
            self._take_entry(entry)
        if part.chunks and len(self._entries) != self._answer.entries:
            raise RemoteProtocolError("share: hashes before all entries")
        self._hashes += part.chunks
        if len(self._hashes) > self._hashes_size:
            raise RemoteProtocolError("share: more hashes than chunks")
        if len(self._entries) == self._answer.entries and len(self._hashes) == self._hashes_size:
            if self._size != self._answer.size:
                raise RemoteProtocolError(
                    f"share: {self._size} bytes in files, {self._answer.size} announced"
                )
            self.manifest = Manifest(
                tuple(self._entries), self._answer.chunk_size, bytes(self._hashes), self._content.digest()
            )

    def _take_entry(self, entry: Entry) -> None:
        self._paths += len(entry.path.encode("utf-8"))
        self._size += entry.size
        if len(self._entries) == self._answer.entries or self._size > self._answer.size:
            raise RemoteProtocolError("share: more than was announced")
        if self._paths > self._limits.max_paths:
            raise RemoteProtocolError(f"share: paths of more than {self._limits.max_paths} bytes")
        try:
            self._tree.add(entry.path)
        except UnfitName as error:
            raise RemoteProtocolError(
                f"share: the sender's {printable(entry.path)} is refused: {printable(str(error), 256)}"
            ) from error
        self._entries.append(entry)
        self._content.add(entry)
