"""Negotiating on a raw stream, and what a security handshake reads and writes after it.

Nothing is left waiting that the remote may be waiting for: whatever :meth:`RawHandshake.hold` holds back
leaves, at the latest, before this side waits to hear from the remote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from p2p.abc import ProtocolId, RawStream
from p2p.errors import HandshakeFailed, LocalProtocolError, NegotiationError
from p2p.limits import NegotiationLimits
from p2p.muxers.scratch import scratch
from p2p.negotiation.multistream import Dialer, Responder

#: The most that is read beyond what was asked for: a sealed stream gives a whole frame at once.
_READ_AHEAD = 64 * 1024
_DEFAULT_LIMITS = NegotiationLimits()


class RawHandshake:
    """A raw stream while a connection is made of it; a :class:`p2p.abc.HandshakeStream`.

    Reads only when more is needed than it has, so it never holds more than what was asked for and 64 KiB. Its
    methods have no deadlines of their own, and raise ``trio.BrokenResourceError`` when the raw stream does. One task
    uses it. Cancelled: the raw stream can only be closed, as nobody knows how much of a message went out.

    They are checkpoints where they wait, and only there: unlike a stream's user, a handshake cannot go on for long
    without waiting for the remote, and a pass of the scheduler for each of its steps is what a connection would
    mostly cost.
    """

    __slots__ = ("_held", "_outstanding", "_raw", "_received")

    def __init__(self, raw: RawStream) -> None:
        self._raw = raw
        self._received = bytearray()
        self._held = bytearray()
        self._outstanding: Dialer | None = None  # a lazy proposal whose answer comes before all else

    async def read_exactly(self, n: int) -> bytes:
        """The next ``n`` bytes; bounding ``n`` is up to the caller.

        Raises ``HandshakeFailed`` when the remote ends first. Where a lazy proposal's answer is still to
        come, also what :meth:`p2p.negotiation.multistream.Dialer.receive_data` raises: ``NoCommonProtocol``
        above all.
        """
        await self._read(n)
        data = bytes(self._received[:n])
        del self._received[:n]
        return data

    async def read_some(self) -> bytes:
        """What there is, at least one byte. Raises as :meth:`read_exactly`."""
        await self._read(1)
        return self.take_leftover()

    async def write(self, data: bytes) -> None:
        """Hand what was held, and then ``data``, to the raw stream, all of it and in one piece if it fits."""
        out = memoryview(bytes(self._held) + data)
        self._held.clear()
        while out:
            sent = self._raw.try_send(out)
            if not sent:
                await self._raw.wait_writable()
            out = out[sent:]

    def hold(self, data: bytes) -> None:
        """Let ``data`` leave with the next ``write``, before a read that waits, or by ``take_unsent``."""
        self._held += data

    def take_leftover(self) -> bytes:
        """Bytes received and not read. Raises ``LocalProtocolError`` while a lazy answer is to come first."""
        if self._outstanding is not None:
            raise LocalProtocolError("the answer to a lazy proposal was not read yet")
        leftover = bytes(self._received)
        self._received.clear()
        return leftover

    def take_unsent(self) -> bytes:
        """What is held: the caller sends it, before anything else."""
        unsent = bytes(self._held)
        self._held.clear()
        return unsent

    async def negotiate(self, machine: Dialer | Responder) -> None:
        """Run ``machine`` to its end; what follows stays for the next read. Its last words are held.

        Raises ``NoCommonProtocol``, ``RemoteProtocolError``, and ``NegotiationError`` when the remote ends
        first.
        """
        while True:
            taken = machine.receive_data(self._received)
            del self._received[:taken]
            self.hold(machine.data_to_send())
            if machine.done:
                return
            if not await self._receive():
                raise NegotiationError("the remote ended while a protocol was negotiated")

    def expect(self, dialer: Dialer) -> None:
        """Hold a lazy proposal, and take its answer out of what is read from now on."""
        self.hold(dialer.data_to_send())
        self._outstanding = dialer

    async def _read(self, n: int) -> None:
        """Wait until ``n`` bytes are there."""
        while len(self._received) < n:  # nothing is received while an answer is outstanding
            if not await self._receive():
                raise HandshakeFailed("the remote ended in the middle of the handshake")

    async def _receive(self) -> bool:
        """Wait for more bytes; False when there will be none."""
        if self._held:
            await self.write(b"")
        # All connections of the thread share the buffer: it is filled and used up between two suspensions.
        buffer = scratch().cipher[:_READ_AHEAD]
        n = await self._raw.receive_into(buffer)
        self._received += buffer[:n]
        if self._outstanding is not None:
            taken = self._outstanding.receive_data(self._received)
            del self._received[:taken]
            if self._outstanding.done:
                self._outstanding = None
        return n > 0


async def propose(
    raw: RawHandshake,
    protocols: Sequence[ProtocolId],
    *,
    lazy: bool,
    limits: NegotiationLimits = _DEFAULT_LIMITS,
) -> ProtocolId:
    """Negotiate, as the dialer, one of ``protocols``, given in order of preference.

    Lazy (one protocol): returns at once. The proposal leaves with the first bytes that the protocol writes,
    and the answer is parsed in front of the first ones it reads: a refusal raises ``NoCommonProtocol`` there.
    Otherwise raises as :meth:`RawHandshake.negotiate` does.
    """
    dialer = Dialer(protocols, lazy=lazy, limits=limits)
    if lazy:
        raw.expect(dialer)
    else:
        await raw.negotiate(dialer)
    assert dialer.agreed is not None
    return dialer.agreed


async def respond(
    raw: RawHandshake,
    supports: Callable[[ProtocolId], bool],
    protocols: Callable[[], Sequence[ProtocolId]],
    limits: NegotiationLimits = _DEFAULT_LIMITS,
) -> ProtocolId:
    """Negotiate as the responder, with what :class:`p2p.negotiation.multistream.Responder` takes.

    The last answer is held: it leaves with what is written next. Raises as :meth:`RawHandshake.negotiate` does.
    """
    responder = Responder(supports, protocols, limits)
    await raw.negotiate(responder)
    assert responder.agreed is not None
    return responder.agreed
