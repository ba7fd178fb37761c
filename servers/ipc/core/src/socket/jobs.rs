// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a home asks of other homes for a call, and how the call goes on.
//!
//! # Model
//! ```text
//! Bind:     Register ---> the socket has its name
//! Connect:  Lookup -----> Enqueue (may wait) ---> connected
//! Accept:   Claim ------> the end is the acceptor's
//! Send:     (Lookup) ---> Deliver (may wait) ---> sent
//! ```
//! A home that is this node is asked as any other.
//!
//! # Failure
//! A home that does not answer ends the call with EHOSTDOWN; a call that is given up gives up what it asks,
//! but for a Claim, which ends soon.

use super::datagram::Sending;
use crate::Ipc;
use abi::{Errno, FileId, NodeId, Ticket};
use alloc::vec::Vec;
use ipc_api::between::{Found, Joined};
use ipc_api::file::Moved;
use ipc_api::socket::{Name, SocketType};
use runtime::{Cx, NodeReply, Operation, Wire};

use super::{Acceptor, Arrival};

/// A connection that is being made.
#[derive(Debug)]
pub(crate) struct Connecting {
    pub(crate) ticket: Ticket,
    pub(crate) file: FileId,
    pub(crate) waits: bool,
    /// Its caller has given it up.
    pub(crate) given_up: bool,
}

/// What goes on when another home has answered.
#[derive(Debug)]
pub(crate) enum Job {
    /// Nothing.
    Forgotten,
    /// A name was registered; `tries` more are chosen here if it is another's.
    Bind { ticket: Ticket, file: FileId, kind: SocketType, name: Name, tries: u32 },
    /// The socket to connect to was looked up.
    Find(Connecting),
    /// The end was queued there.
    Join { connecting: Connecting, end: FileId },
    /// The receiver of a socket's datagrams was looked up.
    Choose { ticket: Ticket, file: FileId, name: Name },
    /// The receiver of a datagram was looked up.
    Address(Sending),
    /// A datagram was delivered.
    Deliver(Sending),
    /// An end was claimed.
    Claim { listener: FileId, acceptor: Acceptor, arrival: Arrival },
}

impl Job {
    /// The call that waits for it, if it can be given up.
    fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::Bind { ticket, .. } | Self::Choose { ticket, .. } => Some(*ticket),
            Self::Find(it) | Self::Join { connecting: it, .. } => Some(it.ticket),
            Self::Address(it) | Self::Deliver(it) => Some(it.ticket),
            Self::Claim { .. } | Self::Forgotten => None,
        }
    }

    /// Bytes that are kept here for it.
    pub(crate) fn kept(&self) -> usize {
        match self {
            Self::Address(it) | Self::Deliver(it) => it.kept(),
            Self::Bind { .. }
            | Self::Find(_)
            | Self::Join { .. }
            | Self::Choose { .. }
            | Self::Claim { .. }
            | Self::Forgotten => 0,
        }
    }

    /// The socket that it changes here.
    pub(crate) fn file(&self) -> Option<FileId> {
        match self {
            Self::Bind { file, .. } | Self::Choose { file, .. } => Some(*file),
            Self::Find(it) | Self::Join { connecting: it, .. } => Some(it.file),
            Self::Claim { listener, .. } => Some(*listener),
            Self::Address(_) | Self::Deliver(_) | Self::Forgotten => None,
        }
    }
}

impl Ipc {
    /// Asks a home; the job goes on with the answer.
    pub(crate) fn begin<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        home: NodeId,
        op: &O,
        bulk: Vec<u8>,
        job: Job,
    ) {
        self.next_cookie += 1;
        self.jobs.insert(self.next_cookie, job);
        cx.call_node(home, op, bulk, self.next_cookie);
    }

    /// A home has answered, or is down.
    pub(crate) fn job_done(
        &mut self,
        cx: &mut Cx<'_>,
        cookie: u64,
        result: Result<NodeReply, Errno>,
    ) {
        let Some(job) = self.jobs.remove(&cookie) else { return };
        // Asked here where the slot was not any more: the call comes again.
        let stale = |errno| if errno == Errno::ESTALE { Errno::ERESTART } else { errno };
        let reply = result.map_err(stale);
        let msg = reply.map(|reply| reply.msg);
        match job {
            Job::Forgotten => {}
            Job::Bind { ticket, file, kind, name, tries } => {
                self.named(cx, ticket, (file, kind, name, tries), msg.map(|_| ()));
            }
            Job::Find(connecting) => {
                let found = msg.and_then(|msg| Found::get(&msg));
                self.found(cx, connecting, found.map(|found| found.file));
            }
            Job::Join { connecting, end } => {
                let joined = msg.and_then(|msg| Joined::get(&msg));
                self.joined(cx, &connecting, end, joined);
            }
            Job::Choose { ticket, file, name } => {
                let found = msg.and_then(|msg| Found::get(&msg));
                self.chosen(cx, ticket, file, name, found.map(|found| found.file));
            }
            Job::Address(sending) => {
                let found = msg.and_then(|msg| Found::get(&msg));
                self.addressed(cx, sending, found.map(|found| found.file));
            }
            Job::Deliver(sending) => {
                let moved = msg.and_then(|msg| Moved::get(&msg));
                self.delivered(cx, &sending, moved);
            }
            Job::Claim { listener, acceptor, arrival } => {
                self.claimed(cx, listener, acceptor, arrival, msg.map(|_| ()));
            }
        }
    }

    /// Gives up what a call asks of other homes.
    pub(crate) fn cancel_job(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        for job in self.jobs.values_mut() {
            if let Job::Claim { acceptor, .. } = job
                && acceptor.ticket == ticket
            {
                acceptor.given_up = true;
                return true;
            }
        }
        let found = self.jobs.iter_mut().find(|(_, job)| job.ticket() == Some(ticket));
        let Some((cookie, job)) = found else { return false };
        match job {
            // The answer may be on its way: then the next stage does not begin.
            Job::Find(connecting) => connecting.given_up = true,
            Job::Address(sending) => sending.given_up = true,
            _ => {}
        }
        cx.cancel(*cookie);
        true
    }
}
