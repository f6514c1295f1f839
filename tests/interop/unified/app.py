"""The transport test of libp2p/unified-testing on this package: one program, dialer or listener.

It is told what to do by environment variables, finds the other through a Redis server, and the dialer prints how
long the handshake and a ping took, as YAML; logs go to stderr. Two sets of names are spoken:

- today's: ``IS_DIALER``, ``REDIS_ADDR``, ``TEST_KEY``, ``TRANSPORT``, ``SECURE_CHANNEL``, ``MUXER``, ``LISTENER_IP``
  and ``DEBUG``;
- of the images called legacy: the same in small letters, as in ``is_dialer``, without a key, and with
  ``test_timeout_seconds``; then the address goes through a list, and the result is JSON.

It needs nothing but this package. Source: libp2p/unified-testing, docs/write-a-transport-test-app.md, and
libp2p/test-plans, transport-interop/README.md.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from p2p import Host, Identity
from p2p.errors import P2PError
from p2p.muxers import Mplex, Yamux
from p2p.protocols.identify import Identify
from p2p.protocols.ping import PING, Ping, Rounds
from p2p.security.noise import Noise

from .redis import Redis, RedisError, connected

log = logging.getLogger(__name__)

POLL = 0.05  # seconds between two questions for a key, for which today's contract has no other way
TIMEOUT = 180.0  # seconds for all of it, where nobody says another
LEGACY_LIST = "listenerAddr"


class Unsupported(Exception):
    """The environment asks for what this program cannot do, or does not say what it wants."""


@dataclass(frozen=True)
class Settings:
    """What the environment says, under either set of names."""

    dialer: bool
    redis: str
    #: Prefix of the key; empty for the legacy contract.
    key: str
    muxer: str
    ip: str
    timeout: float
    debug: bool

    @property
    def legacy(self) -> bool:
        return not self.key

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """Raises :exc:`Unsupported`."""
        legacy = "is_dialer" in environment and "IS_DIALER" not in environment
        names = (
            ("is_dialer", "redis_addr", "transport", "security", "muxer", "ip")
            if legacy
            else ("IS_DIALER", "REDIS_ADDR", "TRANSPORT", "SECURE_CHANNEL", "MUXER", "LISTENER_IP")
        )
        dialer, redis, transport, security, muxer, ip = names
        _one_of(environment, transport, {"tcp"})
        _one_of(environment, security, {"noise"})
        return cls(
            dialer=_one_of(environment, dialer, {"true", "false"}) == "true",
            redis=environment.get(redis, "redis:6379" if legacy else "transport-redis:6379"),
            key="" if legacy else _given(environment, "TEST_KEY"),
            muxer=_one_of(environment, muxer, {"yamux", "mplex"}),
            ip=environment.get(ip, "0.0.0.0"),
            timeout=float(environment.get("test_timeout_seconds", TIMEOUT)),
            debug=environment.get("DEBUG", "false") == "true",
        )


def _given(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise Unsupported(f"{name} is not set")
    return value


def _one_of(environment: Mapping[str, str], name: str, known: set[str]) -> str:
    value = _given(environment, name)
    if value not in known:
        raise Unsupported(f"{name}={value}: not supported, only {' and '.join(sorted(known))}")
    return value


def make_host(settings: Settings, listen: list[str]) -> Host:
    identity = Identity.generate()
    return Host(
        identity,
        security=[Noise(identity)],
        muxers=[Yamux() if settings.muxer == "yamux" else Mplex()],
        listen=listen,
        services=[Identify(), Ping()],
    )


async def listen(settings: Settings) -> None:
    """Tell the dialer where, and serve until somebody ends this program."""
    async with make_host(settings, [f"/ip4/{settings.ip}/tcp/0"]) as host, connected(settings.redis) as redis:
        addr = reachable([str(addr) for addr in host.addrs])
        log.info("listening at %s", addr)
        if settings.legacy:
            await redis.command("RPUSH", LEGACY_LIST, addr)
        else:
            await redis.command("SET", f"{settings.key}_listener_multiaddr", addr)
        await trio.sleep_forever()


def reachable(addrs: list[str]) -> str:
    """The first address that another machine can dial; if there is none, the first."""
    return next(
        (addr for addr in addrs if not ipaddress.ip_address(addr.split("/")[2]).is_loopback), addrs[0]
    )


async def dial(settings: Settings) -> None:
    """Find the listener, measure, and print."""
    with trio.fail_after(settings.timeout):
        async with connected(settings.redis) as redis:
            addr = await told(settings, redis)
        log.info("dialing %s", addr)
        async with make_host(settings, []) as host:
            begin = trio.current_time()
            connection = await host.dial(addr)
            async with await host.open_stream(connection.remote_peer, PING) as stream:
                # The handshake and the first ping after it, and then a ping alone.
                rounds = Rounds(stream)
                await anext(rounds)
                handshake_plus_one = trio.current_time() - begin
                ping = await anext(rounds)
    print(report(settings, handshake_plus_one * 1e3, ping * 1e3), flush=True)


async def told(settings: Settings, redis: Redis) -> str:
    """The listener's address, once it is there."""
    if settings.legacy:
        found = await redis.command("BLPOP", LEGACY_LIST, str(round(settings.timeout)))
        if not isinstance(found, list) or not isinstance(found[1], bytes):
            raise RedisError("no listener came")
        return found[1].decode()
    key = f"{settings.key}_listener_multiaddr"
    while not isinstance(addr := await redis.command("GET", key), bytes):  # noqa: ASYNC110 - the contract polls
        await trio.sleep(POLL)
    return addr.decode()


def report(settings: Settings, handshake_plus_one: float, ping: float) -> str:
    """Milliseconds, as the contract wants them."""
    if settings.legacy:  # with three l, as it is read there
        return json.dumps({"handshakePlusOneRTTMillis": handshake_plus_one, "pingRTTMilllis": ping})
    return f"latency:\n  handshake_plus_one_rtt: {handshake_plus_one:.3f}\n  ping_rtt: {ping:.3f}\n  unit: ms"


def main() -> None:
    try:
        settings = Settings.read(os.environ)
        level = logging.DEBUG if settings.debug else logging.INFO
        logging.basicConfig(
            stream=sys.stderr, level=level, format="%(relativeCreated)d ms %(name)s: %(message)s"
        )
        trio.run(dial if settings.dialer else listen, settings)
    except (Unsupported, RedisError, P2PError, OSError, trio.TooSlowError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
