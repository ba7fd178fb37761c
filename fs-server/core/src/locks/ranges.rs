// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of a file that one holder has locked.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The last byte that any file can have.
pub const LAST: u64 = i64::MAX as u64;

/// Bytes that are locked, the last one too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Range {
    /// First byte.
    pub first: u64,
    /// Last byte.
    pub last: u64,
    /// Exclusive, or shared.
    pub exclusive: bool,
}

impl Range {
    /// Whether they have a byte in common.
    pub fn overlaps(&self, first: u64, last: u64) -> bool {
        self.first <= last && first <= self.last
    }

    /// Whether two are one range.
    fn goes_on_in(&self, next: &Self) -> bool {
        self.exclusive == next.exclusive && self.last.checked_add(1) == Some(next.first)
    }
}

/// What is locked when bytes are locked anew, or let go (`exclusive` is `None`). Ranges are disjoint and
/// ascend; those that touch and are alike are one.
pub fn with(ranges: &[Range], (first, last): (u64, u64), exclusive: Option<bool>) -> Vec<Range> {
    let mut out: Vec<Range> = Vec::with_capacity(ranges.len() + 2);
    for range in ranges {
        if !range.overlaps(first, last) {
            out.push(*range);
            continue;
        }
        if range.first < first {
            out.push(Range { last: first - 1, ..*range });
        }
        if range.last > last {
            out.push(Range { first: last + 1, ..*range });
        }
    }
    out.extend(exclusive.map(|exclusive| Range { first, last, exclusive }));
    out.sort_unstable_by_key(|range| range.first);
    out.dedup_by(|next, range| {
        let one = range.goes_on_in(next);
        if one {
            range.last = next.last;
        }
        one
    });
    out
}

/// Whether these can be the ranges of one holder.
pub fn are_sound(ranges: &[Range]) -> bool {
    let each = ranges.iter().all(|range| range.first <= range.last && range.last <= LAST);
    each && ranges.is_sorted_by(|a, b| a.last < b.first && !a.goes_on_in(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    fn range(first: u64, last: u64, exclusive: bool) -> Range {
        Range { first, last, exclusive }
    }

    #[test]
    fn ranges_split_and_merge() {
        let all = with(&[], (0, LAST), Some(true));
        let hole = with(&all, (10, 19), None);
        assert_eq!(hole, [range(0, 9, true), range(20, LAST, true)]);
        let filled = with(&hole, (10, 19), Some(false));
        assert_eq!(filled.len(), 3);
        assert_eq!(with(&filled, (5, 25), Some(true)), all);
        assert_eq!(with(&filled, (0, LAST), None), vec![]);
    }

    #[test]
    fn ranges_are_what_each_byte_says() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let (mut ranges, mut bytes) = (Vec::new(), [None; 24]);
        for _ in 0..4000 {
            let first = random.next_u32() as usize % 24;
            let last = first + random.next_u32() as usize % (24 - first);
            let how = [None, Some(false), Some(true)][random.next_u32() as usize % 3];
            bytes[first..=last].fill(how);
            ranges = with(&ranges, (first as u64, last as u64), how);
            assert!(are_sound(&ranges), "{ranges:?}");
            for (at, byte) in bytes.iter().enumerate() {
                let at = at as u64;
                let held = ranges.iter().find(|range| range.overlaps(at, at));
                assert_eq!(held.map(|range| range.exclusive), *byte);
            }
        }
    }
}
