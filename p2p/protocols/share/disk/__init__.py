"""Shares on disk."""

from p2p.protocols.share.disk.waiting import DiskSource, DiskTarget, scan

__all__ = ["DiskSource", "DiskTarget", "scan"]
