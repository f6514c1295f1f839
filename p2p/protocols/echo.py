"""Echo: what comes is sent back. For demonstrations, tests and measurements; no spec names it.

The handler never holds more than one chunk: it reads the next one when the last was taken for sending, so a
remote that does not read what comes back soon cannot send either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import trio

from p2p.abc import Handler, HostView, ProtocolId, Stream

ECHO: Final = ProtocolId("/echo/1.0.0")


class Echo:
    """Answers ``/echo/1.0.0``."""

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {ECHO: echo}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves until cancelled."""
        task_status.started()
        await trio.sleep_forever()


async def echo(stream: Stream) -> None:
    """Send back what ``stream`` brings until its end, then end too."""
    async for chunk in stream:
        await stream.send_all(chunk)
    await stream.send_eof()
