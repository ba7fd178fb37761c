// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes of other nodes: where they are, signals to them, and what happened to them.
//!
//! # Model
//! The home of a pid's slot keeps the node of each process that is not there ([`crate::home`]). A message
//! about a process goes to its pid's home and from there to the process; a node that gave a process
//! away passes on what still comes to it, and one that is not home any more passes it on to who is. A
//! signal to a group is asked of every node, as members may be anywhere: the one operation here whose cost
//! grows with the cluster.
//!
//! # Failure
//! See [`crate::lost`]. A fact that does not reach a node that is silent is told again when it answers, or
//! when it has left.

use crate::ProcCore;
use crate::machine::Machine;
use crate::migrate;
use crate::parked::{Origin, Request};
use crate::process::{Phase, Process};
use crate::signal::{Info, Target, number};
use crate::syscall::{AskResult, Call, Fail, Next, SysResult, Wait};
use crate::thread::{Restart, Run};
use abi::{Errno, NodeId, Pid, Ticket};
use alloc::string::ToString;
use alloc::vec::Vec;
use proc_api::ProcessInfo;
pub(crate) use proc_api::peer::Fact;
use proc_api::peer::{Count, Identify, Identity, SendSignal, Tell};
use runtime::{Cx, Mutant, Wire};

use runtime::collections::HashMap;

/// Nodes that a message about a process may pass before it is dropped: source, home, target, and
/// room for moves meanwhile.
const HOPS_MAX: u8 = 8;
/// Wait status of a process that was lost with its node.
pub(crate) const STATUS_LOST: u32 = number::KILL;

/// What this node knows of processes elsewhere.
#[derive(Default)]
pub(crate) struct Cluster {
    /// Requests that were passed on to another node.
    forwarded: HashMap<u64, Forward>,
    next_job: u64,
    /// Counts asks that nobody waits for.
    pub forgotten: u64,
}

/// A request that another node answers.
#[derive(Clone, Copy, Debug)]
enum Forward {
    /// A signal of another node.
    Signal(Ticket),
    /// The administrator's signal.
    AdminSignal(Ticket),
    /// A question about a process.
    Identity(Ticket),
    /// A move.
    Move(Ticket),
}

/// What a system call waits for at other nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerWait {
    /// How many processes got a signal, so far.
    Signal {
        /// Processes.
        found: u64,
        /// It is for one process or thread, and one node is asked.
        one: bool,
    },
    /// A process's session or group.
    Identity {
        /// Session.
        session: bool,
        /// Who was asked.
        at: NodeId,
    },
}

/// Where a process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// On this node.
    Here,
    /// On this one, or this one knows.
    There(NodeId),
    /// There is none.
    Nowhere,
    /// This node is its id's home, and does not know yet.
    Unsettled,
}

impl<M: Machine> ProcCore<M> {
    pub(crate) fn place(&self, cx: &Cx<'_>, pid: u32) -> Place {
        if self.pids.get(pid).is_some() {
            return Place::Here;
        }
        let Some(id) = Pid::new(pid) else { return Place::Nowhere };
        let home = cx.view().home(id.slot());
        if home != cx.node() {
            let given = self.moves.given_to(pid).filter(|node| cx.view().contains(*node));
            return Place::There(given.unwrap_or(home));
        }
        if !self.home.is_settled(cx.view(), id.slot()) {
            return Place::Unsettled;
        }
        self.home.away(id).map_or(Place::Nowhere, Place::There)
    }

    /// The same for somebody who asks. If it is the very node where the process should be, this home is
    /// wrong and finds out.
    fn place_for(&mut self, cx: &mut Cx<'_>, pid: u32, asker: Option<NodeId>) -> Place {
        let place = self.place(cx, pid);
        match (place, asker, Pid::new(pid)) {
            (Place::There(node), Some(asker), Some(id))
                if node == asker && cx.view().home(id.slot()) == cx.node() =>
            {
                self.doubt(cx, id);
                self.place(cx, pid)
            }
            _ => place,
        }
    }

    /// Tells a node something.
    pub(crate) fn tell(&mut self, cx: &mut Cx<'_>, node: Option<NodeId>, fact: &Fact) {
        let Some(node) = node else { return };
        let tell = Tell { about: 0, fact: *fact, from: cx.node(), hops: 0 };
        self.inform(cx, node, &tell);
    }

    /// Tells another node something, once. If it is silent, what depends on it is told again when it answers.
    pub(crate) fn inform<O: runtime::Operation>(&mut self, cx: &mut Cx<'_>, node: NodeId, op: &O) {
        let sent = cx.inform_node(node, op, Vec::new());
        if sent == Err(Errno::EHOSTDOWN) && self.may_answer(cx, node) {
            self.silent.insert(node);
        }
    }

    /// Tells the node where a process is something about it.
    pub(crate) fn tell_pid(&mut self, cx: &mut Cx<'_>, pid: u32, fact: &Fact) {
        if Mutant::ExitsAreNotTold.is_on() && !self.is_here(pid) {
            return;
        }
        let tell = Tell { about: pid, fact: *fact, from: cx.node(), hops: 0 };
        self.pass_on(cx, tell);
    }

    /// Brings a fact to the process that it is about, or nearer.
    pub(crate) fn pass_on(&mut self, cx: &mut Cx<'_>, tell: Tell) {
        self.pass_on_for(cx, tell, None);
    }

    fn pass_on_for(&mut self, cx: &mut Cx<'_>, tell: Tell, asker: Option<NodeId>) {
        match self.place_for(cx, tell.about, asker) {
            Place::Here => self.learn_from(cx, tell.from, tell.fact),
            Place::There(_) if tell.hops >= HOPS_MAX => {
                self.machine.log(format_args!("a fact about process {} goes round", tell.about));
            }
            Place::There(node) => self.inform(cx, node, &Tell { hops: tell.hops + 1, ..tell }),
            Place::Unsettled => self.park_tell(tell),
            Place::Nowhere => self.undeliverable(cx, tell),
        }
    }

    /// Nobody hears of it: a child without a living parent is an orphan, a child that is nowhere was lost.
    /// Who moves while all members are told so may hear of it neither where it was nor where it is.
    fn undeliverable(&mut self, cx: &mut Cx<'_>, tell: Tell) {
        let fact = match tell.fact {
            Fact::Child { pid, .. } | Fact::Moved { pid, .. } => Fact::Orphaned { pid },
            Fact::ParentMoved { pid } => Fact::Lost { pid },
            Fact::Grouped { .. }
            | Fact::Reaped { .. }
            | Fact::Orphaned { .. }
            | Fact::Freed { .. }
            | Fact::Missing { .. }
            | Fact::Lost { .. }
            | Fact::Again
            | Fact::Watched { .. } => return,
        };
        if tell.from == cx.node() {
            self.learn(cx, fact);
        } else {
            self.tell(cx, Some(tell.from), &fact);
        }
    }

    /// Acts on a fact of this node.
    pub(crate) fn learn(&mut self, cx: &mut Cx<'_>, fact: Fact) {
        let from = cx.node();
        self.learn_from(cx, from, fact);
    }

    pub(crate) fn learn_from(&mut self, cx: &mut Cx<'_>, from: NodeId, fact: Fact) {
        if self.keeps_for_later(from, fact) {
            return;
        }
        match fact {
            Fact::Child { parent, pid, group, uid, state } => {
                let Some(no) = self.pids.process(parent) else { return };
                let child = self.processes.get_mut(no);
                if let Some(child) = child.and_then(|own| own.own.children.get_mut(&pid)) {
                    child.group = group;
                    child.uid = uid;
                    self.child_changed(cx, no, pid, from, state);
                } else {
                    // It ignored its children, or is about to end.
                    self.tell(cx, Some(from), &Fact::Orphaned { pid });
                    if from == cx.node() {
                        self.orphaned(cx, pid);
                    }
                }
            }
            Fact::Grouped { parent, pid, group } => {
                if let Some(child) = self.child_of(parent, pid) {
                    child.group = group;
                }
            }
            Fact::Moved { parent, pid } => {
                if let Some(child) = self.child_of(parent, pid) {
                    child.node = from;
                }
            }
            // It is told so only to find out whether it lives.
            Fact::ParentMoved { .. } => {}
            Fact::Reaped { pid } => {
                if let Some(no) = self.pids.process(pid) {
                    self.reap(cx, no);
                }
            }
            Fact::Orphaned { pid } => self.orphaned(cx, pid),
            Fact::Freed { pid } => self.freed(cx, pid),
            Fact::Missing { pid } => {
                if let Some(pid) = Pid::new(pid) {
                    self.doubt(cx, pid);
                }
            }
            Fact::Lost { pid } => self.process_lost(cx, pid),
            Fact::Again => self.tell_parents_again(cx),
            Fact::Watched { pid, status } => {
                if let Some(pid) = Pid::new(pid) {
                    self.watched_ended(cx, pid, status);
                }
            }
        }
    }

    /// Whether the process that a fact is for is on its way to another node: it hears of it there.
    fn keeps_for_later(&mut self, from: NodeId, fact: Fact) -> bool {
        let about = match fact {
            Fact::Child { parent, .. }
            | Fact::Grouped { parent, .. }
            | Fact::Moved { parent, .. } => parent,
            Fact::Orphaned { pid } => pid,
            Fact::ParentMoved { .. }
            | Fact::Reaped { .. }
            | Fact::Freed { .. }
            | Fact::Missing { .. }
            | Fact::Lost { .. }
            | Fact::Again
            | Fact::Watched { .. } => return false,
        };
        let no = self.pids.process(about);
        no.is_some_and(|no| self.keep_fact(no, from, fact))
    }

    fn child_of(&mut self, parent: u32, pid: u32) -> Option<&mut crate::process::Child> {
        let no = self.pids.process(parent)?;
        self.processes.get_mut(no)?.own.children.get_mut(&pid)
    }

    fn freed(&mut self, cx: &Cx<'_>, pid: u32) {
        let Some(id) = Pid::new(pid) else { return };
        if cx.view().home(id.slot()) == cx.node() && self.pids.get(pid).is_none() {
            self.home.ended(id);
        }
    }

    /// Reaps a child that a wait has answered, wherever it is.
    pub(crate) fn reap_child(&mut self, cx: &mut Cx<'_>, pid: u32, node: NodeId) {
        match self.pids.process(pid) {
            Some(no) => self.reap(cx, no),
            None if node == cx.node() => {}
            // Straight to the zombie: its id may name a copy elsewhere that its parent was never told of.
            None => self.tell(cx, Some(node), &Fact::Reaped { pid }),
        }
    }

    /// Processes of this node with ids above `after`, at most `max`.
    pub fn list_here(&self, after: u32, max: usize) -> Vec<ProcessInfo> {
        let mut list: Vec<ProcessInfo> = self
            .processes
            .iter()
            .filter(|process| process.own.pid.get() > after)
            .map(|process| self.describe(process))
            .collect();
        list.sort_unstable_by_key(|info| info.pid);
        list.truncate(max);
        list
    }

    /// One process as ps(1) shows it.
    pub fn describe(&self, process: &Process) -> ProcessInfo {
        let runs = |id: &abi::ThreadId| {
            let run = self.threads.get(*id).map(|thread| &thread.run);
            matches!(run, Some(Run::User | Run::Handling | Run::Faulting { .. } | Run::Fenced(_)))
        };
        let state = match process.phase {
            Phase::Zombie(_) => 'Z',
            _ if process.is_stopped() => 'T',
            _ if process.threads.iter().any(runs) => 'R',
            _ => 'S',
        };
        ProcessInfo {
            pid: process.own.pid.get(),
            parent: process.own.parent,
            group: process.own.group,
            session: process.own.session,
            uid: process.own.ids.uid,
            node: self.node.get(),
            state,
            threads: process.threads.len() as u32,
            name: process.own.name.to_string(),
        }
    }

    /// Whether a user may signal or move what is here: root may, and whose process it is.
    pub(crate) fn may_signal(&self, uid: u32, target: Target) -> bool {
        let Target::Process(pid) = target else { return true };
        let process = self.pids.process(pid).and_then(|no| self.processes.get(no));
        uid == 0 || process.is_none_or(|process| process.own.ids.uid == uid)
    }
}

/// The other members of the view.
pub(crate) fn others(cx: &Cx<'_>) -> Vec<NodeId> {
    let me = cx.node();
    cx.view().members().iter().copied().filter(|node| *node != me).collect()
}

fn message(target: Target, info: Info, uid: u32) -> SendSignal {
    let Info { signal, code, words } = info;
    SendSignal { target, signal, code, words, uid, hops: 0 }
}

/// kill(2) and its kin.
pub(crate) fn signal<M: Machine>(
    call: &mut Call<'_, '_, M>,
    target: Target,
    info: Info,
) -> SysResult {
    let uid = call.process().own.ids.uid;
    match target {
        Target::Process(pid) | Target::Thread(pid, _) => match call.core.place(call.cx, pid) {
            Place::Here if !call.core.may_signal(uid, target) => Err(Errno::EPERM.into()),
            Place::Here => match call.core.signal_here(call.cx, target, info) {
                0 => Err(Errno::ESRCH.into()),
                _ => Ok(Next::Done(0)),
            },
            Place::There(node) => {
                let wait = Wait::Peer(PeerWait::Signal { found: 0, one: true });
                Ok(call.call_node(node, &message(target, info, uid), Vec::new(), wait))
            }
            Place::Unsettled => Ok(call.wait_settled()),
            Place::Nowhere => Err(Errno::ESRCH.into()),
        },
        Target::Group(_) | Target::All(_) => {
            let here = u64::from(call.core.signal_here(call.cx, target, info));
            let others = others(call.cx);
            let message = message(target, info, uid);
            if here > 0 {
                for node in others {
                    // Members there are gone with the node.
                    let _ = call.cx.inform_node(node, &message, Vec::new());
                }
                return Ok(Next::Done(0));
            }
            if others.is_empty() {
                return Err(Errno::ESRCH.into());
            }
            for node in others {
                let wait = Wait::Peer(PeerWait::Signal { found: 0, one: false });
                call.call_node(node, &message, Vec::new(), wait);
            }
            Ok(Next::Wait)
        }
    }
}

/// Group or session of a process elsewhere.
pub(crate) fn ask_identity<M: Machine>(
    call: &mut Call<'_, '_, M>,
    pid: u32,
    session: bool,
) -> SysResult {
    match call.core.place(call.cx, pid) {
        Place::There(at) => {
            let wait = Wait::Peer(PeerWait::Identity { session, at });
            Ok(call.call_node(at, &Identify { pid, hops: 0 }, Vec::new(), wait))
        }
        Place::Unsettled => Ok(call.wait_settled()),
        // A thread's id is no process's.
        Place::Here | Place::Nowhere => Err(Errno::ESRCH.into()),
    }
}

/// Goes on with a call that waits for other nodes.
pub(crate) fn peer_resume<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: PeerWait,
    result: AskResult,
) -> SysResult {
    match wait {
        PeerWait::Signal { found, one } => {
            let here = match result {
                Ok(reply) => Count::get(&reply.msg)?.count,
                // One of several nodes; it has no members any more.
                Err(Errno::EHOSTDOWN) if !one => 0,
                Err(Errno::ESRCH) => 0,
                // Whether it has arrived is not known.
                Err(errno) => return Err(errno.into()),
            };
            let found = found + here;
            match (call.asks.is_empty(), found) {
                (false, _) => Ok(call.keep_waiting(Wait::Peer(PeerWait::Signal { found, one }))),
                (true, 0) => Err(Errno::ESRCH.into()),
                (true, _) => Ok(Next::Done(0)),
            }
        }
        PeerWait::Identity { at, .. }
            if result == Err(Errno::EHOSTDOWN) && !call.core.may_answer(call.cx, at) =>
        {
            // Who asked the home that has left asks the next one.
            Err(Fail::Interrupted(Restart::Always))
        }
        PeerWait::Identity { session, .. } => {
            let identity = Identity::get(&result?.msg)?;
            let value = if session { identity.session } else { identity.group };
            Ok(Next::Done(value.into()))
        }
    }
}

/// Requests of other nodes and of the shell server.
impl<M: Machine> ProcCore<M> {
    pub(crate) fn told(&mut self, cx: &mut Cx<'_>, from: NodeId, mut tell: Tell) {
        if tell.about == 0 {
            return self.learn_from(cx, from, tell.fact);
        }
        if tell.hops <= 1 {
            tell.from = from;
        }
        self.pass_on_for(cx, tell, Some(from));
    }

    /// A signal from another node or the administrator: processes that got it here, or a ticket.
    pub(crate) fn signalled(
        &mut self,
        cx: &mut Cx<'_>,
        from: Origin,
        message: SendSignal,
        admin: bool,
    ) -> runtime::Answer {
        if !cx.may_act() {
            return self.park(cx, from, Request::Signal { message, admin });
        }
        if message.signal > number::MAX {
            return runtime::Answer::Failed(Errno::EINVAL);
        }
        let SendSignal { signal, code, words, .. } = message;
        let info = Info { signal, code, words };
        let (Target::Process(pid) | Target::Thread(pid, _)) = message.target else {
            let count = u64::from(self.signal_here(cx, message.target, info));
            return runtime::Answer::reply(&Count { count });
        };
        match self.place_for(cx, pid, from.node()) {
            Place::Unsettled => self.park(cx, from, Request::Signal { message, admin }),
            Place::Here if !self.may_signal(message.uid, message.target) => {
                runtime::Answer::Failed(Errno::EPERM)
            }
            // Answered when it has arrived: else the sender's next signal could overtake it.
            Place::Here if self.is_on_its_way(pid) && !Mutant::SignalsOvertake.is_on() => {
                let kept = self.keep_request(cx, pid, from, message, admin);
                kept.map_or_else(runtime::Answer::Failed, runtime::Answer::Pending)
            }
            Place::Here => {
                let count = u64::from(self.signal_here(cx, message.target, info));
                match (count, admin) {
                    (0, _) => runtime::Answer::Failed(Errno::ESRCH),
                    (_, true) => runtime::Answer::reply(&()),
                    (_, false) => runtime::Answer::reply(&Count { count }),
                }
            }
            Place::There(_) if message.hops >= HOPS_MAX => runtime::Answer::Failed(Errno::ELOOP),
            Place::There(node) => {
                let message = SendSignal { hops: message.hops + 1, ..message };
                let kind = if admin { Forward::AdminSignal } else { Forward::Signal };
                self.forward(cx, from, kind, node, &message)
            }
            Place::Nowhere => runtime::Answer::Failed(Errno::ESRCH),
        }
    }

    pub(crate) fn identified(
        &mut self,
        cx: &mut Cx<'_>,
        from: Origin,
        message: Identify,
    ) -> runtime::Answer {
        match self.place_for(cx, message.pid, from.node()) {
            Place::Unsettled => self.park(cx, from, Request::Identify(message)),
            Place::Here => {
                let process = self.pids.process(message.pid).and_then(|no| self.processes.get(no));
                let identity = process.map(|process| Identity {
                    group: process.own.group,
                    session: process.own.session,
                    node: cx.node(),
                });
                runtime::Answer::from_result(identity.ok_or(Errno::ESRCH))
            }
            Place::There(_) if message.hops >= u32::from(HOPS_MAX) => {
                runtime::Answer::Failed(Errno::ELOOP)
            }
            Place::There(node) => {
                let message = Identify { hops: message.hops + 1, ..message };
                self.forward(cx, from, Forward::Identity, node, &message)
            }
            Place::Nowhere => runtime::Answer::Failed(Errno::ESRCH),
        }
    }

    /// A request to move a process: moves it, or passes the request on.
    pub(crate) fn move_requested(
        &mut self,
        cx: &mut Cx<'_>,
        from: Origin,
        message: proc_api::peer::MoveProcess,
    ) -> runtime::Answer {
        if !cx.may_act() {
            return self.park(cx, from, Request::Move(message));
        }
        match self.place_for(cx, message.pid, from.node()) {
            Place::Unsettled => self.park(cx, from, Request::Move(message)),
            Place::Here if !self.may_signal(message.uid, Target::Process(message.pid)) => {
                runtime::Answer::Failed(Errno::EPERM)
            }
            Place::Here => {
                let ticket = match from.ticket(cx) {
                    Ok(ticket) => ticket,
                    Err(errno) => return runtime::Answer::Failed(errno),
                };
                let asker = migrate::Asker::Ticket(ticket);
                self.move_process(cx, message.pid, message.to, asker);
                runtime::Answer::Pending(ticket)
            }
            Place::There(_) if message.hops >= u32::from(HOPS_MAX) => {
                runtime::Answer::Failed(Errno::ELOOP)
            }
            Place::There(node) => {
                let hops = message.hops + 1;
                let message = proc_api::peer::MoveProcess { hops, ..message };
                self.forward(cx, from, Forward::Move, node, &message)
            }
            Place::Nowhere => runtime::Answer::Failed(Errno::ESRCH),
        }
    }

    fn forward<O: runtime::Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Origin,
        kind: fn(Ticket) -> Forward,
        node: NodeId,
        op: &O,
    ) -> runtime::Answer {
        let ticket = match from.ticket(cx) {
            Ok(ticket) => ticket,
            Err(errno) => return runtime::Answer::Failed(errno),
        };
        self.forward_ticket(cx, kind(ticket), node, op);
        runtime::Answer::Pending(ticket)
    }

    pub(crate) fn new_job(&mut self) -> u64 {
        self.cluster.next_job += 1;
        self.cluster.next_job
    }

    fn forward_ticket<O: runtime::Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        forward: Forward,
        node: NodeId,
        op: &O,
    ) {
        let job = self.new_job();
        self.cluster.forwarded.insert(job, forward);
        cx.call_node(node, op, Vec::new(), crate::entry::job_cookie(job));
    }

    /// A signal that waited for a move's end follows the process to `node`.
    pub(crate) fn follow(
        &mut self,
        cx: &mut Cx<'_>,
        (ticket, admin): (Ticket, bool),
        node: NodeId,
        message: SendSignal,
    ) {
        let forward = if admin { Forward::AdminSignal(ticket) } else { Forward::Signal(ticket) };
        let message = SendSignal { hops: message.hops + 1, ..message };
        self.forward_ticket(cx, forward, node, &message);
    }

    /// A signal that waited for a move's end finds the process still here.
    pub(crate) fn arrive(
        &mut self,
        cx: &mut Cx<'_>,
        (ticket, admin): (Ticket, bool),
        message: SendSignal,
    ) {
        let SendSignal { target, signal, code, words, .. } = message;
        let count = u64::from(self.signal_here(cx, target, Info { signal, code, words }));
        match (count, admin) {
            (0, _) => cx.complete::<()>(ticket, Err(Errno::ESRCH)),
            (_, true) => cx.complete(ticket, Ok(())),
            (_, false) => cx.complete(ticket, Ok(Count { count })),
        }
    }

    /// The answer to a request that was passed on.
    pub(crate) fn forwarded(&mut self, cx: &mut Cx<'_>, job: u64, result: AskResult) {
        if self.right_held(cx, job, &result) {
            return;
        }
        let Some(forward) = self.cluster.forwarded.remove(&job) else { return };
        match forward {
            Forward::Signal(ticket) => {
                let count = result.and_then(|reply| Count::get(&reply.msg));
                cx.complete(ticket, count);
            }
            Forward::AdminSignal(ticket) => cx.complete(ticket, result.map(|_| ())),
            Forward::Identity(ticket) => {
                let identity = result.and_then(|reply| Identity::get(&reply.msg));
                cx.complete(ticket, identity);
            }
            Forward::Move(ticket) => {
                let moved = result.and_then(|reply| proc_api::Migrated::get(&reply.msg));
                cx.complete(ticket, moved);
            }
        }
    }

    /// Whether an id names something here.
    pub(crate) fn is_here(&self, pid: u32) -> bool {
        self.pids.get(pid).is_some()
    }
}
