// SPDX-License-Identifier: MIT OR Apache-2.0
//! epoll instances, epoll(7).
//!
//! # Model
//! ```text
//!            look          an answer: something holds       epoll_wait(2)
//!   Due ------------> Watched ----------------------> Ready ---------------> Due (level)
//!    ^                  ^                              |  look: is it so     Watched (edge)
//!    |                  +------------------------------+  still?             Spent (EPOLLONESHOT)
//! ```
//! A look comes first in each epoll_wait(2), and in each poll(2) of an instance. It asks again of what was told or
//! was found to hold, and of nothing else; a call that does not wait also lets the homes of all files say what they have
//! sent already. So what a call costs depends on what holds and on how many homes there are, not on how many
//! files are watched.
//!
//! # Failure
//! A file whose home is gone has EPOLLERR and EPOLLHUP. One that nobody has open any more is not watched any more. A home
//! that has no room for a watch is asked again after [`RETRY_NS`](crate::limits::RETRY_NS). One that does not answer
//! holds a look up for at most [`LOOK_NS`](crate::limits::LOOK_NS).

pub(crate) mod control;
pub(crate) mod item;
pub(crate) mod jobs;
pub(crate) mod look;
pub(crate) mod look_ends;
pub(crate) mod nest;
pub(crate) mod saved;

use crate::watch::Key;
use abi::{NodeId, Ticket};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use ipc_api::epoll::Changes;
use item::Item;

/// What a call wants of an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    /// Events, epoll_wait(2).
    Take { max: usize },
    /// To know whether there are any, poll(2).
    See { events: u32 },
    /// The same, for an instance that watches this one.
    Watch { events: u32, seen: Option<Changes> },
}

/// A call at an instance.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    pub(crate) want: Want,
    /// It ends when the look is over.
    pub(crate) now: bool,
    /// Answers that its look waits for.
    pub(crate) looking: usize,
    /// When it waits for them no longer.
    pub(crate) look_ends_ns: u64,
}

/// An instance.
#[derive(Default, Debug)]
pub(crate) struct Epoll {
    pub(crate) items: BTreeMap<Key, Item>,
    /// What may be ready, in the order in which it became so.
    pub(crate) ready: VecDeque<Key>,
    /// What is to be asked after at the next look.
    pub(crate) due: VecDeque<Key>,
    /// Other nodes that have been asked after files.
    pub(crate) homes: BTreeSet<NodeId>,
    pub(crate) waiters: VecDeque<Waiter>,
    pub(crate) changes: Changes,
    /// Its calls are being served.
    pub(crate) serving: bool,
    /// So many instances watch each other above this one, as far as is known.
    pub(crate) above: u8,
}

impl Epoll {
    /// Whether something holds, as far as is known.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What is not ready any more, or not to be looked at.
    pub(crate) fn unlist(&mut self, key: Key) {
        self.ready.retain(|it| *it != key);
        self.due.retain(|it| *it != key);
    }
}
