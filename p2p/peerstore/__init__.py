"""What is remembered of peers."""

from p2p.peerstore.memory import Peerstore

__all__ = ["Peerstore"]
