// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets that move with their slot.
//!
//! # Model
//! Calls that wait are sent away first: they come again. A slot with a socket for which something is asked
//! of another home stays, for the moment that it takes. Descriptors in flight stay with their sender's node.

use super::jobs::{Fact, Job};
use super::{Arrival, Internet, Listener, Message, Socket, State, options};
use crate::Ipc;
use crate::limits::{BACKLOG_MAX, RETURNED_BYTES_MAX, SOCKET_BYTES, SOCKET_BYTES_MIN};
use abi::{Errno, FileId, SlotNo};
use alloc::vec::Vec;
use ipc_api::epoll::Changes;
use ipc_api::file::Ready;
use ipc_api::socket::{NAME_BYTES, Name, Owner, SocketType};
use runtime::Cx;
use serde::{Deserialize, Serialize};

/// Where a socket was in its life.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum SavedState {
    Idle,
    Listening { backlog: usize, arrivals: Vec<Arrival> },
    Connected(FileId),
    Gone,
}

/// A socket on its way to another home.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) file: FileId,
    kind: SocketType,
    state: SavedState,
    name: Name,
    registered: bool,
    peer_text: Option<Vec<u8>>,
    owner: Owner,
    peer_owner: Option<Owner>,
    passes: bool,
    send_limit: usize,
    error: Option<Errno>,
    internet: Internet,
    no_receive: bool,
    no_send: bool,
    queue: Vec<Message>,
    changes: Changes,
    receive_us: u64,
    send_us: u64,
}

impl Saved {
    /// Whether a socket can be so, among these others of the slot.
    pub(crate) fn is_sound(&self, all: &[Self]) -> bool {
        let weight: usize = self.queue.iter().map(Message::weight).sum();
        let texts = self.queue.iter().map(|message| &message.text);
        let mut texts = texts.chain(self.peer_text.iter()).chain([&self.name.text]);
        let state = match &self.state {
            SavedState::Listening { backlog, arrivals } => {
                *backlog <= BACKLOG_MAX && arrivals.len() <= BACKLOG_MAX + 1
            }
            SavedState::Connected(peer) if !self.kind.is_datagram() => {
                all.iter().any(|it| it.file == *peer)
            }
            SavedState::Idle | SavedState::Connected(_) | SavedState::Gone => true,
        };
        state
            && self.internet.kept.len() <= options::KEPT.len()
            && weight <= SOCKET_BYTES + RETURNED_BYTES_MAX
            && texts.all(|text| text.len() <= NAME_BYTES)
            && (SOCKET_BYTES_MIN..=SOCKET_BYTES).contains(&self.send_limit)
    }

    /// It takes its place here.
    pub(crate) fn restored(self) -> Socket {
        let mut socket = Socket::new(self.kind, self.owner);
        socket.state = match self.state {
            SavedState::Idle => State::Idle,
            SavedState::Listening { backlog, arrivals } => {
                let arrivals = arrivals.into();
                State::Listening(Listener { backlog, arrivals, ..Listener::default() })
            }
            SavedState::Connected(peer) => State::Connected(peer),
            SavedState::Gone => State::Gone,
        };
        socket.name = self.name;
        socket.registered = self.registered;
        socket.peer_text = self.peer_text;
        socket.peer_owner = self.peer_owner;
        socket.passes = self.passes;
        socket.send_limit = self.send_limit;
        socket.error = self.error;
        socket.internet = self.internet;
        (socket.no_receive, socket.no_send) = (self.no_receive, self.no_send);
        socket.changes = self.changes;
        (socket.receive_us, socket.send_us) = (self.receive_us, self.send_us);
        socket.queued = self.queue.iter().map(Message::weight).sum();
        socket.queue = self.queue.into();
        socket
    }
}

impl Socket {
    /// Ends what waits, so that it comes again and waits for the next view.
    fn send_away(&mut self, cx: &mut Cx<'_>) {
        for writer in self.writers.drain(..) {
            writer.end(cx, Err(Errno::ERESTART));
        }
        let mut tickets: Vec<_> = self.readers.drain(..).map(|call| call.ticket).collect();
        if let State::Listening(listener) = &mut self.state {
            tickets.extend(listener.acceptors.drain(..).map(|call| call.ticket));
            tickets.extend(listener.connectors.drain(..).map(|call| call.ticket));
        }
        for ticket in tickets {
            cx.complete::<()>(ticket, Err(Errno::ERESTART));
        }
        for poller in self.pollers.drain(..) {
            // Nothing holds: who waits looks again.
            cx.complete(poller.ticket, Ok(Ready { events: 0 }));
        }
    }

    fn saved(&self, file: FileId) -> Saved {
        let state = match &self.state {
            // What is being connected keeps its slot.
            State::Idle | State::Connecting(_) => SavedState::Idle,
            State::Listening(listener) => SavedState::Listening {
                backlog: listener.backlog,
                arrivals: listener.arrivals.iter().cloned().collect(),
            },
            State::Connected(peer) => SavedState::Connected(*peer),
            State::Gone => SavedState::Gone,
        };
        Saved {
            file,
            kind: self.kind,
            state,
            name: self.name.clone(),
            registered: self.registered,
            peer_text: self.peer_text.clone(),
            owner: self.owner,
            peer_owner: self.peer_owner,
            passes: self.passes,
            send_limit: self.send_limit,
            error: self.error,
            internet: self.internet.clone(),
            no_receive: self.no_receive,
            no_send: self.no_send,
            queue: self.queue.iter().cloned().collect(),
            changes: self.changes,
            receive_us: self.receive_us,
            send_us: self.send_us,
        }
    }
}

impl Ipc {
    /// Whether something is asked of another home for a socket of the slot, or is still to be told.
    pub(crate) fn has_jobs_in(&self, slot: SlotNo) -> bool {
        let asked = self.jobs.values().filter_map(Job::file);
        let untold = self.untold.iter().filter_map(Fact::file);
        asked.chain(untold).any(|file| file.slot() == slot)
    }

    /// Bytes that the queues of the slot's sockets hold.
    pub(crate) fn queued_in(&self, slot: SlotNo) -> usize {
        let here = self.sockets.iter().filter(|(file, _)| file.slot() == slot);
        here.map(|(_, socket)| socket.queued).sum()
    }

    /// The sockets of a slot that is about to move.
    pub(crate) fn save_sockets(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Vec<Saved> {
        let mut saved = Vec::new();
        for (file, socket) in self.sockets.iter_mut().filter(|(file, _)| file.slot() == slot) {
            socket.send_away(cx);
            saved.push(socket.saved(*file));
        }
        saved
    }
}
