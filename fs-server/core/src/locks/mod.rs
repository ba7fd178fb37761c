// SPDX-License-Identifier: MIT OR Apache-2.0
//! Advisory locks, flock(2) and fcntl(2): who has which bytes, and who waits.
//!
//! # Model
//! Locks are at the home of the inode. A holder is an open file description or a process, and has ranges of
//! bytes of the file; locks of flock(2) are all of it, and know nothing of the others. A process's row says on
//! which nodes it may be: one, or two while it moves. Who waits has no row for that: the call has a ticket here,
//! and asks again at the next home.
//!
//! # Invariants
//! Two holders of one kind have no byte in common, unless both share it. A row has at least one range.
//!
//! # Source
//! flock(2), fcntl(2) and `F_OFD_SETLK` there.

mod deadlock;
mod ranges;
mod saved;

pub use deadlock::Search;
pub use ranges::{LAST, Range};
pub use saved::SavedLocks;

use crate::limits::{LOCKS_MAX, LOCKS_PER_FILE_MAX, LOOK_NS};
use abi::{Errno, FileId, InodeId, NodeId, SlotNo, Ticket};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use fs_api::file::{LockInTheWay, LockMode};
use fs_api::peer::LockHolder;
use runtime::Client;

/// A node, and how often a process had moved when it came there.
pub type At = (NodeId, u32);

/// What one holder has of one file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Row {
    /// Where the process may be; none if it is a description's.
    at: Vec<At>,
    ranges: Vec<Range>,
}

/// A lock that somebody asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// The file.
    pub inode: InodeId,
    /// Who.
    pub holder: LockHolder,
    /// Where the process is.
    pub at: At,
    /// How.
    pub mode: LockMode,
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
}

/// A call that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waiter {
    /// Its ticket.
    pub ticket: Ticket,
    /// Who asks.
    pub client: Client,
    /// What for.
    pub want: Want,
    /// When it is looked for in a ring of waits, and until when again.
    pub look_ns: u64,
    /// See there.
    pub pause_ns: u64,
}

impl Waiter {
    /// One that begins to wait now.
    pub fn new(ticket: Ticket, client: Client, want: Want, now_ns: u64) -> Self {
        let look_ns = now_ns.saturating_add(LOOK_NS);
        Self { ticket, client, want, look_ns, pause_ns: LOOK_NS }
    }

    /// Whether nobody waits any more if the node is gone.
    fn is_of(&self, node: NodeId) -> bool {
        let asks = matches!(self.client, Client::Node { node: it, .. } if it == node);
        asks || matches!(self.want.holder, LockHolder::Process(_)) && self.want.at.0 == node
    }
}

/// The locks that this node is home to, and the copies that it keeps.
#[derive(Default, Debug)]
pub struct Locks {
    rows: BTreeMap<(InodeId, LockHolder), Row>,
    /// Ranges in all rows.
    ranges: usize,
    /// In the order in which they came.
    pub waiters: Vec<Waiter>,
    /// What the step under way has changed, some perhaps twice.
    touched: Vec<(InodeId, LockHolder)>,
}

/// The least of all holders.
const FIRST: LockHolder = LockHolder::Whole(FileId::from_raw(0));

fn is_whole(holder: LockHolder) -> bool {
    matches!(holder, LockHolder::Whole(_))
}

/// The description that holds, if it is one.
pub fn description(holder: LockHolder) -> Option<FileId> {
    match holder {
        LockHolder::Whole(file) | LockHolder::Description(file) => Some(file),
        LockHolder::Process(_) => None,
    }
}

impl Locks {
    fn of(&self, inode: InodeId) -> impl Iterator<Item = (LockHolder, &Row)> {
        let from = self.rows.range((inode, FIRST)..);
        from.take_while(move |((it, _), _)| *it == inode).map(|((_, holder), row)| (*holder, row))
    }

    /// What others have that is in the way.
    fn in_the_way(&self, want: Want) -> impl Iterator<Item = (LockHolder, Range)> {
        let exclusive = want.mode == LockMode::Exclusive;
        let others = self.of(want.inode).filter(move |(holder, _)| {
            *holder != want.holder && is_whole(*holder) == is_whole(want.holder)
        });
        others.flat_map(move |(holder, row)| {
            let ranges = row.ranges.iter().filter(move |range| {
                range.overlaps(want.first, want.last) && (exclusive || range.exclusive)
            });
            ranges.map(move |range| (holder, *range))
        })
    }

    /// Whether nothing is in the way.
    pub fn is_free(&self, want: Want) -> bool {
        want.mode == LockMode::Unlock || self.in_the_way(want).next().is_none()
    }

    /// The first lock in the way; for `Unlock`, the first that the holder has itself.
    pub fn first_in_the_way(&self, want: Want) -> Option<LockInTheWay> {
        let pid = |holder| match holder {
            LockHolder::Process(pid) => Some(pid),
            LockHolder::Whole(_) | LockHolder::Description(_) => None,
        };
        let own =
            self.rows.get(&(want.inode, want.holder)).filter(|_| want.mode == LockMode::Unlock);
        let own = own.into_iter().flat_map(|row| &row.ranges);
        let own = own.filter(|range| range.overlaps(want.first, want.last));
        let found = match want.mode {
            LockMode::Unlock => own.map(|range| (want.holder, *range)).next(),
            LockMode::Shared | LockMode::Exclusive => {
                self.in_the_way(want).min_by_key(|(_, range)| range.first)
            }
        };
        found.map(|(holder, range)| LockInTheWay {
            exclusive: range.exclusive,
            first: range.first,
            last: range.last,
            pid: pid(holder),
        })
    }

    /// Whether the holder has the whole file just so, flock(2).
    pub fn has_so(&self, want: Want) -> bool {
        let row = self.rows.get(&(want.inode, want.holder));
        row.is_some_and(|row| row.ranges[0].exclusive == (want.mode == LockMode::Exclusive))
    }

    /// Whether the holder has any of the bytes in a way that keeps off more than it wants now.
    pub fn had_more(&self, want: Want) -> bool {
        let row = self.rows.get(&(want.inode, want.holder));
        let more = |range: &Range| range.exclusive && range.overlaps(want.first, want.last);
        want.mode == LockMode::Shared && row.is_some_and(|row| row.ranges.iter().any(more))
    }

    /// Gives the holder the bytes, of which nobody else has any in its way, or takes them from it.
    ///
    /// # Errors
    /// ENOLCK.
    pub fn set(&mut self, want: Want) -> Result<(), Errno> {
        assert!(self.is_free(want), "who locks has been found to have the way free");
        let exclusive = match want.mode {
            LockMode::Unlock => None,
            LockMode::Shared => Some(false),
            LockMode::Exclusive => Some(true),
        };
        let key = (want.inode, want.holder);
        let before = self.rows.get(&key).map_or(&[][..], |row| &row.ranges);
        if exclusive.is_none() && before.iter().all(|it| !it.overlaps(want.first, want.last)) {
            return Ok(());
        }
        let (had, now) = (before.len(), ranges::with(before, (want.first, want.last), exclusive));
        if now.len() > had {
            let in_file: usize = self.of(want.inode).map(|(_, row)| row.ranges.len()).sum();
            let more = now.len() - had;
            if self.ranges + more > LOCKS_MAX || in_file + more > LOCKS_PER_FILE_MAX {
                return Err(Errno::ENOLCK);
            }
        }
        self.ranges = self.ranges + now.len() - had;
        self.touched.push(key);
        if now.is_empty() {
            self.rows.remove(&key);
            return Ok(());
        }
        let row = self.rows.entry(key).or_default();
        row.ranges = now;
        if matches!(want.holder, LockHolder::Process(_)) {
            arrive(&mut row.at, want.at);
            // It asks from there: where it was before, it is no more.
            row.at.retain(|at| at.1 >= want.at.1);
        }
        Ok(())
    }

    /// A holder has no locks of the file any more; whether it had any.
    pub fn end(&mut self, inode: InodeId, holder: LockHolder) -> bool {
        let Some(row) = self.rows.remove(&(inode, holder)) else { return false };
        self.ranges -= row.ranges.len();
        self.touched.push((inode, holder));
        true
    }

    /// A process may be at one node more, or one less.
    pub fn moved(&mut self, key: (InodeId, LockHolder), enters: Option<At>, leaves: Option<At>) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        if let Some(at) = enters {
            arrive(&mut row.at, at);
        }
        row.at.retain(|at| Some(*at) != leaves);
        self.touched.push(key);
        if row.at.is_empty() && matches!(key.1, LockHolder::Process(_)) {
            self.end(key.0, key.1);
        }
    }

    /// Ends the locks of processes that are at no node which `stays`, in a slot or in all; their files.
    pub fn end_processes(
        &mut self,
        slot: Option<SlotNo>,
        stays: impl Fn(NodeId) -> bool,
    ) -> Vec<InodeId> {
        let of = |inode: &InodeId| slot.is_none_or(|slot| inode.slot() == slot);
        let mut gone = Vec::new();
        for (key, row) in self.rows.iter_mut().filter(|((inode, _), _)| of(inode)) {
            if !matches!(key.1, LockHolder::Process(_)) || row.at.iter().all(|at| stays(at.0)) {
                continue;
            }
            row.at.retain(|at| stays(at.0));
            self.touched.push(*key);
            if row.at.is_empty() {
                gone.push(*key);
            }
        }
        gone.into_iter().filter(|key| self.end(key.0, key.1)).map(|key| key.0).collect()
    }

    /// Files of which a process has locks.
    pub fn files_of(&self, pid: u32) -> Vec<InodeId> {
        let all = self.rows.keys().filter(|(_, holder)| *holder == LockHolder::Process(pid));
        all.map(|(inode, _)| *inode).collect()
    }

    /// Locks of descriptions: the file, and whose it is.
    pub fn of_descriptions(&self) -> impl Iterator<Item = (InodeId, LockHolder, FileId)> {
        let file = |(inode, holder): &(InodeId, LockHolder)| {
            description(*holder).map(|file| (*inode, *holder, file))
        };
        self.rows.keys().filter_map(file)
    }

    /// Whether the process holds locks of the file, and is at this node alone.
    pub fn is_only_at(&self, key: (InodeId, LockHolder), node: NodeId) -> bool {
        self.rows.get(&key).is_none_or(|row| row.at.iter().all(|at| at.0 == node))
    }

    /// Who waits on a node that is gone.
    pub fn take_waiters_of(&mut self, node: NodeId) -> Vec<Waiter> {
        self.waiters.extract_if(.., |it| it.is_of(node)).collect()
    }

    /// Whether there are any in the slot.
    pub fn any_in(&self, slot: SlotNo) -> bool {
        self.rows.keys().any(|(inode, _)| inode.slot() == slot)
    }

    /// How many ranges are locked, for tests and figures.
    pub fn len(&self) -> usize {
        self.ranges
    }
}

/// Notes a node where a process may be. It speaks from the last one but one, so it is at none before that.
fn arrive(places: &mut Vec<At>, at: At) {
    if !places.contains(&at) {
        places.push(at);
        places.sort_unstable_by_key(|at| at.1);
        places.drain(..places.len().saturating_sub(2));
    }
}
