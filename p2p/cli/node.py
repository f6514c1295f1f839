"""``p2p node``: a host that answers identify, ping, echo and perf, and tells what happens to it."""

from __future__ import annotations

import argparse
from contextlib import AbstractAsyncContextManager, nullcontext

from p2p.abc import Service
from p2p.cli.hosts import address
from p2p.cli.id import identity_of
from p2p.cli.limits_file import read_limits
from p2p.cli.output import Output
from p2p.events import AddressesChanged, Connected, Disconnected, Event, EventsLost, PeerIdentified
from p2p.host import Host
from p2p.limits import DEFAULT_LIMITS
from p2p.peerstore import Peerstore
from p2p.peerstore.sqlite import SQLitePeerstore
from p2p.protocols.echo import Echo
from p2p.protocols.identify import Identify
from p2p.protocols.perf import Perf
from p2p.protocols.ping import Ping
from p2p.transports.tcp import TCP
from p2p.transports.unix import Unix
from p2p.wire.addresses import parse_user_addr
from p2p.wire.printable import printable


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "node",
        help="run a host that others can dial",
        description="Listen, answer identify, ping, echo and perf, and print what happens until interrupted.",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDR",
        type=address,
        action="append",
        help="where to listen, as /ip4/0.0.0.0/tcp/4001 or /unix/tmp/socket; may be repeated "
        "(default: a free port of this machine only)",
    )
    parser.add_argument(
        "--key", metavar="FILE", help="the private key; made when there is none (default: a new one)"
    )
    parser.add_argument(
        "--peerstore",
        metavar="FILE",
        help="where what is known of peers is kept; made when there is none (default: it is forgotten)",
    )
    parser.add_argument(
        "--limits",
        metavar="FILE",
        help="TOML: the limits that differ from the defaults, as 'resources.system.connections = 500'",
    )
    return parser


async def run(arguments: argparse.Namespace, output: Output) -> None:
    limits = DEFAULT_LIMITS if arguments.limits is None else read_limits(arguments.limits)
    identity, _ = identity_of(arguments.key, "ed25519")
    listen = arguments.listen or [parse_user_addr("/ip4/127.0.0.1/tcp/0")]
    services: list[Service] = [Identify(), Ping(), Echo(), Perf()]
    kept: AbstractAsyncContextManager[Peerstore | None] = nullcontext()
    if arguments.peerstore is not None:
        kept = SQLitePeerstore(arguments.peerstore)
    async with (
        kept as peerstore,
        Host(
            identity,
            transports=[TCP(), Unix()],
            listen=listen,
            services=services,
            peerstore=peerstore,
            limits=limits,
        ) as host,
        host.events() as events,
    ):
        addrs = [str(addr) for addr in host.addrs]
        sentence = f"I am {host.peer_id}\n" + "".join(f"listening on {addr}\n" for addr in addrs)
        output.tell("listening", sentence.rstrip("\n"), peer_id=str(host.peer_id), addrs=addrs)
        async for event in events:
            _tell(event, output)


def _tell(event: Event, output: Output) -> None:
    match event:
        case Connected():
            direction = event.connection.direction.value
            addr = str(event.connection.remote_addr)
            sentence = f"connected: {event.peer} ({direction}, {addr})"
            output.tell("connected", sentence, peer_id=str(event.peer), addr=addr, direction=direction)
        case PeerIdentified():
            output.tell(
                "identified",
                f"identified: {event.peer} runs {event.agent_version or 'something unnamed'}, "
                f"speaks {len(event.protocols)} protocols",
                peer_id=str(event.peer),
                agent_version=event.agent_version,
                protocols=list(event.protocols),
                observed_addr=None if event.observed_addr is None else str(event.observed_addr),
            )
        case Disconnected():
            sentence = f"disconnected: {event.peer} ({printable(event.reason)})"
            output.tell("disconnected", sentence, peer_id=str(event.peer), reason=event.reason)
        case AddressesChanged():
            addrs = [str(addr) for addr in event.addrs]
            output.tell("addresses", f"now at {', '.join(addrs) or 'no address'}", addrs=addrs)
        case EventsLost():
            output.tell("events_lost", f"too much happened: {event.count} events lost", count=event.count)
