"""What takes the place of code of the victim, where a bound is no field of ``Limits`` (see ``victim.py``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio

from p2p.errors import RemoteProtocolError


def deaf(receive: Callable[[Any], Awaitable[bool]]) -> Callable[[Any], Awaitable[bool]]:
    """A handshake that does not notice when the remote ends: ``RawHandshake._receive``."""

    async def receive_for_ever(handshake: Any) -> bool:
        if not await receive(handshake):
            await trio.sleep_forever()
        return True

    return receive_for_ever


def forgiving(receive_data: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
    """A session that takes what breaks the rules for nothing: ``YamuxSession.receive_data``."""

    def receive_anything(session: Any, data: memoryview, now: float) -> Sequence[Any]:
        try:
            return receive_data(session, data, now)
        except RemoteProtocolError:
            session._broken = False
            session._outgoing.only_goodbye = False
            return ()

    return receive_anything
