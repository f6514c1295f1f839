"""Mplex: streams over one connection, and nothing that slows a sender down. PURE.

Deprecated upstream (libp2p/specs, mplex/README.md, "Deprecation Notice"); for peers that speak nothing newer.
"""

from __future__ import annotations

from p2p.muxers.mplex.session import PROTOCOL, Mplex, MplexSession
from p2p.muxers.mplex.stream import MplexStream

__all__ = ["PROTOCOL", "Mplex", "MplexSession", "MplexStream"]
