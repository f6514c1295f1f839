"""``p2p identify``: what a peer says of itself."""

from __future__ import annotations

import argparse

from p2p.cli.hosts import dialing_host, peer_address
from p2p.cli.output import Output
from p2p.limits import WIRE_LIMITS
from p2p.protocols.identify import Identification, Identify
from p2p.wire.printable import printable

#: What an address that peers send may take in text, roughly.
_MAX_ADDRESS = 2 * WIRE_LIMITS.max_address


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "identify",
        help="ask a peer who it is",
        description="Dial a peer and print what it says of itself: its program, addresses and protocols.",
    )
    parser.add_argument("addr", metavar="ADDR", type=peer_address, help="where it is, ending in /p2p/PEER-ID")
    return parser


async def run(arguments: argparse.Namespace, output: Output) -> None:
    identify = Identify()
    async with dialing_host([identify]) as host:
        connection = await host.dial(arguments.addr)
        answer = await identify.wait_identified(connection)
    output.tell(
        "identified",
        _for_people(answer),
        peer_id=str(answer.peer_id),
        key_type=answer.public_key.type.name.lower(),
        agent_version=answer.agent_version,
        protocol_version=answer.protocol_version,
        addrs=[str(addr) for addr in answer.addrs],
        signed=answer.signed_record is not None,
        protocols=list(answer.protocols),
        observed_addr=None if answer.observed_addr is None else str(answer.observed_addr),
    )


def _for_people(answer: Identification) -> str:
    # Names in addresses are text of the peer as well.
    addrs = [printable(str(addr), _MAX_ADDRESS) for addr in answer.addrs]
    observed = "" if answer.observed_addr is None else printable(str(answer.observed_addr), _MAX_ADDRESS)
    lines = [
        f"peer id:    {answer.peer_id}",
        f"key:        {answer.public_key.type.name.lower()}",
        f"agent:      {answer.agent_version or '(does not say)'}",
    ]
    if answer.protocol_version:
        lines.append(f"version:    {answer.protocol_version}")
    lines.append(f"sees us at: {observed or '(does not say)'}")
    signed = ", signed" if answer.signed_record is not None else ""
    lines.append(f"addresses{signed}:" + ("" if addrs else " none"))
    lines += [f"  {addr}" for addr in addrs]
    if answer.refused:
        lines.append(f"  (its signed record was refused: {answer.refused})")
    lines.append("protocols:" + ("" if answer.protocols else " none"))
    lines += [f"  {printable(protocol)}" for protocol in answer.protocols]
    return "\n".join(lines)
