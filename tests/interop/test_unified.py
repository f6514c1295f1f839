"""The transport test of libp2p/unified-testing: our program dials itself, found through a Redis server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.interop.toolchains import ROOT
from tests.interop.unified.redis import Redis, RedisError, connected

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

PATIENCE = 20  # seconds, for one run of the program
READY = 10  # seconds, for the server
YAML = re.compile(r"latency:\n  handshake_plus_one_rtt: (\d+\.\d{3})\n  ping_rtt: (\d+\.\d{3})\n  unit: ms\n")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[str, None]:
    """A server of our own on a port that nobody has, which keeps nothing; its ``host:port``."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server: not found on PATH")
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    options = {"bind": "127.0.0.1", "port": str(port), "save": "", "appendonly": "no", "dir": str(tmp_path)}
    command = [program, *(word for name, value in options.items() for word in (f"--{name}", value))]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        said = b""
        with trio.fail_after(READY):
            while b"Ready to accept connections" not in said:
                chunk = await process.stdout.receive_some()
                assert chunk, said.decode()
                said += chunk
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + READY):
            await process.wait()
            await process.stdout.aclose()


def environment(addr: str, **more: str) -> dict[str, str]:
    """As the test's script sets it, beside what Python needs."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), "REDIS_ADDR": addr, **more}


def command() -> list[str]:
    return [sys.executable, "-X", "dev", "-m", "tests.interop.unified.app"]


async def run(variables: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(PATIENCE):
        return await trio.run_process(
            command(), env=variables, capture_stdout=True, capture_stderr=True, check=False
        )


@asynccontextmanager
async def listening(variables: Mapping[str, str]) -> AsyncGenerator[trio.Process, None]:
    """The listener, which runs until it is ended, as Docker ends it."""
    process = await trio.lowlevel.open_process(
        command(), env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    async with process.stdout:
        try:
            yield process
        finally:
            process.terminate()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE):
                await process.wait()
        assert await process.stdout.receive_some() == b""


@pytest.mark.parametrize("muxer", ["yamux", "mplex"])
async def test_dialer_and_listener(server: str, muxer: str) -> None:
    key = hashlib.sha256(f"p2p-trio x p2p-trio (tcp, noise, {muxer})".encode()).hexdigest()[:8]
    asked = {"TEST_KEY": key, "TRANSPORT": "tcp", "SECURE_CHANNEL": "noise", "MUXER": muxer}
    listener = environment(server, IS_DIALER="false", LISTENER_IP="127.0.0.1", **asked)
    # The dialer first, as it may be: it waits for the key.
    async with listening(listener) as process:
        done = await run(environment(server, IS_DIALER="true", DEBUG="true", **asked))
        assert process.returncode is None
    assert done.returncode == 0, done.stderr.decode()
    told = YAML.fullmatch(done.stdout.decode())
    assert told is not None, done.stdout
    assert 0 < float(told[2]) < float(told[1])
    assert b"dialing /ip4/127.0.0.1/tcp/" in done.stderr


async def test_the_legacy_contract(server: str) -> None:
    asked = {
        "transport": "tcp",
        "security": "noise",
        "muxer": "yamux",
        "redis_addr": server,
        "ip": "127.0.0.1",
    }
    async with listening(environment("", is_dialer="false", **asked)):
        done = await run(environment("", is_dialer="true", test_timeout_seconds="15", **asked))
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert 0 < told["pingRTTMilllis"] < told["handshakePlusOneRTTMillis"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TRANSPORT", "quic-v1", "TRANSPORT=quic-v1: not supported, only tcp"),
        ("SECURE_CHANNEL", "tls", "SECURE_CHANNEL=tls: not supported, only noise"),
        ("MUXER", "", "MUXER is not set"),
        ("IS_DIALER", "perhaps", "IS_DIALER=perhaps: not supported, only false and true"),
        ("TEST_KEY", "", "TEST_KEY is not set"),
    ],
)
async def test_what_is_not_supported_is_said(name: str, value: str, message: str) -> None:
    asked = {
        "IS_DIALER": "true",
        "TEST_KEY": "0123abcd",
        "TRANSPORT": "tcp",
        "SECURE_CHANNEL": "noise",
        "MUXER": "yamux",
    }
    done = await run(environment("127.0.0.1:1", **{**asked, name: value}))
    assert (done.returncode, done.stdout) == (1, b"")
    assert message in done.stderr.decode()


async def test_a_dial_that_fails_is_a_failure(server: str) -> None:
    stranger = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
    async with connected(server) as redis:
        assert await redis.command("SET", "0123abcd_listener_multiaddr", stranger) == b"OK"
    asked = {"TEST_KEY": "0123abcd", "TRANSPORT": "tcp", "SECURE_CHANNEL": "noise", "MUXER": "yamux"}
    done = await run(environment(server, IS_DIALER="true", **asked))
    assert (done.returncode, done.stdout) == (1, b"")
    assert "cannot dial" in done.stderr.decode()


async def test_the_redis_client(server: str) -> None:
    async with connected(server) as redis:
        assert await redis.command("GET", "nothing") is None
        assert await redis.command("RPUSH", "list", "one", "two\r\nthree", "") == 3
        assert await redis.command("LRANGE", "list", "0", "-1") == [b"one", b"two\r\nthree", b""]
        with pytest.raises(RedisError, match="unknown command"):
            await redis.command("NO-SUCH-COMMAND")
        assert await redis.command("PING") == b"PONG"


async def test_a_redis_server_that_makes_no_sense() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n")

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, [listener])
        async with await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1]) as stream:
            with pytest.raises(RedisError, match="expected an answer"):
                await Redis(stream).command("PING")
        nursery.cancel_scope.cancel()
