"""The books of one mplex stream. PURE."""

from __future__ import annotations

from typing import Final

from p2p.limits import MplexLimits
from p2p.muxers.books import StreamBooks
from p2p.muxers.mplex.frames import MESSAGE, header, key_of

#: There is no window; this says so where one is asked for.
NO_WINDOW: Final = 1 << 62


class MplexStream(StreamBooks):
    """What is known of one stream."""

    __slots__ = ("message", "unread_since", "was_read")

    def __init__(self, stream_id: int, *, inbound: bool, limits: MplexLimits) -> None:
        key = key_of(stream_id, inbound=inbound)
        super().__init__(
            key, stream_id, inbound=inbound, send_buffer=limits.send_buffer, send_window=NO_WINDOW
        )
        #: How each of our messages of it begins.
        self.message = header(MESSAGE, key)
        #: Since when what was received has waited to be read: since it came, or since enough of it was read;
        #: and whether the application has ever read of it.
        self.unread_since = 0.0
        self.was_read = False

    def __repr__(self) -> str:
        return f"<mplex stream {self.stream_id} of {'theirs' if self.inbound else 'ours'}>"
