// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instances that watch instances: no rings, and not too many in a row.
//!
//! # Limits
//! [`DEPTH_MAX`]. Two instances that are added to each other at the same moment may both be: then each sees the other
//! so many times deep and no deeper, as a look says how deep it is.

use super::jobs::EpollJob;
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
        let above = self.epolls.get(&request.epoll).map_or(0, |epoll| epoll.above);
        let ticket = cx.open_ticket(from)?;
        let nest = Nest { file: request.file, seek: request.epoll, depth: above + 1 };
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
        let below: Vec<FileId> = below.collect();
        if below.is_empty() {
            return Ok(Answer::reply(&Height { height: 1 }));
        }
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
            Err(Errno::ELOOP) => it.failed = Some(Errno::ELOOP),
            // It is closed or lost.
            Err(_) => {}
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
