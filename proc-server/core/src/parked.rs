// SPDX-License-Identifier: MIT OR Apache-2.0
//! What cannot be answered yet: requests about ids of slots that are unsettled, and requests of this
//! node's servers while it may not act.
//!
//! # Model
//! All of it is tried again, in order, when slots are settled, when a view comes, and when the node may act
//! again. A thread of this node that waits for the same thing runs its call again; it needs no row.
//!
//! # Limits
//! [`PARKED_REQUESTS_MAX`]: the next request gets EAGAIN. [`PARKED_TELLS_MAX`]: the next fact is lost, with a
//! line in the log.

use crate::ProcCore;
use crate::limits::{HEAP_RESERVE_BYTES, PARKED_REQUESTS_MAX, PARKED_TELLS_MAX};
use crate::machine::Machine;
use crate::procfs;
use crate::syscall::{Call, Next, Wait};
use crate::thread::Run;
use abi::{Errno, NodeId, Pid, ThreadId, Ticket};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use proc_api::Spawn;
use proc_api::peer::{Count, Identify, MoveProcess, SendSignal, Tell};
use runtime::{Answer, Client, Cx, Msg, Wire};

/// Who waits for the answer to a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// Who made it, just now.
    Client(Client),
    /// Who made it some time ago.
    Ticket(Ticket),
}

impl Origin {
    /// A ticket for an answer that comes later.
    ///
    /// # Errors
    /// EAGAIN: too many are open.
    pub(crate) fn ticket(self, cx: &mut Cx<'_>) -> Result<Ticket, Errno> {
        match self {
            Self::Client(client) => cx.open_ticket(client),
            Self::Ticket(ticket) => Ok(ticket),
        }
    }

    /// The node that made it, just now.
    pub(crate) fn node(self) -> Option<NodeId> {
        match self {
            Self::Client(Client::Node { node, .. }) => Some(node),
            Self::Client(Client::Server { .. }) | Self::Ticket(_) => None,
        }
    }
}

/// A request that may have to wait.
#[derive(Debug)]
pub(crate) enum Request {
    /// A signal; of the administrator or of another node.
    Signal { message: SendSignal, admin: bool },
    /// Group and session of a process.
    Identify(Identify),
    /// A move.
    Move(MoveProcess),
    /// The text of a file below `/proc`.
    Read(String),
    /// A new session.
    Spawn(Box<Spawn>),
}

#[derive(Debug)]
enum Parked {
    Request(Ticket, Request),
    Tell(Tell),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Waiting(VecDeque<Parked>);

impl Waiting {
    /// Nobody waits for this answer any more.
    pub(crate) fn cancel(&mut self, ticket: Ticket) {
        self.0.retain(|parked| !matches!(parked, Parked::Request(of, _) if *of == ticket));
    }
}

/// A reply that has been encoded.
struct Encoded(Msg);

impl Wire for Encoded {
    fn put(&self, msg: &mut Msg) -> Result<(), Errno> {
        msg.clone_from(&self.0);
        Ok(())
    }

    fn get(msg: &Msg) -> Result<Self, Errno> {
        Ok(Self(msg.clone()))
    }
}

impl<M: Machine> Call<'_, '_, M> {
    /// Runs the call again from its start when what is not known yet of ids is known.
    pub(crate) fn wait_settled(&mut self) -> Next {
        self.keep_waiting(Wait::Settled)
    }
}

impl<M: Machine> ProcCore<M> {
    /// A free id of this node's slots; `None`: it is not known yet which are free.
    ///
    /// # Errors
    /// EAGAIN: none is, or this node is to have no more slots, or memory of this server is short.
    pub(crate) fn new_pid(&mut self, cx: &mut Cx<'_>) -> Result<Option<Pid>, Errno> {
        if cx.heap_left() < HEAP_RESERVE_BYTES {
            return Err(Errno::EAGAIN);
        }
        for _ in 0..2 {
            let usable = |slot, since| {
                let row = cx.view().slot(slot);
                row.primary == cx.node() && row.since == since && !cx.is_frozen(slot)
            };
            if let Ok(pid) = self.home.allocate(usable) {
                return Ok(Some(pid));
            }
            if !self.home.unsettled().is_empty() || !self.home.has_ended() {
                break;
            }
            self.count(cx, self.home.all());
        }
        let view = cx.view();
        let mut slots = view.slots_of(cx.node()).peekable();
        let waits = match slots.peek() {
            // A member is given slots, unless it wishes to leave.
            None => view.member(cx.node()).is_some_and(|member| !member.draining),
            Some(_) => slots.any(|slot| !self.home.is_settled(view, slot) || cx.is_frozen(slot)),
        };
        if waits { Ok(None) } else { Err(Errno::EAGAIN) }
    }

    /// Keeps a request until it can be answered.
    pub(crate) fn park(&mut self, cx: &mut Cx<'_>, origin: Origin, request: Request) -> Answer {
        if self.waiting.0.len() >= PARKED_REQUESTS_MAX {
            return Answer::Failed(Errno::EAGAIN);
        }
        match origin.ticket(cx) {
            Ok(ticket) => {
                self.waiting.0.push_back(Parked::Request(ticket, request));
                Answer::Pending(ticket)
            }
            Err(errno) => Answer::Failed(errno),
        }
    }

    /// Keeps a fact until it is known where it must go.
    pub(crate) fn park_tell(&mut self, tell: Tell) {
        if self.waiting.0.len() >= PARKED_REQUESTS_MAX + PARKED_TELLS_MAX {
            return self.machine.log(format_args!("a fact about process {} is lost", tell.about));
        }
        self.waiting.0.push_back(Parked::Tell(tell));
    }

    /// Tries again what waited.
    pub(crate) fn unpark(&mut self, cx: &mut Cx<'_>) {
        if !cx.may_act() {
            return;
        }
        for parked in core::mem::take(&mut self.waiting.0) {
            match parked {
                Parked::Tell(tell) => self.pass_on(cx, tell),
                Parked::Request(ticket, request) => {
                    let answer = self.perform(cx, ticket, request);
                    end(cx, ticket, answer);
                }
            }
        }
        let waits = |run: &Run| matches!(run, Run::Waiting(waiting) if matches!(waiting.wait, Wait::Settled));
        let threads = self.threads.iter().filter(|thread| waits(&thread.run));
        let threads: Vec<ThreadId> = threads.map(|thread| thread.id).collect();
        for id in threads {
            self.wake_rerun(cx, id);
        }
    }

    fn perform(&mut self, cx: &mut Cx<'_>, ticket: Ticket, request: Request) -> Answer {
        let origin = Origin::Ticket(ticket);
        match request {
            Request::Signal { message, admin } => self.signalled(cx, origin, message, admin),
            Request::Identify(message) => self.identified(cx, origin, message),
            Request::Move(message) => self.move_requested(cx, origin, message),
            Request::Spawn(spawn) => self.spawn_requested(cx, origin, spawn),
            Request::Read(path) => match procfs::text_here(self, cx, &path) {
                Ok(None) => self.park(cx, origin, Request::Read(path)),
                Ok(Some(text)) => {
                    let count = text.len() as u64;
                    cx.complete_bulk(ticket, Ok(Count { count }), text);
                    Answer::Pending(ticket)
                }
                Err(errno) => Answer::Failed(errno),
            },
        }
    }
}

fn end(cx: &mut Cx<'_>, ticket: Ticket, answer: Answer) {
    match answer {
        Answer::Pending(_) => {}
        Answer::Done(msg) => cx.complete(ticket, Ok(Encoded(msg))),
        Answer::Failed(errno) => cx.complete::<()>(ticket, Err(errno)),
        // This server parks requests itself, and passes on what is another home's.
        Answer::NextView | Answer::Moved(_) => cx.complete::<()>(ticket, Err(Errno::EAGAIN)),
    }
}
