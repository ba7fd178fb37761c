// SPDX-License-Identifier: MIT OR Apache-2.0
//! What homes of instances ask of other homes, and how it goes on.

use super::nest::Adding;
use super::{Epoll, Want};
use crate::limits::{RETRY_NS, WATCHED_MAX};
use crate::watch::Key;
use crate::{Ipc, home_of};
use abi::{Errno, FileId, NodeId, SlotNo, Ticket};
use alloc::vec::Vec;
use ipc_api::epoll::{Changes, Height, Watched};
use ipc_api::file::Ready;
use runtime::{Cx, NodeReply, Operation, Wire};

/// The cookie of the timer after which homes are asked again.
pub(crate) const RETRY_COOKIE: u64 = 2;

/// What goes on when a home has answered.
#[derive(Debug)]
pub(crate) enum EpollJob {
    /// Nothing.
    Forgotten,
    /// Something holds of a file; this home was asked itself if `here`.
    Watch { epoll: FileId, key: Key, here: bool },
    /// What holds of an instance that is watched, for the look of a call.
    Glance { epoll: FileId, key: Key, ticket: Option<Ticket> },
    /// What a home has sent is here.
    Sync { epoll: FileId, ticket: Ticket },
    /// How many instances stand below one.
    Nest { gather: u64 },
    /// The same, for one that is to be watched.
    Add(Adding),
}

impl Ipc {
    pub(crate) fn ask_epoll<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        home: NodeId,
        op: &O,
        job: EpollJob,
    ) -> u64 {
        self.next_cookie += 1;
        self.epoll_jobs.insert(self.next_cookie, job);
        cx.call_node(home, op, Vec::new(), self.next_cookie);
        self.next_cookie
    }

    pub(crate) fn epoll_job_done(
        &mut self,
        cx: &mut Cx<'_>,
        cookie: u64,
        result: Result<NodeReply, Errno>,
    ) {
        let Some(job) = self.epoll_jobs.remove(&cookie) else { return };
        let watched = |result: Result<NodeReply, Errno>| {
            let Watched { events, ins, outs } = Watched::get(&result?.msg)?;
            Ok((events, Changes { ins, outs }))
        };
        match job {
            EpollJob::Forgotten => {}
            // It waited here for a view, which made another node the home.
            EpollJob::Watch { epoll, key, here: true }
                if matches!(result, Err(Errno::ESTALE))
                    && home_of(cx, key.1).is_ok_and(|home| home != cx.node()) =>
            {
                self.ask_after(cx, epoll, key, 0);
            }
            EpollJob::Watch { epoll, key, .. } => {
                self.watch_ended(cx, epoll, key, watched(result));
            }
            EpollJob::Glance { epoll, key, ticket } => {
                self.watch_ended(cx, epoll, key, watched(result));
                if let Some(ticket) = ticket {
                    self.looked(cx, epoll, ticket);
                }
            }
            EpollJob::Sync { epoll, ticket } => self.looked(cx, epoll, ticket),
            EpollJob::Nest { gather } => {
                let height = result.and_then(|reply| Height::get(&reply.msg));
                self.nest_answered(cx, gather, height);
            }
            EpollJob::Add(adding) => {
                let height = result.and_then(|reply| Height::get(&reply.msg));
                self.nest_known(cx, adding, height);
            }
        }
    }

    /// Gives up what is asked of another home for an item.
    pub(crate) fn forget_job(&mut self, cx: &mut Cx<'_>, cookie: u64) {
        if let Some(job) = self.epoll_jobs.get_mut(&cookie) {
            let ended = core::mem::replace(job, EpollJob::Forgotten);
            cx.cancel(cookie);
            if let EpollJob::Glance { epoll, ticket: Some(ticket), .. } = ended {
                self.looked(cx, epoll, ticket);
            }
        }
    }

    /// Whether an instance of the slot waits to watch another.
    pub(crate) fn has_adding_in(&self, slot: SlotNo) -> bool {
        let adds = |job: &EpollJob| matches!(job, EpollJob::Add(it) if it.epoll().slot() == slot);
        self.epoll_jobs.values().any(adds)
    }

    pub(crate) fn retry_later(&mut self, cx: &mut Cx<'_>, epoll: FileId, key: Key) {
        // Without room for a timer, or for one more here, the next look asks.
        let is_full = self.retries.len() >= WATCHED_MAX;
        if is_full || self.retries.contains(&(epoll, key)) {
            return;
        }
        if !self.retries.is_empty() || cx.arm(cx.now_ns() + RETRY_NS, RETRY_COOKIE).is_ok() {
            self.retries.push((epoll, key));
        }
    }

    /// Asks again what could not be asked.
    pub(crate) fn retry(&mut self, cx: &mut Cx<'_>) {
        for (epoll, key) in core::mem::take(&mut self.retries) {
            let Some(it) = self.epolls.get_mut(&epoll) else { continue };
            let is_due = it.due.contains(&key);
            if is_due && !cx.is_frozen(epoll.slot()) {
                it.unlist(key);
                self.ask_after(cx, epoll, key, 0);
            }
        }
    }

    /// Ends a call at an instance, if there is one.
    pub(crate) fn cancel_at_epolls(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        for epoll in self.epolls.values_mut() {
            if let Some(at) = epoll.waiters.iter().position(|it| it.ticket == ticket) {
                epoll.waiters.remove(at);
                cx.complete::<()>(ticket, Err(Errno::ECANCELED));
                return true;
            }
        }
        false
    }

    /// A node is down: nobody waits there.
    pub(crate) fn forget_waiters_of(&mut self, node: NodeId) {
        for epoll in self.epolls.values_mut() {
            epoll.waiters.retain(|it| it.from != node);
        }
    }

    /// Nobody holds an instance any more.
    pub(crate) fn epoll_closed(&mut self, cx: &mut Cx<'_>, file: FileId) {
        let keys: Vec<Key> =
            self.epolls.get(&file).into_iter().flat_map(|it| it.items.keys().copied()).collect();
        for key in keys {
            self.stop_watching(cx, file, key);
        }
        let Some(epoll) = self.epolls.remove(&file) else { return };
        for waiter in epoll.waiters {
            cx.complete::<()>(waiter.ticket, Err(Errno::EBADF));
        }
    }
}

impl Epoll {
    /// The instance is about to move: ends what waits, so that it comes again.
    pub(crate) fn send_waiters_away(&mut self, cx: &mut Cx<'_>) {
        for waiter in self.waiters.drain(..) {
            match waiter.want {
                Want::Take { .. } => cx.complete::<()>(waiter.ticket, Err(Errno::ERESTART)),
                Want::See { .. } => cx.complete(waiter.ticket, Ok(Ready { events: 0 })),
                Want::Watch { .. } => {
                    cx.complete(waiter.ticket, Ok(Watched { events: 0, ins: 0, outs: 0 }));
                }
            }
        }
    }
}
