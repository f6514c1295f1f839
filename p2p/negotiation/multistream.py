"""multistream-select 1.0: two sides agree on the protocol that the bytes to come will speak. PURE.

A message is one line: an unsigned varint with the length, the text, a newline that the length counts. Each
side says the header once. Then the dialer proposes a protocol id, and the responder repeats it (agreed) or
says ``na`` (propose another). Whatever follows the agreed line belongs to that protocol, so both machines
stop taking bytes exactly there. (specs/connections, "multistream-select"; multiformats/multistream-select.)

Who speaks when:

- The dialer sends its header and its first proposal at once. A *lazy* dialer, with one protocol, goes on to
  speak it before any answer is here: ``agreed`` holds from the start, and a refusal surfaces when the answer
  is read.
- The responder sends its header as soon as the dialer's is complete, whether or not a proposal came along. So
  peers that wait for our header before they propose get on, and those that do not wait get both answers in
  one piece. Nothing is said to a peer that said nothing.

What is refused, and with :class:`RemoteProtocolError`, before anything is stored for it: a length that is
zero, not minimal or above ``max_message`` (so at most two bytes are looked at); a line without its newline,
or with a second one inside; a line that is not UTF-8; an empty line; anything but the header as the first
line; more proposals or listings than the limits have. go compares raw bytes and would answer ``na`` to a name
that is no UTF-8; the spec says "UTF-8 strings" and no peer of good will has such a name, so here it ends the
negotiation, and every name that gets further can be shown and logged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache

from p2p.abc import ProtocolId
from p2p.errors import LocalProtocolError, NoCommonProtocol, RemoteProtocolError
from p2p.limits import NegotiationLimits
from p2p.wire.framing import FrameReader, encode_frame

MULTISTREAM = "/multistream/1.0.0"
NOT_AVAILABLE = "na"
LIST = "ls"

#: Names that mean something else in this protocol: never proposed, never supported.
_RESERVED = frozenset((MULTISTREAM, NOT_AVAILABLE, LIST))
_SHOWN = 128  # characters of a peer's text that an error message shows
_DEFAULT_LIMITS = NegotiationLimits()

Buffer = bytes | bytearray | memoryview


def _line(text: str) -> bytes:
    return encode_frame(text.encode() + b"\n")


_HEADER = MULTISTREAM.encode() + b"\n"
_HEADER_LINE = _line(MULTISTREAM)
_NOT_AVAILABLE_LINE = _line(NOT_AVAILABLE)


class _Machine(ABC):
    """What both sides share: cutting lines, collecting what is to be sent, the header, and being over."""

    __slots__ = ("_failed", "_greeted", "_limits", "_out", "_reader", "_short", "agreed", "done")

    def __init__(self, limits: NegotiationLimits) -> None:
        self._limits = limits
        self._short = min(0x7F, limits.max_message)  # the greatest length that takes one byte
        self._reader: FrameReader | None = None  # holds a line whose end is not here yet
        self._out = bytearray()
        self._greeted = False
        self._failed = False
        self.agreed: ProtocolId | None = None
        self.done = False

    def data_to_send(self) -> bytes:
        """What must leave now, once; ``b""`` when nothing. Also after a failure: what was due before it."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def receive_data(self, data: Buffer) -> int:
        """Take bytes of the remote up to the end of the negotiation, and return how many those were.

        Fewer than ``len(data)`` means that the negotiation is ``done`` and that the rest belongs to the next
        protocol; 0 when it was done before. Raises ``RemoteProtocolError`` when the remote breaks the rules
        (the machine is then over), :class:`Dialer` also ``NoCommonProtocol``; ``LocalProtocolError`` when fed
        again after such a failure.
        """
        if self._failed:
            raise LocalProtocolError("a negotiation that failed was fed again")
        taken = 0
        try:
            while not self.done and taken < len(data):
                size = data[taken]
                end = taken + 1 + size
                if self._reader is None and size <= self._short and end <= len(data):
                    # Nearly always: a whole line, its length in one byte.
                    message: bytes | None = bytes(data[taken + 1 : end])
                    taken = end
                else:
                    reader = self._reader = self._reader or FrameReader(self._limits.max_message)
                    # A copy, so that a traceback never pins the caller's buffer; no line is longer than this.
                    taken += reader.feed(bytes(data[taken : taken + self._limits.max_message + 2]))
                    message = reader.next()
                if message is not None:
                    self._reader = None
                    self._receive_line(message)
        except (RemoteProtocolError, NoCommonProtocol):
            self._failed = True
            raise
        return taken

    def _receive_line(self, message: bytes) -> None:
        if self._greeted:
            self._receive_answer_or_proposal(_read_line(message))
        elif message == _HEADER:
            self._greeted = True
            self._receive_header()
        else:
            raise RemoteProtocolError(f"expected {MULTISTREAM} first, got {_shown(_read_line(message))}")

    @abstractmethod
    def _receive_header(self) -> None:
        """The remote's header is here."""

    @abstractmethod
    def _receive_answer_or_proposal(self, text: str) -> None:
        """A line after the header is here."""


class Dialer(_Machine):
    """Proposes protocols in order of preference until one is taken.

    ``agreed`` is the protocol taken (of a lazy dialer: the one proposed, from the start), ``done`` says that
    the remote's answer is here.
    """

    __slots__ = ("_proposals", "_proposed")

    def __init__(
        self,
        protocols: Sequence[ProtocolId],
        *,
        lazy: bool = False,
        limits: NegotiationLimits = _DEFAULT_LIMITS,
    ) -> None:
        """Raises ``LocalProtocolError`` for no protocols, more than one when ``lazy``, or a name that cannot
        be said: empty, with a newline, longer than ``limits.max_message``, or one that means something else
        here.
        """
        super().__init__(limits)
        if not protocols:
            raise LocalProtocolError("no protocol to propose")
        if lazy and len(protocols) > 1:
            raise LocalProtocolError(f"a lazy negotiation has one protocol, not {len(protocols)}")
        self._proposals = tuple(protocols)
        lines = [_proposal_line(protocol, limits.max_message) for protocol in self._proposals]
        self._proposed = 0
        self._out += _HEADER_LINE + lines[0]
        if lazy:
            self.agreed = self._proposals[0]

    def _receive_header(self) -> None:
        pass  # ours has long been said

    def _receive_answer_or_proposal(self, text: str) -> None:
        proposal = self._proposals[self._proposed]
        if text == proposal:
            self.agreed = proposal
            self.done = True
        elif text == NOT_AVAILABLE:
            self._proposed += 1
            if self._proposed == len(self._proposals):
                self.agreed = None
                self.done = True
                raise NoCommonProtocol(self._proposals)
            self._out += _line(self._proposals[self._proposed])
        else:
            raise RemoteProtocolError(f"expected {proposal} or {NOT_AVAILABLE}, got {_shown(text)}")


class Responder(_Machine):
    """Answers proposals until one is supported.

    ``supports`` says so of one protocol id; ``protocols`` gives all of them for ``ls`` (those a predicate
    stands for may be missing). Neither may wait or raise.
    """

    __slots__ = ("_listings", "_proposals", "_protocols", "_supports")

    def __init__(
        self,
        supports: Callable[[ProtocolId], bool],
        protocols: Callable[[], Sequence[ProtocolId]],
        limits: NegotiationLimits = _DEFAULT_LIMITS,
    ) -> None:
        super().__init__(limits)
        self._supports = supports
        self._protocols = protocols
        self._proposals = 0
        self._listings = 0

    def _receive_header(self) -> None:
        self._out += _HEADER_LINE

    def _receive_answer_or_proposal(self, text: str) -> None:
        if text == LIST:
            self._listings += 1
            if self._listings > self._limits.max_listings:
                raise RemoteProtocolError(f"more than {self._limits.max_listings} listings asked for")
            self._out += _listing(self._protocols(), self._limits)
            return
        self._proposals += 1
        if self._proposals > self._limits.max_proposals:
            raise RemoteProtocolError(f"more than {self._limits.max_proposals} protocols proposed")
        protocol = ProtocolId(text)
        if text not in _RESERVED and self._supports(protocol):
            self._out += _line(text)
            self.agreed = protocol
            self.done = True
        else:
            self._out += _NOT_AVAILABLE_LINE


def _read_line(message: bytes) -> str:
    if not message.endswith(b"\n"):
        raise RemoteProtocolError("a line of no bytes" if not message else "a line without its newline")
    try:
        text = message[:-1].decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError(f"a line that is not UTF-8: {message[:_SHOWN]!r}") from None
    if not text or "\n" in text:
        raise RemoteProtocolError(f"expected one line, got {_shown(text)}")
    return text


@lru_cache(maxsize=256)
def _proposal_line(protocol: ProtocolId, max_message: int) -> bytes:
    """Kept, as a program speaks few protocols, and proposes one with each stream."""
    if not protocol or "\n" in protocol or protocol in _RESERVED:
        raise LocalProtocolError(f"{protocol!r} cannot be proposed")
    try:
        size = len(protocol.encode()) + 1
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{protocol!r} cannot be proposed: it is no Unicode text") from None
    if size > max_message:
        raise LocalProtocolError(f"{protocol!r} takes {size} bytes, the limit is {max_message}")
    return _line(protocol)


def _listing(protocols: Sequence[ProtocolId], limits: NegotiationLimits) -> bytes:
    """One message: every name as a line of its own, and a newline after the last (as rust and js have it)."""
    body = bytearray()
    for protocol in protocols[: limits.max_listed]:
        line = _line(protocol)
        if len(body) + len(line) + 1 > limits.max_listing:
            break
        body += line
    return encode_frame(body + b"\n")


def _shown(text: str) -> str:
    return repr(text[:_SHOWN])
