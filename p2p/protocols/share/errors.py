"""What can go wrong between the two sides of a share, beyond what goes wrong with streams."""

from __future__ import annotations

from p2p.errors import P2PError
from p2p.wire.printable import printable

#: Of a path in a message.
_SHOWN = 200


class ShareError(P2PError):
    """The root of these."""


class ShareRefused(ShareError):
    """The sender has nothing for this secret: it is wrong, or the share is gone; which of them is not told."""

    def __init__(self) -> None:
        super().__init__(
            "the sender has nothing for this address: the part behind '#' is wrong, or what it stood for is "
            "no longer shared"
        )


class ShareBusy(ShareError):
    """The sender serves as many others as it may; later there is room."""

    def __init__(self) -> None:
        super().__init__("the sender serves as many others as it may at once; try again later")


class UnfitSource(ShareError):
    """Something in the source cannot be shared; ``path`` is where, ``reason`` why."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"cannot share {printable(path, _SHOWN)}: {reason}")


class SourceChanged(ShareError):
    """``path`` is not what it was when it was read for sharing."""

    def __init__(self, path: str, *, told: bool = False) -> None:
        self.path = path
        where = " at the sender" if told else ""
        super().__init__(
            f"{printable(path, _SHOWN)} changed{where} since it was shared: share it again to get what it is now"
        )


class TargetExists(ShareError):
    """Something else is where the share would go; nothing is ever overwritten."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(
            f"{printable(path, _SHOWN)} is there already, and is not the same: nothing was changed"
        )


class TargetUnusable(ShareError):
    """The place for what is fetched is full, taken by another getter, or not what it should be."""
