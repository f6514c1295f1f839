"""Who is let in, on the sender's side: whoever proves to know a secret, and no sooner. PURE.

A wrong proof and a share that does not exist get the same answer after the same work; so does, without any work,
whoever has been wrong too often.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Generic, TypeVar

from p2p.errors import RemoteProtocolError
from p2p.identity import PeerId
from p2p.limits import ShareLimits
from p2p.protocols.share.secret import SECRET_SIZE, Secret
from p2p.resources.bucket import TokenBucket
from p2p.wire.share_messages import Hello, decode_hello

_T = TypeVar("_T")


class Door(Generic[_T]):
    """What lies behind it is ``offers``, each by its secret."""

    def __init__(self, offers: Mapping[Secret, _T], limits: ShareLimits, now: float) -> None:
        self._offers = {secret.share_id: (secret, offer) for secret, offer in offers.items()}
        self._limits = limits
        self._nobodys = Secret(bytes(SECRET_SIZE))
        self._judged = TokenBucket(limits.judge_rate, limits.judge_burst, now)
        self._guessers: dict[PeerId, TokenBucket] = {}

    def admit(self, data: bytes, *, sender: PeerId, getter: PeerId, now: float) -> tuple[_T, bytes] | None:
        """Judge a hello: the offer and the sender's own proof, or None, to be answered ``REFUSED``.

        Raises ``RemoteProtocolError`` when it is malformed, which counts as a wrong proof.
        """
        guesser = self._guessers.get(getter)
        if guesser is not None and not guesser.take(now):
            return None
        if not self._judged.take(now):
            return None
        try:
            hello = decode_hello(data)
        except RemoteProtocolError:
            self._remember(getter, now)
            raise
        found = self._judge(hello, sender, getter)
        if found is None:
            self._remember(getter, now)
        else:
            self._guessers.pop(getter, None)
        return found

    def _judge(self, hello: Hello, sender: PeerId, getter: PeerId) -> tuple[_T, bytes] | None:
        secret, *offer = self._offers.get(hello.share_id, (self._nobodys,))
        expected = secret.prove_getter(sender=sender, getter=getter, nonce=hello.nonce)
        answer = secret.prove_sender(sender=sender, getter=getter, nonce=hello.nonce)
        if not hmac.compare_digest(expected, hello.proof) or not offer:
            return None
        return offer[0], answer

    def _remember(self, getter: PeerId, now: float) -> None:
        if getter not in self._guessers:
            if len(self._guessers) >= self._limits.guessers:
                del self._guessers[next(iter(self._guessers))]
            bucket = TokenBucket(self._limits.guess_rate, self._limits.guess_burst, now)
            bucket.take(now)
            self._guessers[getter] = bucket
