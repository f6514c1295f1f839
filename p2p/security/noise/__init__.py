"""Noise XX, the security protocol every libp2p implementation has (specs/noise)."""

from p2p.security.noise.security import Noise

__all__ = ["Noise"]
