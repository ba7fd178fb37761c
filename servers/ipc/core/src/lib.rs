// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of the ipc server: pipes, event counters, sockets, terminals and System V objects.
//!
//! # Model
//! [`Ipc`] is the server's core. A file whose home is this node stands in its tables; operations on
//! any other are passed to the home ([`forward`]), where this node must be among the holders. Bytes
//! move between a program and a pipe or terminal in one copy by mem-server.
//!
//! # Invariants
//! A call that cannot end now waits under a ticket, at the object that it waits for, and nowhere
//! else. A node that is down holds nothing and waits for nothing.
//!
//! # Failure
//! If a file's home stops answering, calls on it end with EHOSTDOWN. If it left the cluster, its files
//! are gone: calls on them end with EIO, and closing them succeeds.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod calls;
mod descriptions;
mod epoll;
mod event;
mod fifo;
mod files;
mod forward;
pub mod limits;
mod pipe;
mod slots;
mod socket;
mod sysv;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timer;
mod transfer;
mod tty;
mod watch;

use abi::{Errno, FileId, InodeId, NodeId, ServerId, SlotNo, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use cluster::View;
use epoll::Epoll;
use epoll::jobs::{EpollJob, RETRY_COOKIE};
use epoll::look_ends::LOOK_COOKIE;
use epoll::nest::Heights;
use event::Counter;
use files::{Files, Kind, PipeNo};
use forward::{Forward, Gather};
use ipc_api::console::{ConsoleInput, EVENT_INPUT, EVENT_ROOM};
use limits::{
    COUNTERS_MAX, EPOLLS_MAX, HEAP_RESERVE_BYTES, NAMES_MAX, PIPES_MAX, SOCKETS_MAX, TIMERS_MAX,
    WATCHED_MAX,
};
use pipe::Pipe;
use runtime::collections::HashMap;
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Export, Msg, NodeReply, Wire};
use socket::jobs::{Fact, Job};
use socket::names::{Key, Named, is_there};
use socket::times::{DEADLINE_COOKIE, Deadlines};
use socket::{Cancelled, Socket};
use sysv::Sysv;
use timer::Timer;
use tty::Terminal;
use watch::{Key as Watched, Watchers};

/// The ipc server of one node.
#[derive(Default)]
pub struct Ipc {
    files: Files,
    pipes: HashMap<PipeNo, Pipe>,
    /// The pipes of FIFOs, by their inodes.
    fifos: HashMap<InodeId, PipeNo>,
    counters: HashMap<FileId, Counter>,
    sockets: HashMap<FileId, Socket>,
    names: HashMap<Key, Named>,
    /// Abstract names that were chosen here.
    names_chosen: u32,
    jobs: HashMap<u64, Job>,
    /// What homes could not be told.
    untold: VecDeque<Fact>,
    terminal: Terminal,
    sysv: Sysv,
    forwards: HashMap<u64, Forward>,
    gathers: HashMap<u64, Gather>,
    timers: HashMap<FileId, Timer>,
    /// When one of them runs out first.
    timer_armed_ns: Option<u64>,
    deadlines: Deadlines,
    watchers: Watchers,
    epolls: HashMap<FileId, Epoll>,
    epoll_jobs: HashMap<u64, EpollJob>,
    heights: HashMap<u64, Heights>,
    /// Files that instances are to ask after again.
    retries: Vec<(FileId, Watched)>,
    /// A timer is armed for looks that end.
    looks_armed: bool,
    next_cookie: u64,
}

impl Ipc {
    /// A server without pipes, with the node's terminal.
    pub fn new() -> Self {
        // A table that grows needs one piece of memory, which there may not be any more.
        Self {
            files: Files::with_room(),
            pipes: HashMap::with_capacity_and_hasher(PIPES_MAX, Default::default()),
            counters: HashMap::with_capacity_and_hasher(COUNTERS_MAX, Default::default()),
            sockets: HashMap::with_capacity_and_hasher(SOCKETS_MAX, Default::default()),
            timers: HashMap::with_capacity_and_hasher(TIMERS_MAX, Default::default()),
            epolls: HashMap::with_capacity_and_hasher(EPOLLS_MAX, Default::default()),
            watchers: HashMap::with_capacity_and_hasher(WATCHED_MAX, Default::default()),
            names: HashMap::with_capacity_and_hasher(NAMES_MAX, Default::default()),
            ..Self::default()
        }
    }

    /// Ends what waits at a file that nobody holds any more, and frees what it described.
    pub(crate) fn closed(&mut self, cx: &mut Cx<'_>, file: FileId, kind: Kind) {
        self.watched_closed(cx, file, kind);
        match kind {
            Kind::Signals => {}
            Kind::Epoll => self.epoll_closed(cx, file),
            Kind::Timer => {
                if let Some(mut timer) = self.timers.remove(&file) {
                    timer.send_away(cx, Errno::EBADF);
                }
                self.arm_timers(cx);
            }
            Kind::Pipe { pipe, end } => {
                let gone = self.pipes.get_mut(&pipe).is_some_and(|it| it.close(cx, file, end));
                if gone {
                    self.pipe_gone(pipe);
                }
            }
            Kind::Counter => {
                if let Some(mut counter) = self.counters.remove(&file) {
                    counter.send_away(cx, Errno::EBADF);
                }
            }
            Kind::Socket => self.socket_closed(cx, file),
            Kind::Terminal => {
                self.terminal.forget(cx, |_, at| at == file);
                if !self.files.has_terminal() {
                    self.terminal.hang_up(cx);
                }
            }
            Kind::Sysv(held) => self.sysv.closed(cx, file, held),
        }
    }

    /// Whether there is memory for what a request makes.
    fn look_at_heap(&mut self, cx: &Cx<'_>) {
        self.files.short = cx.heap_left() < HEAP_RESERVE_BYTES;
    }

    fn node_down(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        for pipe in self.pipes.values_mut() {
            pipe.forget_node(cx, node);
        }
        for counter in self.counters.values_mut() {
            counter.forget_node(cx, node);
        }
        for timer in self.timers.values_mut() {
            timer.forget_node(node);
        }
        let at_sockets = |socket: &Socket| socket.tickets_of(node);
        for ticket in self.sockets.values().flat_map(at_sockets).collect::<Vec<_>>() {
            self.cancel_at_sockets(cx, ticket);
        }
        self.terminal.forget(cx, |from, _| from == node);
        self.sysv.forget_node(cx, node);
        self.forget_watches_of(node);
        self.forget_waiters_of(node);
        for (file, kind) in self.files.forget_node(node) {
            self.closed(cx, file, kind);
        }
    }

    fn cancel_at_sockets(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let mut found = None;
        for (file, socket) in &mut self.sockets {
            if let Cancelled::Yes { rights } = socket.cancel(cx, ticket) {
                found = Some((*file, rights));
                break;
            }
        }
        let Some((file, rights)) = found else { return false };
        self.drop_rights(cx, rights);
        self.pump(cx, file);
        true
    }

    fn console_event(&mut self, cx: &mut Cx<'_>, number: u16, msg: &Msg) {
        match number {
            EVENT_INPUT => {
                if let Ok(ConsoleInput(bytes)) = ConsoleInput::get(msg) {
                    self.terminal.input(cx, &bytes);
                }
            }
            EVENT_ROOM => self.terminal.room(cx),
            _ => {}
        }
    }
}

/// The node on whose behalf a client asks.
pub(crate) fn node_of(cx: &Cx<'_>, from: Client) -> NodeId {
    match from {
        Client::Server { .. } => cx.node(),
        Client::Node { node, .. } => node,
    }
}

/// Only a program of this node has memory here, and makes things here.
///
/// # Errors
/// EPERM.
pub(crate) fn local_only(from: Client) -> Result<(), Errno> {
    if matches!(from, Client::Server { .. }) { Ok(()) } else { Err(Errno::EPERM) }
}

/// The home of a file.
///
/// # Errors
/// EIO: it is gone, with a home that left.
pub(crate) fn home_of(cx: &Cx<'_>, file: FileId) -> Result<NodeId, Errno> {
    if cx.view().has_broken(file.slot(), file.serial()) {
        return Err(Errno::EIO);
    }
    Ok(cx.view().home(file.slot()))
}

impl Core for Ipc {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        self.look_at_heap(cx);
        let answer = match self.sysv_call(cx, from, op, msg, bulk) {
            Some(answer) => answer,
            None => self.call(cx, from, op, msg, bulk),
        };
        if let Ok(answer) = &answer {
            self.limit_time(cx, op, msg, answer);
        }
        answer.unwrap_or_else(Answer::Failed)
    }

    fn waits_for_room(&self) -> bool {
        true
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        if self.jobs.contains_key(&cookie) {
            self.job_done(cx, cookie, result);
        } else if self.epoll_jobs.contains_key(&cookie) {
            self.epoll_job_done(cx, cookie, result);
        } else {
            self.forwarded(cx, cookie, result);
        }
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Upcall { from: ServerId::Console, number, msg } => {
                self.console_event(cx, number, &msg);
            }
            Event::ServerDown(ServerId::Shell) => self.terminal.shell_down(),
            Event::ServerDown(ServerId::Console) => self.terminal.console_down(cx),
            Event::ServerDown(_) | Event::Upcall { .. } => {}
            Event::NodeUp(_) => self.tell_again(cx),
            Event::Timer(DEADLINE_COOKIE) => self.deadlines_due(cx),
            Event::Timer(timer::TIMER_COOKIE) => self.timers_due(cx),
            Event::Timer(RETRY_COOKIE) => self.retry(cx),
            Event::Timer(LOOK_COOKIE) => self.looks_due(cx),
            Event::Timer(_) => self.terminal.timer(cx),
            Event::NodeDown(node) => self.node_down(cx, node),
        }
    }

    fn noted(&mut self, cx: &mut Cx<'_>, what: u64) {
        self.changed(cx, FileId::from_raw(what));
    }

    fn occupies(&self, slot: SlotNo) -> bool {
        self.files.any_in(slot)
            || self.sysv.any_in(slot)
            || self.names.keys().any(|key| key.slot() == slot)
    }

    fn stays(&self, slot: SlotNo) -> bool {
        let mut files = self.files.in_slot(slot);
        let terminal = files.any(|(_, file)| file.kind == Kind::Terminal);
        terminal || self.sysv.stays(slot) || self.has_too_much(slot)
    }

    fn entered(&mut self, cx: &mut Cx<'_>, old: &View) {
        self.renew_homes(cx);
        self.listeners_lost(cx);
        // They would count against the bound, and keep ports from being chosen.
        self.names.retain(|_, it| is_there(cx, it.file));
        self.names_lost(cx, old);
        self.tell_again(cx);
    }

    fn export(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Export {
        // It is copied and encoded.
        let bytes = self.bytes_in(slot);
        if cx.heap_left() < HEAP_RESERVE_BYTES + 3 * bytes {
            return Export::Stays;
        }
        self.export_slot(cx, slot)
    }

    fn admits(&mut self, cx: &mut Cx<'_>, slot: SlotNo, state: &[u8]) -> Result<(), Errno> {
        // It is larger when it is decoded.
        if cx.heap_left() < HEAP_RESERVE_BYTES + 3 * state.len() {
            return Err(Errno::ENOSPC);
        }
        self.admits_slot(slot, state)
    }

    fn import(&mut self, cx: &mut Cx<'_>, old: &View, slot: SlotNo, state: &[u8]) {
        self.import_slot(cx, old, slot, state);
    }

    fn given(&mut self, _cx: &mut Cx<'_>, slot: SlotNo) {
        self.forget_slot(slot);
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        if self.terminal.cancel(cx, ticket)
            || self.cancel_forward(cx, ticket)
            || self.sysv.cancel(cx, ticket)
            || self.cancel_job(cx, ticket)
            || self.cancel_at_sockets(cx, ticket)
            || self.cancel_at_epolls(cx, ticket)
            || self.cancel_nest(cx, ticket)
            || self.cancel_watch(cx, ticket)
            || self.cancel_opening(cx, ticket)
        {
            return;
        }
        for pipe in self.pipes.values_mut() {
            if pipe.cancel(cx, ticket) {
                return;
            }
        }
        for counter in self.counters.values_mut() {
            if counter.cancel(cx, ticket) {
                return;
            }
        }
        for timer in self.timers.values_mut() {
            if timer.cancel(cx, ticket) {
                return;
            }
        }
    }
}
