//! An interop peer on rust-libp2p. The control contract it speaks is in ../../README.md.

mod bench;
mod board;
mod commands;
mod failure;
mod handlers;
mod node;
mod payload;
mod streams;

use std::env;
use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use libp2p::Multiaddr;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

struct Flags {
    listen: Vec<Multiaddr>,
    muxer: String,
}

fn flags() -> Result<Flags, Box<dyn Error>> {
    let mut flags = Flags { listen: vec![], muxer: "yamux".into() };
    for argument in env::args().skip(1) {
        match argument.split_once('=') {
            Some(("--listen", addr)) => flags.listen.push(addr.parse()?),
            Some(("--security", "noise")) => {}
            Some(("--security", other)) => return Err(format!("--security {other}: not supported").into()),
            Some(("--muxer", muxer)) => flags.muxer = muxer.into(),
            _ => return Err(format!("{argument}: unknown").into()),
        }
    }
    Ok(flags)
}

/// One whole line, whoever else writes.
fn write(line: &Value) {
    let text = format!("{line}\n");
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).expect("stdout is open");
}

async fn run() -> Result<(), Box<dyn Error>> {
    let flags = flags()?;
    let (node, addrs) = node::start(&flags.muxer, flags.listen).await?;
    let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
    write(&json!({ "event": "ready", "peer_id": node.peer_id.to_string(), "addrs": addrs }));

    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let request: Value = match serde_json::from_str(&line) {
            Ok(request) => request,
            Err(error) => {
                write(&json!({ "id": null, "ok": false, "kind": "bad_request", "error": error.to_string() }));
                continue;
            }
        };
        if request["command"] == "quit" {
            write(&json!({ "id": request["id"], "ok": true }));
            break;
        }
        let node = node.clone();
        tokio::spawn(async move { write(&commands::answer(node, request).await) });
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
