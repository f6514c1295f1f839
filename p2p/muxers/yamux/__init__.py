"""Yamux: streams with flow control over one connection. PURE."""

from __future__ import annotations

from p2p.muxers.yamux.session import PROTOCOL, Yamux, YamuxSession
from p2p.muxers.yamux.stream import YamuxStream

__all__ = ["PROTOCOL", "Yamux", "YamuxSession", "YamuxStream"]
