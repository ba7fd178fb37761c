// SPDX-License-Identifier: MIT OR Apache-2.0
//! A sparse table from page numbers to pages: the pages of an object, or those of a space with their
//! hardware mappings.
//!
//! Leaves of 64 entries in an ordered map: a program uses a few dense ranges of a vast address space,
//! and fork, exit and prefetch walk them in order.

use crate::machine::{FrameNo, MapHandle};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::ops::Range;

/// How this node holds a page, PROTOCOLS' holder states. A page that only one node ever used is
/// `Only`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    /// Read copy: another node owns the page.
    Copy,
    /// Owner, read-only: others may hold read copies.
    Owner,
    /// Owner, and nobody else holds a copy.
    Only,
}

/// A mapping in the hardware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mapping {
    pub(crate) handle: MapHandle,
    pub(crate) writable: bool,
}

/// One entry. In a space's table an entry with a mapping but no page shows a page of another object
/// or the page of zeroes, read-only or, in a shared mapping, writable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) page: Option<(FrameNo, Hold)>,
    pub(crate) mapping: Option<Mapping>,
}

impl Entry {
    fn is_empty(&self) -> bool {
        self.page.is_none() && self.mapping.is_none()
    }
}

const LEAF_PAGES: u64 = 64;

struct Leaf {
    used: u64,
    entries: [Entry; LEAF_PAGES as usize],
}

impl Leaf {
    #[cold]
    fn empty() -> Box<Self> {
        Box::new(Self { used: 0, entries: [Entry::default(); LEAF_PAGES as usize] })
    }
}

/// Counts one more, or one less.
fn step(count: &mut u64, more: bool) {
    *count = if more { *count + 1 } else { *count - 1 };
}

/// The table.
#[derive(Default)]
pub(crate) struct Pages {
    leaves: BTreeMap<u64, Box<Leaf>>,
    held: u64,
    mapped: u64,
}

impl Pages {
    /// Entries with a page.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// Entries with a mapping.
    pub(crate) fn mapped(&self) -> u64 {
        self.mapped
    }

    pub(crate) fn get(&self, page: u64) -> Entry {
        match self.leaves.get(&(page / LEAF_PAGES)) {
            Some(leaf) => leaf.entries[(page % LEAF_PAGES) as usize],
            None => Entry::default(),
        }
    }

    pub(crate) fn set(&mut self, page: u64, entry: Entry) {
        self.change(page, |place| *place = entry);
    }

    /// Shows `change` an entry, which it may change.
    pub(crate) fn change<T>(&mut self, page: u64, change: impl FnOnce(&mut Entry) -> T) -> T {
        let index = page / LEAF_PAGES;
        let leaf = self.leaves.entry(index).or_insert_with(Leaf::empty);
        let entry = &mut leaf.entries[(page % LEAF_PAGES) as usize];
        let before = *entry;
        let result = change(entry);
        let after = *entry;
        if before.page.is_some() != after.page.is_some() {
            step(&mut self.held, after.page.is_some());
        }
        if before.mapping.is_some() != after.mapping.is_some() {
            step(&mut self.mapped, after.mapping.is_some());
        }
        if before.is_empty() != after.is_empty() {
            step(&mut leaf.used, !after.is_empty());
        }
        if leaf.used == 0 {
            self.leaves.remove(&index);
        }
        result
    }

    /// Shows `change` every used entry in the range, in ascending order; it may change them.
    pub(crate) fn for_each(&mut self, range: Range<u64>, mut change: impl FnMut(u64, &mut Entry)) {
        if range.is_empty() {
            return;
        }
        let (mut held, mut mapped) = (self.held, self.mapped);
        let mut emptied = false;
        for (&index, leaf) in
            self.leaves.range_mut(range.start / LEAF_PAGES..=(range.end - 1) / LEAF_PAGES)
        {
            let first = index * LEAF_PAGES;
            for (page, entry) in (first..).zip(leaf.entries.iter_mut()) {
                if entry.is_empty() || !range.contains(&page) {
                    continue;
                }
                let before = *entry;
                change(page, entry);
                held = held + u64::from(entry.page.is_some()) - u64::from(before.page.is_some());
                mapped = mapped + u64::from(entry.mapping.is_some())
                    - u64::from(before.mapping.is_some());
                leaf.used -= u64::from(entry.is_empty());
            }
            emptied |= leaf.used == 0;
        }
        (self.held, self.mapped) = (held, mapped);
        if emptied {
            self.leaves.retain(|_, leaf| leaf.used > 0);
        }
    }

    /// The pages held from one on, and how, in ascending order.
    pub(crate) fn held_from(&self, page: u64) -> impl Iterator<Item = (u64, Hold)> + '_ {
        self.leaves.range(page / LEAF_PAGES..).flat_map(move |(&index, leaf)| {
            let held = (index * LEAF_PAGES..).zip(&leaf.entries);
            held.filter_map(|(at, entry)| Some((at, entry.page?.1)))
                .filter(move |(at, _)| *at >= page)
        })
    }

    /// The pages held, in ascending order.
    pub(crate) fn held_pages(&self) -> impl Iterator<Item = u64> + '_ {
        self.leaves.iter().flat_map(|(&index, leaf)| {
            (index * LEAF_PAGES..)
                .zip(&leaf.entries)
                .filter(|(_, entry)| entry.page.is_some())
                .map(|(page, _)| page)
        })
    }
}
