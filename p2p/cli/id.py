"""``p2p id``: a peer id, of a key file or of a new key."""

from __future__ import annotations

import argparse
import os

from p2p.cli.output import Output
from p2p.identity import Identity, KeyType


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "id",
        help="make or show an identity",
        description="Print the peer id of the key in FILE. When there is no FILE, a key is made and kept there; "
        "without --key it is made and forgotten.",
    )
    parser.add_argument("--key", metavar="FILE", help="the file of the private key, readable by you alone")
    types = [type.name.lower() for type in KeyType]
    parser.add_argument(
        "--type", choices=types, default="ed25519", help="the kind of a new key (default: ed25519)"
    )
    return parser


async def run(arguments: argparse.Namespace, output: Output) -> None:
    identity, created = identity_of(arguments.key, arguments.type)
    output.tell(
        "identity",
        str(identity.peer_id),
        peer_id=str(identity.peer_id),
        type=identity.public_key.type.name.lower(),
        key=arguments.key,
        created=created,
    )


def identity_of(path: str | None, type: str) -> tuple[Identity, bool]:
    """The identity in the file at ``path``, and whether it was made just now.

    Raises ``InvalidKey``, ``OSError``. Blocking, for start-up.
    """
    if path is None:
        return Identity.generate(type), True
    if os.path.lexists(path):
        return Identity.load(path), False
    identity = Identity.generate(type)
    identity.save(path)
    return identity, True
