"""The ``p2p`` command as its users meet it: processes, on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from p2p.abc import Stream
from p2p.cli.command import main
from p2p.cli.output import duration, size
from p2p.identity import Identity, PeerId
from p2p.protocols.echo import ECHO
from tests.trio.commands import PATIENCE, hostile, node, one_line, p2p, running

# --- arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["ping"],
        ["ping", "nonsense"],
        ["ping", "/ip4/127.0.0.1/tcp/1"],
        ["ping", "/ip4/127.0.0.1/tcp/1/p2p/nobody"],
        ["ping", "-c", "0", "/ip4/127.0.0.1/tcp/1"],
        ["id", "--type", "dsa"],
        ["node", "--listen", "4001"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: p2p" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("p2p ")


def test_durations_and_sizes_are_readable() -> None:
    assert [duration(seconds) for seconds in (0.0003124, 0.00452, 1.25)] == ["312 µs", "4.52 ms", "1.25 s"]
    assert [size(count) for count in (17, 1536, 64 * 1024**2, 3 * 1024**3)] == [
        "17 B",
        "1.5 KiB",
        "64.0 MiB",
        "3.0 GiB",
    ]


# --- id -----------------------------------------------------------------------------------------------


def test_a_key_file_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    assert main(["id", "--key", str(path), "--type", "secp256k1"]) == 0
    first = capsys.readouterr().out.strip()
    assert str(PeerId.from_text(first)) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert main(["id", "--json", "--key", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "event": "identity",
        "peer_id": first,
        "type": "secp256k1",
        "key": str(path),
        "created": False,
    }


@pytest.mark.parametrize("type", ["ed25519", "ecdsa", "rsa"])
def test_all_types_of_keys(type: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["id", "--json", "--type", type]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == type


def test_a_key_others_can_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    Identity.generate().save(path)
    path.chmod(0o644)
    assert main(["id", "--key", str(path)]) == 1
    assert "0644" in one_line(capsys.readouterr().err.encode())
    assert main(["id", "--key", str(tmp_path / "no" / "where")]) == 1
    assert "No such file" in one_line(capsys.readouterr().err.encode())


# --- a node and those who dial it -----------------------------------------------------------------------


async def test_a_node_and_all_who_ask_it(tmp_path: Path) -> None:
    key = tmp_path / "key"
    async with node("--key", str(key)) as (started, addr):
        assert addr.endswith(str(Identity.load(key).peer_id))

        pinged = await p2p("ping", addr, "-c", "2", "--json")
        assert (pinged.returncode, pinged.stderr) == (0, b"")
        *rounds, summary = map(json.loads, pinged.stdout.splitlines())
        assert [fact["round"] for fact in rounds] == [1, 2]
        assert summary["event"] == "summary"
        assert summary["min"] <= summary["avg"] <= summary["max"] == max(fact["seconds"] for fact in rounds)
        connected = await started.event("connected")
        identified = await started.event("identified")
        gone = await started.event("disconnected")
        assert connected["peer_id"] == identified["peer_id"] == gone["peer_id"]
        assert connected["direction"] == "inbound"
        assert identified["agent_version"].startswith("p2p-trio/")

        told = await p2p("identify", addr, "--json")
        assert (told.returncode, told.stderr) == (0, b"")
        answer = json.loads(told.stdout)
        expected = ["id/1.0.0", "id/push/1.0.0", "ping/1.0.0"]
        assert answer["protocols"] == [*map("/ipfs/".__add__, expected), "/echo/1.0.0", "/perf/1.0.0"]
        assert answer["signed"] is True
        assert [f"{known}/p2p/{answer['peer_id']}" for known in answer["addrs"]] == [addr]
        assert answer["observed_addr"].startswith("/ip4/127.0.0.1/tcp/")

        data = os.urandom(3 * 1024 * 1024)
        echoed = await p2p("echo", addr, "--json", stdin=data)
        assert (echoed.returncode, echoed.stdout) == (0, data)
        assert json.loads(echoed.stderr)["sha256"] == hashlib.sha256(data).hexdigest()

        assert await started.interrupt() == (130, b"")


async def test_sentences_for_people() -> None:
    async with running("node") as started:
        first, second = await started.line(), await started.line()
        assert first.startswith(b"I am 12D3Koo")
        assert second.startswith(b"listening on /ip4/127.0.0.1/tcp/")
        addr = second.split()[-1].decode()
        pinged = await p2p("ping", addr, "-c", "1")
        assert (pinged.returncode, pinged.stderr) == (0, b"")
        assert pinged.stdout.startswith(b"1: ") and b"1 rounds to 12D3Koo" in pinged.stdout
        assert (await started.line()).startswith(b"connected: 12D3Koo")
        told = await p2p("identify", addr)
        assert (told.returncode, told.stderr) == (0, b"")
        assert b"agent:      p2p-trio/" in told.stdout and b"  /ipfs/ping/1.0.0" in told.stdout
        assert await started.interrupt() == (130, b"")


async def test_echo_of_files(tmp_path: Path) -> None:
    """Regular files take another way than pipes; nothing at all is echoed too."""
    source, copy = tmp_path / "source", tmp_path / "copy"
    async with node() as (_, addr):
        for data in (b"", os.urandom(1_000_003)):
            source.write_bytes(data)
            with source.open("rb") as stdin, copy.open("wb") as stdout:
                async with running("echo", addr, stdin=stdin, stdout=stdout) as echo:
                    status, said = await echo.end()
            assert status == 0
            assert copy.read_bytes() == data
            assert hashlib.sha256(data).hexdigest().encode() in said
        assert (await p2p("echo", addr, stdin=b"")).returncode == 0


# --- how commands end -----------------------------------------------------------------------------------


async def test_nobody_there() -> None:
    peer = Identity.generate().peer_id
    addr = f"/ip4/127.0.0.1/tcp/1/p2p/{peer}"
    for command in ("ping", "identify", "echo"):
        ended = await p2p(command, addr)
        assert (ended.returncode, ended.stdout) == (1, b"")
        assert str(peer) in one_line(ended.stderr)
    ended = await p2p("ping", addr, "--json")
    error = json.loads(ended.stderr)
    assert (ended.returncode, error["event"], error["error"]) == (1, "error", "AllAttemptsFailed")


async def test_a_port_in_use() -> None:
    async with node() as (_, addr):
        taken = addr.partition("/p2p/")[0]
        ended = await p2p("node", "--listen", taken)
        assert ended.returncode == 1
        assert taken in one_line(ended.stderr)


async def test_an_interrupted_ping_sums_up() -> None:
    async with node() as (_, addr), running("ping", addr) as pinging:
        assert (await pinging.line()).startswith(b"1: ")
        assert await pinging.interrupt() == (130, b"")
        assert b"rounds to" in await pinging.line()


async def test_an_interrupted_echo_ends_at_once() -> None:
    async with node() as (started, addr), running("echo", addr, stdin=subprocess.PIPE) as echo:
        await started.event("identified")
        assert echo.process.stdin is not None
        await echo.process.stdin.send_all(b"some, and then nothing")
        assert echo.process.stdout is not None
        assert await echo.process.stdout.receive_some() == b"some, and then nothing"
        assert await echo.interrupt() == (130, b"")


async def test_whoever_read_our_output_left() -> None:
    async with node() as (started, addr):
        assert started.process.stdout is not None
        await started.process.stdout.aclose()
        await p2p("ping", addr, "-c", "1")
        assert await started.end() == (141, b"")


async def test_echo_into_a_closed_pipe() -> None:
    async with node() as (_, addr), running("echo", addr, stdin=subprocess.PIPE) as echo:
        assert echo.process.stdout is not None and echo.process.stdin is not None
        await echo.process.stdout.aclose()
        await echo.process.stdin.send_all(b"x")
        assert await echo.end() == (141, b"")


# --- peers with bad manners -----------------------------------------------------------------------------


async def test_what_a_peer_calls_itself_cannot_write_on_a_terminal() -> None:
    """Row 39."""
    nasty = "a\r\nlistening on\x1b[2J\x07\u202e" * 100

    async def hang(stream: Stream) -> None:
        await trio.sleep_forever()

    async with hostile({"/\x1b[31m\u202e": hang}, agent_version=nasty) as addr:
        for arguments in (["identify", addr], ["identify", addr, "--json"]):
            told = await p2p(*arguments)
            assert (told.returncode, told.stderr) == (0, b"")
            text = told.stdout.decode()
            assert all(" " <= char <= "~" for char in text.replace("\n", ""))
            assert "\nlistening on" not in text


async def test_an_echo_that_lies() -> None:
    async def other(stream: Stream) -> None:
        async for chunk in stream:
            await stream.send_all(bytes(len(chunk)))

    async def short(stream: Stream) -> None:
        await stream.receive_some(1)

    for handler in (other, short):
        async with hostile({ECHO: handler}) as addr:
            ended = await p2p("echo", addr, stdin=b"all of this")
        assert ended.returncode == 1
        one_line(ended.stderr)


async def test_an_echo_that_ends_before_we_do() -> None:
    async def once(stream: Stream) -> None:
        await stream.send_all(await stream.receive_some())

    async with hostile({ECHO: once}) as addr, running("echo", addr, stdin=subprocess.PIPE) as echo:
        assert echo.process.stdin is not None
        await echo.process.stdin.send_all(b"and more to come")
        status, said = await echo.end()
        assert status == 1
        assert "ended after 16 bytes" in one_line(said)


async def test_a_peer_that_does_not_speak_it() -> None:
    async with hostile({}) as addr:
        for command in ("ping", "echo"):
            ended = await p2p(command, addr)
            assert (ended.returncode, ended.stdout) == (1, b"")
            assert "refused" in one_line(ended.stderr)


# --- the demonstration ------------------------------------------------------------------------------------


async def test_the_demonstration(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(200_000))
    command = [sys.executable, "-X", "dev", "-m", "p2p.cli.demo", str(path)]
    with trio.fail_after(PATIENCE):
        ended = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.decode().endswith("all is well\n")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in ended.stdout.decode()


async def test_a_node_keeps_to_the_limits_in_a_file(tmp_path: Path) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text("[resources.system]\ninbound_connections = 0\n")
    async with node("--limits", str(limits)) as (_, addr):
        ended = await p2p("ping", addr, "-c", "1")
        assert ended.returncode == 1
    limits.write_text("[resources.system]\ninbound_connection = 0\n")
    ended = await p2p("node", "--limits", str(limits))
    assert ended.returncode == 1
    assert "resources.system.inbound_connection: there is no such limit" in one_line(ended.stderr)
    ended = await p2p("node", "--limits", str(tmp_path / "nowhere.toml"))
    assert ended.returncode == 1
    assert "nowhere.toml" in one_line(ended.stderr)
