"""Nothing that takes apart bytes of a peer is left out of the fuzz registry, but for what is named here."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from p2p.wire.messages import decode_identify
from tests import rules
from tests.fuzz.candidates import candidates
from tests.fuzz.registry import REGISTRY, Entry
from tests.rules import Module

PRIVATE_KEY = "reads what this user or program keeps secret: no peer writes it"
MOVES = "moves bytes and looks at none"

#: Candidates that need no entry of their own, and why.
EXCLUDED: dict[str, str] = {
    "p2p.host.subscriptions.Subscription.receive": "events of this host, not bytes",
    "p2p.identity.ec.load_ecdsa_private": PRIVATE_KEY,
    "p2p.identity.ec.load_secp256k1_private": PRIVATE_KEY,
    "p2p.identity.ed25519.from_seed": PRIVATE_KEY,
    "p2p.identity.ed25519.load_private": PRIVATE_KEY,
    "p2p.identity.keys.PrivateKey.from_protobuf": PRIVATE_KEY,
    "p2p.identity.keys.PrivateKey.from_seed": PRIVATE_KEY,
    "p2p.identity.rsa.load_private": PRIVATE_KEY,
    "p2p.wire.messages.decode_private_key": PRIVATE_KEY,
    "p2p.muxers.stream.MuxedStream.receive_some": "gives what the session sorted already",
    "p2p.muxers.mplex.receiving.Receiver.receive": "the inside of MplexSession.receive_data, and called by nobody else",
    "p2p.muxers.yamux.receiving.Receiver.receive": "the inside of YamuxSession.receive_data, and called by nobody else",
    "p2p.protocols.identify.push.Push.receive": "reads by read_identification, and looks at no bytes",
    "p2p.negotiation.select.RawHandshake.negotiate": "the inside of propose and respond",
    "p2p.protocols.share.disk.waiting.DiskSource.read": "a file of this user's, not bytes of a peer",
    "p2p.transports.adapter.RawStreamAdapter.receive_into": MOVES,
    "p2p.transports.pipe.PipeStream.receive_into": MOVES,
    "p2p.transports.sockets.SocketStream.receive_into": MOVES,
}


def missing(modules: dict[str, Module], registry: Iterable[Entry] = REGISTRY) -> set[str]:
    found = {name for module in modules.values() for name in candidates(module)}
    return found - {entry.name for entry in registry} - set(EXCLUDED)


def test_every_parser_is_registered() -> None:
    assert not missing(rules.modules_of("p2p")), "register it, or say in EXCLUDED why not"


def test_exclusions_are_of_something_and_needed() -> None:
    found = {name for module in rules.modules_of("p2p").values() for name in candidates(module)}
    assert set(EXCLUDED) <= found
    assert not set(EXCLUDED) & {entry.name for entry in REGISTRY}
    assert all(EXCLUDED.values())


def test_entries_are_told_apart() -> None:
    assert len({str(entry) for entry in REGISTRY}) == len(REGISTRY)
    assert all(entry.seeds for entry in REGISTRY)


PARSERS = {
    "p2p.protocols.made_up.codec": """
def decode_wish(data: bytes) -> Wish: ...
def parse(raw: memoryview | bytearray, *, limit: int) -> Wish: ...
def read_tail(offset: int, *rest: Buffer) -> Wish: ...
def take_options(*, raw: bytes | None = None) -> Wish: ...
""",
    "p2p.muxers.made_up.session": """
class _Session:
    def receive_data(self, data: memoryview, now: float) -> None: ...
    class Inner:
        @classmethod
        def from_bytes(cls, data: bytes) -> Inner: ...
if True:
    def feed(data: bytes) -> None: ...
""",
    "p2p.protocols.made_up.service": """
async def read_wish(stream): ...
class Wishes:
    async def receive(self): ...
""",
}
OTHERS = {
    "p2p.protocols.made_up.codec": """
def encode_wish(wish: Wish) -> bytes: ...
def decode_text(text: str) -> bytes: ...
def _decode_part(data: bytes) -> Wish: ...
def receiver(data: bytes) -> None: ...
def open_with(random: Callable[[int], bytes]) -> None: ...
async def accept() -> Wish: ...
""",
    "p2p.muxers.made_up.session": """
class Session(Protocol):
    def receive_data(self, data: memoryview, now: float) -> None: ...
class Other(ABC):
    @abstractmethod
    def receive_data(self, data: bytes) -> None: ...
""",
    "p2p.testing.made_up": "def decode_wish(data: bytes) -> Wish: ...",
}


@pytest.mark.parametrize(("at", "count"), [*zip(PARSERS, (4, 3, 2), strict=True)])
def test_a_made_up_parser_is_missed(at: str, count: int) -> None:
    found = missing({at: Module.of(at, PARSERS[at])})
    assert len(found) == count and all(name.startswith(at) for name in found)


@pytest.mark.parametrize("at", OTHERS)
def test_what_is_no_parser_is_not(at: str) -> None:
    assert not missing({at: Module.of(at, OTHERS[at])})


def test_an_entry_that_is_taken_out_is_missed() -> None:
    left = [entry for entry in REGISTRY if entry.target is not decode_identify]
    assert missing(rules.modules_of("p2p"), left) == {"p2p.wire.messages.decode_identify"}
