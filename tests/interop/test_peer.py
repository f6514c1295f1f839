"""The driver itself, against small programs that keep the contract badly."""

from __future__ import annotations

import sys

import pytest
import trio

from tests.interop.peer import LONGEST_LINE, STDERR_KEPT, Peer, PeerDied, PeerError

READY = 'print(\'{"event":"ready","peer_id":"P","addrs":["/a"]}\', flush=True)\n'
ANSWERING = (
    "import sys, json\n"
    + READY
    + "for line in sys.stdin:\n"
    + "    asked = json.loads(line)\n"
    + "    if asked['command'] == 'silence': continue\n"
    + "    print(json.dumps({'id': asked['id'], 'ok': asked['command'] != 'fail', 'kind': 'k', 'error': 'e',"
    + " 'asked': asked}), flush=True)\n"
)


def program(source: str) -> Peer:
    return Peer("python", [sys.executable, "-c", source])


async def test_calls_from_many_tasks_get_their_own_answers() -> None:
    async with program(ANSWERING) as peer:
        assert (peer.peer_id, peer.addr) == ("P", "/a")
        got: list[int] = []

        async def ask(number: int) -> None:
            answer = await peer.call("any", number=number)
            assert answer["asked"]["number"] == number
            got.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)
        assert sorted(got) == list(range(50))
    assert peer.returncode == 0


async def test_a_refusal_is_an_error_and_the_peer_lives_on() -> None:
    async with program(ANSWERING) as peer:
        with pytest.raises(PeerError, match="fail: k: e") as caught:
            await peer.call("fail")
        assert caught.value.kind == "k"
        await peer.call("any")


async def test_a_cancelled_call_leaves_the_next_one_its_answer() -> None:
    async with program(ANSWERING) as peer:
        with trio.CancelScope() as scope:
            scope.cancel()
            await peer.call("any", which="cancelled")
        assert scope.cancelled_caught
        assert (await peer.call("any", which="second"))["asked"]["which"] == "second"


async def test_a_peer_that_dies_fails_the_call_that_waits_and_every_later_one() -> None:
    async with program(READY + "input()\nraise SystemExit(3)") as peer:
        with pytest.raises(PeerDied, match="closed its stdout"):
            await peer.call("any")
        with pytest.raises(PeerDied):
            await peer.call("any")
    assert peer.returncode == 3


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("'nonsense'", "broke the contract"),
        ("'[1]'", "broke the contract"),
        ("'{\"ok\":true}'", "broke the contract"),
        (f"'x' * {LONGEST_LINE + 1}", "broke the contract"),
        ('\'{"event":"ready"}\'', "broke the contract"),
    ],
)
async def test_what_breaks_the_contract_is_told(line: str, said: str) -> None:
    with pytest.raises(PeerDied, match=said):
        async with program(f"print({line}, end='', flush=True)\nprint()\ninput()"):
            pytest.fail("must not be ready")


async def test_an_error_carries_the_end_of_stderr() -> None:
    complaint = f"import sys\nsys.stderr.write('x' * {STDERR_KEPT} + 'the end')\nsys.stderr.flush()\n"
    peer = program(complaint + READY + "sys.stdin.read()")
    with pytest.raises(ZeroDivisionError) as caught:
        async with peer:
            _ = 1 / 0
    (note,) = caught.value.__notes__
    assert note.endswith("xthe end")
    assert len(peer.stderr) == STDERR_KEPT


async def test_a_peer_that_ignores_the_end_of_its_stdin_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.interop.peer.QUIT_GRACE", 0)
    async with program("import signal\n" + READY + "signal.pause()") as peer:
        pass
    assert peer.returncode == -9


async def test_cancelled_it_still_reaps_its_process() -> None:
    with trio.CancelScope() as scope:
        async with program("import signal\n" + READY + "signal.pause()") as peer:
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert peer.returncode == -9
