// SPDX-License-Identifier: MIT OR Apache-2.0
//! The store, as its client sees it.

use crate::checksum::crc32c;
use crate::commit::{Desk, Pass};
use crate::files::{Files, Place};
use crate::layout::Layout;
use crate::limits::{BLOCK_SECTORS, BLOCKS_RESERVED};
use crate::log::Log;
use crate::recover::Recovery;
use crate::space::Space;
use abi::Errno;
use abi::limits::{PAGE_BYTES, WINDOW_BYTES};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

/// What the store acts through, and whom it asks.
pub trait Outside {
    /// Gives the disk what it is to write. Sectors are the region's.
    ///
    /// # Errors
    /// EAGAIN: not now; [`Store::go_on`] follows when there is room. All else: the disk failed.
    fn write(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), Errno>;

    /// All that was written before is to be safe; [`Store::flushed`] says when it is.
    fn flush(&mut self);

    /// Asks for sectors; [`Store::was_read`] brings them.
    fn read(&mut self, sector: u64, sectors: u64);

    /// Bytes of a file, whole pages; what is beyond its end is zeroes.
    ///
    /// # Errors
    /// EAGAIN: not now; [`Store::go_on`] follows. All else: they cannot be read, and stay on the disk as they were.
    fn page_bytes(&mut self, inode: u64, page: u64, bytes: &mut [u8]) -> Result<(), Errno>;

    /// Appends one record that the journal has not: at most [`RECORD_BYTES_MAX`](crate::limits::RECORD_BYTES_MAX).
    /// Nothing if there is none.
    fn record(&mut self, out: &mut Vec<u8>);

    /// The journal begins anew: all records are wanted again.
    fn all_again(&mut self);

    /// A pass begins: pages that are dirty now are written before any record that is wanted next.
    fn begins(&mut self) {}

    /// A record that was found, in the order in which they were written.
    ///
    /// # Errors
    /// It makes no sense, or there is no room for it: it is left out, and counted as damage.
    fn found(&mut self, record: &[u8]) -> Result<(), Errno>;
}

/// What was on the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// All that was safe.
    Whole,
    /// Some of what was safe is damaged, in so many places: it is left out.
    Damaged(u32),
}

enum State {
    Recovering(Box<Recovery>),
    Open { log: Log, pass: Pass },
    Failed,
}

/// The store of one node.
pub struct Store {
    layout: Layout,
    nonce: u64,
    files: Files,
    space: Space,
    state: State,
    /// Passes that have begun, and those that have ended.
    begun: u64,
    ended: u64,
    /// Another one is wanted.
    wanted: bool,
    /// The last one for which blocks were missing, and whether they are for the one under way.
    ended_short: u64,
    short: bool,
    anew: bool,
    buf: Vec<u8>,
    filled: Option<bool>,
}

impl Store {
    /// Over a region of so many sectors; `nonce` is drawn. `None` if it is too small. [`Self::go_on`] begins to read.
    pub fn new(sectors: u64, nonce: u64) -> Option<Self> {
        Some(Self::over(Layout::of(sectors)?, nonce))
    }

    pub(crate) fn over(layout: Layout, nonce: u64) -> Self {
        Self {
            layout,
            nonce,
            files: Files::default(),
            space: Space::new(layout.blocks),
            state: State::Recovering(Box::new(Recovery::new(&layout))),
            begun: 0,
            ended: 0,
            wanted: false,
            ended_short: 0,
            short: false,
            anew: false,
            // For as long as the store lives: later the heap may have no room for it in one piece.
            buf: Vec::with_capacity(WINDOW_BYTES),
            filled: None,
        }
    }

    /// The journal is to begin anew with the next batch, and all be said again.
    pub fn begin_anew(&mut self) {
        self.anew = true;
    }

    /// Whether pages wait to be written.
    pub fn any_dirty(&self) -> bool {
        self.files.any_dirty()
    }

    /// Whether what the disk has is still being read.
    pub fn is_opening(&self) -> bool {
        matches!(self.state, State::Recovering(_))
    }

    /// Whether the disk failed: nothing is safe any more.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// Pages that files may have on the disk.
    pub fn pages(&self) -> u64 {
        u64::from(self.layout.blocks) - BLOCKS_RESERVED
    }

    /// Pages of a file were changed in memory. That cannot be refused: who lets files have so many pages counts.
    pub fn dirty(&mut self, inode: u64, pages: Range<u64>) {
        self.files.dirty(inode, pages);
    }

    /// Pages of a file are gone, or read as zeroes.
    pub fn forget(&mut self, inode: u64, pages: Range<u64>) {
        self.files.forget(inode, pages, &mut self.space);
    }

    /// A file is gone.
    pub fn gone(&mut self, inode: u64) {
        self.files.gone(inode, &mut self.space);
    }

    /// Whether the disk has any page of a file.
    pub fn has(&self, inode: u64) -> bool {
        self.files.has(inode)
    }

    /// The files of which the disk has pages.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.files.ids()
    }

    /// The first pages of a file from `page` on that the disk has in a row, as many as one request reads.
    pub fn place(&self, inode: u64, page: u64) -> Option<Place> {
        let (page, block, sums) = self.files.place(inode, page)?;
        Some(Place { page, sector: self.layout.block_sector(block), sums })
    }

    /// Everything that is in memory now is to be safe: [`Self::outcome`] says of the number whether it is.
    pub fn sync(&mut self, outside: &mut impl Outside) -> u64 {
        self.wanted = true;
        let number = self.begun + 1;
        self.go_on(outside);
        number
    }

    /// Whether what was in memory when [`Self::sync`] gave this number is safe; `None` if it is not known yet.
    ///
    /// # Errors
    /// EIO: the disk failed. ENOSPC: there were not enough blocks.
    pub fn outcome(&self, number: u64) -> Option<Result<(), Errno>> {
        if self.has_failed() {
            return Some(Err(Errno::EIO));
        }
        let result = if self.ended_short >= number { Err(Errno::ENOSPC) } else { Ok(()) };
        (self.ended >= number).then_some(result)
    }

    /// Goes on, as far as the disk takes what it is given. What was found, at the end of reading.
    pub fn go_on(&mut self, outside: &mut impl Outside) -> Option<Found> {
        match &mut self.state {
            State::Recovering(recovery) => {
                let found = recovery.go_on(&mut self.files, &mut self.space, outside)?;
                let (area, epoch) = recovery.last();
                let log = Log::new(area, epoch, self.nonce, &self.layout);
                self.state = State::Open { log, pass: Pass::Idle };
                Some(found)
            }
            State::Open { .. } => {
                self.advance(outside);
                None
            }
            State::Failed => None,
        }
    }

    /// What was read, or that it cannot be. As [`Self::go_on`].
    pub fn was_read(
        &mut self,
        bytes: Result<&[u8], Errno>,
        outside: &mut impl Outside,
    ) -> Option<Found> {
        let State::Recovering(recovery) = &mut self.state else { return None };
        if matches!(bytes, Err(errno) if errno != Errno::EAGAIN && errno != Errno::EIO) {
            self.state = State::Failed;
            return None;
        }
        recovery.was_read(bytes);
        self.go_on(outside)
    }

    /// The flush has ended.
    pub fn flushed(&mut self, result: Result<(), Errno>, outside: &mut impl Outside) {
        let State::Open { log, pass } = &mut self.state else { return };
        match (result, &*pass) {
            (Err(_), _) => self.state = State::Failed,
            (Ok(()), Pass::Flushing(cut)) => *pass = Pass::Saying(*cut),
            (Ok(()), Pass::Ending(cut)) => {
                log.is_safe();
                self.space.settle();
                match *cut {
                    Some(from) => *pass = Pass::Writing { from, wrote: false },
                    None => *pass = Pass::Over,
                }
            }
            (Ok(()), Pass::Idle | Pass::Over | Pass::Writing { .. } | Pass::Saying(_)) => {}
        }
        self.advance(outside);
    }

    fn advance(&mut self, outside: &mut impl Outside) {
        while self.step(outside) {}
    }

    /// Whether a pass has ended: then another one may begin.
    fn step(&mut self, outside: &mut impl Outside) -> bool {
        let State::Open { log, pass } = &mut self.state else { return false };
        if matches!(pass, Pass::Idle) && core::mem::take(&mut self.wanted) {
            self.begun += 1;
            outside.begins();
            *pass = Pass::Writing { from: (0, 0), wrote: false };
        }
        let mut desk = Desk {
            layout: &self.layout,
            log,
            files: &mut self.files,
            space: &mut self.space,
            buf: &mut self.buf,
            filled: &mut self.filled,
            short: &mut self.short,
            anew: &mut self.anew,
        };
        let failed = *pass != Pass::Over && pass.advance(&mut desk, outside).is_err();
        let over = *pass == Pass::Over;
        if over {
            *pass = Pass::Idle;
            self.ended = self.begun;
            if core::mem::take(&mut self.short) {
                self.ended_short = self.ended;
            }
        }
        if failed {
            self.state = State::Failed;
        }
        over && self.wanted
    }

    /// Checks pages that were read from a [`Place`]: how many of them, from the first on, are what was written.
    pub fn check(place: &Place, bytes: &[u8]) -> usize {
        let pages = bytes.chunks_exact(PAGE_BYTES).zip(&place.sums);
        pages.take_while(|(page, sum)| crc32c(&[page]) == **sum).count()
    }

    /// Sectors that so many pages take.
    pub fn sectors(pages: usize) -> u64 {
        pages as u64 * BLOCK_SECTORS
    }

    /// Pages that can be written before something must become free, for tests and figures.
    pub fn free_pages(&self) -> u64 {
        u64::from(self.space.free())
    }
}
