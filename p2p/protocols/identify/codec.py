"""One identify exchange is one message, or several that add up: how they are cut and how they are merged. PURE.

The spec knows one message. Signed records made some outgrow what readers take, so go sends up to ten, and
readers merge them as protobuf does: repeated fields add up, of single ones the last counts. Readers that know
one message only (rust, js) take the first, so that one holds what matters most.

Sources: libp2p specs, identify/README.md; RFC 0003 for field 8.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from p2p.limits import IdentifyLimits
from p2p.wire.messages import IdentifyMessage, encode_identify

_T = TypeVar("_T")


def split(message: IdentifyMessage, limits: IdentifyLimits) -> list[bytes]:
    """The encoded messages that add up to ``message``: one if it has at most ``limits.max_own_message`` bytes.

    Otherwise the first holds everything single but the signed record, then protocols, then addresses; what it
    has no room for follows, and the record comes last, alone. What does not fit ``limits.max_messages`` is left
    out from the end of the addresses on, and so is a record above ``limits.max_message``.
    """
    whole = encode_identify(message)
    if len(whole) <= limits.max_own_message:
        return [whole]
    record = IdentifyMessage(signed_peer_record=message.signed_peer_record)
    last = [encode_identify(record)] if record.signed_peer_record is not None else []
    if last and len(last[0]) > limits.max_message:
        last = []
    parts = [replace(message, listen_addrs=(), protocols=(), signed_peer_record=None)]
    used = len(encode_identify(parts[0]))
    pieces = [IdentifyMessage(protocols=(name,)) for name in message.protocols]
    pieces += [IdentifyMessage(listen_addrs=(addr,)) for addr in message.listen_addrs]
    for piece in pieces:
        size = len(encode_identify(piece))
        if used + size > limits.max_own_message:
            parts.append(piece)
            used = size
        else:
            parts[-1] = merge(parts[-1], piece)
            used += size
    return [encode_identify(part) for part in parts[: limits.max_messages - len(last)]] + last


def merge(first: IdentifyMessage, second: IdentifyMessage) -> IdentifyMessage:
    """What ``first`` and then ``second`` say together."""
    return IdentifyMessage(
        public_key=_last(first.public_key, second.public_key),
        listen_addrs=first.listen_addrs + second.listen_addrs,
        protocols=first.protocols + second.protocols,
        observed_addr=_last(first.observed_addr, second.observed_addr),
        protocol_version=_last(first.protocol_version, second.protocol_version),
        agent_version=_last(first.agent_version, second.agent_version),
        signed_peer_record=_last(first.signed_peer_record, second.signed_peer_record),
    )


def _last(first: _T | None, second: _T | None) -> _T | None:
    return first if second is None else second
