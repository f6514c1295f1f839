"""Who this host is: a private key, and the file it is kept in.

The file holds the libp2p protobuf of the key, as go's and rust's do. It is some kilobytes at most, so reading
and writing it are plain, blocking calls: make them at start-up.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import final

from p2p.errors import InvalidKey
from p2p.identity.keys import PrivateKey, PublicKey
from p2p.identity.peer_id import PeerId
from p2p.limits import WIRE_LIMITS
from p2p.wire.messages import KeyType

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@final
class Identity:
    """A private key with the peer id it makes."""

    __slots__ = ("_peer_id", "_private_key")

    def __init__(self, private_key: PrivateKey) -> None:
        self._private_key = private_key
        self._peer_id = PeerId.from_public_key(private_key.public_key)

    @classmethod
    def generate(cls, type: KeyType | str = KeyType.ED25519) -> Identity:
        """A new one, with a key of ``type``: a :class:`KeyType` or its name in any case, as ``"ed25519"``.

        Raises ``ValueError`` for another name.
        """
        if isinstance(type, str):
            names = {kind.name.lower(): kind for kind in KeyType}
            if type.lower() not in names:
                raise ValueError(f"key type {type!r}, expected one of {', '.join(names)}")
            type = names[type.lower()]
        return cls(PrivateKey.generate(type))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Identity:
        """Read a key file.

        Raises ``InvalidKey`` when others than its owner have any access to it, when it is no regular file or
        too large, or when it holds no usable key; ``OSError`` as opening does, so ``FileNotFoundError`` when
        there is none.
        """
        with open(path, "rb", opener=_open_existing) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidKey(f"{os.fspath(path)} is not a regular file")
            if status.st_mode & _OTHERS:
                raise InvalidKey(
                    f"key file {os.fspath(path)} has mode {stat.S_IMODE(status.st_mode):04o}: others than "
                    f"its owner have access; if nobody used that, run: chmod 600 {os.fspath(path)}"
                )
            data = file.read(WIRE_LIMITS.max_private_key + 1)
        if len(data) > WIRE_LIMITS.max_private_key:
            raise InvalidKey(f"{os.fspath(path)} is too large for a key file")
        return cls(PrivateKey.from_protobuf(data))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a new key file, readable by its owner only, and see it on disk.

        Never replaces anything: raises ``FileExistsError`` when ``path`` exists, be it a dangling link.
        Whatever fails, no half-written file is left.
        """
        secret = self._private_key.to_protobuf()
        with open(path, "xb", opener=_create_private) as file:
            written = False
            try:
                file.write(secret)
                file.flush()
                os.fsync(file.fileno())
                written = True
            finally:
                if not written:
                    os.unlink(path)
        directory = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    @property
    def private_key(self) -> PrivateKey:
        return self._private_key

    @property
    def public_key(self) -> PublicKey:
        return self._private_key.public_key

    def sign(self, message: bytes) -> bytes:
        return self._private_key.sign(message)

    def __repr__(self) -> str:
        return f"<Identity {self._peer_id}>"


def _open_existing(path: str, flags: int) -> int:
    # Not blocking: opening a FIFO would wait for its writer.
    return os.open(path, flags | os.O_NONBLOCK)


def _create_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
