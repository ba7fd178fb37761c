// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a home asks of other homes for a call, and how the call goes on.
//!
//! # Model
//! ```text
//! Bind:     Register ---> the socket has its name
//! Listen:   Register ---> the port's home knows; TCP only
//! Connect:  Lookup -----> Enqueue (may wait) ---> connected
//! Accept:   Claim ------> the end is the acceptor's
//! Send:     (Lookup) ---> Deliver (may wait) ---> sent
//! ```
//! A home that is this node is asked as any other.
//!
//! # Failure
//! A home that does not answer ends the call with EHOSTDOWN; a call that is given up gives up what it asks,
//! but for a Claim, which ends soon, and for connections of TCP, which are made without it. What no call waits for ([`Fact`]) is told when the link is up again, or to who is
//! home in the next view.

use super::datagram::Sending;
use super::names::Key;
use crate::limits::UNTOLD_MAX;
use crate::{Ipc, home_of};
use abi::{Errno, FileId, NodeId, Ticket};
use alloc::vec::Vec;
use ipc_api::between::{Found, Joined, Refuse, Register, Unregister};
use ipc_api::file::Moved;
use ipc_api::socket::{Listen, Name, SocketType};
use runtime::{Cx, NodeReply, Operation, Wire};

use super::{Acceptor, Arrival};

/// A connection that is being made.
#[derive(Debug)]
pub(crate) struct Connecting {
    /// The call, if one waits.
    pub(crate) ticket: Option<Ticket>,
    pub(crate) file: FileId,
    /// Whom to.
    pub(crate) name: Name,
    pub(crate) kind: SocketType,
    pub(crate) waits: bool,
    /// How often it is begun again when slots move, while no call waits.
    pub(crate) tries: u32,
    /// Its caller has given it up.
    pub(crate) given_up: bool,
}

/// What another home must hear for which no call waits.
#[derive(Clone, Debug)]
pub(crate) enum Fact {
    /// A name that was lost with its home.
    Named(Register),
    /// A socket is closed: its name is free.
    Unnamed(Unregister),
    /// Nobody accepts a connection.
    Refused(Refuse),
}

impl Fact {
    /// Whose home must hear it; none if that knows nothing any more.
    fn home(&self, cx: &Cx<'_>) -> Option<NodeId> {
        let of_name = |name, kind| Key::of(name, kind).ok().map(|key| cx.view().home(key.slot()));
        match self {
            Self::Named(it) => of_name(&it.name, it.kind),
            Self::Unnamed(it) => of_name(&it.name, it.kind),
            Self::Refused(it) => home_of(cx, it.end).ok(),
        }
    }

    /// Whether it says that this socket has this name no more.
    pub(crate) fn frees(&self, file: FileId, name: &Name) -> bool {
        matches!(self, Self::Unnamed(it) if it.file == file && it.name == *name)
    }

    /// The socket whose home alone may say it.
    pub(crate) fn file(&self) -> Option<FileId> {
        match self {
            Self::Named(it) => Some(it.file),
            Self::Unnamed(it) => Some(it.file),
            Self::Refused(_) => None,
        }
    }
}

/// What goes on when another home has answered.
#[derive(Debug)]
pub(crate) enum Job {
    /// Nothing; a home that cannot be reached is told later.
    Tell(Fact),
    /// A name was registered; `tries` more are chosen here if it is another's.
    Bind { ticket: Ticket, file: FileId, kind: SocketType, name: Name, tries: u32 },
    /// The port's home knows that the socket listens.
    Listen { ticket: Ticket, request: Listen },
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
            Self::Bind { ticket, .. }
            | Self::Choose { ticket, .. }
            | Self::Listen { ticket, .. } => Some(*ticket),
            Self::Find(it) | Self::Join { connecting: it, .. } => it.ticket,
            Self::Address(it) | Self::Deliver(it) => Some(it.ticket),
            Self::Claim { .. } | Self::Tell(_) => None,
        }
    }

    /// Bytes that are kept here for it.
    pub(crate) fn kept(&self) -> usize {
        match self {
            Self::Address(it) | Self::Deliver(it) => it.kept(),
            Self::Bind { .. }
            | Self::Listen { .. }
            | Self::Find(_)
            | Self::Join { .. }
            | Self::Choose { .. }
            | Self::Claim { .. }
            | Self::Tell(_) => 0,
        }
    }

    /// The socket that it changes here.
    pub(crate) fn file(&self) -> Option<FileId> {
        match self {
            Self::Bind { file, .. } | Self::Choose { file, .. } => Some(*file),
            Self::Find(it) | Self::Join { connecting: it, .. } => Some(it.file),
            Self::Listen { request, .. } => Some(request.file),
            Self::Claim { listener, .. } => Some(*listener),
            Self::Tell(fact) => fact.file(),
            Self::Address(_) | Self::Deliver(_) => None,
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

    /// Tells a home something.
    pub(crate) fn tell(&mut self, cx: &mut Cx<'_>, fact: Fact) {
        let Some(home) = fact.home(cx) else { return };
        let job = Job::Tell(fact.clone());
        match fact {
            Fact::Named(it) => self.begin(cx, home, &it, Vec::new(), job),
            Fact::Unnamed(it) => self.begin(cx, home, &it, Vec::new(), job),
            Fact::Refused(it) => self.begin(cx, home, &it, Vec::new(), job),
        }
    }

    /// A home has heard it, or cannot be reached.
    fn told(&mut self, fact: Fact, error: Option<Errno>) {
        if matches!(error, Some(Errno::EHOSTDOWN | Errno::EAGAIN | Errno::ERESTART)) {
            // The oldest is given up: a name that nobody can bind, or one who waits until the listener's node goes.
            if self.untold.len() >= UNTOLD_MAX {
                self.untold.pop_front();
            }
            self.untold.push_back(fact);
        }
    }

    /// A node can be reached again, or homes have changed.
    pub(crate) fn tell_again(&mut self, cx: &mut Cx<'_>) {
        for fact in core::mem::take(&mut self.untold) {
            self.tell(cx, fact);
        }
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
            Job::Tell(fact) => self.told(fact, msg.err()),
            Job::Bind { ticket, file, kind, name, tries } => {
                self.named(cx, ticket, (file, kind, name, tries), msg.map(|_| ()));
            }
            Job::Listen { ticket, request } => {
                let result = msg.and_then(|_| self.begin_listening(cx, request));
                cx.complete(ticket, result);
            }
            Job::Find(connecting) => {
                let found = msg.and_then(|msg| Found::get(&msg));
                self.found(cx, connecting, found);
            }
            Job::Join { connecting, end } => {
                let joined = msg.and_then(|msg| Joined::get(&msg));
                self.joined(cx, connecting, end, joined);
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
            Job::Find(it) | Job::Join { connecting: it, .. } if it.kind.internet().is_some() => {
                it.ticket = None;
                cx.complete::<()>(ticket, Err(Errno::ECANCELED));
                return true;
            }
            // The answer may be on its way: then the next stage does not begin.
            Job::Find(connecting) => connecting.given_up = true,
            Job::Address(sending) => sending.given_up = true,
            _ => {}
        }
        cx.cancel(*cookie);
        true
    }
}
