"""The house keeps its rules (``rules.py``), and each rule is able to fail."""

from __future__ import annotations

import pytest

from tests import rules
from tests.rules import Module

PACKAGE = rules.modules_of("p2p")
TESTS = rules.modules_of("tests")
PACKAGE_RULES = rules.package_rules(PACKAGE)
TEST_RULES = rules.test_rules()


@pytest.mark.parametrize("name", PACKAGE_RULES)
def test_the_package_keeps(name: str) -> None:
    rule = PACKAGE_RULES[name]
    found = [finding for module in PACKAGE.values() for finding in rule(module)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", TEST_RULES)
def test_the_tests_keep(name: str) -> None:
    rule = TEST_RULES[name]
    found = [finding for module in TESTS.values() for finding in rule(module)]
    assert not found, "\n".join(found)


def test_the_package_imports_in_no_circle() -> None:
    assert not list(rules.no_import_cycles(PACKAGE))


def test_every_module_has_a_rank() -> None:
    unranked = [name for name in PACKAGE if name != "p2p" and rules.rank(name) == rules.RANKS["p2p"]]
    assert not unranked


# --- each rule fails on a file made up for it ---------------------------------------------------------

KNOWN = frozenset(
    {
        "p2p.host",
        "p2p.host.host",
        "p2p.events",
        "p2p.wire",
        "p2p.wire.varint",
        "p2p.protocols.ping",
        "p2p.errors",
    }
)
MACHINE_PATH = "/" + "home/somebody/notes"

BAD = {
    "imports go down": [
        ("p2p.wire.framing", "import p2p.host.host"),
        ("p2p.wire.framing", "from p2p.host import Host"),
        ("p2p.wire.framing", "from p2p import events"),
        ("p2p.wire.framing", "from p2p import Host"),
        ("p2p.wire.framing", "from ..host import Host"),
        ("p2p.wire.framing", "if TYPE_CHECKING:\n    from p2p.events import Event"),
        ("p2p.protocols.kad.service", "from p2p.protocols.ping import ping"),
        ("p2p.protocols.ping", "from p2p.host import Host"),
        ("p2p.host.host", "from p2p.protocols.ping import ping"),
    ],
    "no import in a function": [
        ("p2p.streams", "def f():\n    import os"),
        ("p2p.streams", "async def f():\n    if x:\n        from os import path"),
    ],
    "purity": [
        ("p2p.muxers.yamux.session", "import trio"),
        ("p2p.muxers.yamux.session", "from trio.lowlevel import checkpoint"),
        ("p2p.muxers.yamux.session", "import time"),
        ("p2p.negotiation.multistream", "from random import random"),
        ("p2p.protocols.identify.codec", "import trio"),
    ],
    "multiaddr has one site": [("p2p.peerstore.memory", "from multiaddr import Multiaddr")],
    "generated code stays in wire": [
        ("p2p.identity.keys", "from p2p.wire.proto import keys_pb2"),
        ("p2p.identity.keys", "import p2p.wire.proto.keys_pb2"),
        ("p2p.identity.keys", "from google.protobuf.message import DecodeError"),
    ],
    "refused imports": [("p2p.peerstore.memory", "import pickle")],
    "file size": [("p2p.streams", "x = 1\n" * 501)],
    "names say something": [
        ("p2p.wire.utils", ""),
        ("p2p.host._base", ""),
        ("p2p.streams", "class IStream: ..."),
        ("p2p.streams", "class StreamManager: ..."),
    ],
    "nothing unfinished": [
        ("p2p.streams", "x = 1  # TO" + "DO: more"),
        ("p2p.streams", "def f():\n    raise NotImplementedError"),
    ],
    "no place of a machine": [("p2p.streams", f"x = '{MACHINE_PATH}'")],
    "channels are bounded": [
        ("p2p.events", "trio.open_memory_channel(math.inf)"),
        ("p2p.events", "trio.open_memory_channel[int](math.inf)"),
        ("p2p.events", "open_memory_channel(float('inf'))"),
    ],
    "refused calls": [
        ("p2p.host.host", "trio.lowlevel.spawn_system_task(f)"),
        ("p2p.host.host", "hasattr(stream, 'reset')"),
        ("p2p.host.host", "eval(text)"),
    ],
    "no fixed hash seed": [("p2p.cli.demo", "env = {'PYTHONHASHSEED': '0'}")],
    "shields end": [
        ("p2p.host.host", "with trio.CancelScope(shield=True): pass"),
        ("p2p.host.host", "scope.shield = True"),
    ],
    "varints are read in one place": [
        ("p2p.negotiation.multistream", "value |= (byte & 0x7f) << shift"),
        ("p2p.negotiation.multistream", "while byte & 0x80: pass"),
        ("p2p.negotiation.multistream", "from p2p.wire.varint import decode"),
        ("p2p.negotiation.multistream", "import varint"),
    ],
    "broad excepts are walls": [
        ("p2p.host.dialing", "try: pass\nexcept Exception: pass"),
        ("p2p.host.dialing", "try: pass\nexcept (OSError, Exception): pass"),
        ("p2p.host.dialing", "try: pass\nexcept: pass"),
        ("p2p.host.dialing", "try: pass\nexcept BaseException as error: raise Other from error"),
        ("p2p.host.dialing", "try: pass\nexcept* builtins.Exception: pass"),
        ("p2p.host.dialing", "with contextlib.suppress(Exception): pass"),
    ],
    "no sleep on literals": [
        ("tests.trio.test_it", "async def test_it():\n    await trio.sleep(0.1)"),
        ("tests.trio.test_it", "def test_it():\n    time.sleep(delay)"),
        ("tests.trio.test_it", "MockClock()\nasync def test_it():\n    await trio.sleep(1)"),
    ],
}

GOOD = {
    "imports go down": [
        ("p2p.host.host", "from p2p.wire.varint import encode"),
        ("p2p.wire.framing", "from p2p import errors"),
        ("p2p.wire.framing", "from . import varint"),
        ("p2p", "from p2p.host import Host"),
        ("p2p.protocols.kad.service", "from p2p.protocols.kad.codec import Message"),
    ],
    "no import in a function": [("p2p.streams", "if TYPE_CHECKING:\n    import os")],
    "purity": [
        ("p2p.errors", "import trio"),
        ("p2p.muxers.connection", "import trio"),
        ("p2p.transports.tcp", "import socket"),
        ("p2p.protocols.identify.service", "import trio"),
    ],
    "multiaddr has one site": [("p2p.wire.addresses", "from multiaddr import Multiaddr")],
    "file size": [("p2p.streams", "x = 1\n" * 500)],
    "names say something": [("p2p.identity.keys", "class Identity: ...\nclass Incoming: ...")],
    "channels are bounded": [("p2p.events", "trio.open_memory_channel[int](limits.backlog)")],
    "shields end": [("p2p.host.host", "with trio.move_on_after(1, shield=True): pass")],
    "varints are read in one place": [
        ("p2p.wire.varint", "byte & 0x7f"),
        ("p2p.host.host", "from p2p.wire.varint import encode"),
    ],
    "broad excepts are walls": [
        ("p2p.host.serving", "try: pass\nexcept* Exception: pass"),
        ("p2p.host.dialing", "try: pass\nexcept BaseException:\n    close()\n    raise"),
        ("p2p.host.dialing", "try: pass\nexcept OSError: pass"),
    ],
    "no sleep on literals": [
        ("tests.trio.test_it", "async def test_it(autojump_clock):\n    await trio.sleep(1)"),
        ("tests.trio.test_it", "async def test_it(autojump_clock):\n    async def f(): await trio.sleep(1)"),
        ("tests.trio.test_it", "async def test_it():\n    await trio.sleep(3600)"),
        ("tests.trio.test_it", "async def helper():\n    await trio.sleep(1)\nMockClock()"),
        ("tests.trio.test_it", "async def test_it():\n    await trio.sleep(0)\n    await trio.sleep(bound)"),
    ],
}

MADE_UP = {**rules.package_rules(dict.fromkeys(KNOWN)), **TEST_RULES}  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "at", "source"), [(n, *c) for n, cases in BAD.items() for c in cases])
def test_a_rule_fails_on(name: str, at: str, source: str) -> None:
    assert list(MADE_UP[name](Module.of(at, source)))


@pytest.mark.parametrize(
    ("name", "at", "source"), [(n, *case) for n, cases in GOOD.items() for case in cases]
)
def test_a_rule_passes(name: str, at: str, source: str) -> None:
    assert not list(MADE_UP[name](Module.of(at, source, is_package=at == "p2p")))


def test_every_rule_is_proven() -> None:
    assert set(BAD) == set(PACKAGE_RULES) | set(TEST_RULES)


def test_a_circle_of_imports_is_found() -> None:
    modules = {
        "p2p.a": Module.of("p2p.a", "from p2p import b"),
        "p2p.b": Module.of("p2p.b", "from p2p.c import x"),
        "p2p.c": Module.of("p2p.c", "import p2p.a"),
    }
    assert list(rules.no_import_cycles(modules)) == ["p2p.a → p2p.b → p2p.c → p2p.a"]
    modules["p2p.c"] = Module.of("p2p.c", "if TYPE_CHECKING:\n    import p2p.a")
    assert not list(rules.no_import_cycles(modules))
