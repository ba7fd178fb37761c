// SPDX-License-Identifier: MIT OR Apache-2.0
//! The views server: [`Views`] as a server of a node.
//!
//! # Model
//! It is above all other servers: it pushes every view and every lease to them, asks them whether a
//! slot can be given away, and nobody asks it. So it may call them under its lock.
//!
//! A node whose member is let go starts again: what it had is not its own any more, and it comes
//! back as another member. What it remembers of the views is on its disk, if it has one: it begins
//! when that has been read.
//!
//! # Failure
//! A node whose disk fails takes no part any more, as it may have promised what it will not remember: it
//! says nothing, its lease ends, and the others let it go. It does not start again by itself, as that would
//! not help; people are told.
//!
//! # Patience
//! The times of [`limits`](crate::limits) are those of machines that run all the time. Where they do
//! not (emulated ones on a busy host), [`Setup::patience`] stretches all of them: the core is told a
//! time that runs so many times slower. All nodes of a cluster must have the same.

mod disk;
mod keys;
mod moves;
mod notice;
mod queue;
mod setup;

use crate::limits::MS;
use crate::server::disk::{Disk, News};
use crate::server::keys::Keys;
use crate::server::moves::Moves;
use crate::server::queue::Cookies;
use crate::views::{Config, Output, Start, Views};
use abi::{Errno, NodeId, ServerId, SlotNo, Ticket};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use cluster::{Request, SlotSet, View};
use disk_api::EVENT_ROOM;
use runtime::{Alone, Answer, Bulk, Client, Core, Cx, EVENT_ALONE, EVENT_MISSING, Event, Lease};
use runtime::{Missing, Msg, NodeReply, Operation, Wire};
use shell_api::{EVENT_ADD, EVENT_KEY, EVENT_WISH, Wish};
use views_api::Agree;

pub use setup::Setup;

/// The only timer.
const TICK: u64 = 0;
/// A node that waits to be a member says so after this time, and then ever more seldom.
const WAIT_NOTICE_NS: u64 = 3000 * MS;

/// What the server wants of the node.
pub trait Machine {
    /// Puts a line into the node's log.
    fn say(&mut self, line: &str);
    /// The same, and on its console: somebody must do something.
    fn alarm(&mut self, line: &str);
    /// Starts the node again from its image. It may return before it happens.
    fn restart(&mut self);
}

/// The views server.
pub struct ViewsServer<M> {
    machine: M,
    setup: Setup,
    disk: Disk,
    /// `None` until it is known what the disk remembers, and when it failed.
    views: Option<Views>,
    /// Whether this start of the node is to leave, once somebody has said.
    leaves: Option<bool>,
    /// Links that went down before there were views.
    down: BTreeSet<NodeId>,
    moves: Moves,
    keys: Keys,
    /// The lease that the servers know of.
    leased_until: u64,
    armed_ns: Option<u64>,
    /// Whether this node has been a member since its start.
    was_member: bool,
    /// Since when it may not act, if it was a member.
    fenced: Option<u64>,
    /// Whether people have been told.
    fence_told: bool,
    restarts: bool,
    notice_at: u64,
    notice_pause: u64,
}

impl<M: Machine> ViewsServer<M> {
    /// The server of a node.
    pub fn new(machine: M, setup: Setup) -> Self {
        Self {
            machine,
            setup,
            disk: Disk::new(),
            views: None,
            leaves: None,
            down: BTreeSet::new(),
            moves: Moves::default(),
            keys: Keys::default(),
            leased_until: 0,
            armed_ns: None,
            was_member: false,
            fenced: None,
            fence_told: false,
            restarts: false,
            notice_at: WAIT_NOTICE_NS,
            notice_pause: WAIT_NOTICE_NS,
        }
    }

    /// The machine, for tests.
    pub fn machine(&mut self) -> &mut M {
        &mut self.machine
    }

    /// The agreed views, for tests and figures; `None` if this node takes no part (yet, or any more).
    pub fn views(&self) -> Option<&Views> {
        self.views.as_ref()
    }

    /// The core's time.
    fn time(&self, cx: &Cx<'_>) -> u64 {
        cx.now_ns() / self.setup.patience.max(1)
    }

    fn say(&mut self, cx: &Cx<'_>, what: &str) {
        self.machine.say(&format!("node {}: {what}", cx.node()));
    }

    /// Does what the core wants done, and arms the timer for what it will want next.
    fn act(&mut self, cx: &mut Cx<'_>) {
        let now = self.time(cx);
        self.wish(now);
        self.ask_for_key(cx, now);
        loop {
            let outputs = self.views.as_mut().map_or(Vec::new(), Views::take_outputs);
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                self.perform(cx, now, output);
            }
            let news = self.disk.advance(cx);
            self.hear(cx, news);
        }
        self.tell_keys_outside(cx);
        if let Some(views) = &self.views {
            self.moves.begin(cx, views, now, &self.setup.keepers);
            if self.was_member && views.incarnation().is_none() {
                let why = "was let go by the cluster, which did not hear from it in time";
                self.restart(cx, why);
            }
        }
        self.lease(cx);
        self.arm(cx, now);
    }

    /// Asks in each view to be what this node wishes to be, until it is: a request holds in one view only.
    fn wish(&mut self, now: u64) {
        if let (Some(leaves), Some(views)) = (self.leaves, &mut self.views)
            && views.drains().is_some()
        {
            // Refused if it is so already, or has no room now: another view comes.
            let _ = views.request(now, Request::Drain(leaves));
        }
    }

    fn perform(&mut self, cx: &mut Cx<'_>, now: u64, output: Output) {
        match output {
            Output::Send(node, bytes) => {
                let (message, bulk) = Agree::of(bytes);
                // What is lost is said again.
                let _ = cx.tell_node(node, &message, bulk);
            }
            Output::Write(write) => self.disk.write(write),
            Output::Sync(number) => {
                if let (Some(number), Some(views)) = (self.disk.sync(number), &mut self.views) {
                    views.synced(now, number);
                }
            }
            Output::Entered(view) => self.entered(cx, &view),
            Output::Acting => {
                self.fenced = None;
                if core::mem::take(&mut self.fence_told) {
                    let line = format!("node {}: has the cluster's majority again", cx.node());
                    self.machine.alarm(&line);
                }
            }
            Output::Orphaned => {
                // What it remembers is of no use any more, and would be found again.
                self.views = None;
                let news = self.disk.forget(cx);
                self.hear(cx, news);
            }
            Output::Fenced => {
                self.fenced.get_or_insert(now);
                self.say(cx, "waits for the cluster's majority");
            }
        }
    }

    /// What has come of the disk.
    fn hear(&mut self, cx: &mut Cx<'_>, news: Vec<News>) {
        let now = self.time(cx);
        for news in news {
            match news {
                News::Say(line) => self.say(cx, &line),
                News::Begin(start) => self.begin(cx, now, start),
                News::Synced(number) => {
                    if let Some(views) = &mut self.views {
                        views.synced(now, number);
                    }
                }
                News::Forgotten => {
                    let why = "knows that its cluster is gone, with the majority of its voters";
                    self.restart(cx, why);
                }
                News::Failed(errno) => {
                    self.views = None;
                    let line = format!(
                        "node {}: its disk fails ({errno}), and may have lost what this node agreed to: it \
                         takes no part in the cluster any more. Replace the disk, and start the node again",
                        cx.node()
                    );
                    self.machine.alarm(&line);
                }
            }
        }
    }

    /// A server's disk has not all of slots that are kept.
    fn missing(&mut self, cx: &Cx<'_>, msg: &Msg) {
        let now = self.time(cx);
        let slots = Missing::get(msg).ok();
        let slots = slots.and_then(|it| SlotSet::from_words(&it.slots));
        if let (Some(views), Some(slots)) = (&mut self.views, slots) {
            // A server that still misses them says so again in the next view.
            let _ = views.request(now, Request::Missing(slots));
        }
    }

    /// The node takes part from now on.
    fn begin(&mut self, cx: &mut Cx<'_>, now: u64, start: Start) {
        let Setup { seed, config, .. } = &self.setup;
        let recovers = matches!(start, Start::Recover(_));
        let config = Config { keeps: self.disk.keeps_files(), ..config.clone() };
        let mut views = Views::new(now, *seed, cx.node(), config, start);
        if recovers && views.disk.is_none() {
            self.say(cx, "what its disk has kept of the cluster's views contradicts itself");
            let news = self.disk.distrust(cx);
            return self.hear(cx, news);
        }
        for node in core::mem::take(&mut self.down) {
            views.unreachable(now, node);
        }
        if let Some(view) = views.view().cloned() {
            self.say(cx, &format!("remembers view {} on its disk", view.epoch().0));
            self.tell_keys(cx, &view);
        }
        self.views = Some(views);
    }

    fn entered(&mut self, cx: &mut Cx<'_>, view: &View) {
        self.was_member |= self.views.as_ref().is_some_and(|views| views.incarnation().is_some());
        // A view that does not know of this life, but of an earlier one, is none of the servers' affair: in it they
        // would speak for that.
        let life = self.views.as_ref().and_then(|views| views.incarnation());
        if life.is_some() && view.member(cx.node()).map(|it| it.incarnation) == life {
            let bytes = view.encode();
            for server in self.setup.servers.clone() {
                // A server that died enters nothing any more.
                let _ = cx.push_view(server, &bytes);
            }
        }
        self.moves.entered();
        self.tell_keys(cx, view);
        let members: Vec<String> = view.members().iter().map(|node| format!("{node}")).collect();
        let line = format!("view {}, members {}", view.epoch().0, members.join(" "));
        self.say(cx, &line);
    }

    /// Tells the servers until when they may act.
    fn lease(&mut self, cx: &mut Cx<'_>) {
        let Some(views) = &self.views else { return };
        let until = views.lease_until();
        if until == self.leased_until {
            return;
        }
        self.leased_until = until;
        let leader = views.leader().map_or(0, NodeId::get);
        let lease = Lease { until_ns: until * self.setup.patience.max(1), leader };
        for server in self.setup.servers.clone() {
            let _ = cx.push_lease(server, &lease);
        }
    }

    fn restart(&mut self, cx: &mut Cx<'_>, why: &str) {
        if !core::mem::replace(&mut self.restarts, true) {
            self.say(cx, &format!("{why}; it starts again as a new member"));
            self.machine.restart();
        }
    }

    fn arm(&mut self, cx: &mut Cx<'_>, now: u64) {
        let mut deadline = match &self.views {
            Some(views) => views.deadline().max(now + 1),
            None if self.disk.is_opening() => u64::MAX,
            None => return,
        };
        if !self.was_member {
            deadline = deadline.min(self.notice_at);
        }
        let deadline = deadline.saturating_mul(self.setup.patience.max(1));
        if self.armed_ns != Some(deadline) {
            if let Some(armed) = self.armed_ns {
                cx.disarm(armed, TICK);
            }
            // Without the timer server no lease is renewed: the others let this node go.
            self.armed_ns = cx.arm(deadline, TICK).is_ok().then_some(deadline);
        }
    }
}

impl<M: Machine> Core for ViewsServer<M> {
    fn start(&mut self, cx: &mut Cx<'_>) {
        let news = self.disk.open(cx);
        self.hear(cx, news);
        self.act(cx);
    }

    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        let (Client::Node { node, .. }, Agree::NUMBER) = (from, op) else {
            return Answer::Failed(Errno::ENOSYS);
        };
        let Ok(Agree { bytes }) = Agree::get(msg) else { return Answer::Failed(Errno::EPROTO) };
        let now = self.time(cx);
        let bytes = if bulk.data().is_empty() { &bytes[..] } else { bulk.data() };
        // A node that takes no part yet is one whose messages are late.
        if let Some(views) = &mut self.views {
            views.message(now, node, bytes);
            self.act(cx);
        }
        Answer::reply(&())
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        let now = self.time(cx);
        if Cookies::is_one(cookie) {
            let news = self.disk.answered(cx, cookie, &result);
            self.hear(cx, news);
        } else if let Some(views) = &mut self.views {
            let keepers = &self.setup.keepers;
            self.moves.answered(cx, (views, now), keepers, (cookie, &result));
        }
        self.act(cx);
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Timer(_) => {
                self.armed_ns = None;
                let now = self.time(cx);
                self.notice(cx, now);
                self.notice_fence(cx, now);
                if let Some(views) = &mut self.views {
                    views.tick(now);
                }
            }
            Event::NodeUp(node) => {
                self.down.remove(&node);
                let now = self.time(cx);
                if let Some(views) = &mut self.views {
                    views.reachable(now, node);
                }
            }
            Event::NodeDown(node) => {
                let now = self.time(cx);
                match &mut self.views {
                    Some(views) => views.unreachable(now, node),
                    // All nodes that there may be, at most.
                    None => drop(self.down.insert(node)),
                }
            }
            Event::Upcall { from: ServerId::Disk, number: EVENT_ROOM, .. } => {
                let news = self.disk.has_room(cx);
                self.hear(cx, news);
            }
            Event::Upcall { from: ServerId::Shell, number: EVENT_WISH, msg } => {
                if let Ok(Wish { leaves }) = Wish::get(&msg) {
                    self.leaves = Some(leaves);
                }
            }
            Event::Upcall { number: EVENT_ALONE, msg, .. } => {
                let now = self.time(cx);
                let alone = Alone::get(&msg).ok();
                let slot = alone.and_then(|it| Some((SlotNo::new(it.slot)?, it.backup)));
                if let (Some(views), Some((slot, backup))) = (&mut self.views, slot)
                    && views.view().is_some_and(|view| view.slot(slot).backup == Some(backup))
                {
                    // A server that still needs it says so again in the next view.
                    let _ = views.request(now, Request::Alone(slot));
                }
            }
            Event::Upcall { number: EVENT_MISSING, msg, .. } => self.missing(cx, &msg),
            Event::Upcall { from: ServerId::Shell, number: EVENT_KEY, msg } => {
                let now = self.time(cx);
                self.wish_key(now, &msg);
            }
            Event::Upcall { from: ServerId::Shell, number: EVENT_ADD, msg } => {
                let now = self.time(cx);
                self.wish_node(now, &msg);
            }
            Event::Upcall { .. } => {}
            Event::ServerDown(ServerId::Disk) => {
                let news = self.disk.died();
                self.hear(cx, news);
            }
            // Without them no lease is renewed, and the others let this node go: the sooner it is back the
            // better. Who is alone needs no links.
            Event::ServerDown(server @ (ServerId::Net | ServerId::Timer)) => {
                let Some(views) = &self.views else { return };
                let alone = views.view().is_some_and(|view| view.members().len() == 1);
                if self.was_member && !(alone && server == ServerId::Net) {
                    self.restart(cx, &format!("cannot stay a member without its {server} server"));
                }
            }
            // Without what keeps a slot's things the slot stays where it is.
            Event::ServerDown(_) => {}
        }
        self.act(cx);
    }

    fn cancel(&mut self, _cx: &mut Cx<'_>, _ticket: Ticket) {}
}

#[cfg(test)]
mod tests;
