"""multistream-select: any pair of machines under any chunking, transcripts of others, abuse."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from p2p.abc import ProtocolId
from p2p.errors import LocalProtocolError, NoCommonProtocol, RemoteProtocolError
from p2p.limits import NegotiationLimits
from p2p.negotiation.multistream import Dialer, Responder
from p2p.wire.varint import encode

HEADER = b"\x13/multistream/1.0.0\n"
NA = b"\x03na\n"
NOISE = ProtocolId("/noise")
YAMUX = ProtocolId("/yamux/1.0.0")
LIMITS = NegotiationLimits()

names = st.one_of(
    st.sampled_from(["/noise", "/yamux/1.0.0", "/a", "/b", "x", "/ünï", "/" + "n" * 1022]),
    st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1, max_size=40),
).filter(lambda name: name not in ("na", "ls", "/multistream/1.0.0"))
protocol_lists = st.lists(names.map(ProtocolId), min_size=1, max_size=6, unique=True)
abuse = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def line(text: bytes) -> bytes:
    return encode(len(text) + 1) + text + b"\n"


def responder(*protocols: str, limits: NegotiationLimits = LIMITS) -> Responder:
    return Responder(lambda name: name in protocols, lambda: [ProtocolId(name) for name in protocols], limits)


class Wire:
    """One direction: carries bytes in pieces whose sizes hypothesis draws."""

    def __init__(self) -> None:
        self.bytes = bytearray()

    def deliver(self, machine: Dialer | Responder, size: int) -> None:
        taken = machine.receive_data(bytes(self.bytes[:size]))
        assert taken == size or machine.done
        del self.bytes[:taken]


@settings(deadline=None)
@given(
    data=st.data(), offered=protocol_lists, supported=protocol_lists, lazy=st.booleans(), slow=st.booleans()
)
def test_a_pair_agrees_on_the_first_common_protocol_under_any_chunking(
    data: st.DataObject,
    offered: list[ProtocolId],
    supported: list[ProtocolId],
    lazy: bool,
    slow: bool,
) -> None:
    if lazy:
        del offered[1:]
    dialer, answering = Dialer(offered, lazy=lazy), responder(*supported)
    there, back = Wire(), Wire()
    there.bytes += dialer.data_to_send()
    expected = next((name for name in offered if name in supported), None)
    spoken = b"" if expected is None else b"spoken by the protocol \x00\xff"
    if lazy:
        assert dialer.agreed == offered[0] and not dialer.done
        there.bytes += spoken
    refused = False
    for _ in range(100_000):
        if dialer.done and (answering.done or refused):
            break
        if not answering.done and there.bytes:
            there.deliver(
                answering, data.draw(st.integers(1, len(there.bytes))) if slow else len(there.bytes)
            )
            back.bytes += answering.data_to_send()
            if answering.agreed is not None:
                back.bytes += b"first words of the responder"
        if not dialer.done and back.bytes:
            try:
                back.deliver(dialer, data.draw(st.integers(1, len(back.bytes))) if slow else len(back.bytes))
            except NoCommonProtocol as error:
                assert error.offered == tuple(offered)
                refused = True
            there.bytes += dialer.data_to_send()
    assert dialer.done
    assert dialer.agreed == answering.agreed == expected
    assert refused == (expected is None)
    if expected is not None:
        assert back.bytes == b"first words of the responder"
        if lazy:
            assert there.bytes == spoken
    assert dialer.data_to_send() == answering.data_to_send() == b""


def test_the_dialer_says_header_and_first_proposal_at_once() -> None:
    dialer = Dialer([NOISE, YAMUX])
    assert dialer.data_to_send() == HEADER + b"\x07/noise\n"
    assert dialer.data_to_send() == b""
    assert dialer.agreed is None and not dialer.done


def test_the_responder_greets_a_dialer_that_waits_for_the_header() -> None:
    answering = responder("/noise")
    assert answering.data_to_send() == b""
    assert answering.receive_data(HEADER) == len(HEADER)
    assert answering.data_to_send() == HEADER
    proposal = b"\x07/noise\n"
    assert answering.receive_data(proposal + b"rest") == len(proposal)
    assert answering.data_to_send() == proposal
    assert answering.agreed == NOISE
    assert answering.receive_data(b"rest") == 0


def test_the_responder_answers_a_lazy_dialer_in_one_piece() -> None:
    answering = responder("/noise")
    assert answering.receive_data(HEADER + b"\x07/noise\n" + b"\x00\x20" + bytes(32)) == 28
    assert answering.data_to_send() == HEADER + b"\x07/noise\n"


# What responders of go, rust and js that have yamux only say:
# go greets before it hears anything, js sends prefix and text in two pieces, all refuse with "na".
TRANSCRIPTS: list[tuple[str, list[ProtocolId], list[bytes], ProtocolId | None]] = [
    ("go refuses, then takes", [NOISE, YAMUX], [HEADER, NA, b"\x0d/yamux/1.0.0\n"], YAMUX),
    ("rust, all in one", [YAMUX], [HEADER + b"\x0d/yamux/1.0.0\n"], YAMUX),
    ("js, prefix apart", [YAMUX], [HEADER[:1], HEADER[1:], b"\x0d", b"/yamux/1.0.0\n"], YAMUX),
    ("nothing in common", [NOISE], [HEADER, NA], None),
]


@pytest.mark.parametrize(
    ("offered", "answers", "agreed"), [t[1:] for t in TRANSCRIPTS], ids=[t[0] for t in TRANSCRIPTS]
)
def test_answers_of_other_implementations(
    offered: list[ProtocolId], answers: list[bytes], agreed: ProtocolId | None
) -> None:
    dialer = Dialer(offered)
    dialer.data_to_send()
    try:
        for answer in answers:
            assert dialer.receive_data(answer) == len(answer)
    except NoCommonProtocol:
        assert agreed is None
    assert dialer.agreed == agreed and dialer.done


def test_a_connection_as_it_is_seen_on_the_wire() -> None:
    """The upgrade of a rust dialer with TLS and Noise against a responder that has Noise alone."""
    answering = responder("/noise")
    sent = bytearray()
    for piece in (
        bytes.fromhex("132f6d756c746973747265616d2f312e302e300a"),
        bytes.fromhex("0b2f746c732f312e302e300a"),
        bytes.fromhex("072f6e6f6973650a"),
    ):
        assert answering.receive_data(piece) == len(piece)
        sent += answering.data_to_send()
    assert sent.hex() == "132f6d756c746973747265616d2f312e302e300a" + "036e610a" + "072f6e6f6973650a"
    assert answering.agreed == "/noise"


def test_a_refusal_of_a_lazy_proposal() -> None:
    dialer = Dialer([NOISE], lazy=True)
    with pytest.raises(NoCommonProtocol) as caught:
        dialer.receive_data(HEADER + NA)
    assert caught.value.offered == ("/noise",)
    assert dialer.done and dialer.agreed is None
    with pytest.raises(LocalProtocolError):
        dialer.receive_data(b"more")


@pytest.mark.parametrize(
    "protocols",
    [[], [""], ["/a\n"], ["na"], ["ls"], ["/multistream/1.0.0"], ["/" + "x" * 1023], ["/\ud800"], ["/a", ""]],
)
def test_names_that_cannot_be_proposed(protocols: Sequence[str]) -> None:
    with pytest.raises(LocalProtocolError):
        Dialer([ProtocolId(name) for name in protocols])


def test_a_lazy_dialer_has_one_protocol() -> None:
    with pytest.raises(LocalProtocolError):
        Dialer([NOISE, YAMUX], lazy=True)


def test_the_longest_name_passes() -> None:
    name = ProtocolId("/" + "x" * 1022)
    dialer, answering = Dialer([name]), responder(name)
    answering.receive_data(dialer.data_to_send())
    dialer.receive_data(answering.data_to_send())
    assert dialer.agreed == name


# --- listing ------------------------------------------------------------------------------------------


def read_listing(message: bytes) -> list[bytes]:
    size, offset = 0, 0
    while True:
        size |= (message[offset] & 0x7F) << (7 * offset)
        offset += 1
        if message[offset - 1] < 0x80:
            break
    assert offset <= 2 and size == len(message) - offset
    body = message[offset:]
    found = []
    while body != b"\n":
        length = body[0] if body[0] < 0x80 else (body[0] & 0x7F) | body[1] << 7
        start = 1 if body[0] < 0x80 else 2
        assert body[start + length - 1] == 0x0A
        found.append(body[start : start + length - 1])
        body = body[start + length :]
    return found


def test_ls_is_answered_once_and_the_negotiation_goes_on() -> None:
    answering = responder("/noise", "/yamux/1.0.0")
    answering.receive_data(HEADER + b"\x03ls\n" + b"\x07/noise\n")
    # As rust and js write it: the lines, their prefixes included, as one message, then a newline.
    assert answering.data_to_send() == HEADER + b"\x17\x07/noise\n\x0d/yamux/1.0.0\n\n" + b"\x07/noise\n"


def test_a_second_listing_ends_the_negotiation() -> None:
    answering = responder("/noise")
    answering.receive_data(HEADER + b"\x03ls\n")
    with pytest.raises(RemoteProtocolError):
        answering.receive_data(b"\x03ls\n")


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 5000])
def test_listings_are_bounded(count: int) -> None:
    names = [f"/{i}" for i in range(count)]
    answering = responder(*names)
    answering.receive_data(HEADER + b"\x03ls\n")
    listed = read_listing(answering.data_to_send()[len(HEADER) :])
    assert listed == [name.encode() for name in names[:1000]]


def test_a_listing_fits_the_frame_of_others() -> None:
    answering = responder(*(f"/{i:0>100}" for i in range(1000)))
    answering.receive_data(HEADER + b"\x03ls\n")
    sent = answering.data_to_send()[len(HEADER) :]
    assert 16_000 < len(sent) <= 16_383 + 2
    assert len(read_listing(sent)) == 159


# --- abuse --------------------------------------------------------------------------------------------


def machines() -> list[Dialer | Responder]:
    return [Dialer([NOISE]), responder("/noise")]


@pytest.mark.parametrize("greeted", [False, True])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("attack", "allowed"),
    [
        (b"\x00" * 65536, 1),  # attacknets #7: empty messages, each answered
        (b"\xff" * 65536, 2),  # attacknets #8: a length without an end
        (b"\x80\x00" + b"x" * 100, 2),  # not minimal
        (b"\x80\x80\x01", 2),  # 16,384
        (b"\x81\x08" + b"x" * 1024 + b"\n", 2),  # 1,025: one more than fits
        (b"\x04/abc" + b"x" * 100, 5),  # no newline where the length ends
        (b"\x05/a\nb\n", 6),  # two lines in one
        (b"\x04/\xff\xfe\n", 5),  # not UTF-8
        (b"\x07/\xed\xa0\x80ab\n", 8),  # a surrogate
        (b"\x01\n", 2),  # an empty line
        (b"GET / HTTP/1.1\r\n\r\n" * 8, 72),  # a browser: 0x47 is taken for a length
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 23),  # a TLS ClientHello
    ],
)
def test_broken_lines_are_refused_at_the_first_byte_that_tells(
    attack: bytes, allowed: int, side: int, greeted: bool
) -> None:
    for one_by_one in (False, True):
        machine = machines()[side]
        machine.data_to_send()
        if greeted:
            machine.receive_data(HEADER)
        pieces = [attack[i : i + 1] for i in range(len(attack))] if one_by_one else [attack]
        fed = 0
        with pytest.raises(RemoteProtocolError):
            for piece in pieces:
                fed += len(piece)
                machine.receive_data(piece)
        if one_by_one:
            assert fed <= allowed
        sent = machine.data_to_send()
        assert sent == (HEADER if greeted and side == 1 else b"")
        assert not machine.done
        with pytest.raises(LocalProtocolError):
            machine.receive_data(b"x")


@pytest.mark.parametrize(
    "first", [b"\x07/noise\n", NA, b"\x03ls\n", b"\x13/multistream/2.0.0\n", b"\x12/multistream/1.0.0"]
)
@pytest.mark.parametrize("side", [0, 1])
def test_the_header_comes_first(side: int, first: bytes) -> None:
    machine = machines()[side]
    machine.data_to_send()
    with pytest.raises(RemoteProtocolError):
        machine.receive_data(first)
    assert machine.data_to_send() == b""


@pytest.mark.parametrize("answer", [b"\x06/tls1\n", HEADER, b"\x03ls\n", b"\x08/noise/\n", b"\x06noise\n"])
def test_a_dialer_takes_its_proposal_or_na_for_an_answer(answer: bytes) -> None:
    dialer = Dialer([NOISE, YAMUX])
    with pytest.raises(RemoteProtocolError):
        dialer.receive_data(HEADER + answer)


def test_a_downgrade_nobody_asked_for_is_refused() -> None:
    dialer = Dialer([NOISE])
    with pytest.raises(RemoteProtocolError):
        dialer.receive_data(HEADER + line(b"/plaintext/2.0.0"))
    assert dialer.agreed is None


def test_a_flood_of_proposals_ends_after_the_limit() -> None:
    answering = responder("/noise")
    flood = HEADER + b"".join(line(b"/%d" % i) for i in range(100_000))
    with pytest.raises(RemoteProtocolError):
        answering.receive_data(flood)
    sent = answering.data_to_send()
    assert sent == HEADER + NA * LIMITS.max_proposals
    assert not answering.done


def test_the_last_proposal_within_the_limit_is_answered() -> None:
    answering = responder("/noise")
    answering.receive_data(HEADER + line(b"/x") * (LIMITS.max_proposals - 1) + b"\x07/noise\n")
    assert answering.agreed == NOISE


@pytest.mark.parametrize("name", [b"na", b"ls-", b"/multistream/1.0.0"])
def test_a_match_for_everything_does_not_match_the_words_of_the_negotiation(name: bytes) -> None:
    answering = Responder(lambda name: name != "ls-", list)
    answering.receive_data(HEADER + line(name))
    assert answering.agreed is None
    assert answering.data_to_send() == HEADER + NA


def test_what_a_peer_says_is_shown_escaped_and_cut() -> None:
    dialer = Dialer([NOISE])
    with pytest.raises(RemoteProtocolError) as caught:
        dialer.receive_data(HEADER + line(b"/\x1b[31m\r" + b"x" * 1000))
    text = str(caught.value)
    assert "\x1b" not in text and "\r" not in text and len(text) < 256


@abuse
@given(
    st.lists(
        st.one_of(st.binary(max_size=40), st.sampled_from([HEADER, NA, b"\x07/noise\n", b"\x03ls\n"])),
        max_size=8,
    )
)
@example([HEADER[:1], HEADER])  # a second header inside the first: chunks must not matter
def test_any_bytes_in_any_chunks_give_the_same(pieces: list[bytes]) -> None:
    stream = b"".join(pieces)

    def run(side: int, chunks: list[bytes]) -> tuple[object, ...]:
        machine = machines()[side]
        taken, sent, error = 0, bytearray(), None
        try:
            for chunk in chunks:
                n = machine.receive_data(chunk)
                taken += n
                sent += machine.data_to_send()
                if n < len(chunk):
                    break
        except (RemoteProtocolError, NoCommonProtocol) as caught:
            error, taken = type(caught), -1
        sent += machine.data_to_send()
        return bytes(sent), machine.agreed, machine.done, error, taken

    for side in (0, 1):
        whole = run(side, [stream])
        assert run(side, [stream[i : i + 1] for i in range(len(stream))]) == whole
        assert run(side, pieces) == whole


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken_and_none_is_pinned(kind: type) -> None:
    answering = responder("/noise")
    buffer = bytearray(HEADER + b"\x07/noise\n" + b"rest")
    taken = answering.receive_data(kind(buffer) if kind is not bytearray else buffer)
    assert taken == len(buffer) - 4
    broken = bytearray(b"\x13/multistream/9.9.9\n")
    with pytest.raises(RemoteProtocolError) as caught:
        responder("/noise").receive_data(broken)
    broken.clear()  # would raise BufferError if the traceback held a view
    assert caught.value is not None


def test_feeding_byte_by_byte_is_linear() -> None:
    """Sixteen proposals of full length, one byte at a time: no re-reading of what is held."""

    def cost(size: int) -> float:
        stream = HEADER + line(b"/" + b"x" * size) * LIMITS.max_proposals
        best = float("inf")
        for _ in range(3):
            answering = responder("/noise")
            began = time.process_time()
            for i in range(len(stream)):
                answering.receive_data(stream[i : i + 1])
            best = min(best, time.process_time() - began)
        return best / len(stream)

    assert cost(1000) < 4 * cost(100)


def test_nothing_is_held_beyond_one_message() -> None:
    answering = responder("/noise")
    answering.receive_data(HEADER)
    answering.receive_data(b"\x80\x08" + b"x" * 1023)
    assert answering._reader is not None and answering._reader.buffered <= LIMITS.max_message
    with pytest.raises(RemoteProtocolError):
        answering.receive_data(b"x")


@settings(deadline=None)
@given(limit=st.integers(1, 20), proposals=st.integers(1, 25))
def test_the_number_of_answers_is_the_limit(limit: int, proposals: int) -> None:
    assume(limit != proposals)
    answering = responder("/noise", limits=NegotiationLimits(max_proposals=limit))
    stream = HEADER + line(b"/x") * proposals
    if proposals > limit:
        with pytest.raises(RemoteProtocolError):
            answering.receive_data(stream)
    else:
        answering.receive_data(stream)
    assert answering.data_to_send() == HEADER + NA * min(limit, proposals)


def test_a_limit_below_one_length_byte_holds_too() -> None:
    answering = responder("/noise", limits=NegotiationLimits(max_message=30))
    answering.receive_data(HEADER + line(b"/" + b"x" * 28))
    with pytest.raises(RemoteProtocolError):
        answering.receive_data(line(b"/" + b"x" * 29))
