// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who watches the files whose home is this node.
//!
//! # Model
//! An object notes that it has changed ([`Cx::note`]); at the end of the step all who watch it are looked at. Who
//! watches is an epoll instance of this node, or the home of one by a call that waits. A watch ends with the first
//! answer and is made anew when that has been told: so an instance is told once of what changes often.
//!
//! # Invariants
//! The changes that a watch has seen are those of an earlier answer, so that nothing between two watches is missed.

use crate::files::Kind;
use crate::limits::WATCHES_OF_NODE_MAX;
use crate::{Ipc, node_of};
use abi::linux::general::{
    POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP, POLLRDNORM, POLLWRNORM,
};
use abi::{Errno, FileId, NodeId, SlotNo, Ticket};
use alloc::vec::Vec;
use ipc_api::epoll::{Changes, Watch, Watched};
use runtime::collections::HashMap;
use runtime::{Answer, Client, Cx};

/// What an instance watches: a descriptor's number, and the file that it named.
pub(crate) type Key = (u32, FileId);

/// Events of what can be read, and of what can be written.
const INS: u32 = POLLIN | POLLPRI | POLLRDNORM | POLLRDHUP | POLLERR | POLLHUP;
const OUTS: u32 = POLLOUT | POLLWRNORM | POLLERR | POLLHUP;

/// Stands for the terminal, which has a description for each who opened it.
const TERMINAL: FileId = FileId::from_raw(u64::MAX);

#[derive(Clone, Copy, Debug)]
enum Who {
    Here { epoll: FileId, key: Key },
    Call { ticket: Ticket, from: NodeId },
}

/// One who watches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watcher {
    who: Who,
    file: FileId,
    events: u32,
    seen: Option<Changes>,
}

/// The watchers, by what notes that it has changed.
pub(crate) type Watchers = HashMap<FileId, Vec<Watcher>>;

/// What an answer says, if a watch of `events` ends with it.
pub(crate) fn told(ready: u32, events: u32, changes: Changes, seen: Option<Changes>) -> u32 {
    let holds = ready & events;
    let new = seen.is_none_or(|seen| {
        holds & INS != 0 && seen.ins != changes.ins
            || holds & OUTS != 0 && seen.outs != changes.outs
    });
    if new { holds } else { 0 }
}

/// The terminal has changed.
pub(crate) fn note_terminal(cx: &mut Cx<'_>) {
    cx.note(TERMINAL.raw());
}

/// A file, or a pipe by its end for reading, has changed.
pub(crate) fn note(cx: &mut Cx<'_>, file: FileId) {
    cx.note(file.raw());
}

fn source(file: FileId, kind: Kind) -> FileId {
    match kind {
        Kind::Pipe { pipe, .. } => pipe.0,
        Kind::Terminal => TERMINAL,
        Kind::Sysv(_)
        | Kind::Signals
        | Kind::Counter
        | Kind::Timer
        | Kind::Socket
        | Kind::Epoll => file,
    }
}

/// Whether what notes changes lives in the slot.
pub(crate) fn is_of(source: FileId, slot: SlotNo) -> bool {
    source != TERMINAL && source.slot() == slot
}

fn answer(events: u32, changes: Changes) -> Watched {
    Watched { events, ins: changes.ins, outs: changes.outs }
}

impl Ipc {
    /// Performs [`Watch`].
    pub(crate) fn watch(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Watch,
    ) -> Result<Answer, Errno> {
        if matches!(from, Client::Server { .. }) {
            return Err(Errno::EPERM);
        }
        let Watch { file, events, seen, .. } = request;
        let kind = self.files.kind(file).ok_or(Errno::EBADF)?;
        if kind == Kind::Epoll && events != 0 {
            return self.watch_epoll(cx, from, request);
        }
        let (ready, changes) = self.state_of(file, kind)?;
        let holds = told(ready, events, changes, seen);
        if holds != 0 || request.now {
            return Ok(Answer::reply(&answer(holds, changes)));
        }
        let (source, node) = (source(file, kind), node_of(cx, from));
        let is_its = |row: &&Watcher| matches!(row.who, Who::Call { from, .. } if from == node);
        // A node that watches much leaves room for the others.
        let known = self.watchers.get(&source).map_or(0, |rows| rows.iter().filter(is_its).count());
        if self.files.short || known >= WATCHES_OF_NODE_MAX {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        let who = Who::Call { ticket, from: node };
        let rows = self.watchers.entry(source).or_default();
        rows.push(Watcher { who, file, events, seen });
        Ok(Answer::Pending(ticket))
    }

    /// An instance of this node watches a file of this node from now on; or what holds already.
    pub(crate) fn watch_here(
        &mut self,
        epoll: FileId,
        key: Key,
        events: u32,
        seen: Option<Changes>,
    ) -> Result<(u32, Changes), Errno> {
        let file = key.1;
        let kind = self.files.kind(file).ok_or(Errno::EBADF)?;
        let (ready, changes) = self.state_of(file, kind)?;
        let holds = told(ready, events, changes, seen);
        if holds == 0 {
            let rows = self.watchers.entry(source(file, kind)).or_default();
            rows.push(Watcher { who: Who::Here { epoll, key }, file, events, seen });
        }
        Ok((holds, changes))
    }

    /// It does not any more.
    pub(crate) fn unwatch_here(&mut self, epoll: FileId, key: Key) {
        let Some(kind) = self.files.kind(key.1) else { return };
        let source = source(key.1, kind);
        let is_it = |row: &Watcher| matches!(row.who, Who::Here { epoll: at, key: of } if (at, of) == (epoll, key));
        self.keep_watchers(source, |row| !is_it(row));
    }

    fn keep_watchers(&mut self, source: FileId, keep: impl Fn(&Watcher) -> bool) {
        if let Some(rows) = self.watchers.get_mut(&source) {
            rows.retain(keep);
            if rows.is_empty() {
                self.watchers.remove(&source);
            }
        }
    }

    /// What holds of a file, and how often it has changed.
    fn state_of(&mut self, file: FileId, kind: Kind) -> Result<(u32, Changes), Errno> {
        let changes = match kind {
            Kind::Pipe { pipe, .. } => self.pipes.get(&pipe).ok_or(Errno::EIO)?.changes,
            Kind::Counter => self.counters.get(&file).ok_or(Errno::EIO)?.changes,
            Kind::Timer => self.timers.get(&file).ok_or(Errno::EIO)?.changes,
            Kind::Socket => self.sockets.get(&file).ok_or(Errno::EIO)?.changes,
            Kind::Terminal => self.terminal.changes,
            Kind::Epoll => self.epolls.get(&file).ok_or(Errno::EIO)?.changes,
            Kind::Sysv(_) | Kind::Signals => return Err(Errno::EBADF),
        };
        Ok((self.ready(file, kind, u32::MAX)?, changes))
    }

    /// Something that may be watched has changed.
    pub(crate) fn changed(&mut self, cx: &mut Cx<'_>, source: FileId) {
        let Some(mut rows) = self.watchers.remove(&source) else { return };
        let mut fired = Vec::new();
        rows.retain(|&Watcher { who, file, events, seen }| {
            let state = self.files.kind(file).ok_or(Errno::EBADF);
            let state = state.and_then(|kind| self.state_of(file, kind));
            let told = state.map(|(ready, changes)| (told(ready, events, changes, seen), changes));
            if matches!(told, Ok((0, _))) {
                return true;
            }
            match who {
                Who::Call { ticket, .. } => {
                    cx.complete(ticket, told.map(|(events, changes)| answer(events, changes)));
                }
                Who::Here { epoll, key } => fired.push((epoll, key, told)),
            }
            false
        });
        if !rows.is_empty() {
            self.watchers.insert(source, rows);
        }
        for (epoll, key, told) in fired {
            self.watch_ended(cx, epoll, key, told);
        }
    }

    /// Nobody holds a file any more: nobody watches it.
    pub(crate) fn watched_closed(&mut self, cx: &mut Cx<'_>, file: FileId, kind: Kind) {
        self.end_watches(cx, source(file, kind), file, Err(Errno::EBADF));
    }

    /// Ends what watches a file.
    fn end_watches(
        &mut self,
        cx: &mut Cx<'_>,
        source: FileId,
        file: FileId,
        end: Result<(u32, Changes), Errno>,
    ) {
        let Some(rows) = self.watchers.remove(&source) else { return };
        let (ended, kept): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.file == file);
        if !kept.is_empty() {
            self.watchers.insert(source, kept);
        }
        for Watcher { who, .. } in ended {
            match who {
                Who::Call { ticket, .. } => {
                    cx.complete(ticket, end.map(|(events, changes)| answer(events, changes)));
                }
                Who::Here { epoll, key } => self.watch_ended(cx, epoll, key, end),
            }
        }
    }

    /// The files of a slot are about to move: who watches them asks again.
    pub(crate) fn send_watches_away(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        let sources = self.watchers.keys().copied().filter(|it| is_of(*it, slot));
        for source in sources.collect::<Vec<_>>() {
            let rows = self.watchers.get(&source);
            let mut files: Vec<FileId> =
                rows.iter().flat_map(|rows| rows.iter().map(|row| row.file)).collect();
            files.sort_unstable();
            files.dedup();
            for file in files {
                self.end_watches(cx, source, file, Ok((0, Changes::default())));
            }
        }
    }

    /// A node is down: it watches nothing.
    pub(crate) fn forget_watches_of(&mut self, node: NodeId) {
        self.watchers.retain(|_, rows| {
            rows.retain(|row| !matches!(row.who, Who::Call { from, .. } if from == node));
            !rows.is_empty()
        });
    }

    /// Ends a call that watches, if there is one.
    pub(crate) fn cancel_watch(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let is_it = |row: &Watcher| matches!(row.who, Who::Call { ticket: of, .. } if of == ticket);
        let found = self.watchers.iter().find(|(_, rows)| rows.iter().any(is_it));
        let Some(source) = found.map(|(source, _)| *source) else { return false };
        self.keep_watchers(source, |row| !is_it(row));
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        true
    }
}
