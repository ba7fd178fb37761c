// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which pages of a file were written: what it costs, and what `st_blocks` shows.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
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

    /// Takes out the pages of `range`; says how many were there.
    pub fn remove(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let before = self.pages;
        let behind = self.ends.range(..range.end).next_back().map(|(_, end)| *end);
        self.cut_between(range.clone());
        if let Some(end) = behind.filter(|end| *end > range.end) {
            self.ends.insert(range.end, end);
            self.pages += end - range.end;
        }
        before - self.pages
    }

    /// Takes out the ranges that begin in `range`, and what others have from its start on.
    fn cut_between(&mut self, range: Range<u64>) {
        if let Some((_, end)) = self.ends.range_mut(..range.start).next_back()
            && *end > range.start
        {
            self.pages -= *end - range.start;
            *end = range.start;
        }
        let inside: Vec<u64> = self.ends.range(range).map(|(start, _)| *start).collect();
        for start in inside {
            if let Some(end) = self.ends.remove(&start) {
                self.pages -= end - start;
            }
        }
    }

    /// The first page from `page` on that is in the set.
    pub fn next_in(&self, page: u64) -> Option<u64> {
        let around = self.ends.range(..=page).next_back().filter(|(_, end)| **end > page);
        around.map(|_| page).or_else(|| self.ends.range(page..).next().map(|(start, _)| *start))
    }

    /// The first page from `page` on that is not.
    pub fn next_out(&self, page: u64) -> u64 {
        let around = self.ends.range(..=page).next_back().filter(|(_, end)| **end > page);
        around.map_or(page, |(_, end)| *end)
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
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

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
    fn extents_are_what_each_page_says() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let (mut extents, mut pages) = (Extents::default(), [false; 30]);
        for _ in 0..5000 {
            let mut number = |below: u64| u64::from(random.next_u32()) % below;
            let start = number(30);
            let end = start + number(31 - start);
            let adds = number(2) == 0;
            let held = |pages: &[bool]| pages.iter().filter(|page| **page).count() as u64;
            let before = held(&pages);
            pages[start as usize..end as usize].fill(adds);
            let changed = held(&pages).abs_diff(before);
            let said = if adds { extents.add(start..end) } else { extents.remove(start..end) };
            assert_eq!((said, extents.pages()), (changed, held(&pages)));
            assert!(extents.ranges().all(|(start, end)| start < end));
            let at = number(30);
            let next = |value| (at..30).find(|page| pages[*page as usize] == value);
            assert_eq!(extents.next_in(at), next(true));
            assert_eq!(extents.next_out(at), next(false).unwrap_or(30));
        }
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
