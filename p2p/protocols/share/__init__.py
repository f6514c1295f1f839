"""Files and folders, from one peer to those who were given a secret."""

from p2p.protocols.share.address import ShareAddress
from p2p.protocols.share.content import Source, Target
from p2p.protocols.share.disk import DiskSource, DiskTarget, scan
from p2p.protocols.share.endpoint import get
from p2p.protocols.share.errors import (
    ShareBusy,
    ShareError,
    ShareRefused,
    SourceChanged,
    TargetExists,
    TargetUnusable,
    UnfitSource,
)
from p2p.protocols.share.manifest import Manifest
from p2p.protocols.share.secret import Secret
from p2p.protocols.share.service import SHARE, Share

__all__ = [
    "SHARE", "DiskSource", "DiskTarget", "Manifest", "Secret", "Share", "ShareAddress", "ShareBusy", "ShareError",
    "ShareRefused", "Source", "SourceChanged", "Target", "TargetExists", "TargetUnusable", "UnfitSource", "get", "scan",
]  # fmt: skip
