//! A behaviour that opens streams on a connection of one's choice, and hands on every stream that remotes open.
//!
//! `libp2p-stream` has room for one inbound stream per protocol that nobody took yet, and drops the others.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;

pub type Opened = oneshot::Sender<Result<Stream, Failure>>;
pub type Accepted = mpsc::UnboundedSender<(StreamProtocol, Stream)>;

pub struct Streams {
    served: Vec<StreamProtocol>,
    accepted: Accepted,
    connections: HashMap<ConnectionId, PeerId>,
    orders: VecDeque<(PeerId, ConnectionId, Order)>,
}

/// What the behaviour tells its handlers.
#[derive(Debug)]
pub enum Order {
    Open(StreamProtocol, Opened),
    Serve(Vec<StreamProtocol>),
}

impl Streams {
    pub fn new(accepted: Accepted) -> Self {
        Self { served: vec![], accepted, connections: HashMap::new(), orders: VecDeque::new() }
    }

    /// A connection that is gone drops `opened`.
    pub fn open(&mut self, peer: PeerId, connection: ConnectionId, protocol: StreamProtocol, opened: Opened) {
        self.orders.push_back((peer, connection, Order::Open(protocol, opened)));
    }

    /// From now on, on the connections of today too.
    pub fn serve(&mut self, protocol: StreamProtocol) {
        self.served.push(protocol);
        self.tell();
    }

    pub fn serve_no_more(&mut self, protocol: &StreamProtocol) {
        self.served.retain(|served| served != protocol);
        self.tell();
    }

    fn tell(&mut self) {
        for (connection, peer) in &self.connections {
            self.orders.push_back((*peer, *connection, Order::Serve(self.served.clone())));
        }
    }

    fn handler(&self) -> Handler {
        Handler { served: self.served.clone(), accepted: self.accepted.clone(), requests: VecDeque::new() }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler())
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(made) => {
                self.connections.insert(made.connection_id, made.peer_id);
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.connections.remove(&closed.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // No waker is kept: the loop that gives the orders polls the swarm after each.
        match self.orders.pop_front() {
            Some((peer_id, connection, event)) => {
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(connection), event })
            }
            None => Poll::Pending,
        }
    }
}

/// One connection's part.
pub struct Handler {
    served: Vec<StreamProtocol>,
    accepted: Accepted,
    requests: VecDeque<(StreamProtocol, Opened)>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Order;
    type ToBehaviour = Infallible;
    type InboundProtocol = AnyOf;
    type OutboundProtocol = AnyOf;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Opened;

    fn listen_protocol(&self) -> SubstreamProtocol<AnyOf> {
        SubstreamProtocol::new(AnyOf(self.served.clone()), ())
    }

    fn on_behaviour_event(&mut self, order: Order) {
        match order {
            Order::Open(protocol, opened) => self.requests.push_back((protocol, opened)),
            Order::Serve(protocols) => self.served = protocols,
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<AnyOf, Opened, Infallible>> {
        // No waker is kept: a handler is polled after each order it gets.
        match self.requests.pop_front() {
            Some((protocol, opened)) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(AnyOf(vec![protocol]), opened),
            }),
            None => Poll::Pending,
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, AnyOf, AnyOf, (), Opened>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (protocol, stream), ..
            }) => {
                let _ = self.accepted.send((protocol, stream)); // fails at the program's end alone
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (_, stream), info }) => {
                let _ = info.send(Ok(stream)); // fails where the command ran out of time
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let _ = info.send(Err(error.into()));
            }
            _ => {}
        }
    }
}

/// The upgrade that is none: whatever of these was agreed on, the stream itself.
pub struct AnyOf(Vec<StreamProtocol>);

impl UpgradeInfo for AnyOf {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for AnyOf {
    type Output = (StreamProtocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((protocol, stream)))
    }
}

impl OutboundUpgrade<Stream> for AnyOf {
    type Output = (StreamProtocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((protocol, stream)))
    }
}
