// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which pages of a file were written: what it costs, and what `st_blocks` shows.

use alloc::collections::BTreeMap;
use core::ops::Range;

/// A set of page numbers, kept as disjoint ranges that do not touch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extents {
    ends: BTreeMap<u64, u64>,
    pages: u64,
}

impl Extents {
    /// How many pages are in the set.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The ranges, ascending: first page and the page behind the last.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.ends.iter().map(|(start, end)| (*start, *end))
    }

    /// How many pages of `range` are not in the set.
    pub fn missing(&self, range: Range<u64>) -> u64 {
        let held: u64 = self
            .ends
            .range(..range.end)
            .rev()
            .take_while(|(_, end)| **end > range.start)
            .map(|(start, end)| (*end).min(range.end) - (*start).max(range.start))
            .sum();
        range.end.saturating_sub(range.start) - held
    }

    /// Adds `range`; says how many pages are new.
    pub fn add(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let new = self.missing(range.clone());
        let Range { mut start, mut end } = range;
        while let Some((&s, &e)) = self.ends.range(..=end).next_back() {
            if e < start {
                break;
            }
            self.ends.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        self.ends.insert(start, end);
        self.pages += new;
        new
    }

    /// Takes out every page from `first` on; says how many were there.
    pub fn cut(&mut self, first: u64) -> u64 {
        let tail = self.ends.split_off(&first);
        let mut gone: u64 = tail.iter().map(|(start, end)| end - start).sum();
        if let Some((_, end)) = self.ends.iter_mut().next_back() {
            gone += end.saturating_sub(first);
            *end = (*end).min(first);
        }
        self.pages -= gone;
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_count_a_page_once() {
        let mut extents = Extents::default();
        assert_eq!(extents.add(2..4), 2);
        assert_eq!(extents.add(8..9), 1);
        assert_eq!(extents.missing(0..10), 7);
        assert_eq!(extents.add(3..9), 4);
        assert_eq!(extents.add(9..9), 0);
        assert_eq!(extents.pages(), 7);
    }

    #[test]
    fn extents_cut_in_a_range_keep_its_front() {
        let mut extents = Extents::default();
        extents.add(0..10);
        extents.add(20..30);
        assert_eq!(extents.cut(5), 15);
        assert_eq!(extents.pages(), 5);
        assert_eq!(extents.missing(0..6), 1);
    }
}
