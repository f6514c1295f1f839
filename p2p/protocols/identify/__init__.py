"""Identify: who a peer is, what it speaks, where it listens, and from where it sees us."""

from p2p.protocols.identify.push import IDENTIFY_PUSH
from p2p.protocols.identify.service import IDENTIFY, Identify
from p2p.protocols.identify.state import Identification

__all__ = ["IDENTIFY", "IDENTIFY_PUSH", "Identification", "Identify"]
