//! What remotes find here, and how their streams ended.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::swarm::{Stream, StreamProtocol};

use crate::bench;
use crate::board::{Board, Tally};
use crate::failure::Failure;

pub const ECHO: StreamProtocol = StreamProtocol::new("/echo/1.0.0");
pub const SINK: StreamProtocol = StreamProtocol::new("/test/sink/1.0.0");
pub const RESET: StreamProtocol = StreamProtocol::new("/test/reset/1.0.0");
pub const RESET_ME: StreamProtocol = StreamProtocol::new("/test/reset-me/1.0.0");
pub const HALF: StreamProtocol = StreamProtocol::new("/test/half/1.0.0");
pub const HALF_FIRST: StreamProtocol = StreamProtocol::new("/test/half-first/1.0.0");
pub const PERF: StreamProtocol = StreamProtocol::new("/perf/1.0.0");

/// What is served from the start, and the name that its streams are counted under.
pub const SERVED: [(&str, StreamProtocol); 7] = [
    ("echo", ECHO),
    ("sink", SINK),
    ("reset", RESET),
    ("reset_me", RESET_ME),
    ("half", HALF),
    ("half_first", HALF_FIRST),
    ("perf", PERF),
];

const BUFFER_SIZE: usize = 64 * 1024;

/// Handle one stream and count how it ends. One of a protocol added later is read to its end.
pub async fn serve(board: Board, protocol: StreamProtocol, stream: Stream) {
    if bench::SERVED.contains(&protocol) {
        return bench::serve(protocol, stream).await;
    }
    let Some((name, _)) = SERVED.into_iter().find(|(_, served)| *served == protocol) else {
        let _ = drain_and_close(stream).await;
        return;
    };
    let count = |apply: &dyn Fn(&mut Tally)| board.change(|known| apply(known.tallies.entry(name).or_default()));
    count(&|tally| tally.opened += 1);
    let ended = match name {
        "echo" => echo(stream).await.map(Some),
        "sink" => drain_and_close(stream).await.map(Some),
        "reset" => reset(stream).await,
        "reset_me" => reset_me(stream).await.map(Some),
        "half" => half(stream).await.map(Some),
        "half_first" => half_first(stream).await.map(Some),
        _ => perf(stream).await.map(Some),
    };
    match ended {
        Ok(Some(bytes)) => count(&|tally| {
            tally.eof += 1;
            tally.eof_bytes += bytes;
        }),
        Ok(None) => count(&|_| {}), // our own reset ended it
        Err(failure) if failure.kind == "stream_reset" => count(&|tally| tally.reset += 1),
        Err(failure) => {
            eprintln!("{protocol}: {}: {}", failure.kind, failure.text);
            count(&|tally| tally.other += 1);
        }
    }
}

/// Read to EOF; how many bytes there were.
pub async fn drain<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_SIZE];
    let mut bytes = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(bytes),
            n => bytes += n as u64,
        }
    }
}

/// After EOF, on a stream that this side has not closed: whether it was one.
///
/// Readers are told EOF of a reset too; only a write is refused. A write of nothing will do.
pub async fn expect_open<W: AsyncWrite + Unpin>(stream: &mut W) -> Result<(), Failure> {
    stream.write(&[]).await?;
    Ok(())
}

async fn drain_and_close(mut stream: Stream) -> Result<u64, Failure> {
    let bytes = drain(&mut stream).await?;
    stream.close().await?;
    Ok(bytes)
}

async fn echo(mut stream: Stream) -> Result<u64, Failure> {
    let mut buffer = vec![0; BUFFER_SIZE];
    let mut bytes = 0;
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        bytes += n as u64;
        stream.write_all(&buffer[..n]).await?;
    }
    expect_open(&mut stream).await?;
    stream.close().await?;
    Ok(bytes)
}

async fn reset(mut stream: Stream) -> Result<Option<u64>, Failure> {
    let mut code = [0];
    stream.read_exact(&mut code).await?;
    Ok(None) // dropped open, which is a reset
}

async fn reset_me(mut stream: Stream) -> Result<u64, Failure> {
    stream.write_all(b"r").await?;
    stream.flush().await?;
    let bytes = drain(&mut stream).await?;
    expect_open(&mut stream).await?;
    stream.close().await?;
    Ok(bytes)
}

async fn half(mut stream: Stream) -> Result<u64, Failure> {
    let bytes = drain(&mut stream).await?;
    stream.write_all(format!("done:{bytes}").as_bytes()).await?;
    stream.close().await?;
    Ok(bytes)
}

async fn half_first(mut stream: Stream) -> Result<u64, Failure> {
    stream.write_all(b"hello").await?;
    stream.close().await?;
    Ok(drain(&mut stream).await?)
}

/// Reads how many bytes are wanted and all that is uploaded, then sends as many. Counted without the first eight.
async fn perf(mut stream: Stream) -> Result<u64, Failure> {
    let mut wanted = [0; 8];
    stream.read_exact(&mut wanted).await?;
    let uploaded = drain(&mut stream).await?;
    send_zeros(&mut stream, u64::from_be_bytes(wanted)).await?;
    stream.close().await?;
    Ok(uploaded)
}

pub async fn send_zeros<W: AsyncWrite + Unpin>(stream: &mut W, size: u64) -> io::Result<()> {
    let zeros = vec![0; BUFFER_SIZE];
    let mut left = size;
    while left > 0 {
        let n = left.min(BUFFER_SIZE as u64);
        stream.write_all(&zeros[..n as usize]).await?;
        left -= n;
    }
    Ok(())
}
