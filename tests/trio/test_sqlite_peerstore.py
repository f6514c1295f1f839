"""The peerstore that outlives the program: what is written when, how often exactly, and how it ends."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
import trio

from p2p.errors import PeerstoreError
from p2p.host import Host
from p2p.identity import Identity, PeerId
from p2p.peerstore.file import PeerFile
from p2p.peerstore.sqlite import SQLitePeerstore
from p2p.testing.cancellation import Outcome, cancelled_after
from p2p.transports.memory import Memory, MemoryHub
from tests.trio.peerstores import LIMITS, PEOPLE, Writes, note, on_disk, peerstore
from tests.trio.test_cancel_everywhere import everywhere

Clock = trio.testing.MockClock


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Writes:
    return Writes(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "peers.db"


# --- when, and how often ----------------------------------------------------------------------------------


async def test_changes_gather(autojump_clock: Clock, path: Path, writes: Writes) -> None:
    async with peerstore(path) as store:
        for number in range(100):
            note(store, number % 3, value=str(number).encode())
        await trio.sleep(LIMITS.write_delay / 2)
        note(store, 3)
        assert not writes.done
        await trio.sleep(LIMITS.write_delay)
        assert writes.done == [list(PEOPLE[:4])]
        assert {known.metadata["note"] for known in on_disk(path)} == {b"99", b"97", b"98", b"x"}
        await trio.sleep(10 * LIMITS.write_delay)
    assert len(writes.done) == 1, "nothing else was changed"


async def test_flush_does_not_wait(autojump_clock: Clock, path: Path, writes: Writes) -> None:
    async with peerstore(path) as store:
        start = trio.current_time()
        await store.flush()
        assert not writes.done
        note(store, 0)
        await store.flush()
        assert [known.peer for known in on_disk(path)] == [PEOPLE[0]]
        store.forget(PEOPLE[0])
        await store.flush()
        assert not list(on_disk(path))
        assert trio.current_time() == start
        assert writes.done == [[PEOPLE[0]], [PEOPLE[0]]]


async def test_so_many_at_once(autojump_clock: Clock, path: Path, writes: Writes) -> None:
    async with peerstore(path, dataclasses.replace(LIMITS, write_batch=3)) as store:
        note(store, *range(8))
        await store.flush()
        assert [len(batch) for batch in writes.done] == [3, 3, 2]
    async with peerstore(path, dataclasses.replace(LIMITS, write_batch=3)) as store:
        assert list(store) == list(PEOPLE)


class Held:
    """The writes of a store with threads: each begins, and waits in its thread until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: set[int] = set()
        self._begun, self._go_on = threading.Semaphore(0), threading.Semaphore(0)
        write = PeerFile.write

        def held(file: PeerFile, changes: object, *, ahead: float) -> None:
            self.threads.add(threading.get_ident())
            self._begun.release()
            assert self._go_on.acquire(timeout=20)
            write(file, changes, ahead=ahead)

        monkeypatch.setattr(PeerFile, "write", held)

    async def wait_begun(self) -> None:
        assert await trio.to_thread.run_sync(lambda: self._begun.acquire(timeout=20))

    def let_go(self, count: int = 1) -> None:
        self._go_on.release(count)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


async def flush(store: SQLitePeerstore, path: Path, done: list[set[PeerId]]) -> None:
    """And what is on the disk when it is done."""
    await store.flush()
    done.append({known.peer for known in on_disk(path)})


async def test_a_change_during_a_write_is_written_after(path: Path, held: Held) -> None:
    """On the real clock: the store is changed while the disk is waited for."""
    async with SQLitePeerstore(path) as store:
        async with trio.open_nursery() as nursery:
            note(store, 0, value=b"first")
            nursery.start_soon(store.flush)
            await held.wait_begun()
            note(store, 0, value=b"second")
            held.let_go(2)
        await store.flush()
        assert [known.metadata["note"] for known in on_disk(path)] == [b"second"]
        assert held.threads and threading.get_ident() not in held.threads


async def test_a_flush_waits_for_a_write_that_is_under_way(path: Path, held: Held) -> None:
    async with SQLitePeerstore(path) as store:
        done: list[set[PeerId]] = []
        async with trio.open_nursery() as nursery:
            note(store, 0)
            nursery.start_soon(flush, store, path, done)
            await held.wait_begun()
            nursery.start_soon(flush, store, path, done)
            await trio.testing.wait_all_tasks_blocked()
            assert not done
            held.let_go()
        assert done == [{PEOPLE[0]}] * 2


async def test_a_flush_waits_for_what_was_changed_first(path: Path, held: Held) -> None:
    """Also of a peer that has changed again since: its first change was before the call."""
    async with SQLitePeerstore(path, dataclasses.replace(LIMITS, write_batch=1)) as store:
        done: list[set[PeerId]] = []
        async with trio.open_nursery() as nursery:
            note(store, 0)
            nursery.start_soon(store.flush)
            await held.wait_begun()
            note(store, 1, 2)
            nursery.start_soon(flush, store, path, done)
            await trio.testing.wait_all_tasks_blocked()
            note(store, 1, value=b"again")
            held.let_go(3)
        assert done == [set(PEOPLE[:3])]


async def test_what_changes_during_a_write_gathers(path: Path, held: Held) -> None:
    async with SQLitePeerstore(path, dataclasses.replace(LIMITS, write_delay=1000.0)) as store:
        done: list[set[PeerId]] = []
        note(store, 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flush, store, path, done)
            await held.wait_begun()
            note(store, 1)
            held.let_go()
        await trio.testing.wait_all_tasks_blocked()
        assert list(store._waiting) == [PEOPLE[1]] and not store._under_way
        held.let_go()
        await flush(store, path, done)
        assert done == [{PEOPLE[0]}, {PEOPLE[0], PEOPLE[1]}]


# --- how it ends ------------------------------------------------------------------------------------------


async def test_leaving_writes_the_rest(autojump_clock: Clock, path: Path, writes: Writes) -> None:
    async with peerstore(path) as store:
        note(store, 0)
    assert writes.done == [[PEOPLE[0]]]
    with pytest.raises(trio.ClosedResourceError):
        note(store, 1)
        await store.flush()


class Sudden(Exception):
    pass


async def test_the_bodys_exception_comes_out_bare_and_all_is_written(
    autojump_clock: Clock, path: Path
) -> None:
    sudden = Sudden()
    with pytest.raises(Sudden) as raised:
        async with peerstore(path) as store:
            note(store, 0)
            raise sudden
    assert raised.value is sudden
    assert [known.peer for known in on_disk(path)] == [PEOPLE[0]]


async def test_cancelled_from_outside_all_is_written(autojump_clock: Clock, path: Path) -> None:
    with trio.move_on_after(5) as scope:
        async with peerstore(path, dataclasses.replace(LIMITS, write_delay=100.0)) as store:
            note(store, 0)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert [known.peer for known in on_disk(path)] == [PEOPLE[0]]


async def test_cancelled_and_failed_at_once(autojump_clock: Clock, path: Path) -> None:
    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Sudden

    with pytest.raises(ExceptionGroup) as raised, trio.move_on_after(5):
        async with peerstore(path) as store, trio.open_nursery() as nursery:
            note(store, 0)
            nursery.start_soon(fail)
            await trio.sleep_forever()
    assert [type(error) for error in raised.value.exceptions] == [Sudden]
    assert [known.peer for known in on_disk(path)] == [PEOPLE[0]]


async def test_a_file_that_cannot_be_read_is_closed(
    autojump_clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[PeerFile] = []
    close = PeerFile.close

    def watched(file: PeerFile) -> None:
        closed.append(file)
        close(file)

    def fail(file: PeerFile, *, ahead: float) -> None:
        raise PeerstoreError("no disk")

    monkeypatch.setattr(PeerFile, "close", watched)
    monkeypatch.setattr(PeerFile, "read", fail)
    with pytest.raises(PeerstoreError, match="no disk"):
        await peerstore(path).__aenter__()
    assert len(closed) == 1


async def test_entered_once(autojump_clock: Clock, path: Path) -> None:
    store = peerstore(path)
    with pytest.raises(trio.ClosedResourceError):
        note(store, 0)
        await store.flush()
    async with store:
        with pytest.raises(RuntimeError, match="once"):
            await store.__aenter__()
    assert [known.peer for known in on_disk(path)] == [PEOPLE[0]]
    with pytest.raises(RuntimeError, match="once"):
        await store.__aenter__()


@pytest.mark.parametrize("in_loop", [True, False])
async def test_a_file_in_use_is_refused(path: Path, in_loop: bool) -> None:
    async with SQLitePeerstore(path, in_loop=in_loop) as first:
        with pytest.raises(PeerstoreError, match="another process uses it"):
            await SQLitePeerstore(path, in_loop=in_loop).__aenter__()
        note(first, 0)
    async with SQLitePeerstore(path, in_loop=in_loop) as second:
        assert list(second) == [PEOPLE[0]]


async def test_a_disk_that_fails_ends_the_body_and_is_told(
    autojump_clock: Clock, path: Path, writes: Writes
) -> None:
    with pytest.raises(PeerstoreError, match="no room"):
        async with peerstore(path) as store:
            writes.fail = "no room"
            note(store, 0)
            await trio.sleep_forever()


async def test_a_disk_that_fails_ends_a_host_too(autojump_clock: Clock, path: Path, writes: Writes) -> None:
    with pytest.raises(PeerstoreError, match="no room"):
        async with (
            peerstore(path) as store,
            Host(Identity.generate(), transports=[Memory(MemoryHub())], peerstore=store),
        ):
            writes.fail = "no room"
            note(store, 0)
            await trio.sleep_forever()


async def test_a_disk_that_fails_is_told_to_who_flushes(
    autojump_clock: Clock, path: Path, writes: Writes
) -> None:
    caught = []
    with pytest.raises(PeerstoreError, match="no room"):
        async with peerstore(path) as store:
            writes.fail = "no room"
            note(store, 0)
            try:
                await store.flush()
            except PeerstoreError as error:
                caught.append(str(error))
                with pytest.raises(PeerstoreError):
                    await store.flush()
    assert caught == ["no room"]


async def test_a_disk_that_fails_at_the_end_is_told(
    autojump_clock: Clock, path: Path, writes: Writes
) -> None:
    with pytest.raises(PeerstoreError, match="no room"):
        async with peerstore(path) as store:
            note(store, 0)
            writes.fail = "no room"


async def test_a_disk_and_a_body_that_fail(autojump_clock: Clock, path: Path, writes: Writes) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with peerstore(path) as store:
            note(store, 0)
            writes.fail = "no room"
            raise Sudden
    assert [type(error) for error in raised.value.exceptions] == [Sudden, PeerstoreError]


def test_a_last_write_that_takes_too_long_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = trio.testing.MockClock()
    write = PeerFile.write

    async def main() -> None:
        def slow(file: PeerFile, changes: object, *, ahead: float) -> None:
            clock.jump(LIMITS.write_last)
            write(file, changes, ahead=ahead)

        monkeypatch.setattr(PeerFile, "write", slow)
        async with peerstore(path, dataclasses.replace(LIMITS, write_batch=3)) as store:
            note(store, *range(8))

    with pytest.raises(PeerstoreError, match="5 peers could not be written in time"):
        trio.run(main, clock=clock)


# --- cancelled everywhere ---------------------------------------------------------------------------------


def test_cancel_everywhere_flush(path: Path) -> None:
    limits = dataclasses.replace(LIMITS, write_batch=1)

    async def attempt(step: int) -> Outcome[object]:
        async with peerstore(path, limits) as store:
            note(store, *range(4), value=str(step).encode())
            outcome = await cancelled_after(step, store.flush)
            found = [known.metadata["note"] == str(step).encode() for known in on_disk(path)]
            assert found == [True] * 4 or not outcome.finished
            await store.flush()
            assert {known.metadata["note"] for known in on_disk(path)} == {str(step).encode()}
            assert not store._waiting and not store._under_way
        return outcome

    assert everywhere(attempt) > 5


def test_cancel_everywhere_the_life_of_a_peerstore(path: Path) -> None:
    """Entered, changed, flushed, left: whatever was acknowledged is there, and the file is free."""

    async def attempt(step: int) -> Outcome[object]:
        acknowledged = entered = False
        value = str(step).encode()

        async def live() -> None:
            nonlocal acknowledged, entered
            async with peerstore(path) as store:
                entered = True
                note(store, *range(3), value=value)
                await store.flush()
                acknowledged = True
                note(store, 3, value=value)
                await trio.sleep(2 * LIMITS.write_delay)

        outcome = await cancelled_after(step, live)
        async with peerstore(path) as store:
            noted = [store.metadata(peer).get("note") == value for peer in PEOPLE[:4]]
            assert noted[:3] == [True] * 3 or not entered
            assert noted[3] or not acknowledged
        return outcome

    assert everywhere(attempt) > 10
