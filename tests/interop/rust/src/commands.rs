//! The commands of the control contract (../../README.md).

use std::time::{Duration, Instant};

use futures::future::{join_all, try_join};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::ping;
use libp2p::swarm::{ConnectionId, StreamProtocol};
use libp2p::{Multiaddr, PeerId};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::bench;
use crate::board::Known;
use crate::failure::Failure;
use crate::handlers::{ECHO, HALF, HALF_FIRST, PERF, RESET, RESET_ME, SINK, drain, expect_open, send_zeros};
use crate::node::Node;
use crate::payload;

const DEFAULT_TIMEOUT_MS: u64 = 20_000;
const LONGEST_TEXT: u64 = 64 * 1024;
const PING_SIZE: usize = 32;

pub type Outcome = Result<Value, Failure>;

/// A line that was asked.
pub struct Request(Value);

impl Request {
    pub fn text(&self, name: &str) -> Result<&str, Failure> {
        self.0[name].as_str().ok_or_else(|| Failure::bad_request(format!("{name}: no text")))
    }

    pub fn texts(&self, name: &str) -> Result<Vec<&str>, Failure> {
        let all = self.0[name].as_array().and_then(|all| all.iter().map(Value::as_str).collect());
        all.ok_or_else(|| Failure::bad_request(format!("{name}: no list of texts")))
    }

    pub fn number(&self, name: &str, default: u64) -> Result<u64, Failure> {
        match &self.0[name] {
            Value::Null => Ok(default),
            value => value.as_u64().ok_or_else(|| Failure::bad_request(format!("{name}: {value}"))),
        }
    }

    pub fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or(false)
    }

    fn protocol(&self) -> Result<StreamProtocol, Failure> {
        StreamProtocol::try_from_owned(self.text("protocol")?.to_owned()).map_err(Failure::bad_request)
    }
}

/// Execute; a failure becomes an answer.
pub async fn answer(node: Node, request: Value) -> Value {
    let id = request["id"].clone();
    let request = Request(request);
    let outcome = match request.number("timeout_ms", DEFAULT_TIMEOUT_MS) {
        Ok(millis) => match tokio::time::timeout(Duration::from_millis(millis), execute(&node, &request)).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let mut slow = Failure::new("timeout", error);
                if request.0["command"] == "stats" {
                    slow.counters = node.board.look(Known::counters);
                }
                Err(slow)
            }
        },
        Err(failure) => Err(failure),
    };
    let mut answer = match outcome {
        Ok(Value::Object(told)) => told,
        Ok(_) => Map::new(),
        Err(Failure { kind, text, mut counters }) => {
            counters.insert("kind".into(), kind.into());
            counters.insert("error".into(), text.into());
            counters.insert("ok".into(), false.into());
            counters
        }
    };
    answer.insert("id".into(), id);
    answer.entry("ok").or_insert(true.into());
    Value::Object(answer)
}

async fn execute(node: &Node, request: &Request) -> Outcome {
    let command = request.text("command")?;
    match command {
        "stats" => return stats(node, &request.0["until"]).await,
        "close_connections" => return Ok(json!({ "closed": node.close_connections().await? })),
        "wrong_peer" => return wrong_peer(node, request.text("addr")?).await,
        "handle" => {
            node.serve(request.protocol()?);
            return Ok(Value::Null);
        }
        "unhandle" => {
            node.serve_no_more(request.protocol()?);
            return Ok(Value::Null);
        }
        _ if bench::knows(command) => return bench::execute(node, command, request).await,
        _ => {}
    }
    let connection = connect(node, request).await?;
    let (bytes, seed) = (request.number("bytes", 0)?, request.number("seed", 0)?);
    let count = request.number("count", 1)?;
    match command {
        "dial" => dialed(node, connection),
        "identify" => identify(node, connection).await,
        "wait_protocol" => {
            let present = request.0["present"].as_bool().unwrap_or(true);
            wait_protocol(node, connection, &request.protocol()?, present).await
        }
        "ping" => pings(node, connection, count).await,
        "echo" => echo(node, connection, bytes, seed).await,
        "many" => many(node, connection, request.number("streams", 1)?, bytes, seed).await,
        "half" => half(node, connection, bytes, seed).await,
        "half_first" => half_first(node, connection, bytes, seed).await,
        "reset" => reset(node, connection, request.number("code", 0)?).await,
        "send_reset" => send_reset(node, connection).await,
        "oneway" => oneway(node, connection, count, bytes, seed).await,
        "perf" => perf(node, connection, request.number("upload", 0)?, request.number("download", 0)?).await,
        _ => Err(Failure::bad_request(format!("unknown command {command:?}"))),
    }
}

pub async fn connect(node: &Node, request: &Request) -> Result<ConnectionId, Failure> {
    if request.0["addr"].is_null() {
        let peer: PeerId = request.text("peer")?.parse().map_err(Failure::bad_request)?;
        let connected = node.board.look(|known| known.connection_to(&peer));
        return connected.ok_or_else(|| Failure::new("dial_failed", format!("no connection to {peer}")));
    }
    let (addr, peer) = parse(request.text("addr")?)?;
    node.dial(peer, addr).await
}

/// An address, and the peer id that it ends with.
pub fn parse(text: &str) -> Result<(Multiaddr, PeerId), Failure> {
    let addr: Multiaddr = text.parse().map_err(Failure::bad_request)?;
    match addr.iter().last() {
        Some(Protocol::P2p(peer)) => Ok((addr, peer)),
        _ => Err(Failure::bad_request(format!("{addr} has no peer id"))),
    }
}

fn dialed(node: &Node, connection: ConnectionId) -> Outcome {
    let found = node.board.look(|known| known.connections.get(&connection).cloned());
    let (peer, addr) = found.ok_or_else(|| Failure::new("connection_lost", "connected and lost it"))?;
    Ok(json!({ "peer": peer.to_string(), "remote_addr": addr.to_string() }))
}

async fn identify(node: &Node, connection: ConnectionId) -> Outcome {
    let told = node.board.wait(|known| Ok(known.identified.get(&connection).cloned())).await?;
    Ok(json!({
        "peer": told.public_key.to_peer_id().to_string(),
        "agent": told.agent_version,
        "protocol_version": told.protocol_version,
        "protocols": told.protocols.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "listen_addrs": told.listen_addrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "observed_addr": told.observed_addr.to_string(),
        "signed_record": told.signed_peer_record.is_some(),
    }))
}

async fn wait_protocol(node: &Node, connection: ConnectionId, protocol: &StreamProtocol, present: bool) -> Outcome {
    node.board
        .wait(|known| {
            let told = known.identified.get(&connection).map(|told| told.protocols.contains(protocol));
            Ok((told == Some(present)).then_some(Value::Null))
        })
        .await
}

/// On one stream, by hand: the library's own client pings when its clock says so.
async fn pings(node: &Node, connection: ConnectionId, count: u64) -> Outcome {
    let mut stream = node.open(connection, ping::PROTOCOL_NAME).await?;
    let mut rtts = vec![];
    for i in 0..count.max(1) {
        let sent: Vec<u8> = payload::blocks(PING_SIZE as u64, i).flatten().collect();
        let begin = Instant::now();
        stream.write_all(&sent).await?;
        stream.flush().await?;
        let mut received = [0; PING_SIZE];
        stream.read_exact(&mut received).await?;
        if received[..] != sent {
            return Err(Failure::new("internal", "another ping came back"));
        }
        rtts.push(micros(begin));
    }
    stream.close().await?;
    Ok(json!({ "rtts": rtts }))
}

async fn echo(node: &Node, connection: ConnectionId, size: u64, seed: u64) -> Outcome {
    let begin = Instant::now();
    let (mut reader, mut writer) = node.open(connection, ECHO).await?.split();
    let write = async {
        let mut sent = Sha256::new();
        for block in payload::blocks(size, seed) {
            sent.update(&block);
            writer.write_all(&block).await?;
            payload::give_way().await;
        }
        writer.close().await?;
        Ok::<_, Failure>(sent)
    };
    let read = async {
        let (mut received, mut bytes) = (Sha256::new(), 0);
        let mut buffer = vec![0; LONGEST_TEXT as usize];
        loop {
            let n = reader.read(&mut buffer).await?;
            if n == 0 {
                return Ok((received, bytes));
            }
            received.update(&buffer[..n]);
            bytes += n as u64;
        }
    };
    let (sent, (received, bytes)) = try_join(write, read).await?;
    Ok(json!({
        "sent_sha256": payload::hex(sent),
        "received_sha256": payload::hex(received),
        "received": bytes,
        "micros": micros(begin),
    }))
}

async fn many(node: &Node, connection: ConnectionId, streams: u64, size: u64, seed: u64) -> Outcome {
    let begin = Instant::now();
    let echoes = join_all((0..streams).map(|i| echo(node, connection, size, seed + i))).await;
    let mut intact = 0;
    let mut first = None;
    for echoed in echoes {
        match echoed {
            Ok(told) => intact += u64::from(told["sent_sha256"] == told["received_sha256"]),
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    let counters = json!({ "streams": streams, "intact": intact, "micros": micros(begin) });
    match (first, counters) {
        (None, counters) => Ok(counters),
        (Some(failure), Value::Object(counters)) => Err(Failure { counters, ..failure }),
        (Some(failure), _) => Err(failure),
    }
}

async fn half(node: &Node, connection: ConnectionId, size: u64, seed: u64) -> Outcome {
    let mut stream = node.open(connection, HALF).await?;
    payload::write(&mut stream, size, seed).await?;
    stream.close().await?;
    let mut answer = String::new();
    stream.take(LONGEST_TEXT).read_to_string(&mut answer).await?;
    Ok(json!({ "answer": answer }))
}

async fn half_first(node: &Node, connection: ConnectionId, size: u64, seed: u64) -> Outcome {
    let mut stream = node.open(connection, HALF_FIRST).await?;
    let mut greeting = String::new();
    (&mut stream).take(LONGEST_TEXT).read_to_string(&mut greeting).await?;
    payload::write(&mut stream, size, seed).await?;
    stream.close().await?;
    Ok(json!({ "greeting": greeting }))
}

async fn reset(node: &Node, connection: ConnectionId, code: u64) -> Outcome {
    let mut stream = node.open(connection, RESET).await?;
    stream.write_all(&[code as u8]).await?;
    stream.flush().await?;
    let seen = async {
        drain(&mut stream).await?;
        expect_open(&mut stream).await
    };
    Ok(match seen.await {
        Ok(()) => json!({ "seen": "eof", "code": null }),
        Err(failure) => json!({ "seen": failure.kind, "code": null, "text": failure.text }),
    })
}

async fn send_reset(node: &Node, connection: ConnectionId) -> Outcome {
    let mut stream = node.open(connection, RESET_ME).await?;
    stream.read_exact(&mut [0]).await?;
    Ok(Value::Null) // dropped open, which is a reset
}

async fn oneway(node: &Node, connection: ConnectionId, count: u64, size: u64, seed: u64) -> Outcome {
    for i in 0..count {
        let mut stream = node.open(connection, SINK).await?;
        payload::write(&mut stream, size, seed + i).await?;
        stream.close().await?;
    }
    Ok(json!({ "streams": count, "bytes": count * size }))
}

async fn perf(node: &Node, connection: ConnectionId, upload: u64, download: u64) -> Outcome {
    let mut stream = node.open(connection, PERF).await?;
    let begin = Instant::now();
    stream.write_all(&download.to_be_bytes()).await?;
    send_zeros(&mut stream, upload).await?;
    stream.close().await?;
    let upload_micros = micros(begin);
    let begin = Instant::now();
    let downloaded = drain(&mut stream).await?;
    Ok(json!({
        "uploaded": upload,
        "downloaded": downloaded,
        "upload_micros": upload_micros,
        "download_micros": micros(begin),
    }))
}

async fn wrong_peer(node: &Node, addr: &str) -> Outcome {
    let (mut addr, _) = parse(addr)?;
    addr.pop();
    let stranger = Keypair::generate_ed25519().public().to_peer_id();
    match node.dial(stranger, addr.clone()).await {
        Ok(_) => Err(Failure::new("not_refused", format!("{addr} answered for {stranger}"))),
        Err(failure) => Ok(json!({ "seen": failure.kind, "text": failure.text })),
    }
}

async fn stats(node: &Node, until: &Value) -> Outcome {
    let wanted = match until {
        Value::Null => Map::new(),
        Value::Object(wanted) => wanted.clone(),
        _ => return Err(Failure::bad_request("until: not an object")),
    };
    node.board
        .wait(|known| {
            let counters = Value::Object(known.counters());
            for (name, value) in &wanted {
                let counter = name.split('.').fold(&counters, |counters, part| &counters[part]);
                if !counter.is_u64() {
                    return Err(Failure::bad_request(format!("until: no counter {name:?}")));
                }
                if counter != value {
                    return Ok(None);
                }
            }
            Ok(Some(counters))
        })
        .await
}

pub fn micros(begin: Instant) -> u64 {
    begin.elapsed().as_micros() as u64
}
