// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instances that watch instances: no rings, and not too many in a row.
//!
//! # Limits
//! [`DEPTH_MAX`]. Walks that are under way at one home: [`WALKS_MAX`], and [`WATCHED_MAX`] questions of all of them;
//! beyond it the addition ends with EAGAIN. Two instances that are added to each other at the same moment may both be: then each sees the other
//! so many times deep and no deeper, as a look says how deep it is.

use super::item::Item;
use super::jobs::EpollJob;
use super::{Waiter, Want};
use crate::limits::{WALKS_MAX, WATCHED_MAX};
use crate::watch::Key;
use crate::{Ipc, home_of};
use abi::{Errno, FileId, Ticket};
use alloc::vec::Vec;
use ipc_api::epoll::{DEPTH_MAX, EpollControl, Height, Nest};
use runtime::{Answer, Client, Cx};

/// An instance that is to be watched, and the call that wants it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adding {
    ticket: Ticket,
    request: EpollControl,
}

impl Adding {
    pub(crate) fn epoll(&self) -> FileId {
        self.request.epoll
    }
}

/// Answers that become one.
#[derive(Debug)]
pub(crate) struct Heights {
    ticket: Ticket,
    left: usize,
    height: u8,
    failed: Option<Errno>,
}

impl Ipc {
    pub(crate) fn add_nested(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: EpollControl,
    ) -> Result<Answer, Errno> {
        self.check_add(&request)?;
        let home = home_of(cx, request.file)?;
        let above = self.above(request.epoll);
        let ticket = cx.open_ticket(from)?;
        let nest = Nest { file: request.file, seek: request.epoll, depth: above.saturating_add(1) };
        self.ask_epoll(cx, home, &nest, EpollJob::Add(Adding { ticket, request }));
        Ok(Answer::Pending(ticket))
    }

    pub(crate) fn nest_known(
        &mut self,
        cx: &mut Cx<'_>,
        adding: Adding,
        height: Result<Height, Errno>,
    ) {
        let Adding { ticket, request } = adding;
        let added = height.and_then(|_| self.add_watched(cx, request));
        cx.complete(
            ticket,
            added.map_err(|errno| match errno {
                Errno::ESTALE => Errno::ERESTART,
                errno => errno,
            }),
        );
    }

    /// Performs [`Nest`].
    pub(crate) fn nest(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: Nest,
    ) -> Result<Answer, Errno> {
        let Nest { file, seek, depth } = request;
        if matches!(from, Client::Server { .. }) {
            return Err(Errno::EPERM);
        }
        if file == seek || depth >= DEPTH_MAX {
            return Err(Errno::ELOOP);
        }
        let epoll = self.epolls.get(&file).ok_or(Errno::EBADF)?;
        let below = epoll.items.iter().filter(|(_, item)| item.nests).map(|(key, _)| key.1);
        // One may be watched by many descriptors: it is asked once.
        let mut below: Vec<FileId> = below.collect();
        below.sort_unstable();
        below.dedup();
        if below.is_empty() {
            return Ok(Answer::reply(&Height { height: 1 }));
        }
        self.check_walks(cx, below.len())?;
        let ticket = cx.open_ticket(from)?;
        self.next_cookie += 1;
        let gather = self.next_cookie;
        let left = below.len();
        self.heights.insert(gather, Heights { ticket, left, height: 0, failed: None });
        for file in below {
            // What is lost watches nothing.
            let Ok(home) = home_of(cx, file) else {
                self.nest_answered(cx, gather, Ok(Height { height: 0 }));
                continue;
            };
            let request = Nest { file, seek, depth: depth + 1 };
            self.ask_epoll(cx, home, &request, EpollJob::Nest { gather });
        }
        Ok(Answer::Pending(ticket))
    }

    /// Whether one more walk may begin that asks so many.
    ///
    /// # Errors
    /// EAGAIN: too many are under way, or there is no memory.
    fn check_walks(&mut self, cx: &Cx<'_>, asks: usize) -> Result<(), Errno> {
        if self.heights.len() >= WALKS_MAX {
            // Nobody waits any more for those that a dead node asked for.
            self.heights.retain(|_, it| cx.is_open(it.ticket));
        }
        let asked: usize = self.heights.values().map(|it| it.left).sum();
        if self.files.short || self.heights.len() >= WALKS_MAX || asked + asks > WATCHED_MAX {
            return Err(Errno::EAGAIN);
        }
        Ok(())
    }

    /// How many instances watch each other above this one, as far as is known. None does if none has asked after it.
    pub(crate) fn above(&mut self, file: FileId) -> u8 {
        if self.epolls.get(&file).is_none_or(|epoll| epoll.above == 0) {
            return 0;
        }
        let nested = |(key, item): (&Key, &Item)| item.nests && key.1 == file;
        let here = self.epolls.values().any(|epoll| epoll.items.iter().any(nested));
        let is_watched = here || self.watchers.contains_key(&file);
        let Some(epoll) = self.epolls.get_mut(&file) else { return 0 };
        let watches = |it: &Waiter| matches!(it.want, Want::Watch { .. });
        if !is_watched && !epoll.waiters.iter().any(watches) {
            epoll.above = 0;
        }
        epoll.above
    }

    /// Ends an addition or a walk, if the ticket is of one.
    pub(crate) fn cancel_nest(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let adds = |job: &EpollJob| matches!(job, EpollJob::Add(it) if it.ticket == ticket);
        if let Some((cookie, _)) = self.epoll_jobs.iter().find(|(_, job)| adds(job)) {
            // Its end completes the call.
            cx.cancel(*cookie);
            return true;
        }
        let walk = self.heights.iter().find(|(_, it)| it.ticket == ticket);
        let Some(gather) = walk.map(|(gather, _)| *gather) else { return false };
        self.heights.remove(&gather);
        let asks = |job: &EpollJob| matches!(job, EpollJob::Nest { gather: of } if *of == gather);
        for (cookie, _) in self.epoll_jobs.iter().filter(|(_, job)| asks(job)) {
            cx.cancel(*cookie);
        }
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        true
    }

    pub(crate) fn nest_answered(
        &mut self,
        cx: &mut Cx<'_>,
        gather: u64,
        height: Result<Height, Errno>,
    ) {
        let Some(it) = self.heights.get_mut(&gather) else { return };
        it.left -= 1;
        match height {
            Ok(Height { height }) => it.height = it.height.max(height),
            // It is closed or lost.
            Err(Errno::EBADF | Errno::EIO | Errno::EHOSTDOWN) => {}
            Err(_) if it.failed == Some(Errno::ELOOP) => {}
            // What is not known could hide a ring.
            Err(Errno::ESTALE) => it.failed = Some(Errno::ERESTART),
            Err(errno) => it.failed = Some(errno),
        }
        if it.left > 0 {
            return;
        }
        if let Some(Heights { ticket, height, failed, .. }) = self.heights.remove(&gather) {
            let height = Height { height: height.saturating_add(1) };
            cx.complete(ticket, failed.map_or(Ok(height), Err));
        }
    }
}
