"""Unix sockets: the files they are at, and who may connect; on the real file system and the real clock."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
import trio.testing

from p2p import Host, Identity
from p2p.errors import InvalidAddress, ListenError
from p2p.limits import UNIX_LIMITS
from p2p.protocols.ping import PING, Ping, ping
from p2p.testing.cancellation import Outcome, cancelled_after
from p2p.testing.deterministic import deterministic_scheduling
from p2p.transports.sockets import SocketStream
from p2p.transports.unix import MAX_PATH, Unix
from p2p.wire.addresses import Multiaddr, parse_user_addr


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a socket may be; ``tmp_path`` is too long for one."""
    with TemporaryDirectory(prefix="p2p-") as directory:
        yield Path(directory, "socket")


def at(path: Path) -> Multiaddr:
    return parse_user_addr(f"/unix{path}")


def leave_stale(path: Path) -> None:
    """As a process that was killed does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@contextmanager
def must_be_in_use() -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == errno.EADDRINUSE


async def assert_works(path: Path) -> None:
    async with Unix().listen(at(path)) as listener:
        dialed = await Unix().dial(at(path))
        accepted = await listener.accept()
        assert await exchange(dialed, accepted) == b"through"
        await dialed.aclose()
        await accepted.aclose()


async def exchange(here: SocketStream, there: SocketStream) -> bytes:
    here.try_send(memoryview(b"through"))
    buffer = bytearray(64)
    with trio.fail_after(10):
        return bytes(buffer[: await there.receive_into(memoryview(buffer))])


def there(path: Path) -> bool:
    return path.exists()


def mode(path: Path) -> int:
    return path.lstat().st_mode


def remove(path: Path) -> None:
    path.unlink()


def leave_a_file(path: Path) -> None:
    path.write_text("somebody's")


def leave_others(path: Path) -> list[Path]:
    """A file, a directory, and a link to a stale socket."""
    file, directory, link = (path.with_name(name) for name in ("file", "directory", "link"))
    leave_a_file(file)
    directory.mkdir()
    leave_stale(path)
    link.symlink_to(path)
    return [file, directory, link]


# --- addresses ------------------------------------------------------------------------------------------


async def test_both_ends_are_at_the_path(path: Path) -> None:
    addr = at(path)
    async with Unix().listen(addr) as listener:
        dialed, accepted = await Unix().dial(addr), await listener.accept()
        ends = (dialed.local_addr, dialed.remote_addr, accepted.local_addr, accepted.remote_addr)
        assert {listener.addr, *ends} == {addr}
        await dialed.aclose()
        await accepted.aclose()


@pytest.mark.parametrize(
    "addr",
    [
        "/ip4/127.0.0.1/tcp/1",
        "/memory/1",
        f"/unix/tmp/x/p2p/{Identity.generate().peer_id}",
        "/dns4/unix.example/tcp/1",
    ],
)
async def test_other_addresses_are_refused(addr: str) -> None:
    parsed = parse_user_addr(addr)
    assert not Unix().can_dial(parsed)
    assert not Unix().can_listen(parsed)
    with pytest.raises(InvalidAddress):
        await Unix().dial(parsed)
    with pytest.raises(InvalidAddress):
        async with Unix().listen(parsed):
            pass


async def test_the_longest_path_and_one_that_is_longer(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="too long"):
        sock.connect("/" + "x" * MAX_PATH)
    room = MAX_PATH - len(str(path.parent)) - 1
    await assert_works(path.with_name("é" + "x" * (room - 2)))
    await assert_works(path.with_name("x" * room))
    for name in ("x" * (room + 1), "é" * room):
        with pytest.raises(InvalidAddress, match="at the most"):
            await Unix().dial(at(path.with_name(name)))
        with pytest.raises(InvalidAddress, match="at the most"):
            async with Unix().listen(at(path.with_name(name))):
                pass


async def test_no_zero_byte_gets_into_a_path() -> None:
    """In C it would end the path, so that another file were meant; at its start it were an abstract name."""
    for addr in ("/unix/tmp/a%00b", "/unix/%00abstract"):
        with pytest.raises(InvalidAddress, match="zero byte"):
            await Unix().dial(parse_user_addr(addr))


async def test_a_path_of_any_letters(path: Path) -> None:
    await assert_works(path.with_name("an é, a % and a space"))


# --- the file -------------------------------------------------------------------------------------------


async def test_the_file_is_there_for_as_long_as_somebody_listens(path: Path) -> None:
    async with Unix().listen(at(path)):
        assert stat.S_ISSOCK(mode(path))
    assert not there(path)
    with pytest.raises(FileNotFoundError):
        await Unix().dial(at(path))


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_only_the_owner_may_connect_unless_asked(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with Unix().listen(at(path)):
            assert stat.S_IMODE(mode(path)) == 0o600
        async with Unix(mode=0o660).listen(at(path)):
            assert stat.S_IMODE(mode(path)) == 0o660
    finally:
        os.umask(before)


async def test_a_stale_file_is_replaced(path: Path) -> None:
    leave_stale(path)
    with pytest.raises(ConnectionRefusedError):
        await Unix().dial(at(path))
    await assert_works(path)
    assert not there(path)


async def test_a_live_one_is_left_alone(path: Path) -> None:
    async with Unix().listen(at(path)) as listener:
        with must_be_in_use():
            async with Unix().listen(at(path)):
                pass
        dialed = await Unix().dial(at(path))
        accepted = await listener.accept()  # that of the look whether it is live
        await accepted.aclose()
        accepted = await listener.accept()
        assert await exchange(dialed, accepted) == b"through"
        await dialed.aclose()
        await accepted.aclose()


async def test_a_live_one_whose_backlog_is_full_is_left_alone(path: Path) -> None:
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket(socket.AF_UNIX))
        full.bind(str(path))
        full.listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(str(path))
        with must_be_in_use():
            async with Unix().listen(at(path)):
                pass
        assert there(path)


async def test_what_is_no_socket_is_never_touched(path: Path) -> None:
    others = leave_others(path)
    for other in others:
        with must_be_in_use():
            async with Unix().listen(at(other)):
                pass
    assert all(map(there, others)) and there(path)
    with pytest.raises(ListenError, match="no socket"):
        async with Host(Identity.generate(), transports=[Unix()], listen=[at(others[0])]):
            pass


async def test_what_took_its_place_is_not_removed(path: Path) -> None:
    for replace_by in (leave_stale, leave_a_file):
        async with Unix().listen(at(path)) as listener:
            await listener.aclose()  # then the number of its file may be given out again
            remove(path)
            replace_by(path)
        assert there(path)
        remove(path)


async def test_a_file_removed_by_others_is_no_failure(path: Path) -> None:
    async with Unix().listen(at(path)):
        remove(path)


async def test_a_directory_that_is_not_there(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with Unix().listen(at(path.with_name("no") / "socket")):
            pass


async def test_nothing_is_left_when_listening_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "not today")

    before = descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, "chmod", refuse)
        with pytest.raises(PermissionError):
            async with Unix().listen(at(path)):
                pass
    assert not there(path)
    assert descriptors() == before


# --- dialing --------------------------------------------------------------------------------------------


async def test_a_dial_waits_while_the_backlog_is_full(path: Path) -> None:
    """The kernel takes no more and tells nobody when it does again; cancelled, the dial leaves no descriptor."""
    limits = replace(UNIX_LIMITS, backlog=0, dial_backoff=0.01)
    unix = Unix(limits)
    async with unix.listen(at(path)) as listener:
        first = await unix.dial(at(path))
        before = descriptors()
        with trio.move_on_after(0.05) as scope:
            await unix.dial(at(path))
        assert scope.cancelled_caught
        assert descriptors() == before
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def dial() -> None:
                with trio.fail_after(10):
                    await (await unix.dial(at(path))).aclose()

            await trio.testing.wait_all_tasks_blocked()
            for _ in range(2):
                await (await listener.accept()).aclose()
        await first.aclose()


async def test_a_refused_dial_leaves_no_descriptor(path: Path) -> None:
    leave_stale(path)
    before = descriptors()
    with pytest.raises(ConnectionRefusedError, match="socket"):
        await Unix().dial(at(path))
    assert descriptors() == before


def test_cancel_everywhere_dial_leaves_no_descriptor(path: Path) -> None:
    dialing, listening = Identity.generate(), Identity.generate()

    async def attempt(step: int) -> Outcome[object]:
        async with Host(listening, transports=[Unix()], listen=[at(path)]) as responder:
            before = descriptors()
            async with Host(dialing, transports=[Unix()]) as dialer:
                with trio.fail_after(20):
                    outcome: Outcome[object] = await cancelled_after(
                        step, lambda: dialer.dial(responder.addrs[0])
                    )
            with trio.fail_after(20):
                await responder.wait_disconnected(dialer.peer_id)
                while responder.statistics().pending_upgrades:
                    await trio.testing.wait_all_tasks_blocked()
            assert descriptors() == before
        assert not there(path)
        return outcome

    with deterministic_scheduling(0):
        for step in range(200):
            if trio.run(attempt, step).finished:
                break
    assert 3 < step < 199


async def test_hosts(path: Path) -> None:
    async with Host(Identity.generate(), transports=[Unix()], listen=[at(path)], services=[Ping()]) as bob:
        assert str(bob.addrs[0]) == f"/unix{path}/p2p/{bob.peer_id}"
        async with Host(Identity.generate(), transports=[Unix()]) as alice:
            async with await alice.open_stream(bob.addrs[0], PING) as stream:
                await ping(stream)
    assert not there(path)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
