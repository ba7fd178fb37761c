// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that wait for each other in a ring, F_SETLKW.
//!
//! # Model
//! Who waits for a lock waits for every process that has some of its bytes. At one home the ring is seen when
//! the wait that closes it begins. A ring over several homes is searched for from the home of a wait, a little
//! after it began: all members are asked for whom the processes wait that were found, until nothing new is
//! found. A ring does not go away by itself, so it is found by the wait that came last; searches are repeated,
//! so one that found a node silent does no harm.
//!
//! # Limits
//! Descriptions, F_OFD_SETLKW and flock(2), are no processes: rings with them are not seen, as on Linux. Two
//! that search at once may both be refused; a wait that ended meanwhile may be taken for one that goes on.

use super::{Locks, Want};
use crate::limits::LOOK_PIDS_MAX;
use abi::Ticket;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use fs_api::peer::LockHolder;
use runtime::collections::HashMap;

/// A search for a ring that one waiter is in.
#[derive(Debug)]
pub struct Search {
    /// The waiter.
    pub ticket: Ticket,
    /// The process that waits.
    pub pid: u32,
    /// Processes that it waits for, as far as they are known.
    pub seen: BTreeSet<u32>,
    /// Those of the answers of this round.
    pub got: BTreeSet<u32>,
    /// Answers that are missing.
    pub left: usize,
    /// Rounds that were begun.
    pub rounds: u32,
}

impl Locks {
    fn waited_for(&self, want: Want) -> impl Iterator<Item = u32> {
        self.in_the_way(want).filter_map(|(holder, _)| match holder {
            LockHolder::Process(pid) => Some(pid),
            LockHolder::Whole(_) | LockHolder::Description(_) => None,
        })
    }

    /// These processes and those that they wait for here, and those in turn; [`LOOK_PIDS_MAX`] and one at most.
    pub fn reached(&self, from: impl IntoIterator<Item = u32>) -> BTreeSet<u32> {
        let mut waits: HashMap<u32, Vec<Want>> = HashMap::default();
        for waiter in &self.waiters {
            if let LockHolder::Process(pid) = waiter.want.holder {
                waits.entry(pid).or_default().push(waiter.want);
            }
        }
        let mut reached: BTreeSet<u32> = BTreeSet::new();
        // A process has many ranges, and many threads that wait: each is looked at once.
        let mut next: BTreeSet<u32> = from.into_iter().take(LOOK_PIDS_MAX + 1).collect();
        while let Some(pid) = next.pop_first() {
            if reached.len() > LOOK_PIDS_MAX || !reached.insert(pid) {
                continue;
            }
            let wants = waits.get(&pid).into_iter().flatten();
            for pid in wants.flat_map(|want| self.waited_for(*want)) {
                if next.len() <= LOOK_PIDS_MAX && !reached.contains(&pid) {
                    next.insert(pid);
                }
            }
        }
        reached
    }

    /// The processes that one would wait for which asks for this.
    pub fn before(&self, want: Want) -> BTreeSet<u32> {
        self.reached(self.waited_for(want).collect::<BTreeSet<u32>>())
    }
}
