// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of the shell server: it owns the node's console, keeps a login shell on it, and does
//! what administrators ask.
//!
//! # Model
//! An administrator's command is a *job*. It comes from a program (`/sys/cluster/admin`, through
//! proc-server), from the rescue prompt (through the ipc server, or past it if that died), or from the shell server of another
//! node. What each node must do for itself is a *part* of the job; parts of other nodes are asked of
//! their shell servers, and what they print appears in the order of the nodes.
//!
//! # Invariants
//! Every job ends: a node that does not answer fails its part. A node does for another one only what
//! concerns itself, so that no command goes round.
//!
//! # Limits
//! See [`limits`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod command;
mod console;
mod disk;
mod drain;
#[cfg(test)]
mod drain_tests;
mod job;
mod keyring;
mod keys;
mod leave;
pub mod limits;
mod login;
mod machine;
mod migrate;
mod newcomer;
mod part;
mod ping;
mod rescue;
#[cfg(test)]
mod tests;
mod text;

pub use machine::{Machine, Stop};

use crate::console::Console;
use crate::job::{Job, JobId, Origin};
use crate::login::Login;
use abi::image::{KEY_BYTES, MemberKey, NodeConfig, NodeEntry};
use abi::{Errno, FileId, NodeId, Pid, ServerId, Ticket};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use cluster::View;
use ipc_api::console::{ConsoleInput, EVENT_INPUT};
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Msg, NodeReply, Operation, Wire};
use shell_api::{Leave, MoveNext, MovedPages, RunCommand};

/// What the server is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// The login command and its arguments.
    pub login: Vec<String>,
    /// The nodes that the image names.
    pub nodes: Vec<NodeEntry>,
    /// Their public keys, as the image has them.
    pub keys: Vec<MemberKey>,
    /// Whether nodes agree on views, so that they can come and go.
    pub views_agreed: bool,
}

impl From<&NodeConfig> for Setup {
    fn from(config: &NodeConfig) -> Self {
        let mut hosted = config.domains.iter().flat_map(|domain| &domain.servers);
        let views_agreed = hosted.any(|server| *server == ServerId::Views as u8);
        let (nodes, keys) = (config.nodes.clone(), config.keys.clone());
        Self { login: config.login.clone(), nodes, keys, views_agreed }
    }
}

/// What an answer or a timer is for.
#[derive(Debug)]
enum Wait {
    /// The console terminal is being opened.
    Terminal,
    /// proc-server's first answer.
    Probe(FileId),
    /// The links are looked at again.
    Links { terminal: FileId, deadline_ns: u64 },
    /// The login shell is being started.
    Spawn(FileId),
    /// The login shell may be started again.
    LoginPause(Option<FileId>),
    /// The console has taken this text.
    ConsoleWrite(String),
    /// The console may have room again.
    ConsoleRoom,
    /// The rescue prompt has ended at the ipc server.
    RescueEnd,
    /// A program has taken this part of an answer.
    AdminReply { job: JobId, sent: usize, last: bool },
    /// proc-server may have room for the answer again.
    AdminRoom(JobId),
    /// Another node does its part.
    RemotePart { job: JobId, part: usize },
    /// The next processes of this node, after these.
    Processes { job: JobId, part: usize, text: String },
    /// A signal is being sent.
    Signal { job: JobId, pid: Pid },
    /// A server was told to fault.
    Crash { job: JobId, part: usize, server: ServerId },
    /// A step of a check of this node's disk.
    DiskCheck(disk::Check),
    /// The key on this node's disk.
    Keyring(keyring::Step),
    /// A process is moving.
    Migrate { job: JobId, pid: Pid, to: NodeId, started_ns: u64 },
    /// How many of its pages have arrived.
    Pages(migrate::Watch),
    /// They are counted again.
    PagesAgain(migrate::Watch),
    /// The same, for another node.
    PagesForNode(Ticket),
    /// A series of null requests is looked at again.
    Pings { job: JobId, node: NodeId },
    /// A load of a link is looked at again.
    Load { job: JobId, node: NodeId, raw: bool },
    /// The answer has been seen, the node stops.
    Stop(Stop),
    /// A node knows that it is to leave, or to stay.
    Wished(JobId),
    /// One of its processes has been seen to.
    Stepped(JobId),
    /// It is looked at again.
    Look(JobId),
    /// It has been told to halt or to reboot.
    Stopping(JobId),
    /// The processes of this node, which leaves.
    NextToMove { ticket: Ticket, force: bool },
    /// One of them is moving.
    Away(leave::Away),
    /// How many of its pages are here.
    AwayPages(leave::Away),
    /// They are counted again.
    AwayAgain(leave::Away),
    /// The views are looked at again for a key that was wished.
    KeyLook(keys::Change),
    /// They are looked at again for a node that is being added.
    AddLook(newcomer::Adding),
    /// A login shell has had time to end.
    HangUp(Pid),
    /// A signal was sent to it, or to what could not move.
    HungUp,
}

/// The server's core.
pub struct Shell<M> {
    machine: M,
    setup: Setup,
    console: Console,
    login: Login,
    /// Whether the node has been a member since its start.
    begun: bool,
    /// Whether the node has said that it is ready.
    announced: bool,
    /// What was last wrong with the login.
    complaint: String,
    /// What has been typed at the rescue prompt, if the console shows it.
    rescue: Option<rescue::Line>,
    jobs: BTreeMap<JobId, Job>,
    departures: BTreeMap<JobId, drain::Departure>,
    /// Private keys that the disk keeps, the newest first.
    keyring: Vec<[u8; KEY_BYTES]>,
    /// Counts who has been chosen as target for processes.
    targets: usize,
    waits: BTreeMap<u64, Wait>,
    next: u64,
}

impl<M: Machine> Shell<M> {
    /// The shell server of a node.
    pub fn new(machine: M, setup: Setup) -> Self {
        Self {
            machine,
            setup,
            console: Console::default(),
            login: Login::Starting,
            begun: false,
            announced: false,
            complaint: String::new(),
            rescue: None,
            jobs: BTreeMap::new(),
            departures: BTreeMap::new(),
            keyring: Vec::new(),
            targets: 0,
            waits: BTreeMap::new(),
            next: 0,
        }
    }

    /// Begins with the login as soon as the node is a member and has a slot to make things in: one that
    /// comes to a running cluster is given its first ones a moment later.
    fn begin_login(&mut self, cx: &mut Cx<'_>) {
        if cx.may_act() && cx.slot_for_new().is_some() && !core::mem::replace(&mut self.begun, true)
        {
            self.open_terminal(cx);
        }
    }

    /// What it acts on outside of messages.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Remembers what an answer or a timer will be for; its cookie.
    fn expect(&mut self, wait: Wait) -> u64 {
        self.next += 1;
        self.waits.insert(self.next, wait);
        self.next
    }

    fn ask<O: Operation>(&mut self, cx: &mut Cx<'_>, op: &O, wait: Wait) {
        let cookie = self.expect(wait);
        cx.ask(op, cookie);
    }

    /// Does something later; at once if there are too many timers, as nothing may be forgotten.
    fn later(&mut self, cx: &mut Cx<'_>, after_ns: u64, wait: Wait) {
        let cookie = self.expect(wait);
        match cx.arm(cx.now_ns() + after_ns, cookie) {
            Ok(()) => {}
            // Without a timer server nothing may be tried again and again: that would never end.
            Err(Errno::EIO) => match self.waits.remove(&cookie) {
                Some(Wait::Links { terminal, .. }) => self.wait_for_links(cx, terminal, 0),
                Some(Wait::LoginPause(_)) => {
                    self.complain(cx, "no login shell: there is no timer to wait with");
                }
                Some(wait) => {
                    self.waits.insert(cookie, wait);
                    self.timer(cx, cookie);
                }
                None => {}
            },
            Err(_) => self.timer(cx, cookie),
        }
    }

    fn timer(&mut self, cx: &mut Cx<'_>, cookie: u64) {
        match self.waits.remove(&cookie) {
            Some(Wait::Links { terminal, deadline_ns }) => {
                self.wait_for_links(cx, terminal, deadline_ns);
            }
            Some(Wait::LoginPause(terminal)) => self.start_login(cx, terminal),
            Some(Wait::ConsoleRoom) => self.write_console(cx),
            Some(Wait::AdminRoom(job)) => self.send_reply(cx, job),
            Some(Wait::Pings { job, node }) => self.look_at_pings(cx, job, node),
            Some(Wait::Load { job, node, raw }) => self.look_at_load(cx, job, node, raw),
            Some(Wait::PagesAgain(watch)) => self.watch_pages(cx, watch),
            Some(Wait::Stop(how)) => self.machine.stop(how),
            Some(Wait::Look(job)) => self.look(cx, job),
            Some(Wait::AwayAgain(away)) => self.watch_away(cx, away),
            Some(Wait::HangUp(pid)) => self.hang_up(cx, pid),
            Some(Wait::KeyLook(change)) => self.look_at_key(cx, change),
            Some(Wait::AddLook(adding)) => self.look_at_adding(cx, adding),
            // All others wait for answers.
            Some(_) | None => {}
        }
    }

    fn upcall(&mut self, cx: &mut Cx<'_>, from: ServerId, number: u16, msg: &Msg) {
        use abi::ServerId::{Console, Ipc, Proc};
        match (from, number) {
            (Proc, proc_api::EVENT_ADMIN) => {
                if let Ok(it) = proc_api::AdminRequest::get(msg) {
                    self.run(cx, Origin::Admin { request: it.request, uid: it.uid }, &it.words);
                }
            }
            (Proc, proc_api::EVENT_EXITED) => {
                if let Ok(it) = proc_api::Exited::get(msg) {
                    self.exited(cx, it.pid);
                }
            }
            (Ipc, ipc_api::EVENT_RESCUE) => self.begin_rescue(cx),
            (Ipc, ipc_api::EVENT_RESCUE_INPUT) => {
                if let Ok(it) = ipc_api::RescueInput::get(msg) {
                    self.rescue_input(cx, &it.0);
                }
            }
            (Console, EVENT_INPUT) => {
                if let Ok(it) = ConsoleInput::get(msg) {
                    self.console_input(cx, &it.0);
                }
            }
            // An upcall of a later version.
            _ => {}
        }
    }

    fn peer_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
    ) -> Result<Answer, Errno> {
        if matches!(from, Client::Server { .. }) {
            return Err(Errno::EPERM);
        }
        match op {
            RunCommand::NUMBER => self.run_for_node(cx, from, &RunCommand::get(msg)?),
            MovedPages::NUMBER => {
                let pid = MovedPages::get(msg)?.pid;
                let ticket = cx.open_ticket(from)?;
                self.ask(cx, &proc_api::MoveFigures { pid }, Wait::PagesForNode(ticket));
                Ok(Answer::Pending(ticket))
            }
            Leave::NUMBER => {
                let leaves = Leave::get(msg)?.leaves;
                self.wish(cx, leaves).map(|()| Answer::reply(&()))
            }
            MoveNext::NUMBER => self.move_next(cx, from, &MoveNext::get(msg)?),
            _ => Err(Errno::ENOSYS),
        }
    }
}

impl<M: Machine> Core for Shell<M> {
    fn start(&mut self, cx: &mut Cx<'_>) {
        self.load_key(cx);
        self.begin_login(cx);
    }

    fn acting(&mut self, cx: &mut Cx<'_>) {
        self.begin_login(cx);
    }

    fn entered(&mut self, cx: &mut Cx<'_>, _old: &View) {
        self.begin_login(cx);
        self.follow_wish(cx);
    }

    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        _bulk: &mut Bulk<'_>,
    ) -> Answer {
        self.peer_request(cx, from, op, msg).unwrap_or_else(Answer::Failed)
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        let Some(wait) = self.waits.remove(&cookie) else { return };
        match wait {
            Wait::Terminal => self.terminal_opened(cx, &result),
            Wait::Probe(terminal) => self.probed(cx, terminal, &result),
            Wait::Spawn(terminal) => self.spawned(cx, terminal, &result),
            Wait::ConsoleWrite(text) => self.console_written(cx, text, result.is_ok()),
            Wait::RescueEnd | Wait::HungUp => {}
            Wait::AdminReply { job, sent, last } => self.reply_sent(cx, job, sent, last, &result),
            Wait::RemotePart { job, part } => self.remote_part(cx, job, part, result),
            Wait::Processes { job, part, text } => self.processes(cx, job, part, text, &result),
            Wait::Signal { job, pid } => self.signalled(cx, job, pid, &result),
            Wait::Crash { job, part, server } => self.crashed(cx, job, part, server, &result),
            Wait::DiskCheck(check) => self.checked(cx, check, &result),
            Wait::Keyring(step) => self.key_step(cx, step, &result),
            Wait::Migrate { job, pid, to, started_ns } => {
                self.migrated(cx, job, pid, (to, started_ns), &result);
            }
            Wait::Pages(watch) => self.pages(cx, watch, &result),
            Wait::PagesForNode(ticket) => {
                let figures = result.and_then(|reply| proc_api::Moving::get(&reply.msg));
                cx.complete(ticket, figures.map(migrate::for_node));
            }
            Wait::Wished(job) => self.wished(cx, job, &result),
            Wait::Stepped(job) => self.stepped(cx, job, &result),
            Wait::Stopping(job) => self.later(cx, limits::DRAIN_LOOK_NS, Wait::Look(job)),
            Wait::NextToMove { ticket, force } => self.next_to_move(cx, (ticket, force), &result),
            Wait::Away(away) => self.away(cx, away, &result),
            Wait::AwayPages(away) => self.away_pages(cx, away, &result),
            Wait::Look(_)
            | Wait::AwayAgain(_)
            | Wait::HangUp(_)
            | Wait::KeyLook(_)
            | Wait::AddLook(_)
            | Wait::Links { .. }
            | Wait::LoginPause(_)
            | Wait::ConsoleRoom
            | Wait::AdminRoom(_)
            | Wait::PagesAgain(_)
            | Wait::Pings { .. }
            | Wait::Load { .. }
            | Wait::Stop(_) => unreachable!("a timer's cookie is never an ask's"),
        }
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Upcall { from, number, msg } => self.upcall(cx, from, number, &msg),
            Event::Timer(cookie) => self.timer(cx, cookie),
            Event::ServerDown(ServerId::Ipc) => self.console.take_over(),
            Event::ServerDown(_) => {}
            // A part that waits for a node has failed already; nothing else depends on one.
            Event::NodeDown(_) | Event::NodeUp(_) => {}
        }
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        self.forget_ticket(ticket);
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
    }
}
