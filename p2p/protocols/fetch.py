"""Fetch: the value of a key, asked of one peer.

One request and one answer on a stream, each with its length in front. What a key means is agreed elsewhere; by custom
it begins with the name of a namespace, as ``/ipns/``.

Source: libp2p specs, fetch/README.md; the framing, which it leaves out, is that of go-libp2p-pubsub-router and js.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from p2p.abc import Handler, HostView, ProtocolId, Stream
from p2p.errors import P2PError
from p2p.identity import PeerId
from p2p.limits import FetchLimits
from p2p.resources.per_peer import PerPeer
from p2p.streams import read_lp, write_lp
from p2p.wire.addresses import Multiaddr
from p2p.wire.fetch_messages import (
    FetchAnswer,
    FetchStatus,
    decode_fetch_answer,
    decode_fetch_request,
    encode_fetch_answer,
    encode_fetch_request,
)
from p2p.wire.printable import printable

FETCH: Final = ProtocolId("/libp2p/fetch/0.0.1")

#: Tag and length in front of a key, and a little that others may add.
_AROUND_A_KEY: Final = 16
#: Characters told of why there is no telling.
_LONGEST_REASON: Final = 256

#: The value of a key for the peer that asks, or None where there is none for it.
Lookup = Callable[[bytes, PeerId], Awaitable[bytes | None]]


class FetchError(P2PError):
    """Whether the key has a value cannot be told. A lookup raises it; the peer that asked is told, and raises it too.

    A reason that came from a peer is cut short, and printable.
    """


async def fetch(host: HostView, peer: PeerId | Multiaddr | str, key: bytes) -> bytes | None:
    """The value of ``key`` at ``peer``, or None when the peer says that there is none.

    Raises ``ValueError`` for a key of more than ``limits.fetch.max_key`` bytes, ``FetchError`` when the peer says so,
    ``trio.TooSlowError`` after ``limits.fetch.timeout``, ``RemoteProtocolError`` for an answer that is malformed or too
    large, and what ``open_stream`` and the stream raise. Cancelled or failed: the stream is reset.
    """
    limits = host.limits.fetch
    if len(key) > limits.max_key:
        raise ValueError(f"fetch: a key of {len(key)} bytes, the limit is {limits.max_key}")
    stream = await host.open_stream(peer, FETCH)
    try:
        with trio.fail_after(limits.timeout):
            await write_lp(stream, encode_fetch_request(key))
            answer = decode_fetch_answer(await read_lp(stream, max=limits.max_answer))
    except BaseException:
        stream.reset()
        raise
    await stream.aclose()
    match answer.status:
        case FetchStatus.OK:
            return answer.data
        case FetchStatus.NOT_FOUND:
            return None
        case FetchStatus.ERROR:
            raise FetchError(f"{stream.connection.remote_peer} cannot tell: {printable(answer.data)}")


class Fetch:
    """Answers ``/libp2p/fetch/0.0.1`` out of ``lookups``, by the prefix of the key; the longest that fits is asked.

    ::

        Fetch({b"/notes/": find_note})

    A lookup is called within ``limits.fetch.timeout`` of the stream's beginning, as part of it: what else it raises
    than ``FetchError`` costs the stream, and is logged. Per peer at most ``limits.fetch.streams_per_peer`` streams; one
    more is reset.
    """

    def __init__(self, lookups: Mapping[bytes, Lookup]) -> None:
        self._lookups = sorted(lookups.items(), key=lambda entry: len(entry[0]), reverse=True)
        self._limits = FetchLimits()
        self._streams = PerPeer()

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {FETCH: self._answer}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves until cancelled. For one host at a time."""
        self._limits = host.limits.fetch
        task_status.started()
        await trio.sleep_forever()

    async def _answer(self, stream: Stream) -> None:
        limits = self._limits
        peer = stream.connection.remote_peer
        answered = False
        with self._streams.one_more(peer, limits.streams_per_peer) as allowed:
            if allowed:
                with trio.move_on_after(limits.timeout):
                    key = decode_fetch_request(await read_lp(stream, max=limits.max_key + _AROUND_A_KEY))
                    await write_lp(stream, await self._encoded(key, peer))
                    answered = True
        if not answered:
            stream.reset()

    async def _encoded(self, key: bytes, peer: PeerId) -> bytes:
        try:
            answer = encode_fetch_answer(await self._find(key, peer))
        except FetchError as error:
            reason = str(error)[:_LONGEST_REASON].encode(errors="replace")
            return encode_fetch_answer(FetchAnswer(FetchStatus.ERROR, reason))
        if len(answer) > self._limits.max_answer:
            return encode_fetch_answer(FetchAnswer(FetchStatus.ERROR, b"the value is too large to be sent"))
        return answer

    async def _find(self, key: bytes, peer: PeerId) -> FetchAnswer:
        for prefix, lookup in self._lookups:
            if key.startswith(prefix):
                value = await lookup(key, peer)
                return (
                    FetchAnswer(FetchStatus.NOT_FOUND)
                    if value is None
                    else FetchAnswer(FetchStatus.OK, value)
                )
        raise FetchError("no key that begins like this is looked up here")
