// SPDX-License-Identifier: MIT OR Apache-2.0
//! One file that an instance watches.

use abi::linux::general::{EPOLLERR, EPOLLET, EPOLLEXCLUSIVE, EPOLLHUP, EPOLLONESHOT, EPOLLWAKEUP};
use ipc_api::epoll::Changes;

/// Flags that are no events.
const FLAGS: u32 = EPOLLET | EPOLLONESHOT | EPOLLWAKEUP | EPOLLEXCLUSIVE;
/// The changes of a home that is gone.
const GONE: Changes = Changes { ins: u32::MAX, outs: u32::MAX };

/// Where an item is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nothing is asked: the next look asks.
    Due,
    /// This home says so when something holds.
    Here,
    /// Another home has been asked, or this one by a call, under this cookie.
    Asked(u64),
    /// Something holds.
    Ready { events: u32, changes: Changes },
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// It is an instance itself.
    pub(crate) nests: bool,
    /// EPOLL flags of epoll_ctl(2).
    pub(crate) events: u32,
    pub(crate) data: u64,
    /// The changes that have been told, EPOLLET.
    pub(crate) seen: Option<Changes>,
    /// It was told once, EPOLLONESHOT.
    pub(crate) spent: bool,
    pub(crate) state: State,
}

impl Item {
    pub(crate) fn new(nests: bool, events: u32, data: u64) -> Self {
        Self { nests, events, data, seen: None, spent: false, state: State::Due }
    }

    /// The events that are asked after. One that is spent only waits for the end of its file.
    pub(crate) fn asks(&self) -> u32 {
        if self.spent { 0 } else { self.events & !FLAGS | EPOLLERR | EPOLLHUP }
    }

    pub(crate) fn is_edge(&self) -> bool {
        self.events & EPOLLET != 0
    }

    /// What it becomes when it is told; whether it is asked after at once.
    pub(crate) fn told(&mut self, changes: Changes) -> bool {
        self.state = State::Due;
        self.spent = self.events & EPOLLONESHOT != 0;
        self.seen = self.is_edge().then_some(changes);
        self.spent || self.is_edge()
    }

    /// It is told anew whatever was told before.
    pub(crate) fn renew(&mut self) {
        self.seen = None;
        self.spent = false;
    }

    /// The file's home is gone. True if that is to be told.
    pub(crate) fn home_gone(&mut self) -> bool {
        if self.spent || self.seen == Some(GONE) {
            self.state = State::Due;
            return false;
        }
        self.state = State::Ready { events: EPOLLERR | EPOLLHUP, changes: GONE };
        true
    }
}
