//! The swarm, in the one task that owns it, and the handle by which others ask it for something.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use futures::StreamExt;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, NetworkBehaviour, Stream, StreamProtocol, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, noise, ping, tcp, yamux};
use tokio::sync::{mpsc, oneshot};

use crate::bench;
use crate::board::Board;
use crate::failure::Failure;
use crate::handlers;
use crate::streams::{Opened, Streams};

const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Yamux sets 256 KiB of its GiB aside for each: with four times as many nothing would be left to open windows with.
const MAX_STREAMS: usize = 1024;

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    streams: Streams,
}

type Dialed = oneshot::Sender<Result<ConnectionId, Failure>>;

enum Order {
    Dial(PeerId, Multiaddr, Dialed),
    Open(PeerId, ConnectionId, StreamProtocol, Opened),
    Serve(StreamProtocol),
    ServeNoMore(StreamProtocol),
    Close(ConnectionId),
}

/// What the commands hold.
#[derive(Clone)]
pub struct Node {
    pub peer_id: PeerId,
    pub muxer: String,
    pub board: Board,
    orders: mpsc::UnboundedSender<Order>,
}

impl Node {
    /// The connection to `peer`, made at `addr` and nowhere else if there is none yet.
    pub async fn dial(&self, peer: PeerId, addr: Multiaddr) -> Result<ConnectionId, Failure> {
        if let Some(connection) = self.board.look(|known| known.connection_to(&peer)) {
            return Ok(connection);
        }
        let (dialed, answer) = oneshot::channel();
        self.order(Order::Dial(peer, addr, dialed));
        answer.await.map_err(|_| Failure::new("internal", "the swarm ended"))?
    }

    pub async fn open(&self, connection: ConnectionId, protocol: StreamProtocol) -> Result<Stream, Failure> {
        let gone = || Failure::new("connection_lost", "the connection ended before the stream was open");
        let peer =
            self.board.look(|known| known.connections.get(&connection).map(|(peer, _)| *peer)).ok_or_else(gone)?;
        let (opened, answer) = oneshot::channel();
        self.order(Order::Open(peer, connection, protocol, opened));
        answer.await.map_err(|_| gone())?
    }

    pub fn serve(&self, protocol: StreamProtocol) {
        self.order(Order::Serve(protocol));
    }

    pub fn serve_no_more(&self, protocol: StreamProtocol) {
        self.order(Order::ServeNoMore(protocol));
    }

    /// How many connections there were to close; they are closed once this returns.
    pub async fn close_connections(&self) -> Result<usize, Failure> {
        let open: Vec<ConnectionId> = self.board.look(|known| known.connections.keys().copied().collect());
        for connection in &open {
            self.order(Order::Close(*connection));
        }
        self.board.wait(|known| Ok((!open.iter().any(|id| known.connections.contains_key(id))).then_some(()))).await?;
        Ok(open.len())
    }

    fn order(&self, order: Order) {
        let _ = self.orders.send(order); // fails at the program's end alone
    }
}

/// Start a node; its listen addresses, with `/p2p/`, are known when this returns.
pub async fn start(muxer: &str, listen: Vec<Multiaddr>) -> Result<(Node, Vec<Multiaddr>), Box<dyn Error>> {
    let keys = Keypair::generate_ed25519();
    let peer_id = keys.public().to_peer_id();
    let (accepted, streams) = mpsc::unbounded_channel();
    // Without a signed record, as is the default: this library's have a form of their own, and js gives up on them.
    let identity = identify::Config::new("interop/1.0.0".into(), keys.public());
    let mut behaviour = Behaviour {
        identify: identify::Behaviour::new(identity.with_agent_version("interop-rust".into())),
        // mplex sends a reset along with what is next written to its connection, which on a silent one is a ping.
        ping: ping::Behaviour::new(ping::Config::new().with_interval(match muxer {
            "mplex" => Duration::from_millis(500),
            _ => IDLE_TIMEOUT,
        })),
        streams: Streams::new(accepted),
    };
    let board = Board::new();
    for (name, protocol) in handlers::SERVED {
        behaviour.streams.serve(protocol);
        board.change(|known| {
            known.tallies.entry(name).or_default();
        });
    }
    for protocol in bench::SERVED {
        behaviour.streams.serve(protocol);
    }
    let config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(MAX_STREAMS);
    let mut swarm = Swarm::new(transport(&keys, muxer)?, behaviour, peer_id, config);

    let mut addrs = vec![];
    for addr in listen {
        swarm.listen_on(addr)?;
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                addrs.push(address.with_p2p(peer_id).map_err(|_| "an address of somebody else")?);
                break;
            }
        }
    }
    let (orders, received) = mpsc::unbounded_channel();
    tokio::spawn(run(swarm, received, streams, board.clone()));
    Ok((Node { peer_id, muxer: muxer.into(), board, orders }, addrs))
}

fn transport(keys: &Keypair, muxer: &str) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn Error>> {
    let secured = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keys)?);
    match muxer {
        "yamux" => {
            let mut config = yamux::Config::default();
            config.set_max_num_streams(MAX_STREAMS);
            Ok(secured.multiplex(config).boxed())
        }
        "mplex" => {
            let mut config = libp2p_mplex::Config::new();
            config.set_max_num_streams(MAX_STREAMS);
            Ok(secured.multiplex(config).boxed())
        }
        _ => Err(format!("--muxer {muxer}: not supported").into()),
    }
}

async fn run(
    mut swarm: Swarm<Behaviour>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mut accepted: mpsc::UnboundedReceiver<(StreamProtocol, Stream)>,
    board: Board,
) {
    let mut dialing: HashMap<ConnectionId, Dialed> = HashMap::new();
    loop {
        tokio::select! {
            event = swarm.select_next_some() => take(event, &board, &mut dialing),
            Some((protocol, stream)) = accepted.recv() => {
                tokio::spawn(handlers::serve(board.clone(), protocol, stream));
            }
            order = orders.recv() => match order {
                Some(order) => follow(order, &mut swarm, &mut dialing),
                None => return,
            },
        }
    }
}

fn follow(order: Order, swarm: &mut Swarm<Behaviour>, dialing: &mut HashMap<ConnectionId, Dialed>) {
    match order {
        Order::Dial(peer, addr, dialed) => {
            let options = DialOpts::peer_id(peer).addresses(vec![addr]).condition(PeerCondition::Always).build();
            let connection = options.connection_id();
            match swarm.dial(options) {
                Ok(()) => drop(dialing.insert(connection, dialed)),
                Err(error) => drop(dialed.send(Err((&error).into()))),
            }
        }
        Order::Open(peer, connection, protocol, opened) => {
            swarm.behaviour_mut().streams.open(peer, connection, protocol, opened);
        }
        Order::Serve(protocol) => swarm.behaviour_mut().streams.serve(protocol),
        Order::ServeNoMore(protocol) => swarm.behaviour_mut().streams.serve_no_more(&protocol),
        Order::Close(connection) => drop(swarm.close_connection(connection)),
    }
}

fn take(event: SwarmEvent<BehaviourEvent>, board: &Board, dialing: &mut HashMap<ConnectionId, Dialed>) {
    match event {
        SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
            let addr = endpoint.get_remote_address().clone();
            board.change(|known| drop(known.connections.insert(connection_id, (peer_id, addr))));
            if let Some(dialed) = dialing.remove(&connection_id) {
                let _ = dialed.send(Ok(connection_id)); // fails where the command ran out of time
            }
        }
        SwarmEvent::ConnectionClosed { connection_id, .. } => board.change(|known| {
            known.connections.remove(&connection_id);
            known.identified.remove(&connection_id);
        }),
        SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
            if let Some(dialed) = dialing.remove(&connection_id) {
                let _ = dialed.send(Err((&error).into()));
            }
        }
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { connection_id, info, .. })) => {
            board.change(|known| drop(known.identified.insert(connection_id, info)));
        }
        _ => {}
    }
}
