"""What a peerstore in a file knows after a restart, and what it does not know any more."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import trio

from p2p.host import Host
from p2p.identity import Identity, PeerRecord
from p2p.peerstore import PERMANENT_TTL
from p2p.peerstore.file import PeerFile
from p2p.peerstore.memory import KnownPeer
from p2p.protocols.identify import Identify
from p2p.transports.memory import Memory, MemoryHub
from p2p.wire.addresses import split_peer
from tests.trio.peerstores import ADDR, LIMITS, PEOPLE, Wall, Writes, note, on_disk, peerstore

Clock = trio.testing.MockClock


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peers.db"


async def test_all_that_a_host_knows_of_a_peer_survives_a_restart(autojump_clock: Clock, path: Path) -> None:
    """Keys, addresses, protocols and metadata."""
    hub, ours, theirs = MemoryHub(), Identity.generate(), Identity.generate("rsa")
    async with Host(
        theirs,
        transports=[Memory(hub)],
        listen=["/memory/7"],
        services=[Identify(agent_version="them/1")],
    ) as them:
        async with peerstore(path) as store, Host(ours, transports=[Memory(hub)], peerstore=store) as host:
            await host.dial(them.addrs[0])
            await trio.sleep(1)
            store.set_metadata(them.peer_id, "note", b"\0")
            record = store.record(them.peer_id)
            assert store.protocols(them.peer_id) is not None
        async with peerstore(path) as store:
            now = trio.current_time()
            assert store.public_key(them.peer_id) == theirs.public_key
            assert store.addrs(them.peer_id, now=now) == (split_peer(them.addrs[0])[0],)
            assert store.record(them.peer_id) == record is not None
            assert store.last_protocols(them.peer_id) == tuple(them.protocols)
            assert store.protocols(them.peer_id) is None, "it is not connected, and may be another program"
            assert store.agent_version(them.peer_id) == "them/1"
            assert store.metadata(them.peer_id) == {"note": b"\0"}
            async with Host(ours, transports=[Memory(hub)], peerstore=store) as host:
                assert host.peerstore is store
                await host.dial(them.peer_id)  # where it was


async def test_time_goes_on_while_nobody_runs(autojump_clock: Clock, path: Path) -> None:
    async with peerstore(path) as store:
        store.add_addrs(PEOPLE[0], [ADDR], ttl=100, now=trio.current_time())
        store.add_addrs(PEOPLE[1], [ADDR], ttl=200, now=trio.current_time())
        store.add_addrs(PEOPLE[2], [ADDR], ttl=PERMANENT_TTL, now=trio.current_time())
    async with peerstore(path, wall=Wall(1_000_150.0)) as store:
        assert list(store) == [PEOPLE[1], PEOPLE[2]]
        assert store.addrs(PEOPLE[1], now=trio.current_time() + 49) == (ADDR,)
        assert store.addrs(PEOPLE[1], now=trio.current_time() + 50) == ()
    assert [known.peer for known in on_disk(path)] == [PEOPLE[1], PEOPLE[2]], "and who is over is gone"


async def test_what_is_read_is_not_written_again(autojump_clock: Clock, path: Path, writes: Writes) -> None:
    async with peerstore(path) as store:
        note(store, 0)
        store.add_addrs(PEOPLE[1], [ADDR], ttl=PERMANENT_TTL, now=trio.current_time())
    async with peerstore(path) as store:
        assert len(store) == 2
        await store.flush()
    assert writes.done == [[PEOPLE[0], PEOPLE[1]]]


async def test_who_was_heard_of_last_is_kept_over_restarts(autojump_clock: Clock, path: Path) -> None:
    async with peerstore(path) as store:
        note(store, 0, 1, 2)
        await store.flush()
        note(store, 0, value=b"later")
    async with peerstore(path, dataclasses.replace(LIMITS, max_peers=2)) as store:
        assert list(store) == [PEOPLE[2], PEOPLE[0]]


async def test_what_the_bounds_drive_out_while_it_is_read_is_taken_out(
    autojump_clock: Clock, path: Path
) -> None:
    now = trio.current_time()
    async with peerstore(path) as store:
        for peer in PEOPLE[:3]:
            store.add_addrs(peer, [ADDR], ttl=PERMANENT_TTL, now=now)
    async with peerstore(path, dataclasses.replace(LIMITS, max_unconnected_addrs=2)) as store:
        assert list(store) == [PEOPLE[1], PEOPLE[2]]
    assert [known.peer for known in on_disk(path)] == [PEOPLE[1], PEOPLE[2]]


async def test_records_of_others_in_the_file_are_taken_out(autojump_clock: Clock, path: Path) -> None:
    mallory = Identity.generate()
    record = PeerRecord(mallory.peer_id, 1, (ADDR,)).seal(mallory.private_key)
    file = PeerFile(path, LIMITS)
    file.write([(PEOPLE[0], KnownPeer(PEOPLE[0], record=record, metadata={"a": b""}))], ahead=0.0)
    file.close()
    async with peerstore(path) as store:
        assert not list(store) and store.record(mallory.peer_id) is None
    assert not list(on_disk(path))
