//! What goes wrong, with the kind that the contract knows it by.

use std::fmt::Display;
use std::io;

use libp2p::swarm::{DialError, StreamUpgradeError};
use serde_json::{Map, Value};

#[derive(Debug)]
pub struct Failure {
    pub kind: &'static str,
    pub text: String,
    /// What the answer tells beside the failure.
    pub counters: Map<String, Value>,
}

impl Failure {
    pub fn new(kind: &'static str, text: impl Display) -> Self {
        Self { kind, text: text.to_string(), counters: Map::new() }
    }

    pub fn bad_request(text: impl Display) -> Self {
        Self::new("bad_request", text)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            // What muxers give to writers on a stream that was reset.
            io::ErrorKind::WriteZero | io::ErrorKind::BrokenPipe => "stream_reset",
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::NotConnected => {
                "connection_lost"
            }
            io::ErrorKind::UnexpectedEof => "unexpected_eof",
            io::ErrorKind::TimedOut => "timeout",
            _ => "internal",
        };
        Self::new(kind, error)
    }
}

impl From<&DialError> for Failure {
    fn from(error: &DialError) -> Self {
        let kind = match error {
            DialError::WrongPeerId { .. } => "peer_id_mismatch",
            _ => "dial_failed",
        };
        Self::new(kind, format!("{error:?}"))
    }
}

impl<E: std::fmt::Debug> From<StreamUpgradeError<E>> for Failure {
    fn from(error: StreamUpgradeError<E>) -> Self {
        match error {
            StreamUpgradeError::Timeout => Self::new("timeout", "the negotiation took too long"),
            StreamUpgradeError::NegotiationFailed => Self::new("no_protocol", "the remote does not speak it"),
            StreamUpgradeError::Io(error) => error.into(),
            StreamUpgradeError::Apply(error) => Self::new("internal", format!("{error:?}")),
        }
    }
}
