"""``p2p ping``: how long 32 bytes take to a peer and back."""

from __future__ import annotations

import argparse
from typing import Final

import trio

from p2p.cli.hosts import dialing_host, peer_address
from p2p.cli.output import Output, duration
from p2p.protocols.identify import Identify
from p2p.protocols.ping import PING, Rounds
from p2p.wire.addresses import split_peer

#: Seconds from one round to the next.
PAUSE: Final = 1.0


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "ping",
        help="measure the round trip to a peer",
        description="Send 32 bytes to a peer every second and measure how long they take there and back.",
    )
    parser.add_argument("addr", metavar="ADDR", type=peer_address, help="where it is, ending in /p2p/PEER-ID")
    parser.add_argument(
        "-c", "--count", metavar="N", type=_count, help="end after N rounds (default: when interrupted)"
    )
    return parser


async def run(arguments: argparse.Namespace, output: Output) -> None:
    rounds: list[float] = []
    _, peer = split_peer(arguments.addr)
    async with dialing_host([Identify()]) as host:
        try:
            async with await host.open_stream(arguments.addr, PING) as stream:
                async for seconds in Rounds(stream, limits=host.limits.ping):
                    rounds.append(seconds)
                    output.tell(
                        "round",
                        f"{len(rounds)}: {duration(seconds)}",
                        round=len(rounds),
                        seconds=round(seconds, 6),
                    )
                    if len(rounds) == arguments.count:
                        break
                    await trio.sleep(PAUSE)
        finally:
            if rounds:
                _summarize(rounds, output, str(peer))


def _summarize(rounds: list[float], output: Output, peer: str) -> None:
    least, mean, most = min(rounds), sum(rounds) / len(rounds), max(rounds)
    output.tell(
        "summary",
        f"{len(rounds)} rounds to {peer}: min {duration(least)}, avg {duration(mean)}, max {duration(most)}",
        peer_id=peer,
        rounds=len(rounds),
        min=round(least, 6),
        avg=round(mean, 6),
        max=round(most, 6),
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds")
    return int(text)
