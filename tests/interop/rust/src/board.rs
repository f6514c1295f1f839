//! What is known here, and a way to wait for a change of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use libp2p::identify::Info;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::failure::Failure;

/// How the streams of one protocol, opened by remotes, ended.
#[derive(Clone, Default)]
pub struct Tally {
    pub opened: u64,
    pub eof: u64,
    pub eof_bytes: u64,
    pub reset: u64,
    pub other: u64,
}

#[derive(Default)]
pub struct Known {
    pub connections: HashMap<ConnectionId, (PeerId, Multiaddr)>,
    pub identified: HashMap<ConnectionId, Info>,
    pub tallies: BTreeMap<&'static str, Tally>,
}

impl Known {
    pub fn connection_to(&self, peer: &PeerId) -> Option<ConnectionId> {
        self.connections.iter().find(|(_, (remote, _))| remote == peer).map(|(id, _)| *id)
    }

    pub fn counters(&self) -> Map<String, Value> {
        let mut counters = Map::new();
        counters.insert("connections".into(), self.connections.len().into());
        for (name, t) in &self.tallies {
            let tally = json!({
                "opened": t.opened, "eof": t.eof, "eof_bytes": t.eof_bytes, "reset": t.reset, "other": t.other,
                "last_code": null, // rust's muxers know no codes
            });
            counters.insert((*name).into(), tally);
        }
        counters
    }
}

/// Shared by everybody; changed under a lock.
#[derive(Clone)]
pub struct Board(Arc<watch::Sender<Known>>);

impl Board {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Known::default())))
    }

    pub fn change(&self, apply: impl FnOnce(&mut Known)) {
        self.0.send_modify(apply);
    }

    pub fn look<T>(&self, at: impl FnOnce(&Known) -> T) -> T {
        at(&self.0.borrow())
    }

    /// What `find` finds, once it does.
    pub async fn wait<T>(&self, mut find: impl FnMut(&Known) -> Result<Option<T>, Failure>) -> Result<T, Failure> {
        let mut changes = self.0.subscribe();
        loop {
            if let Some(found) = find(&changes.borrow_and_update())? {
                return Ok(found);
            }
            changes.changed().await.map_err(|error| Failure::new("internal", error))?;
        }
    }
}
