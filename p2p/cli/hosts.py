"""What the commands that dial have in common: their arguments, and a host that listens nowhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from p2p.abc import Service
from p2p.errors import InvalidAddress
from p2p.host import Host
from p2p.identity import Identity
from p2p.transports.tcp import TCP
from p2p.transports.unix import Unix
from p2p.wire.addresses import Multiaddr, parse_user_addr, split_peer


def address(text: str) -> Multiaddr:
    """An argument: a multiaddr."""
    try:
        return parse_user_addr(text)
    except InvalidAddress as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def peer_address(text: str) -> Multiaddr:
    """An argument: a multiaddr that says whom to expect there."""
    addr = address(text)
    if split_peer(addr)[1] is None:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in /p2p/PEER-ID")
    return addr


def dialing_host(services: Sequence[Service] = ()) -> Host:
    """A host with a new identity that only dials."""
    return Host(Identity.generate(), transports=[TCP(), Unix()], services=services)
