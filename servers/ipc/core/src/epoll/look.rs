// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls at instances: they look, and wait.

use super::item::State;
use super::jobs::EpollJob;
use super::{Waiter, Want};
use crate::watch::{Key, note, told};
use crate::{Ipc, home_of, node_of};
use abi::linux::general::{POLLIN, POLLRDNORM};
use abi::{Errno, FileId, NodeId, Ticket};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use ipc_api::epoll::{
    Changes, DEPTH_MAX, EVENTS_MAX, EpollEvents, EpollWait, Sync, Watch, Watched,
};
use ipc_api::file::Ready;
use runtime::{Answer, Client, Cx};

use crate::limits::{LOOK_NS, POLLERS_MAX};

impl Ipc {
    pub(crate) fn epoll_wait(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: EpollWait,
    ) -> Result<Answer, Errno> {
        let EpollWait { file, max, now } = request;
        let home = home_of(cx, file)?;
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        if !self.files.get(file, node_of(cx, from))?.is_epoll() || max == 0 {
            return Err(Errno::EINVAL);
        }
        let max = (max as usize).min(EVENTS_MAX);
        self.at_epoll(cx, from, file, (Want::Take { max }, now), 0)
    }

    /// poll(2) of an instance.
    pub(crate) fn see_epoll(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
        (events, now): (u32, bool),
    ) -> Result<Answer, Errno> {
        self.at_epoll(cx, from, file, (Want::See { events }, now), 0)
    }

    /// Another instance watches this one.
    pub(crate) fn watch_epoll(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Watch,
    ) -> Result<Answer, Errno> {
        let Watch { file, events, seen, now, depth } = request;
        if depth > DEPTH_MAX {
            return Err(Errno::ELOOP);
        }
        let above = self.above(file).max(depth);
        self.epolls.get_mut(&file).ok_or(Errno::EBADF)?.above = above;
        self.at_epoll(cx, from, file, (Want::Watch { events, seen }, now), depth)
    }

    fn at_epoll(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
        (want, now): (Want, bool),
        depth: u8,
    ) -> Result<Answer, Errno> {
        let waiting = self.epolls.get(&file).ok_or(Errno::EIO)?.waiters.len();
        if self.files.short && waiting > 0 || waiting >= POLLERS_MAX {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        let node = node_of(cx, from);
        let looking = self.look(cx, file, ticket, (now, depth));
        let Some(epoll) = self.epolls.get_mut(&file) else {
            cx.complete::<()>(ticket, Err(Errno::EBADF));
            return Ok(Answer::Pending(ticket));
        };
        let look_ends_ns = cx.now_ns().saturating_add(LOOK_NS);
        epoll.waiters.push_back(Waiter { ticket, from: node, want, now, looking, look_ends_ns });
        self.serve(cx, file);
        if looking > 0 {
            self.arm_looks(cx);
        }
        Ok(Answer::Pending(ticket))
    }

    /// Asks again of what was told and of what was found to hold; how many answers are waited for.
    fn look(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        ticket: Ticket,
        (now, depth): (bool, u8),
    ) -> usize {
        let Some(epoll) = self.epolls.get_mut(&file) else { return 0 };
        let mut keys: Vec<Key> = epoll.ready.drain(..).collect();
        keys.extend(epoll.due.drain(..));
        let (mut homes, mut looking) = (BTreeSet::new(), 0);
        for key in keys {
            let Some(item) = self.epolls.get_mut(&file).and_then(|it| it.items.get_mut(&key))
            else {
                continue;
            };
            item.state = State::Due;
            if item.nests && !item.spent {
                if self.glance(cx, file, key, (Some(ticket), depth)) {
                    looking += 1;
                } else if let Some(epoll) = self.epolls.get_mut(&file) {
                    epoll.due.push_back(key);
                }
                continue;
            }
            homes.extend(self.ask_after(cx, file, key, depth));
        }
        if now && let Some(epoll) = self.epolls.get(&file).filter(|epoll| !epoll.has_ready()) {
            homes.extend(epoll.homes.iter().copied());
        }
        for home in homes {
            let job = EpollJob::Sync { epoll: file, ticket };
            self.ask_epoll(cx, home, &Sync {}, job);
            looking += 1;
        }
        looking
    }

    /// Looks at an instance that is watched; false if it stands too deep.
    pub(crate) fn glance(
        &mut self,
        cx: &mut Cx<'_>,
        epoll: FileId,
        key: Key,
        (ticket, depth): (Option<Ticket>, u8),
    ) -> bool {
        let Some(item) = self.epolls.get(&epoll).and_then(|it| it.items.get(&key)) else {
            return false;
        };
        let (events, seen) = (item.asks(), item.seen);
        if depth >= DEPTH_MAX {
            return false;
        }
        let request = Watch { file: key.1, events, seen, now: true, depth: depth + 1 };
        let home = home_of(cx, key.1).unwrap_or(cx.node());
        let job = EpollJob::Glance { epoll, key, ticket };
        let cookie = self.ask_epoll(cx, home, &request, job);
        self.set_state(epoll, key, State::Asked(cookie));
        true
    }

    /// Asks the file's home to say when something holds; the home, if that is another node.
    pub(crate) fn ask_after(
        &mut self,
        cx: &mut Cx<'_>,
        epoll: FileId,
        key: Key,
        depth: u8,
    ) -> Option<NodeId> {
        let item = self.epolls.get(&epoll)?.items.get(&key)?;
        let (events, seen) = (item.asks(), item.seen);
        let file = key.1;
        let home = match home_of(cx, file) {
            Ok(home) => home,
            Err(errno) => {
                self.watch_ended(cx, epoll, key, Err(errno));
                return None;
            }
        };
        if home == cx.node() && !cx.is_frozen(file.slot()) {
            self.set_state(epoll, key, State::Here);
            match self.watch_here(epoll, key, events, seen) {
                Ok((0, _)) => {}
                end => self.watch_ended(cx, epoll, key, end),
            }
            return None;
        }
        let depth = depth.saturating_add(1).min(DEPTH_MAX);
        let request = Watch { file, events, seen, now: false, depth };
        let here = home == cx.node();
        let cookie = self.ask_epoll(cx, home, &request, EpollJob::Watch { epoll, key, here });
        self.set_state(epoll, key, State::Asked(cookie));
        if here {
            return None;
        }
        if let Some(it) = self.epolls.get_mut(&epoll) {
            it.homes.insert(home);
        }
        Some(home)
    }

    pub(crate) fn set_state(&mut self, epoll: FileId, key: Key, state: State) {
        if let Some(item) = self.epolls.get_mut(&epoll).and_then(|it| it.items.get_mut(&key)) {
            item.state = state;
        }
    }

    /// What is known now of a file that was asked after.
    pub(crate) fn watch_ended(
        &mut self,
        cx: &mut Cx<'_>,
        file: FileId,
        key: Key,
        end: Result<(u32, Changes), Errno>,
    ) {
        let Some(epoll) = self.epolls.get_mut(&file) else { return };
        let Some(item) = epoll.items.get_mut(&key) else { return };
        match end {
            // The file is about to move, or has just done so.
            Ok((0, _)) => {
                self.ask_after(cx, file, key, 0);
                return;
            }
            Ok((events, changes)) => item.state = State::Ready { events, changes },
            Err(Errno::EBADF) => {
                epoll.items.remove(&key);
                epoll.unlist(key);
                return;
            }
            Err(Errno::EHOSTDOWN | Errno::EIO) if item.home_gone() => {}
            Err(Errno::EIO) => return,
            Err(_) => {
                item.state = State::Due;
                epoll.due.push_back(key);
                self.retry_later(cx, file, key);
                return;
            }
        }
        epoll.ready.push_back(key);
        epoll.changes.ins = epoll.changes.ins.wrapping_add(1);
        note(cx, file);
        self.serve(cx, file);
    }

    /// An answer that a look waits for has come.
    pub(crate) fn looked(&mut self, cx: &mut Cx<'_>, file: FileId, ticket: Ticket) {
        let Some(epoll) = self.epolls.get_mut(&file) else { return };
        if let Some(waiter) = epoll.waiters.iter_mut().find(|it| it.ticket == ticket) {
            waiter.looking = waiter.looking.saturating_sub(1);
        }
        self.serve(cx, file);
    }

    /// Ends the calls that can end.
    pub(crate) fn serve(&mut self, cx: &mut Cx<'_>, file: FileId) {
        let Some(epoll) = self.epolls.get_mut(&file) else { return };
        // What one call is told may let another end: it is this loop that sees to it.
        if core::mem::replace(&mut epoll.serving, true) {
            return;
        }
        while self.serve_one(cx, file) {}
        if let Some(epoll) = self.epolls.get_mut(&file) {
            epoll.serving = false;
        }
    }

    fn serve_one(&mut self, cx: &mut Cx<'_>, file: FileId) -> bool {
        let Some(epoll) = self.epolls.get_mut(&file) else { return false };
        let ready = if epoll.has_ready() { POLLIN | POLLRDNORM } else { 0 };
        let changes = epoll.changes;
        let holds = |want| match want {
            Want::Take { .. } => ready,
            Want::See { events } => ready & events,
            Want::Watch { events, seen } => told(ready, events, changes, seen),
        };
        let ends = |it: &Waiter| it.looking == 0 && (it.now || holds(it.want) != 0);
        let Some(at) = epoll.waiters.iter().position(ends) else { return false };
        let Some(Waiter { ticket, want, .. }) = epoll.waiters.remove(at) else { return false };
        let events = holds(want);
        match want {
            Want::Take { max } => {
                let events = self.take_events(cx, file, max);
                cx.complete(ticket, Ok(events));
            }
            Want::See { .. } => cx.complete(ticket, Ok(Ready { events })),
            Want::Watch { .. } => {
                let Changes { ins, outs } = changes;
                cx.complete(ticket, Ok(Watched { events, ins, outs }));
            }
        }
        true
    }

    /// What is told to one call.
    fn take_events(&mut self, cx: &mut Cx<'_>, file: FileId, max: usize) -> EpollEvents {
        let mut events = Vec::new();
        let mut again = Vec::new();
        let Some(epoll) = self.epolls.get_mut(&file) else { return EpollEvents(events) };
        while events.len() < max
            && let Some(key) = epoll.ready.pop_front()
        {
            let Some(item) = epoll.items.get_mut(&key) else { continue };
            let State::Ready { events: holds, changes } = item.state else { continue };
            events.push((key.0, holds, item.data));
            if item.told(changes) {
                again.push(key);
            } else {
                epoll.due.push_back(key);
            }
        }
        // Others that wait, here or at an instance that watches this one, are told of what still holds, as on Linux.
        if !epoll.waiters.is_empty() || self.watchers.contains_key(&file) {
            again.extend(epoll.due.drain(..));
        }
        for key in again {
            self.ask_after(cx, file, key, 0);
        }
        EpollEvents(events)
    }
}
