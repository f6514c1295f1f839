"""The floor: the least a Trio program can do for the same bytes, as a peer that speaks the same contract.

``--security plain`` is Trio over TCP and nothing else. ``--security noise`` (and ``aes``, AES-256-GCM in its place)
carries frames as Noise has them, of ChaCha20-Poly1305: sealed and opened in place, four frames a send, one copy out to
the reader. There is no handshake (the keys are fixed), no multiplexing, no limit and no deadline: what a real stack
does beyond this is what its distance from the floor pays for. The contract is in ``tests/interop/README.md``.
"""

from __future__ import annotations

import argparse
import gc
import mmap
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tests.interop.ours import Lines, execute_lines
from tests.interop.ours_bench import COUNT, DIALS_AT_ONCE, SMALL, ask_on_time, usage

PREFIX, TAG = 2, 16
PLAIN = 65_535 - TAG
FRAME = PREFIX + PLAIN + TAG
FRAMES_PER_SEND = 4
RECEIVE = 256 * 1024  # bytes a read asks for
BULK = b"\1"  # the first byte of what is to be dropped; a small message has another
CIPHERS = {"noise": ChaCha20Poly1305, "aes": AESGCM, "plain": None}

Cipher = ChaCha20Poly1305 | AESGCM
Request = Mapping[str, Any]
Answer = dict[str, Any]


def _buffer(size: int) -> memoryview:
    """Memory that is there once it is touched, so that a connection on which little happens takes little."""
    return memoryview(mmap.mmap(-1, size))


class PlainWire:
    """Trio over TCP."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock = sock
        self._received = _buffer(RECEIVE)

    async def write(self, data: memoryview) -> None:
        while data:
            data = data[await self.sock.send(data) :]

    async def write_ahead(self, data: memoryview) -> None:
        """There is no buffer here, so every write is handed to the kernel."""
        await self.write(data)

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()

    async def read(self) -> bytes | bytearray:
        """What arrived; empty at the end."""
        n = await self.sock.recv_into(self._received)
        return bytes(self._received[:n])


class SealedWire:
    """The same, in frames."""

    def __init__(self, sock: trio.socket.SocketType, cipher: Cipher) -> None:
        self.sock = sock
        self._cipher = cipher
        self._out = _buffer(FRAMES_PER_SEND * FRAME)
        self._begin = 0  # of the frame that is being filled
        self._filled = 0  # plaintext in it
        self._sealed = 0
        self._in = _buffer(RECEIVE + FRAME)
        self._have = 0  # bytes in it that are not opened yet
        self._opened = 0

    async def write(self, data: memoryview) -> None:
        """Copied into place, sealed there when a frame is full. Always a checkpoint, as every Trio call."""
        await self.write_ahead(data)
        await trio.lowlevel.checkpoint()

    async def write_ahead(self, data: memoryview) -> None:
        """The same, a checkpoint only where it sends."""
        while data:
            n = min(len(data), PLAIN - self._filled)
            start = self._begin + PREFIX + self._filled
            self._out[start : start + n] = data[:n]
            self._filled += n
            data = data[n:]
            if self._filled == PLAIN:
                self._seal()
                if self._begin == len(self._out):
                    await self._send()

    async def flush(self) -> None:
        if self._filled:
            self._seal()
        await self._send()

    def _seal(self) -> None:
        size = self._filled + TAG
        start = self._begin + PREFIX
        self._out[self._begin], self._out[self._begin + 1] = size >> 8, size & 0xFF
        nonce = self._sealed.to_bytes(12, "little")
        self._cipher.encrypt_into(
            nonce, self._out[start : start + self._filled], None, self._out[start : start + size]
        )
        self._sealed += 1
        self._begin, self._filled = start + size, 0

    async def _send(self) -> None:
        data = self._out[: self._begin]
        while data:
            data = data[await self.sock.send(data) :]
        self._begin = 0

    async def read(self) -> bytes | bytearray:
        """What arrived, of as many frames as are whole; empty at the end."""
        got = bytearray()
        while not got:
            n = await self.sock.recv_into(self._in[self._have : self._have + RECEIVE])
            if not n:
                return got
            self._have += n
            self._open(got)
        return got

    def _open(self, got: bytearray) -> None:
        begin = 0
        while self._have - begin >= PREFIX:
            start = begin + PREFIX
            end = start + (self._in[begin] << 8 | self._in[begin + 1])
            if end > self._have:
                break
            nonce = self._opened.to_bytes(12, "little")
            self._cipher.decrypt_into(nonce, self._in[start:end], None, self._in[start : end - TAG])
            self._opened += 1
            got += self._in[start : end - TAG]
            begin = end
        rest = self._have - begin
        if rest and begin:
            self._in[:rest] = bytes(self._in[begin : self._have])
        self._have = rest


Wire = PlainWire | SealedWire


async def ask(wire: Wire) -> None:
    """A small message there and back."""
    await wire.write(memoryview(bytes(SMALL)))
    await wire.flush()
    got = 0
    while got < SMALL:
        got += await _some(wire)


async def pour(wire: Wire, size: int, write: int, nowait: bool) -> None:
    """``size`` bytes in writes of ``write`` bytes, told before them, and the other side's count of them."""
    data = memoryview(os.urandom(write))
    writing = wire.write_ahead if nowait else wire.write
    await wire.write(memoryview(BULK + size.to_bytes(COUNT, "big")))
    for begin in range(0, size, write):
        await writing(data[: size - begin])
    await wire.flush()
    answer = bytearray()
    while len(answer) < COUNT:
        answer += await wire.read() or _ended()
    if int.from_bytes(answer, "big") != size:
        raise RuntimeError(f"{size} bytes were sent and {int.from_bytes(answer, 'big')} arrived")


async def serve(wire: Wire) -> None:
    """Small messages go back; bulk is read, dropped and counted."""
    with wire.sock:
        while chunk := await wire.read():
            if not chunk.startswith(BULK):
                await wire.write(memoryview(chunk))
                await wire.flush()
                continue
            while len(chunk) < len(BULK) + COUNT:
                chunk += await wire.read() or _ended()
            size = int.from_bytes(chunk[len(BULK) : len(BULK) + COUNT], "big")
            got = len(chunk) - len(BULK) - COUNT
            while got < size:
                got += await _some(wire)
            await wire.write(memoryview(got.to_bytes(COUNT, "big")))
            await wire.flush()


async def _some(wire: Wire) -> int:
    return len(await wire.read()) or len(_ended())


def _ended() -> bytes:
    raise EOFError("the other side ended too early")


class Floor:
    """Both sides of the commands that have a floor."""

    def __init__(self, security: str, nursery: trio.Nursery) -> None:
        self._cipher = CIPHERS[security]
        self._nursery = nursery
        self._open: Wire | None = None  # kept, as libp2p keeps its connection
        self._idle: list[Wire] = []
        self._commands: Mapping[str, Callable[[Request, Answer], Awaitable[None]]] = {
            "bench_usage": self._usage,
            "bench_bulk": self._bulk,
            "bench_round_trips": self._round_trips,
            "bench_handshakes": self._handshakes,
            "bench_crowd": self._crowd,
            "bench_pings": self._pings,
            "bench_disperse": self._disperse,
        }

    async def answer(self, request: Request) -> Answer:
        answer: Answer = {"id": request.get("id"), "ok": True}
        command = self._commands.get(request["command"])
        if command is None:
            return answer | {"ok": False, "kind": "bad_request", "error": "it has no floor"}
        with trio.move_on_after(request.get("timeout_ms", 20_000) / 1000) as scope:
            await command(request, answer)
        if scope.cancelled_caught:
            answer |= {"ok": False, "kind": "timeout", "error": "too slow"}
        return answer

    async def _usage(self, request: Request, answer: Answer) -> None:
        if request.get("settle"):
            gc.collect()
        answer |= usage()

    async def _bulk(self, request: Request, answer: Answer) -> None:
        # Nothing is multiplexed here: several streams are one connection, which carries what they would carry.
        wires = self._idle if request.get("crowd") else [await self._kept(request["addr"])]
        size, write = request["bytes"] // len(wires), request["write"]
        begin = perf_counter()
        async with trio.open_nursery() as nursery:
            for wire in wires:
                nursery.start_soon(pour, wire, size, write, request.get("nowait", False))
        answer |= {"micros": _micros_since(begin), "bytes": size * len(wires)}

    async def _round_trips(self, request: Request, answer: Answer) -> None:
        samples = []
        wire = await self._kept(request["addr"])
        await ask(wire)
        begin = asked = perf_counter()
        for _ in range(request["count"]):
            await ask(wire)
            answered = perf_counter()
            samples.append(round((answered - asked) * 1e6))
            asked = answered
        answer |= {"micros": _micros_since(begin), "samples": samples}

    async def _handshakes(self, request: Request, answer: Answer) -> None:
        dialed, answered = [], []
        for _ in range(request["count"]):
            begin = perf_counter()
            wire = await self._dial(request["addr"])
            dialed.append(_micros_since(begin))
            await ask(wire)
            answered.append(_micros_since(begin))
            wire.sock.close()
        answer |= {"dialed": dialed, "answered": answered}

    async def _crowd(self, request: Request, answer: Answer) -> None:
        dialing = trio.CapacityLimiter(DIALS_AT_ONCE)

        async def one() -> None:
            async with dialing:
                wire = await self._dial(request["addr"])
                await ask(wire)
            self._idle.append(wire)

        async with trio.open_nursery() as nursery:
            for _ in range(request["count"]):
                nursery.start_soon(one)
        answer["crowd"] = len(self._idle)

    async def _pings(self, request: Request, answer: Answer) -> None:
        await ask_on_time([partial(ask, wire) for wire in self._idle], request, answer)

    async def _disperse(self, request: Request, answer: Answer) -> None:
        for wire in self._idle:
            wire.sock.close()
        self._idle.clear()

    # --- connections

    def _wire(self, sock: trio.socket.SocketType) -> Wire:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return PlainWire(sock) if self._cipher is None else SealedWire(sock, self._cipher(bytes(32)))

    async def _kept(self, addr: str) -> Wire:
        if self._open is None:
            self._open = await self._dial(addr)
        return self._open

    async def _dial(self, addr: str) -> Wire:
        _, _, host, _, port = addr.split("/")
        sock = trio.socket.socket()
        await sock.connect((host, int(port)))
        return self._wire(sock)

    async def listen(self, addr: str, *, task_status: trio.TaskStatus[str]) -> None:
        """Accept at ``/ip4/HOST/tcp/PORT``; starts with the address that really is."""
        _, _, host, _, port = addr.split("/")
        with trio.socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await listener.bind((host, int(port)))
            listener.listen(1024)
            task_status.started(f"/ip4/{host}/tcp/{listener.getsockname()[1]}")
            while True:
                sock, _ = await listener.accept()
                self._nursery.start_soon(serve, self._wire(sock))


async def run(flags: argparse.Namespace) -> None:
    """As ``tests.interop.ours.run``."""
    lines = Lines()
    async with trio.open_nursery() as nursery:
        floor = Floor(flags.security, nursery)
        addrs = [await nursery.start(floor.listen, addr) for addr in flags.listen]
        await lines.write({"event": "ready", "peer_id": "floor", "addrs": addrs})
        await execute_lines(floor, lines)
        nursery.cancel_scope.cancel()


def _micros_since(begin: float) -> int:
    return round((perf_counter() - begin) * 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description="What a Trio program can do at best.")
    parser.add_argument("--listen", action="append", default=[], metavar="MULTIADDR")
    parser.add_argument("--security", default="noise", choices=CIPHERS)
    parser.add_argument("--muxer", help="told to all peers; there is none here")
    trio.run(run, parser.parse_args())


if __name__ == "__main__":
    main()
