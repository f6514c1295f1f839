"""The file of a peerstore: one SQLite database, what stands in it, and what of it is believed.

A file is somebody's bytes, too. Nothing is changed in one before it is known to be a peerstore, with exactly the
tables that are made here; values are bounded before memory is spent; and each goes through what a peer's
goes through. A peer of whom anything is wrong is left out, and taken out.

Times in it are Unix times. No private key is ever in it: the host has that from elsewhere.

Source: https://sqlite.org/security.html, "Untrusted SQLite Database Files".
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from p2p.errors import PeerstoreError, RemoteProtocolError
from p2p.identity import PeerId, PublicKey
from p2p.limits import PeerstoreLimits
from p2p.peerstore.memory import KnownPeer, Source
from p2p.wire.addresses import parse_peer_addr
from p2p.wire.printable import printable

#: "p2ps", in the header of the file.
APPLICATION_ID: Final = 0x70327073
VERSION: Final = 1
#: The peer written last has the highest id.
SCHEMA: Final = (
    """CREATE TABLE peers (
        id INTEGER PRIMARY KEY, peer BLOB NOT NULL UNIQUE, connected INTEGER NOT NULL, until REAL NOT NULL,
        public_key BLOB, record BLOB, agent_version TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE addrs (
        peer INTEGER NOT NULL REFERENCES peers ON DELETE CASCADE, addr BLOB NOT NULL, source INTEGER NOT NULL,
        expires REAL NOT NULL, PRIMARY KEY (peer, addr)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE protocols (
        peer INTEGER NOT NULL REFERENCES peers ON DELETE CASCADE, position INTEGER NOT NULL, name TEXT NOT NULL,
        PRIMARY KEY (peer, position)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE metadata (
        peer INTEGER NOT NULL REFERENCES peers ON DELETE CASCADE, key TEXT NOT NULL, value BLOB NOT NULL,
        PRIMARY KEY (peer, key)
    ) STRICT, WITHOUT ROWID""",
)
#: The first with STRICT tables, of 2021.
OLDEST_SQLITE: Final = (3, 37, 0)
#: What is wrong, by SQLite's primary result codes, where its own words do not say.
_WRONG: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_BUSY: "another process uses it",
    sqlite3.SQLITE_LOCKED: "another process uses it",
    sqlite3.SQLITE_NOTADB: "it is not a peerstore",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_READONLY: "it cannot be written to",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_IOERR: "the disk fails",
}

_Row = tuple[int, bytes, int, float, bytes | None, bytes | None, str]


class PeerFile:
    """A peerstore's file, open and nobody else's. Every method may wait for the disk, and is for one thread at a time.

    All raise ``PeerstoreError``.
    """

    def __init__(self, path: str | os.PathLike[str], limits: PeerstoreLimits) -> None:
        """Opens the file at ``path``, and makes it, for its owner alone, when there is none."""
        self._path = os.path.abspath(path)
        self._limits = limits
        self._last = -(2**63)  # the highest id that was read
        self._rows = 0
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise PeerstoreError(
                f"a peerstore in a file needs SQLite 3.37, and this is {sqlite3.sqlite_version}"
            )
        with self._telling():
            try:
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise PeerstoreError(f"{self._path}: {error.strerror}") from error
            self._db = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            with self._telling():
                self._prepare()
        except PeerstoreError:
            self._db.close()
            raise

    def close(self) -> None:
        """What was written is in the one file then; idempotent."""
        with self._telling():
            self._db.close()

    # --- the file itself ------------------------------------------------------------------------------

    def _prepare(self) -> None:
        db = self._db
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._limits.max_value)
        db.text_factory = _text
        for pragma in (
            # Taken with the first read, and released by the kernel however the process ends.
            "locking_mode = EXCLUSIVE",
            "trusted_schema = OFF",
            "cell_size_check = ON",
            "mmap_size = 0",
            "foreign_keys = ON",
        ):
            db.execute(f"PRAGMA {pragma}")
        is_new = self._recognise()
        # Each commit waits for the disk: what was written survives a loss of power, and not just of the process.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            if is_new:
                for statement in SCHEMA:
                    db.execute(statement)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute(
                "DELETE FROM peers WHERE id <= (SELECT id FROM peers ORDER BY id DESC LIMIT 1 OFFSET ?)",
                (self._limits.max_peers,),
            )

    def _recognise(self) -> bool:
        """Whether the file is new; raises when it is neither that nor a peerstore. Changes nothing."""
        application, version = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        schema = self._db.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchmany(
            len(SCHEMA) + 1
        )
        if (application, version, schema) == (0, 0, []):
            return True
        if application != APPLICATION_ID:
            raise PeerstoreError(f"{self._path}: it is not a peerstore, but another program's database")
        if version > VERSION:
            raise PeerstoreError(
                f"{self._path}: of version {version}, and this program reads version {VERSION}"
            )
        if version != VERSION:
            raise PeerstoreError(f"{self._path}: there never was a version {version} of it")
        if [sql for (sql,) in schema] != list(SCHEMA):
            raise PeerstoreError(f"{self._path}: it has other tables than a peerstore of version {VERSION}")
        return False

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:  # of SQLite's words, where they quote the file
            raise PeerstoreError(f"{self._path}: it is damaged") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            what = None if code is None else _WRONG.get(code & 0xFF)
            raise PeerstoreError(f"{self._path}: {what or printable(str(error))}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it, or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        done = False
        try:
            yield
            self._db.execute("COMMIT")
            done = True
        finally:
            if not done and self._db.in_transaction:
                self._db.execute("ROLLBACK")

    # --- what stands in it ----------------------------------------------------------------------------

    def write(self, changes: Iterable[tuple[PeerId, KnownPeer | None]], *, ahead: float) -> None:
        """Each peer as it is now, None: it was forgotten. All of it is on the disk after, or none of it.

        ``ahead``: how far Unix time is ahead of the times in ``changes``.
        """
        with self._telling(), self._transaction():
            for peer, known in changes:
                self._db.execute("DELETE FROM peers WHERE peer = ?", (peer.to_bytes(),))
                if known is not None:
                    self._insert(known, ahead)

    def _insert(self, known: KnownPeer, ahead: float) -> None:
        key = None if known.public_key is None else known.public_key.to_protobuf()
        until = known.until + ahead
        row = (known.peer.to_bytes(), known.connected, until, key, known.record, known.agent_version)
        number = self._db.execute(
            "INSERT INTO peers (peer, connected, until, public_key, record, agent_version) VALUES (?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        self._db.executemany(
            "INSERT INTO addrs VALUES (?, ?, ?, ?)",
            [
                (number, addr.to_bytes(), int(source), expires + ahead)
                for addr, source, expires in known.addrs
            ],
        )
        self._db.executemany(
            "INSERT INTO protocols VALUES (?, ?, ?)",
            [(number, position, name) for position, name in enumerate(known.protocols)],
        )
        self._db.executemany(
            "INSERT INTO metadata VALUES (?, ?, ?)",
            [(number, name, value) for name, value in known.metadata.items()],
        )

    def read(self, *, ahead: float) -> list[KnownPeer] | None:
        """The next ``limits.write_batch`` peers, those written last at the end; None when there are no more.

        What cannot be believed is left out, and deleted.
        """
        with self._telling():
            rows: list[_Row] = self._db.execute(
                "SELECT id, peer, connected, until, public_key, record, agent_version FROM peers "
                "WHERE id > ? ORDER BY id LIMIT ?",
                (self._last, min(self._limits.write_batch, self._limits.max_peers - self._rows)),
            ).fetchall()
            if not rows:
                return None
            known, bad = [], []
            for row in rows:
                try:
                    known.append(self._believe(row, ahead))
                except (RemoteProtocolError, ValueError, TypeError):
                    bad.append((row[0],))
            # A damaged tree may give ids in any order; the count ends it then.
            self._last = rows[-1][0]
            self._rows += len(rows)
            if bad:
                with self._transaction():
                    self._db.executemany("DELETE FROM peers WHERE id = ?", bad)
            return known

    def _believe(self, row: _Row, ahead: float) -> KnownPeer:
        number, peer, connected, until, key, record, agent = row
        limits = self._limits
        addrs = self._db.execute(
            "SELECT addr, source, expires FROM addrs WHERE peer = ? LIMIT ?", (number, limits.max_addrs)
        ).fetchall()
        protocols = self._db.execute(
            "SELECT name FROM protocols WHERE peer = ? AND length(CAST(name AS BLOB)) <= ? ORDER BY position LIMIT ?",
            (number, limits.max_protocol_name, limits.max_recent_protocols),
        ).fetchall()
        metadata = self._db.execute(
            "SELECT key, value FROM metadata WHERE peer = ? LIMIT ?", (number, limits.max_metadata)
        ).fetchall()
        return KnownPeer(
            peer=PeerId.from_bytes(_bytes(peer)),
            connected=bool(connected),
            until=float(until) - ahead,
            addrs=tuple(
                (parse_peer_addr(_bytes(addr)), Source(source), float(expires) - ahead)
                for addr, source, expires in addrs
            ),
            public_key=None if key is None else PublicKey.from_protobuf(_bytes(key)),
            record=None if record is None else _bytes(record),
            protocols=tuple(str(name) for (name,) in protocols),
            agent_version=_shown(str(agent)),
            metadata={str(name): _bytes(value) for name, value in metadata},
        )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _shown(text: str) -> str:
    """What was fit to be shown is as it was."""
    return text if text.isascii() and text.isprintable() and len(text) <= 128 else printable(text)


def _bytes(value: object) -> bytes:
    """What a column of bytes holds, whatever its table was made to say."""
    if not isinstance(value, bytes):
        raise ValueError(f"{type(value).__name__} where bytes belong")
    return value
