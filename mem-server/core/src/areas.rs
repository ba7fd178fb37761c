// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mappings of a space: which range shows what, with which rights. Numbers are page numbers.
//!
//! # Invariants
//! Areas do not overlap and are not empty. Neighbours that could be one are one. `uses` counts the
//! areas per object.

use crate::limits::{
    AREAS_AT_ONCE, PAGE_MIN, PAGE_TOP, PLACE_TOP, STACK_GUARD_PAGES, STACK_PAGES_MAX,
};
use abi::ObjectId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;
use mem_api::Protection;

/// What an area shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// Zeroes.
    Anonymous,
    /// An object, from this page of it on.
    Object { object: ObjectId, first: u64 },
}

/// One mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Area {
    pub(crate) end: u64,
    pub(crate) protection: Protection,
    pub(crate) source: Source,
    pub(crate) shared: bool,
    pub(crate) grows_down: bool,
}

impl Area {
    pub(crate) fn object(&self) -> Option<ObjectId> {
        match self.source {
            Source::Anonymous => None,
            Source::Object { object, .. } => Some(object),
        }
    }

    /// The part from `cut` on of an area that starts at `start`.
    fn tail(&self, start: u64, cut: u64) -> Self {
        let source = match self.source {
            Source::Anonymous => Source::Anonymous,
            Source::Object { object, first } => {
                Source::Object { object, first: first + (cut - start) }
            }
        };
        Self { source, ..*self }
    }

    /// The area for `range` that continues what this area, which starts at `start`, shows there.
    pub(crate) fn part(&self, start: u64, range: &Range<u64>) -> Self {
        Self { end: range.end, ..self.tail(start, range.start) }
    }

    /// Whether `next`, which starts at this area's end, can be one with it.
    fn continues(&self, start: u64, next: &Self) -> bool {
        let joined = self.tail(start, self.end);
        joined.source == next.source
            && self.protection == next.protection
            && self.shared == next.shared
            && self.grows_down == next.grows_down
    }
}

/// The areas of one space.
#[derive(Clone, Default)]
pub(crate) struct Areas {
    map: BTreeMap<u64, Area>,
    uses: BTreeMap<ObjectId, u32>,
}

impl Areas {
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Area)> {
        self.map.iter().map(|(&start, area)| (start, area))
    }

    pub(crate) fn from(&self, page: u64) -> impl Iterator<Item = (u64, &Area)> {
        self.map.range(page..).map(|(&start, area)| (start, area))
    }

    /// The areas that meet the range.
    pub(crate) fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &Area)> {
        let first = self.find(range.start).map_or(range.start, |(start, _)| start);
        self.map.range(first..range.end.max(first)).map(|(&start, area)| (start, area))
    }

    /// Objects that areas show.
    pub(crate) fn objects(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.uses.keys().copied()
    }

    pub(crate) fn uses(&self, object: ObjectId) -> bool {
        self.uses.contains_key(&object)
    }

    /// The area that holds this page, and its start.
    pub(crate) fn find(&self, page: u64) -> Option<(u64, Area)> {
        let (&start, area) = self.map.range(..=page).next_back()?;
        (page < area.end).then_some((start, *area))
    }

    /// The same; a stack above the page grows down to it if it may.
    pub(crate) fn find_or_grow(&mut self, page: u64) -> Option<(u64, Area)> {
        self.find(page).or_else(|| self.grow(page))
    }

    fn grow(&mut self, page: u64) -> Option<(u64, Area)> {
        let (&start, area) = self.map.range(page..).next()?;
        let area = *area;
        let below = self.map.range(..page).next_back().map_or(0, |(_, below)| below.end);
        let may = area.grows_down
            && area.end - page <= STACK_PAGES_MAX
            && page >= PAGE_MIN
            && page >= below + STACK_GUARD_PAGES;
        if !may {
            return None;
        }
        self.map.remove(&start);
        self.map.insert(page, area);
        Some((page, area))
    }

    pub(crate) fn is_free(&self, range: &Range<u64>) -> bool {
        self.map.range(..range.end).next_back().is_none_or(|(_, area)| area.end <= range.start)
    }

    /// Whether areas cover the range without a gap.
    pub(crate) fn covers(&self, range: &Range<u64>) -> bool {
        let mut at = range.start;
        while at < range.end {
            let Some((_, area)) = self.find(at) else { return false };
            at = area.end;
        }
        true
    }

    /// The highest free range of this many pages below the place where stacks stand.
    pub(crate) fn place(&self, pages: u64) -> Option<Range<u64>> {
        let mut end = PLACE_TOP;
        for (&start, area) in self.map.range(..PLACE_TOP).rev() {
            if area.end < end && end - area.end >= pages {
                break;
            }
            end = end.min(start.saturating_sub(guard(area)));
        }
        let start = end.checked_sub(pages)?;
        let range = start..end;
        (start >= PAGE_MIN && self.is_free(&range)).then_some(range)
    }

    /// Adds an area where the range is free; it joins neighbours that continue it.
    pub(crate) fn insert(&mut self, start: u64, area: Area) {
        assert!(start < area.end && area.end <= PAGE_TOP, "ranges are checked where they come in");
        assert!(self.is_free(&(start..area.end)), "the caller made room");
        self.count(&area, 1);
        let (mut start, mut area) = (start, area);
        if let Some((&before, left)) = self.map.range(..start).next_back() {
            let left = *left;
            if left.end == start && left.continues(before, &area) {
                self.map.remove(&before);
                self.count(&left, -1);
                area = Area { end: area.end, ..left };
                start = before;
            }
        }
        if let Some(right) = self.map.get(&area.end).copied()
            && area.continues(start, &right)
        {
            self.map.remove(&area.end);
            self.count(&right, -1);
            area.end = right.end;
        }
        self.map.insert(start, area);
    }

    /// A beginning of the range in which not many more than [`AREAS_AT_ONCE`] areas are: what is done with them needs
    /// memory, of which there may be little.
    pub(crate) fn part(&self, range: &Range<u64>) -> Range<u64> {
        let next = self.map.range(range.clone()).nth(AREAS_AT_ONCE).map(|(start, _)| *start);
        range.start..next.unwrap_or(range.end)
    }

    /// Removes what lies in the range, splitting areas at its ends, and returns it.
    pub(crate) fn cut(&mut self, range: &Range<u64>) -> Vec<(u64, Area)> {
        self.split(range.start);
        self.split(range.end);
        let mut out = Vec::new();
        while let Some((&start, area)) = self.map.range(range.clone()).next() {
            let area = *area;
            self.map.remove(&start);
            self.count(&area, -1);
            out.push((start, area));
        }
        out
    }

    fn split(&mut self, at: u64) {
        let Some((start, area)) = self.find(at) else { return };
        if start == at {
            return;
        }
        self.map.insert(start, Area { end: at, ..area });
        self.map.insert(at, area.tail(start, at));
        self.count(&area, 1);
    }

    fn count(&mut self, area: &Area, by: i32) {
        let Some(object) = area.object() else { return };
        let uses = self.uses.entry(object).or_insert(0);
        *uses = uses.checked_add_signed(by).expect("an area is counted once, while it is there");
        if *uses == 0 {
            self.uses.remove(&object);
        }
    }
}

/// Pages to keep free below an area.
fn guard(area: &Area) -> u64 {
    if area.grows_down { STACK_GUARD_PAGES } else { 0 }
}
