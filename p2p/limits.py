"""Every bound and every deadline, each with its reason and its source.

All durations are seconds, all sizes bytes. The classes are frozen: change one with
:func:`dataclasses.replace` and hand the result to ``Host(limits=…)``.
"""

from __future__ import annotations

from dataclasses import field

from p2p.frozen import frozen
from p2p.resources.table import ResourceLimits, of_this_machine

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@frozen
class WireLimits:
    """What decoders accept before they build anything.

    These belong to the formats and not to one host: decoders are pure functions and read ``WIRE_LIMITS``.
    """

    #: A multiaddr, and its parts: a relayed WebTransport address has twelve parts and some 250 bytes.
    max_address: int = 1 * KIB
    max_address_parts: int = 16
    #: Addresses of which it is kept what was found out, and how long each is at most (bytes, or characters of text):
    #: those of some hundred peers, in a few MiB whatever peers send.
    kept_addresses: int = 256
    kept_address_size: int = 192
    #: What else needs not be read and judged again: texts of peer ids; public keys, of at most so many bytes each
    #: (Ed25519 and secp256k1), and the ids of all kinds; static keys of Noise with their signatures.
    kept_peer_ids: int = 256
    kept_keys: int = 256
    kept_key_size: int = 42
    kept_signatures: int = 256
    #: Signed records that were good, and how long each is at most: one with eight addresses takes some 300 bytes, and
    #: what the longest ones hold, once read, is under 10 KiB.
    kept_records: int = 128
    kept_record_size: int = 512
    #: Names of protocols and of programs that connections share instead of having one each, in characters.
    kept_names: int = 512
    kept_name_size: int = 64
    #: Domain names in one address of a peer that are not plain ASCII, in bytes: checking takes up to 3 µs for each,
    #: and an answer to identify holds 64 addresses.
    max_translated_domains: int = 64
    #: A public key's protobuf: RSA with 8192 bits takes 1,062 bytes (CVE-2023-39533).
    max_public_key: int = 2 * KIB
    #: A private key's protobuf: RSA with 8192 bits takes some 4.7 KiB.
    max_private_key: int = 8 * KIB
    #: RSA keys (go: 2048 to 8192); below is weak, above verifying is slow.
    min_rsa_bits: int = 2048
    max_rsa_bits: int = 8192
    #: A signed envelope: it travels inside identify, whose messages end at 8 KiB.
    max_envelope: int = 8 * KIB
    #: Addresses a peer record may hold, and how many of them are read (and written): a hostile one takes 2 to 3 ms
    #: of the only event loop, and what identify brings is read twice in one go.
    max_record_addrs: int = 128
    max_record_addrs_read: int = 64
    #: A peer id in text: CIDv1 of 46 bytes in base16 takes 93 characters.
    max_peer_id_text: int = 128


WIRE_LIMITS = WireLimits()


@frozen
class NegotiationLimits:
    """multistream-select, on connections and on streams."""

    #: One message with its newline (go-multistream refuses more).
    max_message: int = 1024
    #: Proposals answered before the negotiation is given up: more than anybody needs, and a flood ends.
    max_proposals: int = 16
    #: ``ls`` requests answered in one negotiation; each costs more bytes than it carries.
    max_listings: int = 1
    #: Names in one listing and its bytes (rust reads 1000 names, in a frame of at most 16,383 bytes).
    max_listed: int = 1000
    max_listing: int = 16383
    #: One stream's negotiation from its first byte (go's host: 10 s); absolute, so dripping bytes does not help.
    timeout: float = 10.0


@frozen
class NoiseLimits:
    """Noise XX, as libp2p frames it."""

    #: A handshake message: the payload holds a key (2 KiB at most), a signature and muxer names.
    max_handshake_message: int = 8 * KIB
    #: Names in ``stream_muxers`` (noise spec, "Noise Extensions": 100).
    max_muxers: int = 100
    #: Length of one such name.
    max_muxer_name: int = 256


@frozen
class MuxerLimits:
    """What the sessions of all muxers have in common."""

    #: Bytes accepted from the application and not yet framed, per stream.
    send_buffer: int = 64 * KIB
    #: All of those together (attack row 13: a remote that takes nothing); a write beyond waits with its writer.
    send_buffers: int = 1 * MIB
    #: Streams the remote may have open at once; more are reset (go: accept backlog 256).
    max_inbound_streams: int = 256
    #: Streams refused or reset before the connection is given up: a burst, then a rate per second.
    reset_burst: int = 1000
    reset_rate: float = 100.0
    #: Streams we reset that are remembered: what was on its way then is dropped without another RST.
    remembered_resets: int = 1024
    #: Control frames waiting to be written before the pump stops reading (CVE-2024-32984).
    max_control_frames: int = 256
    #: Empty frames in a row on one stream before the connection is given up (RUSTSEC-2026-0258).
    max_empty_frames: int = 100
    #: A stream we closed whose remote never ends it is reset after this (go-yamux StreamCloseTimeout: 5 min).
    closed_linger: float = 300.0


@frozen
class YamuxLimits(MuxerLimits):
    """One yamux session."""

    #: Where every window starts (yamux spec; a peer may send this much unasked).
    initial_window: int = 256 * KIB
    #: How far the tuner opens a receive window (go-libp2p's yamux transport).
    max_window: int = 16 * MIB
    #: What one DATA frame of ours carries (go-yamux: 64 KiB, less the header, so that it fits a Noise frame).
    max_frame: int = 64 * KIB
    #: Streams opened and not yet acknowledged (yamux spec, "ACK backlog": 256).
    ack_backlog: int = 256
    #: The same until the remote has said anything of a stream (js ends a connection at the 11th that finds it not
    #: ready yet, and ours come with the end of the handshake).
    early_streams: int = 10
    #: An idle connection is pinged this often, and lost when no answer comes in time (go-yamux: 30 s, 10 s).
    keep_alive: float = 30.0
    ping_timeout: float = 10.0
    #: Round-trip time is measured at least this often while data flows (go-yamux).
    rtt_interval: float = 30.0


@frozen
class MplexLimits(MuxerLimits):
    """One mplex session."""

    #: The largest message taken (mplex spec, "Writing to a stream": 1 MiB). None is ever held whole.
    max_message: int = 1 * MIB
    #: What one message of ours carries: it fits a Noise frame, and others take turns.
    max_own_message: int = 32 * KIB
    #: The name of a stream, which nobody reads (go and js send its number), and a body where none belongs.
    max_name: int = 1 * KIB
    #: Sealed bytes received at once: a message may be of two or three bytes, so more hold the loop too long.
    max_read: int = 64 * KIB
    #: Bytes received and not yet read, per stream; the last read that brings more is taken whole.
    receive_buffer: int = 256 * KIB
    #: A stream that holds more is reset when its reader has not come for this long; until then nothing is received
    #: (go: 5 s). The protocol has no way of slowing down one sender alone.
    stall: float = 0.05
    #: The same for a stream of which nobody has read anything yet: less, as two sides that wait for each other shall
    #: not both give up.
    stall_unread: float = 0.02
    #: How much of a connection's time may go to waiting in vain for such streams, however many they are: one such
    #: moment, then this share. With nothing left they are given one turn of the event loop.
    stall_share: float = 0.05
    #: Streams of ours open at once (js and our own peers take 256); nobody tells when it has too many, but by resets.
    max_outbound_streams: int = 256


@frozen
class IdentifyLimits:
    """Identify (specs/identify) on both sides."""

    timeout: float = 5.0
    #: One message, and messages per exchange (go: signed 8 KiB, ten messages).
    max_message: int = 8 * KIB
    max_messages: int = 10
    #: What we send stays below what rust accepts.
    max_own_message: int = 4 * KIB
    #: Protocols kept of one peer (go: maxPeerProtocols), and the length of one name.
    max_protocols: int = 1024
    max_protocol_name: int = 256
    #: Addresses taken from one message.
    max_addrs: int = 64
    #: Agent and protocol versions are cut to this, and escaped when shown.
    max_version: int = 128
    #: Identify streams answered at once, per peer.
    streams_per_peer: int = 4
    #: A peer whose protocols are known is asked again this long after a connection began, and not before what the
    #: connection was made for.
    again_after: float = 0.1
    #: Peers told at once of a change (go: 32), and for how long further changes join it.
    pushes: int = 32
    push_delay: float = 0.1
    #: Pushes of one peer that are read, in a burst and per second; one beyond waits, and gives way to a newer one
    #: (go: a burst of 10, then one in 5 s, per subnet; reading one takes 2 to 3 ms at worst).
    push_burst: int = 10
    push_rate: float = 1.0


@frozen
class PingLimits:
    """Ping (specs/ping)."""

    #: One round trip (go: 10 s).
    timeout: float = 10.0
    #: Streams answered at once per peer (specs/ping: two inbound).
    streams_per_peer: int = 2
    #: Pings answered per second and in a burst, per peer: ours are sequential, a flood waits.
    rate: float = 1000.0
    burst: int = 1000
    #: A silent stream is ended after this (go: server stream 30 s).
    idle: float = 30.0


@frozen
class PerfLimits:
    """Perf (specs/perf): what a peer may make us send and receive, only to measure it."""

    #: One stream from its first byte to its last, on both sides; absolute. A remote that does not read is held no
    #: longer, and some 64 KiB wait for it meanwhile.
    timeout: float = 300.0
    #: Bytes on one stream, each way. A peer may ask for 2^64 and stop when it has measured enough (specs/perf): it is
    #: sent this much, and then a reset.
    max_bytes: int = 16 * GIB
    #: Streams answered at once per peer (js: 1; some measure several at a time).
    streams_per_peer: int = 4


@frozen
class FetchLimits:
    """Fetch (specs/fetch), on both sides."""

    #: One key and its answer, the lookup included (go, js: 10 s); absolute.
    timeout: float = 10.0
    #: A key: names, and a hash behind them.
    max_key: int = 1 * KIB
    #: The message with the value (go: 1 MiB); what is larger is not for a protocol that cannot resume.
    max_answer: int = 1 * MIB
    #: Streams answered at once per peer: each may hold a value that is not read.
    streams_per_peer: int = 8


@frozen
class ShareLimits:
    """Sending and getting files; see docs/explanation/share.md.

    The bounds on a manifest are of the format too: who sends keeps to them, who gets refuses more.
    """

    #: What a chunk holds at most. Small enough that one fetched twice is nothing, large enough that asking for each
    #: costs little: 4 MiB take 34 ms at 1 Gbit/s.
    chunk: int = 4 * MIB
    #: Chunks of one share, so 1 TiB: their hashes take 8 MiB.
    max_chunks: int = 256 * KIB
    #: Files and empty folders of one share, and bytes of their paths in all: some 100 MiB of memory at worst.
    max_entries: int = 200_000
    max_paths: int = 32 * MIB
    #: Folders that hold something. Few bytes of deep paths could ask for millions: making 100,000 takes seconds.
    max_folders: int = 200_000
    #: One name (Linux, macOS, Windows: 255), one path, and names in it (Linux: paths of 4,096).
    max_name: int = 255
    max_path: int = 2 * KIB
    max_depth: int = 64
    #: One message; a manifest is told in as many as it takes, each of so many entries at most.
    max_message: int = 64 * KIB
    max_message_entries: int = 512
    #: Getters served at once: each holds one chunk in memory. One more is told to come later.
    getters: int = 8
    #: Streams of one peer, proven or not; one more is reset.
    streams_per_peer: int = 4
    #: The secret must be proven within this of the first byte.
    prove: float = 10.0
    #: Wrong proofs of one peer, in a burst and per second; then it is refused unheard. With 128 bits no rate would
    #: find a secret: this bounds what trying costs us.
    guess_burst: int = 5
    guess_rate: float = 0.1
    #: Proofs judged in all: above what anybody needs, and each peer id that guesses costs its owner a handshake.
    judge_burst: int = 200
    judge_rate: float = 100.0
    #: Peers whose wrong proofs are remembered.
    guessers: int = 1024
    #: A getter that asks for nothing is left after this: it may be checking what it has already.
    idle: float = 600.0
    #: One chunk must cross within this, asked for and all of it: 7 kB/s.
    transfer: float = 600.0
    #: An answer to a proof, and then one part of the manifest after the other.
    answer: float = 30.0
    #: After a lost connection a getter dials again, in such steps, for so long without a new chunk.
    redial_pause: float = 1.0
    redial: float = 30.0


@frozen
class PeerstoreLimits:
    """What is remembered of peers."""

    #: Addresses of a peer not connected, of a connected one, and of one that just was (go: 64, 500, 20).
    max_addrs: int = 64
    max_connected_addrs: int = 500
    max_recent_addrs: int = 20
    #: Unconnected peers, and addresses of them all: with the records some 200 MiB at worst (go: 1 M addresses).
    max_peers: int = 100_000
    max_unconnected_addrs: int = 200_000
    #: Names of protocols kept of a peer that is not connected any more (go: 128), the length of one, and how many of
    #: all of these.
    max_recent_protocols: int = 64
    max_protocol_name: int = 256
    max_unconnected_protocols: int = 400_000
    #: What the program notes of one peer, and its bytes with the keys.
    max_metadata: int = 16
    max_metadata_size: int = 1 * KIB
    #: Signed records kept (go: 100,000).
    max_records: int = 100_000
    #: Where a peerstore is written to a file: for how long changes gather, peers in one transaction, and how long
    #: writing the last of them may take when it is left.
    write_delay: float = 1.0
    write_batch: int = 500
    write_last: float = 10.0
    #: The largest value that is read from the file: above all of the limits here.
    max_value: int = 64 * KIB
    #: How long an address is believed: told by the peer, and after its last connection (go: 1 h, 15 min).
    address_ttl: float = 3600.0
    recent_ttl: float = 900.0


@frozen
class TCPLimits:
    """One ``TCP()``; given to it and not to the host, which it may outlive."""

    #: Connections the kernel completes and we have not accepted (the kernel caps it, Linux at 4096 by default).
    backlog: int = 1024
    #: With no file descriptor left, accepting is tried again after this: the socket stays readable, so trying at
    #: once would spin.
    accept_backoff: float = 0.1
    #: A silent connection is probed after this, and this often (go-libp2p: 30 s).
    keep_alive: int = 30
    #: Unsent bytes the kernel takes before the socket counts as full: urgent frames wait behind no more than this.
    #: Linux looks when it begins a buffer of up to 64 KiB, so with less than that it holds one, and else two.
    unsent: int = 60 * KIB
    #: The same where they leave fast: with less, a sender of a gigabyte a second is woken for every buffer.
    unsent_when_fast: int = 256 * KIB
    #: Received bytes thrown away at close: a socket closed with any left resets, and the peer may lose what we sent.
    discard: int = 1 * MIB


TCP_LIMITS = TCPLimits()


@frozen
class UnixLimits:
    """One ``Unix()``; given to it as ``TCPLimits`` are to ``TCP()``."""

    #: As of ``TCPLimits``.
    backlog: int = 1024
    accept_backoff: float = 0.1
    discard: int = 1 * MIB
    #: Seconds until a dial that finds the listener's backlog full is tried again: no kernel tells when there is room.
    dial_backoff: float = 0.05


UNIX_LIMITS = UnixLimits()


@frozen
class Limits:
    """What one host allows."""

    negotiation: NegotiationLimits = field(default_factory=NegotiationLimits)
    noise: NoiseLimits = field(default_factory=NoiseLimits)
    yamux: YamuxLimits = field(default_factory=YamuxLimits)
    mplex: MplexLimits = field(default_factory=MplexLimits)
    identify: IdentifyLimits = field(default_factory=IdentifyLimits)
    ping: PingLimits = field(default_factory=PingLimits)
    perf: PerfLimits = field(default_factory=PerfLimits)
    fetch: FetchLimits = field(default_factory=FetchLimits)
    share: ShareLimits = field(default_factory=ShareLimits)
    peerstore: PeerstoreLimits = field(default_factory=PeerstoreLimits)
    #: Connections, streams, memory and descriptors: of the host, each peer, protocol, service and subnet.
    resources: ResourceLimits = field(default_factory=of_this_machine)

    #: Accepting or dialing one connection, from the first byte to the muxer (js, rust: 10 s); absolute.
    upgrade: float = 10.0
    #: TCP connect (go: 5 s), one address from connect to muxer (go: 15 s), one dial of a peer in all (go: 60 s).
    connect: float = 5.0
    dial_address: float = 15.0
    dial: float = 60.0
    #: Addresses of one peer that are tried (js: 25), and how many of them at once (go: 8 per peer).
    dial_addresses: int = 25
    parallel_dials: int = 8
    #: ``open_stream``: dialing apart, waiting for a slot of the remote and for its answer (go: 15 s).
    open_stream: float = 15.0
    #: ``aclose`` of a stream: handing what was accepted and FIN to the writer.
    close: float = 5.0
    #: A connection whose writes make no progress is lost (go-yamux: 10 s).
    write: float = 10.0
    #: Leaving ``async with Host``: streams still open are given this long.
    shutdown_grace: float = 3.0
    #: A connection told to go away is given this long to read our GoAway (go-yamux: 100 ms).
    goaway: float = 0.1
    #: Peers at different addresses that must agree on how they see us, and addresses believed per listener (go: 4, 3).
    observers: int = 4
    observed_addrs: int = 3
    #: Negotiated streams waiting in ``accept_stream`` when no router serves them.
    accept_backlog: int = 256
    #: Events a subscriber may fall behind before it is told how many it lost.
    event_backlog: int = 256
    #: Peers remembered for having refused a lazy proposal.
    refusals: int = 1024
    #: Lines logged per second about one peer's misbehaviour, for those who debug; with a traceback, about all peers
    #: together; and length of peer-supplied text in them.
    log_rate: float = 10.0
    log_text: int = 128


DEFAULT_LIMITS = Limits()
