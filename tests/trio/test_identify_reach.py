"""What a peer says of where it listens does not lead this host into its own machine or network."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
import trio.testing

from p2p.abc import Handler, HostView, ProtocolId, Stream
from p2p.host import Host
from p2p.identity import Identity
from p2p.protocols.identify import IDENTIFY, Identify
from p2p.protocols.identify.reach import believable, worth_telling
from p2p.testing.network import VirtualNetwork
from p2p.wire.addresses import Multiaddr
from p2p.wire.framing import encode_frame
from p2p.wire.messages import IdentifyMessage, encode_identify

TOLD = (
    "/ip4/127.0.0.1/tcp/22",
    "/ip4/0.0.0.0/tcp/22",
    "/ip6/::ffff:127.0.0.1/tcp/22",
    "/ip4/10.0.0.7/tcp/22",
    "/ip6/fe80::1/tcp/22",
    "/ip4/7.7.7.7/tcp/4001",
    "/dns4/peer.example.org/tcp/4001",
)


class Unsigned:
    """Answers identify without a signed record."""

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {IDENTIFY: self._answer}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def _answer(self, stream: Stream) -> None:
        message = IdentifyMessage(listen_addrs=tuple(Multiaddr(addr).to_bytes() for addr in TOLD))
        await stream.send_all(encode_frame(encode_identify(message)))
        await stream.send_eof()


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("where", "believed"),
    [("6.6.6.6", TOLD[5:]), ("10.1.1.1", TOLD[3:])],
    ids=["on the internet", "in our network"],
)
async def test_addresses_are_believed_that_are_reached_from_where_the_peer_is(
    where: str, believed: tuple[str, ...], signed: bool, autojump_clock: trio.testing.MockClock
) -> None:
    identify = Identify()
    async with VirtualNetwork(seed=1) as network:
        liar = Host(
            Identity.generate(),
            transports=[network.transport(where)],
            listen=[f"/ip4/{where}/tcp/4001"],
            announce=TOLD,
            services=[] if signed else [Unsigned()],
            identify=signed,
        )
        host = Host(Identity.generate(), transports=[network.transport("5.5.5.5")], services=[identify])
        async with liar, host:
            connection = await host.dial(f"/ip4/{where}/tcp/4001")
            answer = await identify.wait_identified(connection)
            assert len(answer.addrs) == len(TOLD)
            assert (answer.signed_record is not None) == signed
            known = {str(addr) for addr in host.peerstore.addrs(liar.peer_id, now=trio.current_time())}
            assert known - {f"/ip4/{where}/tcp/4001"} == set(believed)


@pytest.mark.parametrize("seen_at", ["/ip4/127.0.0.1/tcp/1", "/memory/1", "/dns4/example.org/tcp/1"])
def test_of_a_peer_on_this_machine_or_at_no_ip_address_all_is_believed(seen_at: str) -> None:
    assert all(believable(Multiaddr(addr), Multiaddr(seen_at)) for addr in TOLD)


@pytest.mark.parametrize(
    ("seen_at", "here"),
    [
        ("/ip4/6.6.6.6/tcp/1", False),
        ("/ip4/10.1.1.1/tcp/1", False),
        ("/ip6/2001:db8::1/tcp/1", False),
        ("/ip4/127.0.0.1/tcp/1", True),
        ("/unix/tmp/other.socket", True),
    ],
)
def test_files_of_this_machine_are_for_those_who_are_on_it(seen_at: str, here: bool) -> None:
    """Else a peer could have us dial the socket of any service here."""
    path, seen = Multiaddr("/unix/run/some.socket"), Multiaddr(seen_at)
    assert believable(path, seen) == here
    assert worth_telling(path, seen) == here
    assert worth_telling(Multiaddr("/ip4/10.0.0.1/tcp/1"), seen)


def test_of_a_peer_on_a_unix_socket_all_is_believed() -> None:
    assert all(believable(Multiaddr(addr), Multiaddr("/unix/tmp/socket")) for addr in TOLD)


@pytest.mark.parametrize("where", ["6.6.6.6", "127.0.0.1"])
async def test_paths_are_told_to_those_on_this_machine(
    where: str, autojump_clock: trio.testing.MockClock
) -> None:
    identify = Identify()
    async with VirtualNetwork(seed=1) as network:
        addr = f"/ip4/{where}/tcp/4001"
        teller = Host(
            Identity.generate(),
            transports=[network.transport(where)],
            listen=[addr],
            announce=[addr, "/unix/run/some.socket"],
        )
        host = Host(Identity.generate(), transports=[network.transport(where)], services=[identify])
        async with teller, host:
            answer = await identify.wait_identified(await host.dial(addr))
            told = [str(known) for known in answer.addrs]
            assert told == ([addr] if where == "6.6.6.6" else [addr, "/unix/run/some.socket"])
            assert answer.signed_record is not None
