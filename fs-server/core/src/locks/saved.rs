// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks on their way to another home, and at the backup of their slot.
//!
//! What comes is another node's word: locks that cannot be are refused.

use super::{At, FIRST, Locks, Range, Row, is_whole, ranges};
use crate::limits::{LOCKS_MAX, LOCKS_PER_FILE_MAX, TOUCHED_KEPT};
use abi::{Errno, InodeId, SlotNo};
use alloc::vec::Vec;
use fs_api::peer::LockHolder;
use serde::{Deserialize, Serialize};

/// What one holder has of one file.
#[derive(Clone, Serialize, Deserialize)]
pub struct SavedLocks {
    inode: InodeId,
    holder: LockHolder,
    at: Vec<At>,
    ranges: Vec<Range>,
}

impl SavedLocks {
    fn is_sound(&self, slot: SlotNo) -> bool {
        let all = [Range { first: 0, last: super::LAST, exclusive: false }];
        let fits = match self.holder {
            LockHolder::Whole(_) => {
                let one = |range: &Range| Range { exclusive: false, ..*range };
                self.ranges.iter().map(one).eq(all)
            }
            LockHolder::Description(_) => true,
            LockHolder::Process(pid) => pid != 0 && (1..=2).contains(&self.at.len()),
        };
        let placed = matches!(self.holder, LockHolder::Process(_)) || self.at.is_empty();
        let sized = (1..=LOCKS_PER_FILE_MAX).contains(&self.ranges.len());
        self.inode.slot() == slot && fits && placed && sized && ranges::are_sound(&self.ranges)
    }

    fn is_against(&self, holder: LockHolder, ranges: &[Range]) -> bool {
        let against = |mine: &Range, its: &Range| {
            mine.overlaps(its.first, its.last) && (mine.exclusive || its.exclusive)
        };
        self.holder != holder
            && is_whole(self.holder) == is_whole(holder)
            && self.ranges.iter().any(|mine| ranges.iter().any(|its| against(mine, its)))
    }
}

impl Locks {
    /// The locks of a slot, in order.
    pub fn saved(&self, slot: SlotNo) -> Vec<SavedLocks> {
        let in_slot = self.rows.iter().filter(|((inode, _), _)| inode.slot() == slot);
        in_slot.map(|((inode, holder), row)| save(*inode, *holder, row)).collect()
    }

    /// Whether these can be the locks of a slot that comes here, and there is room for them.
    ///
    /// # Errors
    /// EPROTO: they cannot. ENOLCK.
    pub fn check_saved(&self, slot: SlotNo, saved: &[SavedLocks]) -> Result<(), Errno> {
        let ascending = saved.is_sorted_by(|a, b| (a.inode, a.holder) < (b.inode, b.holder));
        if !ascending || !saved.iter().all(|it| it.is_sound(slot)) {
            return Err(Errno::EPROTO);
        }
        for file in saved.chunk_by(|a, b| a.inode == b.inode) {
            let many = file.iter().map(|it| it.ranges.len()).sum::<usize>() > LOCKS_PER_FILE_MAX;
            let apart = file.iter().enumerate().all(|(at, it)| {
                !file[..at].iter().any(|other| it.is_against(other.holder, &other.ranges))
            });
            if many || !apart {
                return Err(Errno::EPROTO);
            }
        }
        let more: usize = saved.iter().map(|it| it.ranges.len()).sum();
        if self.ranges + more > LOCKS_MAX { Err(Errno::ENOLCK) } else { Ok(()) }
    }

    /// Takes in what was found sound.
    pub fn install(&mut self, saved: Vec<SavedLocks>) {
        for SavedLocks { inode, holder, at, ranges } in saved {
            self.ranges += ranges.len();
            if let Some(former) = self.rows.insert((inode, holder), Row { at, ranges }) {
                self.ranges -= former.ranges.len();
            }
        }
    }

    /// What the step under way changed, each once, and as it is now; `None` if there is nothing any more.
    pub fn take_touched(&mut self) -> Vec<(InodeId, LockHolder, Option<SavedLocks>)> {
        let mut touched = core::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        let now =
            |key: &(InodeId, LockHolder)| self.rows.get(key).map(|row| save(key.0, key.1, row));
        let all = touched.iter().map(|key| (key.0, key.1, now(key))).collect();
        touched.clear();
        touched.shrink_to(TOUCHED_KEPT);
        self.touched = touched;
        all
    }

    /// Whether the step under way has changed any.
    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Takes in what a holder has of a file, as its home says.
    ///
    /// # Errors
    /// EPROTO: it cannot be. ENOLCK.
    pub fn put_copy(&mut self, slot: SlotNo, saved: SavedLocks) -> Result<(), Errno> {
        let others: usize = {
            let of = self.of(saved.inode).filter(|(holder, _)| *holder != saved.holder);
            of.map(|(_, row)| row.ranges.len()).sum()
        };
        if !saved.is_sound(slot) || others + saved.ranges.len() > LOCKS_PER_FILE_MAX {
            return Err(Errno::EPROTO);
        }
        let had = self.rows.get(&(saved.inode, saved.holder)).map_or(0, |row| row.ranges.len());
        if self.ranges - had + saved.ranges.len() > LOCKS_MAX {
            return Err(Errno::ENOLCK);
        }
        self.install(Vec::from([saved]));
        Ok(())
    }

    /// A holder has nothing of a file any more, at its home.
    pub fn drop_copy(&mut self, inode: InodeId, holder: LockHolder) {
        if let Some(row) = self.rows.remove(&(inode, holder)) {
            self.ranges -= row.ranges.len();
        }
    }

    /// The slot is another home's now.
    pub fn forget_slot(&mut self, slot: SlotNo) {
        let gone = self.rows.extract_if(.., |(inode, _), _| inode.slot() == slot);
        let ranges: usize = gone.map(|(_, row)| row.ranges.len()).sum();
        self.ranges -= ranges;
    }
}

fn save(inode: InodeId, holder: LockHolder, row: &Row) -> SavedLocks {
    SavedLocks { inode, holder, at: row.at.clone(), ranges: row.ranges.clone() }
}

const _: () = assert!(matches!(FIRST, LockHolder::Whole(_)), "the least holder begins each file");
