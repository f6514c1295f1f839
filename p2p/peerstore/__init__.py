"""What is remembered of peers."""

from p2p.peerstore.memory import PERMANENT_TTL, TEMPORARY_TTL, Peerstore

__all__ = ["PERMANENT_TTL", "TEMPORARY_TTL", "Peerstore"]
