// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the pages of files are, and which are not on the disk yet.

use crate::batch::{half, word};
use crate::extents::Extents;
use crate::limits::{CHUNK_PAGES, CHUNK_RUNS_MAX, MAPPED_PAGES_MAX};
use crate::space::Space;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

/// Pages in a row, in blocks in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Run {
    block: u32,
    /// A checksum for each page.
    sums: Vec<u32>,
}

impl Run {
    fn pages(&self) -> u64 {
        self.sums.len() as u64
    }
}

/// Pages of a file that are on the disk in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The first page.
    pub page: u64,
    /// The first sector in the region.
    pub sector: u64,
    /// A CRC-32C for each page.
    pub sums: Vec<u32>,
}

/// A file.
#[derive(Default, Debug)]
pub(crate) struct File {
    /// By their first page.
    runs: BTreeMap<u64, Run>,
    /// Pages that memory has and the disk has not.
    dirty: Extents,
    /// Pages of which the journal does not say yet where they are now.
    unsaid: Extents,
}

/// All files that have pages on the disk, or will have.
#[derive(Default, Debug)]
pub(crate) struct Files {
    files: BTreeMap<u64, File>,
    /// How many of them the journal does not say all of: most often few.
    unsaid: BTreeMap<u64, ()>,
    dirty: BTreeMap<u64, ()>,
}

/// Pages that no file has.
const ALL: Range<u64> = 0..u64::MAX;

impl File {
    /// Takes the pages of `range` out, and says which blocks they had.
    fn unmap(&mut self, range: Range<u64>, mut freed: impl FnMut(u32, u32)) -> bool {
        let mut any = false;
        let before = self.runs.range(..range.start).next_back().map(|(page, _)| *page);
        let from = before.unwrap_or(range.start);
        let touched: Vec<u64> = self.runs.range(from..range.end).map(|(page, _)| *page).collect();
        for page in touched {
            let Some(run) = self.runs.remove(&page) else { continue };
            let end = page + run.pages();
            let (cut, rest) = (page.max(range.start), end.min(range.end));
            if cut >= rest {
                self.runs.insert(page, run);
                continue;
            }
            any = true;
            let block_of = |at: u64| run.block + (at - page) as u32;
            freed(block_of(cut), (rest - cut) as u32);
            let part = |range: Range<u64>| Run {
                block: block_of(range.start),
                sums: run.sums[(range.start - page) as usize..(range.end - page) as usize].to_vec(),
            };
            if page < cut {
                self.runs.insert(page, part(page..cut));
            }
            if rest < end {
                self.runs.insert(rest, part(rest..end));
            }
        }
        any
    }

    /// How many runs lie in the chunk of a page.
    fn runs_in(&self, chunk: Range<u64>) -> usize {
        let inside = self.runs.range(chunk.clone()).count();
        let before = self.runs.range(..chunk.start).next_back();
        inside + usize::from(before.is_some_and(|(page, run)| page + run.pages() > chunk.start))
    }
}

impl Files {
    fn file(&mut self, inode: u64) -> &mut File {
        self.files.entry(inode).or_default()
    }

    /// Pages of a file were changed in memory.
    pub(crate) fn dirty(&mut self, inode: u64, pages: Range<u64>) {
        if !pages.is_empty() {
            self.file(inode).dirty.add(pages);
            self.dirty.insert(inode, ());
        }
    }

    /// Whether any page is not on the disk.
    pub(crate) fn any_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether the journal does not say where all pages are.
    pub(crate) fn any_unsaid(&self) -> bool {
        !self.unsaid.is_empty()
    }

    /// Pages of a file are gone, or read as zeroes.
    pub(crate) fn forget(&mut self, inode: u64, pages: Range<u64>, space: &mut Space) {
        let Some(file) = self.files.get_mut(&inode) else { return };
        file.dirty.remove(pages.clone());
        if file.unmap(pages.clone(), |block, count| space.give(block, count)) {
            file.unsaid.add(pages);
            self.unsaid.insert(inode, ());
        }
        self.tidy(inode);
    }

    /// A file is gone.
    pub(crate) fn gone(&mut self, inode: u64, space: &mut Space) {
        self.forget(inode, ALL, space);
    }

    fn tidy(&mut self, inode: u64) {
        let Some(file) = self.files.get(&inode) else { return };
        let clean = file.dirty.pages() == 0;
        if clean {
            self.dirty.remove(&inode);
        }
        if clean && file.runs.is_empty() && file.unsaid.pages() == 0 {
            self.files.remove(&inode);
        }
    }

    /// The next pages to be written from a place on: those of one chunk.
    pub(crate) fn next_dirty(&mut self, (inode, page): (u64, u64)) -> Option<(u64, Range<u64>)> {
        let mut from = page;
        let ids: Vec<u64> = self.dirty.range(inode..).map(|(id, ())| *id).take(2).collect();
        for id in ids {
            if id != inode {
                from = 0;
            }
            let file = self.files.get_mut(&id)?;
            let Some(first) = file.dirty.next_in(from) else { continue };
            let start = first / CHUNK_PAGES * CHUNK_PAGES;
            let chunk = start..start + CHUNK_PAGES;
            if file.runs_in(chunk.clone()) >= CHUNK_RUNS_MAX {
                let mapped = file.runs.range(chunk.clone());
                let mapped = mapped.map(|(page, run)| *page..(page + run.pages()).min(chunk.end));
                let mapped: Vec<_> = mapped.collect();
                for pages in mapped {
                    file.dirty.add(pages);
                }
            }
            let first = file.dirty.next_in(start.max(from)).unwrap_or(first);
            let end = file.dirty.next_out(first).min(chunk.end);
            return Some((id, first..end));
        }
        None
    }

    /// Pages were given to the disk; they may change again from now on.
    pub(crate) fn written(
        &mut self,
        inode: u64,
        first: u64,
        (block, sums): (u32, Vec<u32>),
        space: &mut Space,
    ) {
        let pages = first..first + sums.len() as u64;
        let file = self.file(inode);
        file.dirty.remove(pages.clone());
        file.unmap(pages.clone(), |block, count| space.give(block, count));
        file.runs.insert(first, Run { block, sums });
        file.unsaid.add(pages);
        self.unsaid.insert(inode, ());
        self.tidy(inode);
    }

    /// Pages cannot be read from memory: what the disk has of them stays.
    pub(crate) fn skip(&mut self, inode: u64, pages: Range<u64>) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.dirty.remove(pages);
        }
        self.tidy(inode);
    }

    /// All is to be said again.
    pub(crate) fn say_all(&mut self) {
        self.unsaid.clear();
        for (inode, file) in &mut self.files {
            file.unsaid = Extents::default();
            for (page, run) in &file.runs {
                file.unsaid.add(*page..page + run.pages());
            }
            if file.unsaid.pages() > 0 {
                self.unsaid.insert(*inode, ());
            }
        }
    }

    /// Appends a record that says where some pages are.
    pub(crate) fn say(&mut self, out: &mut Vec<u8>) {
        let Some((inode, ())) = self.unsaid.first_key_value() else { return };
        let inode = *inode;
        let Some(file) = self.files.get_mut(&inode) else {
            self.unsaid.remove(&inode);
            return;
        };
        let first = file.unsaid.next_in(0).unwrap_or(0);
        let end = file.unsaid.next_out(first);
        // A file that has nothing from there on needs one record for all of it.
        let next = file.runs.range(first..).next().map(|(page, _)| *page);
        let before = file.runs.range(..first).next_back();
        let next = if before.is_some_and(|(page, run)| page + run.pages() > first) {
            Some(first)
        } else {
            next
        };
        let end = end.min(next.map_or(u64::MAX, |next| next.max(first) + MAPPED_PAGES_MAX));
        out.extend(inode.to_le_bytes());
        out.extend(first.to_le_bytes());
        out.extend(end.to_le_bytes());
        let from = before.map_or(first, |(page, _)| *page);
        for (page, run) in file.runs.range(from..end) {
            let (start, stop) = ((*page).max(first), (page + run.pages()).min(end));
            if start >= stop {
                continue;
            }
            out.extend(start.to_le_bytes());
            out.extend((run.block + (start - page) as u32).to_le_bytes());
            out.extend(((stop - start) as u32).to_le_bytes());
            for sum in &run.sums[(start - page) as usize..(stop - page) as usize] {
                out.extend(sum.to_le_bytes());
            }
        }
        file.unsaid.remove(first..end);
        if file.unsaid.pages() == 0 {
            self.unsaid.remove(&inode);
            self.tidy(inode);
        }
    }

    /// Takes in such a record; nothing is claimed yet. `None` if it makes no sense.
    pub(crate) fn hear(&mut self, record: &[u8]) -> Option<()> {
        if record.len() < 24 {
            return None;
        }
        let (inode, first, end) = (word(record, 0), word(record, 8), word(record, 16));
        let mut rest = &record[24..];
        if first > end {
            return None;
        }
        let file = self.files.entry(inode).or_default();
        file.unmap(first..end, |_, _| ());
        while !rest.is_empty() {
            let (head, more) = rest.split_at_checked(16)?;
            let (page, block, count) = (word(head, 0), half(head, 8), half(head, 12));
            let (sums, more) = more.split_at_checked((count as usize).checked_mul(4)?)?;
            rest = more;
            let inside = page >= first && page.checked_add(u64::from(count))? <= end && count > 0;
            let apart = block.checked_add(count).is_some();
            if !inside || !apart {
                return None;
            }
            file.unmap(page..page + u64::from(count), |_, _| ());
            let sums = sums.chunks_exact(4).map(|sum| half(sum, 0)).collect();
            file.runs.insert(page, Run { block, sums });
        }
        self.tidy(inode);
        Some(())
    }

    /// Claims the blocks of all that was heard; runs whose blocks are not there, or somebody else's, are
    /// dropped. How many.
    pub(crate) fn claim(&mut self, space: &mut Space) -> u32 {
        let mut dropped = 0;
        for file in self.files.values_mut() {
            file.runs.retain(|_, run| {
                let claimed = space.claim(run.block, run.sums.len() as u32);
                dropped += u32::from(!claimed);
                claimed
            });
        }
        self.files.retain(|_, file| !file.runs.is_empty() || file.dirty.pages() > 0);
        dropped
    }

    /// Whether the disk has any page of a file.
    pub(crate) fn has(&self, inode: u64) -> bool {
        self.files.get(&inode).is_some_and(|file| !file.runs.is_empty())
    }

    /// The files that the disk has pages of.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.files.iter().filter(|(_, file)| !file.runs.is_empty()).map(|(id, _)| *id)
    }

    /// The first pages from `page` on that lie in a row, those of one request at most.
    pub(crate) fn place(&self, inode: u64, page: u64) -> Option<(u64, u32, Vec<u32>)> {
        let file = self.files.get(&inode)?;
        let around = file.runs.range(..=page).next_back();
        let around = around.filter(|(first, run)| *first + run.pages() > page);
        let (first, run) = around.or_else(|| file.runs.range(page..).next())?;
        let page = page.max(*first);
        let skipped = (page - first) as usize;
        let count = (run.sums.len() - skipped).min(CHUNK_PAGES as usize);
        Some((page, run.block + skipped as u32, run.sums[skipped..skipped + count].to_vec()))
    }
}
