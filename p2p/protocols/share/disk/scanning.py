"""Reading what is to be shared: once through all of it for its hashes, then chunk by chunk. Blocking.

What takes long is a generator that does a little at each ``next``, so that whoever waits for it, in a thread, can
stop between two of them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from p2p.limits import ShareLimits
from p2p.protocols.share.disk.beneath import NotRegular, open_file, open_folder
from p2p.protocols.share.errors import SourceChanged, UnfitSource
from p2p.protocols.share.manifest import Entry, Manifest
from p2p.protocols.share.names import Tree, UnfitName
from p2p.wire.share_messages import EntryKind

Steps = Generator[None, None, None]
#: Bytes of one read.
_BLOCK: Final = 1024 * 1024
_EXECUTABLE: Final = stat.S_IXUSR
_WHAT = {
    stat.S_IFLNK: "it is a symbolic link, and where that leads is another matter on another machine",
    stat.S_IFIFO: "it is a named pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}


@dataclass
class Scan:
    """The files and folders at ``name`` in the folder ``top`` (a descriptor, which stays the caller's).

    ``for _ in scan.walk()`` finds them, ``for _ in scan.hash()`` then reads them; :attr:`manifest` is there after that.
    Both raise ``UnfitSource``, ``SourceChanged``.
    """

    top: int
    name: str
    limits: ShareLimits
    #: Bytes found, and bytes read so far.
    size: int = 0
    hashed: int = 0
    #: When each file was last changed in whatever way, as the system tells (its ``ctime``).
    stamps: list[int] = field(default_factory=list)
    _found: list[tuple[str, EntryKind, int]] = field(default_factory=list)
    _manifest: Manifest | None = None

    @property
    def manifest(self) -> Manifest:
        assert self._manifest is not None, "scanned to the end"
        return self._manifest

    @property
    def paths(self) -> set[str]:
        """Of the files and empty folders that were found."""
        return {path for path, _, _ in self._found}

    def walk(self) -> Steps:
        """Find everything, in the order of a manifest; each step is one file or folder."""
        tree = Tree(self.limits)
        paths = 0
        pending = [self.name]
        while pending:
            path = pending.pop()
            with _told(path):
                status = self._status(path)
                kind = stat.S_IFMT(status.st_mode)
                if kind == stat.S_IFDIR:
                    names = self._names_in(path, len(self._found) + len(pending))
                    pending += [f"{path}/{name}" for name in sorted(names, reverse=True)]
                    if names:
                        yield
                        continue
                    found = (path, EntryKind.FOLDER, 0)
                elif kind == stat.S_IFREG:
                    executable = status.st_mode & _EXECUTABLE
                    found = (path, EntryKind.EXECUTABLE if executable else EntryKind.FILE, status.st_size)
                else:
                    raise UnfitSource(path, _WHAT.get(kind, "it is neither a file nor a folder"))
                try:
                    tree.add(path)
                except UnfitName as error:
                    raise UnfitSource(path, str(error)) from error
            self._found.append(found)
            self.size += found[2]
            paths += len(path.encode("utf-8"))
            if paths > self.limits.max_paths:
                raise UnfitSource(
                    self.name, f"its paths have more than {self.limits.max_paths} bytes together"
                )
            if self.size > self.limits.chunk * self.limits.max_chunks:
                most = self.limits.chunk * self.limits.max_chunks
                raise UnfitSource(self.name, f"it holds more than {most} bytes")
            yield

    def hash(self) -> Steps:
        """Read everything; each step is a block of one file."""
        entries: list[Entry] = []
        hashes = bytearray()
        chunk = hashlib.sha256()
        room = self.limits.chunk
        block = memoryview(bytearray(_BLOCK))
        for path, kind, size in self._found:
            if kind is EntryKind.FOLDER:
                entries.append(Entry(path, kind))
                continue
            whole = hashlib.sha256()
            with _told(path), open_file(self.top, path.split("/"), os.O_RDONLY) as fd:
                before = os.fstat(fd)
                left = size
                while left:
                    count = os.readv(fd, [block[: min(left, room, _BLOCK)]])
                    if not count:
                        raise SourceChanged(path)
                    whole.update(block[:count])
                    chunk.update(block[:count])
                    left -= count
                    room -= count
                    self.hashed += count
                    if not room:
                        hashes += chunk.digest()
                        chunk, room = hashlib.sha256(), self.limits.chunk
                    yield
                after = os.fstat(fd)
            if (before.st_size, size, before.st_mtime_ns) != (
                after.st_size,
                after.st_size,
                after.st_mtime_ns,
            ):
                raise SourceChanged(path)
            entries.append(Entry(path, kind, size, whole.digest()))
            self.stamps.append(after.st_ctime_ns)
            yield
        if room < self.limits.chunk:
            hashes += chunk.digest()
        self._manifest = Manifest.of(entries, self.limits.chunk, bytes(hashes))

    def _status(self, path: str) -> os.stat_result:
        *folders, name = path.split("/")
        with open_folder(self.top, folders) as folder:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def _names_in(self, path: str, known: int) -> list[str]:
        names = []
        with open_folder(self.top, path.split("/")) as folder, os.scandir(folder) as found:
            for entry in found:
                names.append(entry.name)
                if known + len(names) > self.limits.max_entries:
                    most = self.limits.max_entries
                    raise UnfitSource(self.name, f"it holds more than {most} files and empty folders")
        return names


def read_chunk(top: int, manifest: Manifest, stamps: Sequence[int], chunk: int) -> bytearray:
    """The bytes of ``chunk``, read again and found to be what they were. Raises ``SourceChanged``.

    Only what they hold decides. ``stamps`` of the scan tell which file it was, where a chunk holds several.
    """
    data = bytearray(manifest.layout.length(chunk))
    view = memoryview(data)
    position = 0
    suspect = ""
    for file, offset, length in manifest.layout.slices(chunk):
        entry = manifest.files[file]
        try:
            with open_file(top, entry.path.split("/"), os.O_RDONLY) as fd:
                status = os.fstat(fd)
                if status.st_size != entry.size:
                    raise SourceChanged(entry.path)
                if _read_into(fd, view[position : position + length], offset) < length:
                    raise SourceChanged(entry.path)
        except OSError as error:
            raise SourceChanged(entry.path) from error
        if not suspect or (status.st_ctime_ns != stamps[file]):
            suspect = entry.path
        position += length
    if hashlib.sha256(data).digest() != manifest.hash_of(chunk):
        raise SourceChanged(suspect)
    return data


def _read_into(fd: int, view: memoryview, offset: int) -> int:
    done = 0
    while done < len(view):
        count = os.preadv(fd, [view[done:]], offset + done)
        if not count:
            break
        done += count
    return done


@contextmanager
def _told(path: str) -> Iterator[None]:
    """What the operating system says of ``path`` is told as the source's fault."""
    try:
        yield
    except (NotRegular, FileNotFoundError, NotADirectoryError) as error:
        raise SourceChanged(path) from error
    except OSError as error:
        raise UnfitSource(path, f"it cannot be read: {error.strerror}") from error
