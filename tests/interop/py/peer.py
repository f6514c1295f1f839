"""An interop peer on py-libp2p. The control contract it speaks is in ../README.md.

It runs in an environment of its own, in which this package is not installed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

import trio
from libp2p import generate_new_ed25519_identity, new_host
from libp2p.abc import IHost, INetConn, INetStream, INetwork, INotifee
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.peer.peerstore import PeerStore
from libp2p.perf.perf_service import PerfService
from libp2p.rcmgr.connection_limits import ConnectionLimits
from libp2p.rcmgr.manager import ResourceLimits, ResourceManager
from libp2p.security.noise.transport import PROTOCOL_ID, Transport
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID, Mplex
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL_ID
from libp2p.stream_muxer.yamux.yamux import Yamux
from multiaddr import Multiaddr

from tests.interop.py.bench import Bench
from tests.interop.py.commands import Commands
from tests.interop.py.handlers import Tallies

MOST = 4096  # connections
MUXERS = {"yamux": (YAMUX_PROTOCOL_ID, Yamux), "mplex": (MPLEX_PROTOCOL_ID, Mplex)}


class Watcher(INotifee):
    """Tells the tallies of connections."""

    def __init__(self, tallies: Tallies) -> None:
        self._tallies = tallies

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        self._tallies.change()

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        self._tallies.change()

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None: ...

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None: ...

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None: ...


def made_host(flags: argparse.Namespace) -> IHost:
    if flags.security != "noise":
        sys.exit(f"--security {flags.security}: not supported")
    if flags.muxer not in MUXERS:
        sys.exit(f"--muxer {flags.muxer}: not supported")
    protocol, muxer = MUXERS[flags.muxer]
    keys = generate_new_ed25519_identity()
    noise = Transport(libp2p_keypair=keys, noise_privkey=create_new_key_pair().private_key)
    return new_host(
        keys,
        sec_opt={TProtocol(PROTOCOL_ID): noise},
        muxer_opt={TProtocol(protocol): muxer},
        # With more peers than it keeps it forgets itself, and what asks for its own key ends the program.
        peerstore_opt=PeerStore(max_records=MOST, max_peers=MOST),
        disable_identify_address_discovery=True,
        connection_config=ConnectionConfig(max_connections=MOST, high_watermark=MOST),
        # The largest limits it takes, and nothing that comes into force by itself.
        resource_manager=ResourceManager(
            limits=ResourceLimits(max_connections=MOST, max_memory_mb=16 * 1024, max_streams=64 * MOST),
            connection_limits=ConnectionLimits(),
            enable_memory_limits=False,
            enable_circuit_breaker=False,
            enable_graceful_degradation=False,
            enable_rate_limiting=False,
        ),
    )


def write(line: Mapping[str, Any]) -> None:
    """One whole line: nobody else runs meanwhile."""
    print(json.dumps(line), flush=True)


async def execute_lines(commands: Commands) -> None:
    """Answer what stdin asks, each command in a task of its own, until ``quit`` or its end."""

    async def answer(request: Mapping[str, Any]) -> None:
        write(await commands.answer(request))

    stdin = trio.wrap_file(sys.stdin)
    async with trio.open_nursery() as nursery:
        async for line in stdin:
            try:
                request = json.loads(line)
            except ValueError as error:
                write({"id": None, "ok": False, "kind": "bad_request", "error": str(error)})
                continue
            if request.get("command") == "quit":
                write({"id": request.get("id"), "ok": True})
                break
            nursery.start_soon(answer, request)
        nursery.cancel_scope.cancel()


async def run(flags: argparse.Namespace) -> None:
    host, tallies = made_host(flags), Tallies()
    tallies.serve(host)
    perf = PerfService(host)
    await perf.start()
    host.get_network().register_notifee(Watcher(tallies))
    async with host.run([Multiaddr(addr) for addr in flags.listen]):
        write({"event": "ready", "peer_id": str(host.get_id()), "addrs": [str(a) for a in host.get_addrs()]})
        async with trio.open_nursery() as nursery:
            bench = Bench(host, nursery, lambda: made_host(flags))
            await execute_lines(Commands(host, tallies, perf, bench))
            nursery.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="An interop peer on py-libp2p.")
    parser.add_argument("--listen", action="append", default=[], metavar="MULTIADDR")
    parser.add_argument("--security", default="noise")
    parser.add_argument("--muxer", default="yamux")
    trio.run(run, parser.parse_args())


if __name__ == "__main__":
    main()
