//! The benchmark commands of the control contract (../../README.md, "Benchmarks").

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Multiaddr;
use libp2p::swarm::{ConnectionId, Stream, StreamProtocol};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::commands::{Outcome, Request, connect, micros, parse};
use crate::failure::Failure;
use crate::handlers::drain;
use crate::node::{self, Node};

const SINK: StreamProtocol = StreamProtocol::new("/bench/sink/1.0.0");
const ANSWER: StreamProtocol = StreamProtocol::new("/bench/answer/1.0.0");
const SMALL: usize = 32;
const DIALS_AT_ONCE: usize = 16;

/// Served beside what `handlers` serves.
pub const SERVED: [StreamProtocol; 2] = [SINK, ANSWER];

/// A node and its connection to the listener.
type Way = (Node, ConnectionId);

static CROWD: Mutex<Vec<Way>> = Mutex::new(vec![]);
/// A stream on each connection of the crowd, once they ping.
static PINGING: Mutex<Vec<Stream>> = Mutex::new(vec![]);
/// Nodes that others dial.
static LISTENING: Mutex<Vec<Node>> = Mutex::new(vec![]);

fn pinging() -> std::sync::MutexGuard<'static, Vec<Stream>> {
    PINGING.lock().expect("nobody panics with it")
}

fn listening() -> std::sync::MutexGuard<'static, Vec<Node>> {
    LISTENING.lock().expect("nobody panics with it")
}

fn crowd() -> std::sync::MutexGuard<'static, Vec<Way>> {
    CROWD.lock().expect("nobody panics with it")
}

/// Handle one stream of either protocol.
pub async fn serve(protocol: StreamProtocol, stream: Stream) {
    let ended = if protocol == SINK { sink(stream).await } else { answer(stream).await };
    if let Err(failure) = ended {
        eprintln!("{protocol}: {}: {}", failure.kind, failure.text);
    }
}

async fn sink(mut stream: Stream) -> Result<(), Failure> {
    let bytes = drain(&mut stream).await?;
    stream.write_all(&bytes.to_be_bytes()).await?;
    stream.close().await?;
    Ok(())
}

async fn answer(mut stream: Stream) -> Result<(), Failure> {
    let mut small = [0; SMALL];
    loop {
        match stream.read(&mut small).await? {
            0 => break,
            n => stream.read_exact(&mut small[n..]).await?,
        }
        stream.write_all(&small).await?;
        stream.flush().await?;
    }
    stream.close().await?;
    Ok(())
}

pub fn knows(command: &str) -> bool {
    command.starts_with("bench_")
}

pub async fn execute(node: &Node, command: &str, request: &Request) -> Outcome {
    match command {
        "bench_usage" => Ok(usage()),
        "bench_bulk" => bulk(node, request).await,
        "bench_requests" => requests(node, request).await,
        "bench_round_trips" => round_trips(node, request).await,
        "bench_handshakes" => handshakes(node, request).await,
        "bench_crowd" => gather(node, request).await,
        "bench_beside" => beside(node, request).await,
        "bench_pings" => pings(request).await,
        "bench_listening_crowd" => gather_listening(node, request).await,
        "bench_dials" => dial_all(node, request).await,
        "bench_disperse" => {
            pinging().clear();
            listening().clear();
            crowd().clear(); // a node ends with whoever holds it
            Ok(Value::Null)
        }
        _ => Err(Failure::bad_request(format!("unknown command {command:?}"))),
    }
}

/// There is no garbage to be collected here.
fn usage() -> Value {
    // SAFETY: a plain structure of numbers, filled by the call.
    let used = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut used);
        used
    };
    let micros = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    json!({ "pid": std::process::id(), "cpu_micros": micros(used.ru_utime) + micros(used.ru_stime) })
}

/// `size` bytes by writes of `write` bytes, and the sink's count of them.
async fn pour((node, connection): Way, size: u64, write: usize) -> Result<(), Failure> {
    let mut stream = node.open(connection, SINK).await?;
    let data: Vec<u8> = (0..write).map(|i| (i * 31) as u8).collect();
    let mut left = size;
    while left > 0 {
        let n = left.min(write as u64);
        stream.write_all(&data[..n as usize]).await?;
        left -= n;
    }
    finish(stream, size).await
}

/// Close a stream that `size` bytes were written to, and read the sink's count of them.
async fn finish(mut stream: Stream, size: u64) -> Result<(), Failure> {
    stream.close().await?;
    let mut count = [0; 8];
    stream.read_exact(&mut count).await?;
    match u64::from_be_bytes(count) {
        got if got == size => Ok(()),
        got => Err(Failure::new("internal", format!("{size} bytes were sent and {got} arrived"))),
    }
}

async fn ask((node, connection): &Way) -> Result<(), Failure> {
    let mut stream = node.open(*connection, ANSWER).await?;
    ask_on(&mut stream).await?;
    stream.close().await?;
    Ok(())
}

async fn ask_on(stream: &mut Stream) -> Result<(), Failure> {
    stream.write_all(&[0; SMALL]).await?;
    stream.flush().await?;
    let mut small = [0; SMALL];
    stream.read_exact(&mut small).await?;
    Ok(())
}

/// All of these at once, each in a task of its own.
async fn together<T, F>(futures: impl IntoIterator<Item = F>) -> Result<Vec<T>, Failure>
where
    F: Future<Output = Result<T, Failure>> + Send + 'static,
    T: Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut results = vec![];
    for task in tasks {
        results.push(task.await.map_err(|error| Failure::new("internal", error))??);
    }
    Ok(results)
}

async fn bulk(node: &Node, request: &Request) -> Outcome {
    let ways: Vec<Way> = if request.flag("crowd") {
        crowd().clone()
    } else {
        let way = (node.clone(), connect(node, request).await?);
        vec![way; request.number("streams", 1)? as usize]
    };
    let (each, write) = (request.number("bytes", 0)? / ways.len() as u64, request.number("write", 1)? as usize);
    let bytes = each * ways.len() as u64;
    let begin = Instant::now();
    let shares = together(ways.into_iter().map(|way| async move {
        pour(way, each, write).await?;
        Ok(micros(begin))
    }))
    .await?;
    Ok(json!({ "micros": micros(begin), "bytes": bytes, "shares": shares }))
}

async fn requests(node: &Node, request: &Request) -> Outcome {
    let way = (node.clone(), connect(node, request).await?);
    let count = request.number("count", 1)?;
    let next = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let samples = together((0..request.number("at_once", 1)?).map(|_| {
        let (way, next) = (way.clone(), next.clone());
        async move {
            let mut samples = vec![];
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let asked = Instant::now();
                ask(&way).await?;
                samples.push(micros(asked));
            }
            Ok(samples)
        }
    }))
    .await?;
    Ok(json!({ "micros": micros(begin), "samples": samples.concat() }))
}

async fn round_trips(node: &Node, request: &Request) -> Outcome {
    let connection = connect(node, request).await?;
    let mut stream = node.open(connection, ANSWER).await?;
    ask_on(&mut stream).await?;
    let mut samples = vec![];
    let begin = Instant::now();
    for _ in 0..request.number("count", 1)? {
        let asked = Instant::now();
        ask_on(&mut stream).await?;
        samples.push(micros(asked));
    }
    let took = micros(begin);
    stream.close().await?;
    Ok(json!({ "micros": took, "samples": samples }))
}

/// Ask and be answered on one stream while bulk goes on on another.
async fn beside(node: &Node, request: &Request) -> Outcome {
    let connection = connect(node, request).await?;
    let mut asking = node.open(connection, ANSWER).await?;
    ask_on(&mut asking).await?;
    let mut bulk = node.open(connection, SINK).await?;
    let (saturated, until_saturated) = tokio::sync::oneshot::channel();
    let patience = Duration::from_millis(request.number("millis", 0)?);
    let pause = Duration::from_millis(request.number("pause", 0)?);
    let asked_enough = tokio::spawn(async move {
        until_saturated.await.map_err(|error| Failure::new("internal", error))?;
        let (begin, mut samples) = (Instant::now(), vec![]);
        while begin.elapsed() < patience {
            let asked = Instant::now();
            ask_on(&mut asking).await?;
            samples.push(micros(asked));
            tokio::time::sleep(pause).await;
        }
        asking.close().await?;
        Ok::<_, Failure>(samples)
    });
    let data: Vec<u8> = (0..request.number("write", 1)?).map(|i| (i * 31) as u8).collect();
    let (first, mut sent, mut saturated) = (request.number("bytes", 0)?, 0, Some(saturated));
    let begin = Instant::now();
    while !asked_enough.is_finished() {
        bulk.write_all(&data).await?;
        sent += data.len() as u64;
        if sent >= first {
            // Who asks may have failed: its end says so.
            saturated.take().map(|saturated| saturated.send(()));
        }
    }
    let samples = asked_enough.await.map_err(|error| Failure::new("internal", error))??;
    finish(bulk, sent).await?;
    Ok(json!({ "micros": micros(begin), "bytes": sent, "samples": samples }))
}

/// Each connection of the crowd asks at its own moment of each period, on a stream that stays open.
async fn pings(request: &Request) -> Outcome {
    let (count, period) = (request.number("count", 1)?, Duration::from_millis(request.number("period", 1)?));
    let mut streams = std::mem::take(&mut *pinging());
    let ways = crowd()[streams.len()..].to_vec();
    for (node, connection) in ways {
        let mut stream = node.open(connection, ANSWER).await?;
        ask_on(&mut stream).await?;
        streams.push(stream);
    }
    let (begin, all) = (Instant::now(), streams.len() as u32);
    let pinged = together(streams.into_iter().enumerate().map(|(i, mut stream)| async move {
        let mut samples = vec![];
        for turn in 0..count {
            let due = begin + period * turn as u32 + period * i as u32 / all;
            tokio::time::sleep_until(due.into()).await;
            let asked = Instant::now();
            ask_on(&mut stream).await?;
            samples.push(micros(asked));
        }
        Ok((stream, samples))
    }))
    .await?;
    let took = micros(begin);
    let (streams, samples): (Vec<_>, Vec<_>) = pinged.into_iter().unzip();
    *pinging() = streams;
    Ok(json!({ "micros": took, "samples": samples.concat() }))
}

async fn handshakes(node: &Node, request: &Request) -> Outcome {
    node.close_connections().await?;
    let (mut dialed, mut answered) = (vec![], vec![]);
    for _ in 0..request.number("count", 1)? {
        let begin = Instant::now();
        let way = (node.clone(), connect(node, request).await?);
        dialed.push(micros(begin));
        ask(&way).await?;
        answered.push(micros(begin));
        node.close_connections().await?;
    }
    Ok(json!({ "dialed": dialed, "answered": answered }))
}

async fn gather(node: &Node, request: &Request) -> Outcome {
    let (addr, peer) = parse(request.text("addr")?)?;
    let dialing = Arc::new(Semaphore::new(DIALS_AT_ONCE));
    let ways = together((0..request.number("count", 1)?).map(|_| {
        let (addr, muxer, dialing) = (addr.clone(), node.muxer.clone(), dialing.clone());
        async move {
            let _turn = dialing.acquire().await.map_err(|error| Failure::new("internal", error))?;
            let (node, _) =
                node::start(&muxer, vec![]).await.map_err(|error| Failure::new("internal", error.to_string()))?;
            let connection = node.dial(peer, addr).await?;
            let way = (node, connection);
            ask(&way).await?;
            Ok(way)
        }
    }))
    .await?;
    let mut crowd = crowd();
    crowd.extend(ways);
    Ok(json!({ "crowd": crowd.len() }))
}

async fn gather_listening(node: &Node, request: &Request) -> Outcome {
    let listen: Multiaddr = request.text("listen")?.parse().map_err(Failure::bad_request)?;
    let mut all = vec![];
    for _ in 0..request.number("count", 1)? {
        let (node, addrs) = node::start(&node.muxer, vec![listen.clone()])
            .await
            .map_err(|error| Failure::new("internal", error.to_string()))?;
        listening().push(node);
        all.extend(addrs.iter().map(ToString::to_string));
    }
    Ok(json!({ "addrs": all }))
}

async fn dial_all(node: &Node, request: &Request) -> Outcome {
    let dialing = Arc::new(Semaphore::new(DIALS_AT_ONCE));
    let mut dials = vec![];
    for addr in request.texts("addrs")? {
        let (addr, peer) = parse(addr)?;
        let (node, dialing) = (node.clone(), dialing.clone());
        dials.push(async move {
            let _turn = dialing.acquire().await.map_err(|error| Failure::new("internal", error))?;
            let connection = node.dial(peer, addr).await?;
            ask(&(node, connection)).await
        });
    }
    together(dials).await?;
    Ok(Value::Null)
}
