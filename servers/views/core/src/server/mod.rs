// SPDX-License-Identifier: MIT OR Apache-2.0
//! The views server: [`Views`] as a server of a node.
//!
//! # Model
//! It is above all other servers: it pushes every view and every lease to them, asks them whether a
//! slot can be given away, and nobody asks it. So it may call them under its lock.
//!
//! A node whose member is let go starts again: what it had is not its own any more, and it comes
//! back as another member.
//!
//! # Patience
//! The times of [`limits`](crate::limits) are those of machines that run all the time. Where they do
//! not (emulated ones on a busy host), [`Setup::patience`] stretches all of them: the core is told a
//! time that runs so many times slower. All nodes of a cluster must have the same.

mod moves;

use crate::limits::MS;
use crate::server::moves::Moves;
use crate::views::{Config, Output, Start, Views};
use abi::image::NodeConfig;
use abi::{Errno, NodeId, ServerId, Ticket};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use cluster::{Policy, View};
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Lease, Msg, NodeReply, Operation, Wire};
use views_api::Agree;

/// The only timer.
const TICK: u64 = 0;
/// A node that waits to be a member says so after this time, and then ever more seldom.
const WAIT_NOTICE_NS: u64 = 3000 * MS;

/// What the server wants of the node.
pub trait Machine {
    /// Puts a line on the node's console and into its log.
    fn say(&mut self, line: &str);
    /// Starts the node again from its image. It may return before it happens.
    fn restart(&mut self);
}

/// What the server is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// The servers of this node that are to know views.
    pub servers: Vec<ServerId>,
    /// Those of them that keep things in slots.
    pub keepers: Vec<ServerId>,
    /// How many times slower this cluster's time runs; at least 1.
    pub patience: u64,
    /// Differs from start to start.
    pub seed: u64,
    /// What the core is told.
    pub config: Config,
}

/// The servers that keep things in slots.
const KEEPERS: [ServerId; 4] = [ServerId::Mem, ServerId::Fs, ServerId::Ipc, ServerId::Proc];

impl Setup {
    /// What an image tells; `seed` are random bytes of this start.
    pub fn new(config: &NodeConfig, seed: &[u8; 32]) -> Self {
        let hosted = config.domains.iter().flat_map(|domain| &domain.servers);
        let hosted: Vec<ServerId> =
            hosted.filter_map(|number| ServerId::from_number(*number)).collect();
        let here = |server: &ServerId| hosted.contains(server);
        let keepers: Vec<ServerId> = KEEPERS.into_iter().filter(here).collect();
        let shell = Some(ServerId::Shell).filter(here);
        let servers = keepers.iter().copied().chain(shell).collect();
        let nodes: Vec<NodeId> =
            config.nodes.iter().filter_map(|node| NodeId::new(node.id)).collect();
        let seed = seed.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self::of(servers, keepers, nodes, u64::from(config.patience), seed)
    }

    /// The same, from its parts.
    pub fn of(
        servers: Vec<ServerId>,
        keepers: Vec<ServerId>,
        nodes: Vec<NodeId>,
        patience: u64,
        seed: u64,
    ) -> Self {
        let voters = View::fixed(nodes.clone());
        let voters = voters.iter().flat_map(|view| view.voters()).map(|voter| voter.node);
        let founders: Vec<NodeId> = voters.collect();
        let others = nodes.into_iter().filter(|node| !founders.contains(node)).collect();
        let (contacts, policy) = (founders.clone(), Policy { backups: false });
        Self {
            servers,
            keepers,
            patience: patience.max(1),
            seed,
            config: Config { contacts, founders, others, policy },
        }
    }
}

/// The views server.
pub struct ViewsServer<M> {
    machine: M,
    setup: Setup,
    views: Views,
    moves: Moves,
    /// The lease that the servers know of.
    leased_until: u64,
    armed_ns: Option<u64>,
    /// Whether this node has been a member since its start.
    was_member: bool,
    restarts: bool,
    notice_at: u64,
    notice_pause: u64,
}

impl<M: Machine> ViewsServer<M> {
    /// The server of the node `me`.
    pub fn new(machine: M, me: NodeId, setup: Setup) -> Self {
        let views = Views::new(0, setup.seed, me, setup.config.clone(), Start::Empty);
        Self {
            machine,
            setup,
            views,
            moves: Moves::default(),
            leased_until: 0,
            armed_ns: None,
            was_member: false,
            restarts: false,
            notice_at: WAIT_NOTICE_NS,
            notice_pause: WAIT_NOTICE_NS,
        }
    }

    /// The machine, for tests.
    pub fn machine(&mut self) -> &mut M {
        &mut self.machine
    }

    /// The agreed views, for tests and figures.
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// The core's time.
    fn time(&self, cx: &Cx<'_>) -> u64 {
        cx.now_ns() / self.setup.patience.max(1)
    }

    /// Does what the core wants done, and arms the timer for what it will want next.
    fn act(&mut self, cx: &mut Cx<'_>) {
        let now = self.time(cx);
        loop {
            let outputs = self.views.take_outputs();
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                self.perform(cx, now, output);
            }
        }
        self.lease(cx);
        self.moves.begin(cx, &self.views, now, &self.setup.keepers);
        if self.was_member && self.views.incarnation().is_none() {
            self.restart(cx, "was let go by the cluster, which did not hear from it in time");
        }
        self.arm(cx, now);
    }

    fn perform(&mut self, cx: &mut Cx<'_>, now: u64, output: Output) {
        match output {
            Output::Send(node, bytes) => {
                let (message, bulk) = Agree::of(bytes);
                // What is lost is said again.
                let _ = cx.tell_node(node, &message, bulk);
            }
            // The node has no disk: what it knew is gone when it stops, and it comes back as another.
            Output::Write(_) => {}
            Output::Sync(number) => self.views.synced(now, number),
            Output::Entered(view) => self.entered(cx, &view),
            Output::Acting => {}
            Output::Orphaned => {
                self.restart(cx, "knows that its cluster is gone, with the majority of its voters");
            }
            Output::Fenced => {
                let line = format!("node {}: waits for the cluster's majority", cx.node());
                self.machine.say(&line);
            }
        }
    }

    fn entered(&mut self, cx: &mut Cx<'_>, view: &View) {
        self.was_member |= self.views.incarnation().is_some();
        let bytes = view.encode();
        for server in self.setup.servers.clone() {
            // A server that died enters nothing any more.
            let _ = cx.push_view(server, &bytes);
        }
        self.moves.entered();
        let members: Vec<String> = view.members().iter().map(|node| format!("{node}")).collect();
        let line =
            format!("node {}: view {}, members {}", cx.node(), view.epoch().0, members.join(" "));
        self.machine.say(&line);
    }

    /// Tells the servers until when they may act.
    fn lease(&mut self, cx: &mut Cx<'_>) {
        let until = self.views.lease_until();
        if until == self.leased_until {
            return;
        }
        self.leased_until = until;
        let leader = self.views.leader().map_or(0, NodeId::get);
        let lease = Lease { until_ns: until * self.setup.patience.max(1), leader };
        for server in self.setup.servers.clone() {
            let _ = cx.push_lease(server, &lease);
        }
    }

    fn restart(&mut self, cx: &mut Cx<'_>, why: &str) {
        if !core::mem::replace(&mut self.restarts, true) {
            self.machine
                .say(&format!("node {}: {why}; it starts again as a new member", cx.node()));
            self.machine.restart();
        }
    }

    fn arm(&mut self, cx: &mut Cx<'_>, now: u64) {
        let mut deadline = self.views.deadline().max(now + 1);
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

    /// Says now and then what a node waits for that is no member yet.
    fn notice(&mut self, cx: &Cx<'_>, now: u64) {
        if self.was_member || now < self.notice_at {
            return;
        }
        self.notice_pause *= 2;
        self.notice_at = now + self.notice_pause;
        let missing: Vec<String> =
            self.views.waits_for(now).iter().map(|node| format!("{node}")).collect();
        let what = match missing.join(", ") {
            nodes if nodes.is_empty() => "the cluster, which has not admitted it yet".into(),
            nodes => format!("node {nodes}, which the cluster needs to begin or to admit it"),
        };
        self.machine.say(&format!("node {}: waits for {what}", cx.node()));
    }
}

impl<M: Machine> Core for ViewsServer<M> {
    fn start(&mut self, cx: &mut Cx<'_>) {
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
        self.views.message(now, node, bytes);
        self.act(cx);
        Answer::reply(&())
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        let now = self.time(cx);
        let (views, keepers) = ((&mut self.views, now), &self.setup.keepers);
        self.moves.answered(cx, views, keepers, (cookie, &result));
        self.act(cx);
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Timer(_) => {
                self.armed_ns = None;
                let now = self.time(cx);
                self.notice(cx, now);
                self.views.tick(now);
                self.act(cx);
            }
            Event::NodeUp(node) => {
                let now = self.time(cx);
                self.views.reachable(now, node);
                self.act(cx);
            }
            Event::NodeDown(node) => {
                let now = self.time(cx);
                self.views.unreachable(now, node);
                self.act(cx);
            }
            Event::Upcall { .. } => {}
            // Without them no lease is renewed, and the others let this node go: the sooner it is back the
            // better. Who is alone needs no links.
            Event::ServerDown(server @ (ServerId::Net | ServerId::Timer)) => {
                let alone = self.views.view().is_some_and(|view| view.members().len() == 1);
                if self.was_member && !(alone && server == ServerId::Net) {
                    self.restart(cx, &format!("cannot stay a member without its {server} server"));
                }
            }
            // Without what keeps a slot's things the slot stays where it is.
            Event::ServerDown(_) => {}
        }
    }

    fn cancel(&mut self, _cx: &mut Cx<'_>, _ticket: Ticket) {}
}
