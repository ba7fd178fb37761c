// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets whose home is this node: Unix sockets, and those of the Internet whose both ends are in the cluster.
//!
//! # Model
//! ```text
//!          listen                       Listening: ends that wait to be accepted
//!   Idle --------------------------------^
//!    |  connect     the listener has room           the other end is closed
//!    +------------> Connecting ----------> Connected ----------------------> Gone
//!    |  socketpair, datagram's connect ------^
//! ```
//! Each socket has the queue of what it receives; who sends to it and finds no room waits there. Both ends
//! of a connection are in one slot: that of the socket that connected, whose home makes the other end, which
//! nobody holds until it is accepted (`OpenFile::listener`). What needs another home is a [`jobs::Job`].
//! TCP is the same with other names ([`ports`]) and other words for its end ([`tcp`]): between programs of the
//! cluster nothing is lost on the way, so there is nothing for the protocol to do. Datagrams of UDP find
//! their receiver one by one ([`udp`]).
//!
//! # Invariants
//! Readers wait only while the queue is empty, writers only while there is no room for the first of them;
//! each is served in the order of arrival. Of two connected ends neither outlives the slot of the other.
//!
//! # Source
//! unix(7), ip(7), tcp(7), udp(7), socket(7), send(2), recv(2), poll(2); what they leave open is as Linux 6.1 does it.

mod accept;
pub(crate) mod calls;
mod connect;
mod datagram;
mod flow;
pub(crate) mod jobs;
pub(crate) mod memory;
pub(crate) mod names;
mod options;
mod poll;
mod ports;
pub(crate) mod saved;
mod tcp;
pub(crate) mod times;
mod udp;

use crate::limits::{MESSAGE_OVERHEAD_BYTES, SOCKET_BYTES};
use crate::transfer::Poller;
use abi::{Errno, FileId, NodeId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ipc_api::epoll::Changes;
use ipc_api::socket::{IpVersion, Name, Owner, Rights, SocketType};
use memory::{From, To};
use runtime::Cx;
use serde::{Deserialize, Serialize};

/// One message in a queue; of a stream, bytes that were sent together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    /// The sender's name.
    pub(crate) text: Vec<u8>,
    pub(crate) owner: Owner,
    pub(crate) rights: Option<Rights>,
}

impl Message {
    /// What it takes of its queue's room.
    pub(crate) fn weight(&self) -> usize {
        self.bytes.len() + MESSAGE_OVERHEAD_BYTES
    }
}

/// A call that waits to receive.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    pub(crate) to: To,
    pub(crate) len: usize,
    pub(crate) flags: u32,
}

/// A call that waits to put something into a queue.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    /// The socket that sends.
    pub(crate) sender: FileId,
    pub(crate) source: From,
    pub(crate) len: usize,
    pub(crate) done: usize,
    pub(crate) text: Vec<u8>,
    pub(crate) owner: Owner,
    pub(crate) rights: Option<Rights>,
}

/// An end that waits to be accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Arrival {
    pub(crate) end: FileId,
    /// The name of who connected.
    pub(crate) text: Vec<u8>,
}

/// A call that waits for an arrival.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    pub(crate) flags: u32,
    pub(crate) waits: bool,
    /// It was given up while an end was claimed for it.
    pub(crate) given_up: bool,
}

/// A call of a home that waits for room among the arrivals.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    pub(crate) arrival: Arrival,
}

/// What a socket that listens has.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    pub(crate) backlog: usize,
    pub(crate) arrivals: VecDeque<Arrival>,
    pub(crate) acceptors: VecDeque<Acceptor>,
    pub(crate) connectors: VecDeque<Connector>,
}

/// Where a socket is in its life.
#[derive(Debug, Default)]
pub(crate) enum State {
    #[default]
    Idle,
    Listening(Listener),
    /// The end that was made for it.
    Connecting(FileId),
    Connected(FileId),
    /// It was connected.
    Gone,
}

/// What only sockets of the Internet have.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Internet {
    /// SO_REUSEADDR.
    pub(crate) reuses: bool,
    /// IPV6_V6ONLY.
    pub(crate) only_v6: bool,
    /// SO_LINGER, as in `SetOption`.
    pub(crate) linger: u32,
    /// It is connected, of which no call of connect(2) has heard.
    pub(crate) untold: bool,
    /// Options that are only remembered: their place among [`options`]' and value.
    pub(crate) kept: Vec<(u8, u32)>,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) kind: SocketType,
    pub(crate) state: State,
    pub(crate) name: Name,
    /// A name is being registered.
    pub(crate) binding: bool,
    /// The name is registered for it: not that of a listener, which accepted ends show.
    pub(crate) registered: bool,
    /// What getpeername(2) tells; `None`: nothing.
    pub(crate) peer_text: Option<Vec<u8>>,
    /// Who made it, or called listen(2).
    pub(crate) owner: Owner,
    /// SO_PEERCRED.
    pub(crate) peer_owner: Option<Owner>,
    pub(crate) passes: bool,
    pub(crate) send_limit: usize,
    pub(crate) error: Option<Errno>,
    pub(crate) internet: Internet,
    pub(crate) no_receive: bool,
    pub(crate) no_send: bool,
    pub(crate) queue: VecDeque<Message>,
    /// The weight of the queue.
    pub(crate) queued: usize,
    pub(crate) readers: VecDeque<Reader>,
    pub(crate) writers: VecDeque<Writer>,
    pub(crate) pollers: Vec<Poller>,
    /// Microseconds that a call waits to receive, and to send; 0: for ever.
    pub(crate) receive_us: u64,
    pub(crate) send_us: u64,
    pub(crate) changes: Changes,
    /// Messages were taken out since its peer was woken.
    pub(crate) drained: bool,
}

impl Socket {
    pub(crate) fn new(kind: SocketType, owner: Owner) -> Self {
        Self {
            kind,
            state: State::Idle,
            name: Name::default(),
            binding: false,
            registered: false,
            peer_text: None,
            owner,
            peer_owner: None,
            passes: false,
            send_limit: SOCKET_BYTES,
            error: None,
            internet: Internet::default(),
            no_receive: false,
            no_send: false,
            queue: VecDeque::new(),
            queued: 0,
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            pollers: Vec::new(),
            receive_us: 0,
            send_us: 0,
            changes: Changes::default(),
            drained: false,
        }
    }

    /// Whom it is connected to.
    pub(crate) fn peer(&self) -> Option<FileId> {
        match self.state {
            State::Connected(peer) => Some(peer),
            State::Idle | State::Listening(_) | State::Connecting(_) | State::Gone => None,
        }
    }

    pub(crate) fn is_datagram(&self) -> bool {
        self.kind.is_datagram()
    }

    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self.kind, SocketType::Tcp(_))
    }

    pub(crate) fn is_udp(&self) -> bool {
        matches!(self.kind, SocketType::Udp(_))
    }

    /// Its version of the Internet.
    pub(crate) fn version(&self) -> Option<IpVersion> {
        self.kind.internet()
    }

    /// Something came, or will not come any more.
    pub(crate) fn came(&mut self) {
        self.changes.ins = self.changes.ins.wrapping_add(1);
    }

    /// There is room where it sends to, or it sends no more.
    pub(crate) fn roomy(&mut self) {
        self.changes.outs = self.changes.outs.wrapping_add(1);
    }

    pub(crate) fn push(&mut self, message: Message) {
        self.came();
        // Small writes to a stream take no message each.
        if self.kind.is_stream()
            && message.rights.is_none()
            && let Some(last) = self.queue.back_mut()
            && last.rights.is_none()
            && last.owner == message.owner
        {
            self.queued += message.bytes.len();
            last.bytes.extend_from_slice(&message.bytes);
            return;
        }
        self.queued += message.weight();
        self.queue.push_back(message);
    }

    pub(crate) fn pop(&mut self) -> Option<Message> {
        let message = self.queue.pop_front()?;
        self.queued -= message.weight();
        if self.queue.is_empty() {
            // It may have been long.
            self.queue = VecDeque::new();
        }
        Some(message)
    }

    /// Ends a waiting call, if it waits here.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> Cancelled {
        if let Some(at) = self.writers.iter().position(|call| call.ticket == ticket)
            && let Some(writer) = self.writers.remove(at)
        {
            let rights = writer.rights.filter(|_| writer.done == 0);
            writer.end(cx, Err(Errno::ECANCELED));
            return Cancelled::Yes { rights };
        }
        let before = self.waiting();
        self.readers.retain(|call| call.ticket != ticket);
        self.pollers.retain(|call| call.ticket != ticket);
        if let State::Listening(listener) = &mut self.state {
            listener.acceptors.retain(|call| call.ticket != ticket);
            listener.connectors.retain(|call| call.ticket != ticket);
        }
        if self.waiting() == before {
            return Cancelled::No;
        }
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        Cancelled::Yes { rights: None }
    }

    fn waiting(&self) -> usize {
        let listening = match &self.state {
            State::Listening(it) => it.acceptors.len() + it.connectors.len(),
            State::Idle | State::Connecting(_) | State::Connected(_) | State::Gone => 0,
        };
        self.readers.len() + self.pollers.len() + listening
    }

    /// Tickets of the calls of a node.
    pub(crate) fn tickets_of(&self, node: NodeId) -> Vec<Ticket> {
        let mut all: Vec<(NodeId, Ticket)> = Vec::new();
        all.extend(self.readers.iter().map(|call| (call.from, call.ticket)));
        all.extend(self.writers.iter().map(|call| (call.from, call.ticket)));
        all.extend(self.pollers.iter().map(|call| (call.from, call.ticket)));
        if let State::Listening(listener) = &self.state {
            all.extend(listener.acceptors.iter().map(|call| (call.from, call.ticket)));
            all.extend(listener.connectors.iter().map(|call| (call.from, call.ticket)));
        }
        all.into_iter().filter(|(from, _)| *from == node).map(|(_, ticket)| ticket).collect()
    }
}

/// What became of a request to end a call.
pub(crate) enum Cancelled {
    No,
    /// It has ended; these descriptors did not get anywhere: who sent them still has them.
    Yes {
        rights: Option<Rights>,
    },
}
