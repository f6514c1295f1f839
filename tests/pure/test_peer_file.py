"""A peerstore's file: what is written is read, in whatever order; what somebody else wrote is believed no more than a
peer, and what is no peerstore is refused and left as it is."""

from __future__ import annotations

import dataclasses
import math
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2p.errors import PeerstoreError, RemoteProtocolError
from p2p.identity import Identity, PeerId, PeerRecord
from p2p.limits import PeerstoreLimits
from p2p.peerstore import Peerstore, file
from p2p.peerstore.file import PeerFile
from p2p.peerstore.memory import KnownPeer, Source
from p2p.wire.addresses import Multiaddr

LIMITS = PeerstoreLimits()
ALICE, RSA = Identity.generate(), Identity.generate("rsa")
PEOPLE = tuple(Identity.generate() for _ in range(4))
ADDRS = tuple(Multiaddr(f"/ip4/10.0.0.{number}/tcp/4001") for number in range(5))
RECORD = PeerRecord(ALICE.peer_id, 7, ADDRS[:2]).seal(ALICE.private_key)
KNOWN = KnownPeer(
    peer=ALICE.peer_id,
    connected=True,
    until=100.0,
    addrs=((ADDRS[0], Source.SIGNED, 50.0), (ADDRS[1], Source.HEARSAY, math.inf)),
    public_key=ALICE.public_key,
    record=RECORD,
    protocols=("/b/1", "/a/1"),
    agent_version="alice/1",
    metadata={"note": b"\0\xff", "": b""},
)


def saved(path: Path, *known: KnownPeer, ahead: float = 0.0) -> None:
    with closing(PeerFile(path, LIMITS)) as out:
        out.write([(one.peer, one) for one in known], ahead=ahead)


def loaded(path: Path, limits: PeerstoreLimits = LIMITS, ahead: float = 0.0) -> list[KnownPeer]:
    found = []
    with closing(PeerFile(path, limits)) as source:
        while (more := source.read(ahead=ahead)) is not None:
            found += more
    return found


def sql(path: Path, statement: str, *values: object) -> list[Any]:
    """As another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        return db.execute(statement, values).fetchall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peers.db"


# --- what is written is read ------------------------------------------------------------------------------


def test_all_of_a_peer(path: Path) -> None:
    saved(path, KNOWN)
    assert loaded(path) == [KNOWN]
    assert os.listdir(path.parent) == ["peers.db"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_times_are_unix_times(path: Path) -> None:
    saved(path, KNOWN, ahead=1000.0)
    assert sorted(sql(path, "SELECT expires FROM addrs")) == [(1050.0,), (math.inf,)]
    (known,) = loaded(path, ahead=1080.0)
    assert [expires for _, _, expires in known.addrs] == [-30.0, math.inf]
    assert known.until == 20.0


def test_no_private_key_is_in_it(path: Path) -> None:
    saved(path, KNOWN)
    secret = ALICE.private_key.to_protobuf()
    assert secret[-64:-32] not in path.read_bytes() and secret[4:36] not in path.read_bytes()


def test_who_was_written_last_is_read_last(path: Path) -> None:
    people = [KnownPeer(who.peer_id) for who in PEOPLE]
    saved(path, *people)
    saved(path, people[1])
    with closing(PeerFile(path, LIMITS)) as out:
        out.write([(people[2].peer, None)], ahead=0.0)
    assert [known.peer for known in loaded(path)] == [people[n].peer for n in (0, 3, 1)]


known_peers = st.builds(
    KnownPeer,
    peer=st.sampled_from([who.peer_id for who in PEOPLE]),
    connected=st.booleans(),
    until=st.integers(-10, 10).map(float) | st.just(-math.inf),
    addrs=st.lists(
        st.tuples(
            st.sampled_from(ADDRS),
            st.sampled_from(Source),
            st.integers(-10, 10).map(float) | st.just(math.inf),
        ),
        unique_by=lambda entry: entry[0],
        max_size=4,
    ).map(tuple),
    protocols=st.lists(st.text(st.characters(codec="utf-8"), max_size=9), max_size=4).map(tuple),
    agent_version=st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126), max_size=20),
    metadata=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=5), st.binary(max_size=5), max_size=3
    ),
)


@given(st.lists(known_peers, max_size=8), st.integers(1, 3), st.sampled_from([0.0, 1024.0]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_last_of_each_peer_is_read(
    tmp_path: Path, known: list[KnownPeer], batch: int, ahead: float
) -> None:
    path = tmp_path / "peers.db"
    path.unlink(missing_ok=True)
    saved(path, *known, ahead=ahead)
    last = {one.peer: one for one in known}
    found = loaded(path, dataclasses.replace(LIMITS, write_batch=batch), ahead)
    assert {one.peer: sorted_addrs(one) for one in found} == {p: sorted_addrs(k) for p, k in last.items()}


def sorted_addrs(known: KnownPeer) -> KnownPeer:
    return dataclasses.replace(known, addrs=tuple(sorted(known.addrs, key=lambda entry: str(entry[0]))))


def test_more_peers_than_there_may_be(path: Path) -> None:
    """Those written last are kept."""
    saved(path, *(KnownPeer(who.peer_id) for who in PEOPLE))
    found = loaded(path, dataclasses.replace(LIMITS, max_peers=2))
    assert [known.peer for known in found] == [who.peer_id for who in PEOPLE[2:]]
    assert sql(path, "SELECT count(*) FROM peers") == [(2,)]


# --- what somebody else wrote -----------------------------------------------------------------------------

#: Each makes the whole peer unbelievable. STRICT tables refuse some; a file need not come from SQLite.
HOSTILE = {
    "no peer id": "UPDATE peers SET peer = x'00'",
    "text for a peer id": "UPDATE peers SET peer = CAST('12D3KooW' AS BLOB)",
    "a key of nobody": "UPDATE peers SET public_key = x'0801'",
    "an address that is none": "UPDATE addrs SET addr = x'ff' WHERE source = 0",
    "an address of 2 KiB": "UPDATE addrs SET addr = zeroblob(2048) WHERE source = 0",
    "a source nobody knows": "UPDATE addrs SET source = 3",
}


@pytest.mark.parametrize("statement", HOSTILE.values(), ids=HOSTILE)
def test_a_peer_with_a_hostile_value_is_left_out_and_taken_out(path: Path, statement: str) -> None:
    saved(path, KNOWN)
    sql(path, statement)
    saved(path, KnownPeer(PEOPLE[0].peer_id))
    assert [known.peer for known in loaded(path)] == [PEOPLE[0].peer_id]
    assert sql(path, "SELECT count(*) FROM peers") == [(1,)]
    assert sql(path, "SELECT count(*) FROM addrs") == [(0,)], "and all that hung on it"


COLUMNS = (
    *("peers.peer", "peers.until", "peers.public_key", "peers.record", "peers.agent_version"),
    *("addrs.addr", "addrs.source", "addrs.expires", "protocols.name", "metadata.key", "metadata.value"),
)
KEYS = ("addrs.addr", "metadata.key")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (column, value)
        for column in COLUMNS
        for value in ("x''", "'text'", "1", "NULL")
        if value != "NULL" or column not in KEYS
    ],
)
def test_values_of_any_type(path: Path, column: str, value: str) -> None:
    """Whatever its tables were made to say: refused, or of the right type."""
    saved(path, KNOWN)
    table, _, name = column.partition(".")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        loose = "replace(replace(replace(sql, 'STRICT', ''), ', WITHOUT', 'WITHOUT'), 'NOT NULL', '')"
        db.execute(f"UPDATE sqlite_schema SET sql = {loose} WHERE type = 'table'")
        db.execute("PRAGMA writable_schema = RESET")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"UPDATE OR REPLACE {table} SET {name} = {value}")
        db.execute("PRAGMA writable_schema = ON")
        for made in file.SCHEMA:
            db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (made, made.split()[2]))
    for known in loaded(path):
        store = Peerstore()
        try:
            store.restore(known, now=0.0)
        except (RemoteProtocolError, ValueError):
            assert not len(store)
        assert isinstance(known.agent_version, str)
        assert all(isinstance(note, bytes) for note in known.metadata.values())
        assert all(isinstance(protocol, str) for protocol in known.protocols)


def test_a_value_too_large_is_not_read(path: Path) -> None:
    saved(path, KNOWN)
    sql(path, "UPDATE metadata SET value = zeroblob(?)", LIMITS.max_value + 1)
    with pytest.raises(PeerstoreError, match="too big"):
        loaded(path)


def test_more_of_everything_than_there_may_be(path: Path) -> None:
    limits = dataclasses.replace(
        LIMITS, max_addrs=1, max_recent_protocols=1, max_protocol_name=4, max_metadata=1
    )
    saved(path, dataclasses.replace(KNOWN, protocols=("/long/1", "/b/1", "/a/1")))
    (known,) = loaded(path, limits)
    assert (len(known.addrs), known.protocols, len(known.metadata)) == (1, ("/b/1",), 1)


def test_text_is_fit_to_be_shown_and_does_not_grow(path: Path) -> None:
    saved(path, dataclasses.replace(KNOWN, agent_version="\x1b[2J" + "x" * 500))
    (known,) = loaded(path)
    assert known.agent_version.startswith("\\x1b[2Jx") and len(known.agent_version) == 128
    saved(path, known)
    assert loaded(path) == [known]


def test_what_is_said_of_others_is_not_taken_in() -> None:
    mallory = PEOPLE[0]
    record = PeerRecord(mallory.peer_id, 1, ADDRS).seal(mallory.private_key)
    for lie in ({"record": record}, {"public_key": mallory.public_key}, {"record": RECORD[:-1]}):
        store = Peerstore()
        with pytest.raises(RemoteProtocolError):
            store.restore(dataclasses.replace(KNOWN, **lie), now=0.0)
        assert not len(store) and store.record(ALICE.peer_id) is None
    with pytest.raises(ValueError, match="metadata"):
        Peerstore().restore(dataclasses.replace(KNOWN, metadata={"a": bytes(2000)}), now=0.0)


def test_what_is_called_signed_must_be() -> None:
    store = Peerstore()
    store.restore(
        dataclasses.replace(KNOWN, addrs=((ADDRS[4], Source.SIGNED, 50.0),), connected=False), now=0.0
    )
    store.add_record(PeerRecord(ALICE.peer_id, 8, ()).seal(ALICE.private_key), peer=ALICE.peer_id, now=0.0)
    assert store.addrs(ALICE.peer_id, now=0.0) == (ADDRS[4],)
    store.set_addrs(ALICE.peer_id, [], ttl=1, now=0.0)
    assert store.addrs(ALICE.peer_id, now=0.0) == ()


def test_restoring_keeps_to_the_bounds() -> None:
    store = Peerstore(dataclasses.replace(LIMITS, max_peers=2, max_addrs=1, max_recent_protocols=1))
    for who in PEOPLE:
        store.restore(dataclasses.replace(KNOWN, peer=who.peer_id, record=None, public_key=None), now=0.0)
    assert list(store) == [who.peer_id for who in PEOPLE[2:]]
    assert store.last_protocols(PEOPLE[3].peer_id) == ("/b/1",)
    assert len(store.addrs(PEOPLE[3].peer_id, now=0.0)) == 1


def test_restoring_changes_nothing_of_who_is_known() -> None:
    store = Peerstore()
    store.connected(ALICE.peer_id, now=0.0)
    store.restore(KNOWN, now=0.0)
    assert store.addrs(ALICE.peer_id, now=0.0) == () and store.record(ALICE.peer_id) is None


def test_who_was_connected_is_known_for_a_while() -> None:
    """However long ago that was: nobody saw it end."""
    store = Peerstore()
    store.restore(dataclasses.replace(KNOWN, until=-math.inf), now=10**6)
    assert set(store.addrs(ALICE.peer_id, now=10**6 + LIMITS.recent_ttl - 1)) == set(ADDRS[:2])
    assert store.addrs(ALICE.peer_id, now=10**6 + LIMITS.recent_ttl) == (ADDRS[1],)


# --- what is no peerstore ---------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(PeerstoreError) as refused:
        PeerFile(path, LIMITS)
    assert (path.read_bytes() if path.is_file() else b"") == before, "it was changed"
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_files_of_others(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 100)
    assert "it is not a peerstore" in refusal(path)
    path.unlink()
    sql(path, "CREATE TABLE diary (day TEXT)")
    assert "another program's database" in refusal(path)
    path.unlink()
    path.mkdir()
    assert "Is a directory" in refusal(path)
    assert "No such file" in refusal(path / "nowhere" / "peers.db")


@pytest.mark.parametrize(
    ("version", "said"),
    [(2, "of version 2, and this program reads"), (0, "there never was"), (-1, "there never was")],
)
def test_other_versions(path: Path, version: int, said: str) -> None:
    saved(path)
    sql(path, f"PRAGMA user_version = {version}")
    assert said in refusal(path)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE peers ADD COLUMN more TEXT",
        "DROP TABLE metadata",
        "CREATE TABLE more (a)",
        "CREATE VIEW more AS SELECT 1",
        "CREATE TRIGGER more AFTER INSERT ON peers BEGIN DELETE FROM addrs; END",
    ],
)
def test_other_tables(path: Path, statement: str) -> None:
    saved(path)
    sql(path, statement)
    assert "other tables" in refusal(path)


def test_an_old_sqlite_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(PeerstoreError, match="needs SQLite"):
        PeerFile(path, LIMITS)
    assert not path.exists()


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    path.touch()
    saved(path, KNOWN)
    assert loaded(path) == [KNOWN]


def test_any_name_is_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    for name in (":memory:", "file:peers.db?mode=ro"):
        saved(Path(name), KNOWN)
        assert loaded(Path(name)) == [KNOWN] and (path.parent / name).exists()


def test_a_damaged_file(path: Path) -> None:
    saved(path, *(KnownPeer(who.peer_id, protocols=("/x" * 100,) * 9) for who in PEOPLE))
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(PeerstoreError, match="it is damaged"):
        loaded(path)


def test_damage_that_sqlite_quotes(path: Path) -> None:
    saved(path, KNOWN)
    data = path.read_bytes()
    assert b"CREATE TABLE peers" in data
    path.write_bytes(data.replace(b"CREATE TABLE peers", b"CREATE TABLE pe\xc1rs"))
    assert "it is damaged" in refusal(path)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_damage(tmp_path: Path, data: st.DataObject) -> None:
    """It is read, or refused; nothing else, and no more is in it than there may be."""
    path = tmp_path / "peers.db"
    path.unlink(missing_ok=True)
    saved(path, *(KnownPeer(who.peer_id, protocols=("/x",)) for who in PEOPLE), KNOWN)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw) // 2, 100]))])
    store = Peerstore()
    try:
        for known in loaded(path, dataclasses.replace(LIMITS, max_peers=9)):
            try:
                store.restore(known, now=0.0)
            except (RemoteProtocolError, ValueError):
                continue
    except PeerstoreError:
        pass
    assert len(store) <= 9


# --- a disk that fails ------------------------------------------------------------------------------------


def test_a_file_that_is_in_use(path: Path) -> None:
    with closing(PeerFile(path, LIMITS)) as first:
        assert "another process uses it" in refusal(path)
        first.write([(KNOWN.peer, KNOWN)], ahead=0.0)
    assert loaded(path) == [KNOWN]


def test_a_full_disk_is_told_and_what_was_written_stays(path: Path) -> None:
    saved(path, KNOWN)
    with closing(PeerFile(path, LIMITS)) as out:
        out._db.execute("PRAGMA max_page_count = 20")
        with pytest.raises(PeerstoreError, match="the disk is full"):
            many = [KnownPeer(Identity.generate().peer_id, protocols=("/x" * 100,)) for _ in range(500)]
            out.write([(one.peer, one) for one in many], ahead=0.0)
        out.write([(PEOPLE[0].peer_id, KnownPeer(PEOPLE[0].peer_id))], ahead=0.0)
    assert [known.peer for known in loaded(path)] == [ALICE.peer_id, PEOPLE[0].peer_id], (
        "all of it or nothing"
    )


def test_a_file_that_must_not_be_written(path: Path) -> None:
    with closing(PeerFile(path, LIMITS)) as out:
        out._db.execute("PRAGMA query_only = ON")
        with pytest.raises(PeerstoreError, match="it cannot be written to"):
            out.write([(KNOWN.peer, KNOWN)], ahead=0.0)


def test_closed(path: Path) -> None:
    out = PeerFile(path, LIMITS)
    out.close()
    out.close()
    with pytest.raises(PeerstoreError, match="closed"):
        out.write([], ahead=0.0)


def test_ids_without_a_key_of_their_own(path: Path) -> None:
    known = KnownPeer(RSA.peer_id, until=9.0, public_key=RSA.public_key)
    saved(path, known)
    store = Peerstore()
    (found,) = loaded(path)
    store.restore(found, now=0.0)
    assert store.public_key(RSA.peer_id) == RSA.public_key
    assert store.public_key(PeerId.from_public_key(RSA.public_key)) == RSA.public_key
