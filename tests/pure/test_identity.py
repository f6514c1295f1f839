"""An identity and its file."""

from __future__ import annotations

import copy
import os
import pickle
import stat
from pathlib import Path

import pytest

from p2p.errors import InvalidKey
from p2p.identity import Identity, KeyType, PeerId, PrivateKey
from p2p.limits import WIRE_LIMITS


@pytest.mark.parametrize("kind", KeyType)
def test_save_and_load(kind: KeyType, tmp_path: Path) -> None:
    identity = Identity.generate(kind)
    path = tmp_path / "key"
    identity.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == identity.private_key.to_protobuf()
    loaded = Identity.load(str(path))
    assert loaded.peer_id == identity.peer_id
    assert loaded.private_key == identity.private_key
    assert identity.public_key.verify(b"message", loaded.sign(b"message"))


def test_generate() -> None:
    assert Identity.generate().public_key.type is KeyType.ED25519
    assert Identity.generate("secp256k1").public_key.type is KeyType.SECP256K1
    assert Identity.generate().peer_id != Identity.generate().peer_id
    with pytest.raises(ValueError, match="ed25519"):
        Identity.generate("dsa")


def test_it_is_its_key() -> None:
    key = PrivateKey.generate()
    identity = Identity(key)
    assert identity.private_key is key
    assert identity.peer_id == PeerId.from_public_key(key.public_key)
    assert repr(identity) == f"<Identity {identity.peer_id}>"
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(identity)


def test_save_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        Identity.generate().save(path)
    assert path.read_bytes() == b"precious"


def test_save_follows_no_link(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "key").symlink_to(target)
    with pytest.raises(FileExistsError):
        Identity.generate().save(tmp_path / "key")
    assert not target.exists()


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        Identity.generate().save(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_save_ignores_a_lax_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Identity.generate().save(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_save_into_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    identity = Identity.generate()
    identity.save("key")
    assert Identity.load("key").peer_id == identity.peer_id


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o601])
def test_load_refuses_what_others_can_touch(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "key"
    Identity.generate().save(path)
    path.chmod(mode)
    with pytest.raises(InvalidKey, match=f"mode {mode:04o}.*chmod 600"):
        Identity.load(path)
    path.chmod(0o400)
    Identity.load(path)


def test_load_judges_the_target_of_a_link(tmp_path: Path) -> None:
    path = tmp_path / "key"
    identity = Identity.generate()
    identity.save(path)
    (tmp_path / "link").symlink_to(path)
    assert Identity.load(tmp_path / "link").peer_id == identity.peer_id
    path.chmod(0o644)
    with pytest.raises(InvalidKey):
        Identity.load(tmp_path / "link")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Identity.load(tmp_path / "key")


def test_load_reads_regular_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(InvalidKey, match="regular"):
        Identity.load(tmp_path / "fifo")
    with pytest.raises(IsADirectoryError):
        Identity.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x08\x01", b"-----BEGIN", bytes(WIRE_LIMITS.max_private_key + 1)])
def test_load_refuses_what_is_no_key(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InvalidKey):
        Identity.load(path)
