"""Perf: so many bytes up, so many back, and how long they took.

The dialer says in eight bytes, big-endian, how many it wants back, sends as many as it likes, and FIN; then it is
sent what it wanted, and FIN. Each direction is measured on a stream of its own, so that neither waits for the other's
buffers: an upload wants nothing back, and the FIN that answers it says that all of it was read.

Source: libp2p specs, perf/perf.md.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from p2p.abc import Handler, HostView, ProtocolId, Stream
from p2p.errors import RemoteProtocolError
from p2p.frozen import frozen
from p2p.identity import PeerId
from p2p.limits import PerfLimits
from p2p.resources.per_peer import PerPeer
from p2p.streams import read_exactly
from p2p.wire.addresses import Multiaddr

PERF: Final = ProtocolId("/perf/1.0.0")
#: The number of bytes that are wanted back.
HEADER_SIZE: Final = 8
#: What can be asked for.
MAX_SIZE: Final = 2**64 - 1
#: All that is ever sent, again and again: several frames at a time, so that the loop around it costs little.
_ZEROS: Final = memoryview(bytes(256 * 1024))

#: Told of every so many bytes as they are handed over or received.
Progress = Callable[[int], object]


@frozen
class Transfer:
    """One direction, from the opened stream to its end: the other side's FIN, so one round trip is in it."""

    bytes: int
    seconds: float


@frozen
class PerfResult:
    upload: Transfer
    download: Transfer


async def perf(host: HostView, peer: PeerId | Multiaddr | str, *, upload: int, download: int) -> PerfResult:
    """Send ``upload`` bytes to ``peer``, then have it send ``download``, each on its own stream.

    Dialing and opening are not measured. Raises ``ValueError`` for a size that is no uint64, ``trio.TooSlowError``
    when one direction takes longer than ``limits.perf.timeout``, ``RemoteProtocolError`` for an answer of another
    size, and what ``open_stream`` and the stream raise. Cancelled or failed: the stream is reset.
    """
    return PerfResult(await measure_upload(host, peer, upload), await measure_download(host, peer, download))


async def measure_upload(
    host: HostView, peer: PeerId | Multiaddr | str, size: int, progress: Progress = bool
) -> Transfer:
    """The first half of :func:`perf`, telling ``progress`` of what was handed to the stream."""
    _check(size)

    async def upload(stream: Stream) -> None:
        await stream.send_all(_header(0))
        await _send(stream, size, progress)
        await stream.send_eof()
        await _receive(stream, 0, bool)

    return Transfer(size, await _measured(host, peer, upload))


async def measure_download(
    host: HostView, peer: PeerId | Multiaddr | str, size: int, progress: Progress = bool
) -> Transfer:
    """The second half of :func:`perf`, telling ``progress`` of what was received."""
    _check(size)

    async def download(stream: Stream) -> None:
        await stream.send_all(_header(size))
        await stream.send_eof()
        await _receive(stream, size, progress)

    return Transfer(size, await _measured(host, peer, download))


async def _measured(
    host: HostView, peer: PeerId | Multiaddr | str, use: Callable[[Stream], Awaitable[object]]
) -> float:
    stream = await host.open_stream(peer, PERF)
    try:
        with trio.fail_after(host.limits.perf.timeout):
            start = trio.current_time()
            await use(stream)
            seconds = trio.current_time() - start
    except BaseException:
        stream.reset()
        raise
    await stream.aclose()
    return seconds


async def _send(stream: Stream, size: int, progress: Progress) -> None:
    while size:
        part = _ZEROS[:size]
        await stream.send_all(part)
        size -= len(part)
        progress(len(part))


async def _receive(stream: Stream, size: int, progress: Progress) -> None:
    """Raises ``RemoteProtocolError`` unless exactly ``size`` bytes come before the end."""
    received = 0
    async for chunk in stream:
        received += len(chunk)
        if received > size:
            break
        progress(len(chunk))
    if received != size:
        than = "more than" if received > size else f"{received} of"
        raise RemoteProtocolError(f"perf: {stream.connection.remote_peer} sent {than} {size} bytes")


def _check(size: int) -> None:
    if not 0 <= size <= MAX_SIZE:
        raise ValueError(f"perf: {size} bytes are not between 0 and 2^64-1")


def _header(size: int) -> bytes:
    return size.to_bytes(HEADER_SIZE, "big")


class Perf:
    """Answers ``/perf/1.0.0``, within ``host.limits.perf``.

    Whoever may connect may use our bandwidth, so serve it where that is wanted and not by default (specs/perf,
    "Security Considerations"). Per peer at most ``streams_per_peer`` streams (one more is reset); what takes longer
    than ``timeout`` or more than ``max_bytes`` either way is reset.
    """

    def __init__(self) -> None:
        self._limits = PerfLimits()
        self._streams = PerPeer()

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {PERF: self._answer}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves until cancelled. For one host at a time."""
        self._limits = host.limits.perf
        task_status.started()
        await trio.sleep_forever()

    async def _answer(self, stream: Stream) -> None:
        limits = self._limits
        complete = False
        with self._streams.one_more(stream.connection.remote_peer, limits.streams_per_peer) as allowed:
            if allowed:
                with trio.move_on_after(limits.timeout):
                    complete = await self._serve(stream, limits.max_bytes)
        if not complete:
            stream.reset()

    async def _serve(self, stream: Stream, max_bytes: int) -> bool:
        """Whether all that was to be received and sent was."""
        wanted = int.from_bytes(await read_exactly(stream, HEADER_SIZE), "big")
        received = 0
        async for chunk in stream:
            received += len(chunk)
            if received > max_bytes:
                return False
        await _send(stream, min(wanted, max_bytes), bool)
        return wanted <= max_bytes
