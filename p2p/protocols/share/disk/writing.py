"""Writing what is fetched: into a folder of its own beside the target, checked chunk by chunk, then moved. Blocking.

The working folder is called after the content, so whoever gets the same again, from wherever, goes on with it. What
it holds is believed by its hashes alone. Files grow chunk by chunk, so after a kill at any moment the last chunk is at
worst torn, fails its hash, and is fetched again. The generators here do a little at each ``next``, as in ``scanning``.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from p2p.errors import RemoteProtocolError
from p2p.limits import ShareLimits
from p2p.protocols.share.disk.beneath import open_file, open_folder, plain
from p2p.protocols.share.disk.scanning import Scan, Steps
from p2p.protocols.share.errors import ShareError, TargetExists, TargetUnusable
from p2p.protocols.share.manifest import Manifest
from p2p.wire.printable import printable
from p2p.wire.share_messages import EntryKind

_BLOCK: Final = 1024 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: File systems without hard links.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
#: More files than this are written out together with all else: one by one takes milliseconds for each.
_SYNCED_ALONE: Final = 64
#: Content that is the same is told by half of its id.
_ID_DIGITS: Final = 32


class Landing:
    """Where ``manifest`` lands: its file or folder in the folder ``directory``, which is made when there is none.

    In this order: ``for _ in landing.prepare()``; nothing more if :attr:`complete`; :meth:`write` for every chunk not
    in :attr:`held`; ``for _ in landing.finish()``. And :meth:`close` at last, which keeps what was fetched.

    All raise ``TargetExists``, ``TargetUnusable`` and ``OSError``. Nothing outside the target and the working folder
    is written, and neither is reached through a symbolic link.
    """

    def __init__(self, directory: str, manifest: Manifest, limits: ShareLimits) -> None:
        self._directory = directory
        self._manifest = manifest
        self._limits = limits
        self._partial = f".p2p-partial-{manifest.content_id.hex()[:_ID_DIGITS]}"
        #: Descriptors, -1 when not open.
        self._top = -1
        self._work = -1
        #: Chunks that are there already.
        self.held: set[int] = set()
        #: Whether the target is there already, and is the same.
        self.complete = False

    @property
    def path(self) -> str:
        """Of the target."""
        return os.path.join(self._directory, self._manifest.name)

    @property
    def working_path(self) -> str:
        """Of the working folder."""
        return os.path.join(self._directory, self._partial)

    def close(self) -> None:
        for fd in (self._work, self._top):
            if fd >= 0:
                os.close(fd)  # and so the lock is given back
        self._work = self._top = -1

    # --- before ---------------------------------------------------------------------------------------

    def prepare(self) -> Steps:
        """Look at the target, take the working folder, and find out what it holds."""
        plain(self._manifest.name)
        try:
            os.makedirs(self._directory, exist_ok=True)
            self._top = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileExistsError as error:
            raise TargetUnusable(f"{self._directory} is not a folder") from error
        except OSError as error:
            raise TargetUnusable(f"{self._directory or 'an empty path'}: {error.strerror}") from error
        if (yield from self._find_complete()):
            if self._exists(self._partial):  # of one that was killed at its very end
                with suppress(TargetUnusable):  # or is at work, and removes it
                    self._take_working_folder()
                    self._remove_working_folder()
            return
        self._take_working_folder()
        if self._exists(self._manifest.name):  # finished by somebody while we looked
            if (yield from self._find_complete()):
                self._remove_working_folder()
                return
        yield from self._find_held()
        self._check_room()
        yield from self._make_what_holds_nothing()

    def _find_complete(self) -> Generator[None, None, bool]:
        """Whether the target is there and is the same. Raises ``TargetExists`` when it is something else."""
        if not self._exists(self._manifest.name):
            return False
        scan = Scan(self._top, self._manifest.name, self._limits)
        try:
            yield from scan.walk()
            if scan.size == self._manifest.size:
                yield from scan.hash()
                self.complete = scan.manifest.content_id == self._manifest.content_id
        except ShareError as error:  # holds what no share does
            raise TargetExists(self.path) from error
        if not self.complete:
            raise TargetExists(self.path)
        return True

    def _exists(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._top, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _take_working_folder(self) -> None:
        try:
            os.mkdir(self._partial, 0o700, dir_fd=self._top)
        except FileExistsError:
            pass
        except OSError as error:
            raise TargetUnusable(f"nothing can be put into {self._directory}: {error.strerror}") from error
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._work = os.open(self._partial, flags, dir_fd=self._top)
            fcntl.flock(self._work, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TargetUnusable(
                f"{self.working_path}: somebody else is getting the same just now"
            ) from error
        except OSError as error:
            raise TargetUnusable(f"{self.working_path} is in the way, and cannot be used: {error}") from error
        status = os.fstat(self._work)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise TargetUnusable(f"{self.working_path} is in the way: others than you can write there")
        try:
            here = os.stat(self._partial, dir_fd=self._top, follow_symlinks=False)
        except FileNotFoundError:  # somebody else has finished with it just now
            here = None
        if here is None or (here.st_dev, here.st_ino) != (status.st_dev, status.st_ino):
            raise TargetUnusable(f"{self.working_path} was moved meanwhile: try again")

    def _find_held(self) -> Steps:
        for chunk in range(self._manifest.layout.count):
            data = yield from self._read(chunk)
            if data is not None and hashlib.sha256(data).digest() == self._manifest.hash_of(chunk):
                self.held.add(chunk)
            yield

    def _read(self, chunk: int) -> Generator[None, None, bytearray | None]:
        """None when not all of it is there."""
        data = bytearray()
        for file, offset, length in self._manifest.layout.slices(chunk):
            try:
                with open_file(self._work, self._names(file), os.O_RDONLY) as fd:
                    if os.fstat(fd).st_size < offset + length:
                        return None
                    data += os.pread(fd, length, offset)
            except FileNotFoundError:
                return None
            yield
        return data

    def _check_room(self) -> None:
        missing = sum(
            self._manifest.layout.length(chunk)
            for chunk in range(self._manifest.layout.count)
            if chunk not in self.held
        )
        there = os.fstatvfs(self._work)
        room = there.f_bavail * there.f_frsize
        if missing > room:
            with suppress(OSError):  # holds something
                os.rmdir(self._partial, dir_fd=self._top)
            raise TargetUnusable(
                f"{self._directory}: {missing} bytes are to come, and there is room for {room}"
            )

    def _make_what_holds_nothing(self) -> Steps:
        """Empty files and folders: no chunk brings them."""
        for path in self._manifest.folders:
            with self._telling_full(), open_folder(self._work, path.split("/"), make=True):
                pass
            yield
        for number, file in enumerate(self._manifest.files):
            if not file.size:
                with self._telling_full(), self._open(number):
                    pass
                yield

    # --- meanwhile ------------------------------------------------------------------------------------

    def write(self, chunk: int, data: bytes | bytearray) -> Steps:
        """Put a chunk in its place, a file or part of one at each step. Raises ``RemoteProtocolError`` when it is not
        what the manifest says.
        """
        if hashlib.sha256(data).digest() != self._manifest.hash_of(chunk):
            raise RemoteProtocolError(f"share: chunk {chunk} is not what its hash says")
        view = memoryview(data)
        with self._telling_full():
            for file, offset, length in self._manifest.layout.slices(chunk):
                with self._open(file) as fd:
                    _write_at(fd, view[:length], offset)
                view = view[length:]
                yield
        self.held.add(chunk)

    def _names(self, file: int) -> list[str]:
        return self._manifest.files[file].path.split("/")

    @contextmanager
    def _open(self, file: int) -> Iterator[int]:
        """For writing; made when missing."""
        entry = self._manifest.files[file]
        mode = 0o777 if entry.kind is EntryKind.EXECUTABLE else 0o666
        with open_file(self._work, self._names(file), os.O_WRONLY | os.O_CREAT, mode, make=True) as fd:
            self._check_linked(fd, entry.path)
            yield fd

    def _check_linked(self, fd: int, path: str) -> None:
        """Raises when writing would reach elsewhere, and what is written there would reach the target."""
        if os.fstat(fd).st_nlink != 1:
            raise TargetUnusable(
                f"{printable(path, 200)}, half fetched, is linked from elsewhere: remove {self.working_path} "
                "and run the same command again"
            )

    @contextmanager
    def _telling_full(self) -> Iterator[None]:
        """A disk that is full is told as that, and how to go on."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise TargetUnusable(
                f"{self._directory}: {error.strerror}; what was fetched is kept in {self.working_path}: make "
                "room and run the same command to go on"
            ) from error

    # --- after ----------------------------------------------------------------------------------------

    def finish(self) -> Steps:
        """See every file on disk, whole and with the hash it should have, then move the target to its place.

        Raises ``RemoteProtocolError`` when the sender's chunks are not its files; what was fetched is removed then,
        since none of it can be told good from bad.
        """
        for number, entry in enumerate(self._manifest.files):
            with open_file(self._work, self._names(number), os.O_RDWR) as fd:
                self._check_linked(fd, entry.path)
                if os.fstat(fd).st_size > entry.size:
                    os.ftruncate(fd, entry.size)
                digest = hashlib.sha256()
                while block := os.read(fd, _BLOCK):
                    digest.update(block)
                    yield
                if digest.digest() != entry.sha256:
                    self._remove_working_folder()
                    raise RemoteProtocolError(
                        f"share: the chunks do not make up {printable(entry.path, 200)}: the sender lied of one of "
                        "them; what was fetched is removed"
                    )
                if len(self._manifest.files) <= _SYNCED_ALONE:
                    with self._telling_full():
                        os.fsync(fd)
            yield
        if len(self._manifest.files) > _SYNCED_ALONE:
            os.sync()
            yield
        yield from self._check_nothing_else()
        with self._telling_full():
            self._move()
        self._remove_working_folder()

    def _check_nothing_else(self) -> Steps:
        """What lands is what is shared: nothing that somebody put beside it."""
        scan = Scan(self._work, self._manifest.name, self._limits)
        try:
            yield from scan.walk()
        except ShareError as error:
            raise TargetUnusable(f"{self.working_path} holds what is not of this share: {error}") from error
        strange = next(iter(scan.paths - {entry.path for entry in self._manifest.entries}), None)
        if strange is not None:
            raise TargetUnusable(
                f"{printable(os.path.join(self.working_path, strange), 400)} is not of this share: move it away and "
                "run the same command again"
            )

    def _move(self) -> None:
        """Never over something: what came to be there meanwhile stays."""
        name = self._manifest.name
        alone = self._manifest.entries[0].path == name and bool(self._manifest.files)
        try:
            if not alone:
                os.rename(name, name, src_dir_fd=self._work, dst_dir_fd=self._top)
            else:
                self._move_file(name)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise TargetExists(self.path) from error
            raise
        os.fsync(self._top)

    def _move_file(self, name: str) -> None:
        """A link fails where something is; renaming would replace it."""
        try:
            os.link(name, name, src_dir_fd=self._work, dst_dir_fd=self._top, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if self._exists(name):
                raise TargetExists(self.path) from error
            os.rename(name, name, src_dir_fd=self._work, dst_dir_fd=self._top)

    def _remove_working_folder(self) -> None:
        shutil.rmtree(self._partial, dir_fd=self._top)
        os.fsync(self._top)


def _write_at(fd: int, view: memoryview, offset: int) -> None:
    while view:
        count = os.pwrite(fd, view, offset)
        offset += count
        view = view[count:]
