"""The ``p2p`` command."""

from p2p.cli.command import main

__all__ = ["main"]
