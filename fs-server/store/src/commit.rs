// SPDX-License-Identifier: MIT OR Apache-2.0
//! A pass: all that memory has and the disk has not is written, and then counts at once.
//!
//! # Model
//! ```text
//! Idle -> Writing: pages --> Flushing -> Saying: batches, up to a commit --> Ending -> Idle
//!            ^                                                                 |
//!            '---------- blocks ran out, and those that became free go on -----'
//! ```
//! Records are taken as they are when a batch is filled, and the last one is filled until there is none left: so
//! what counts is the state of one instant.

use crate::batch::{self, Kind, PAYLOAD_BYTES, RECORD_HEADER_BYTES};
use crate::checksum::crc32c;
use crate::files::Files;
use crate::layout::Layout;
use crate::limits::{RECORD_BYTES_MAX, SECTOR_BYTES};
use crate::log::Log;
use crate::space::Space;
use crate::store::Outside;
use abi::Errno;
use abi::limits::PAGE_BYTES;
use alloc::vec::Vec;

/// A file and a page: the pass is past all that is before.
pub(crate) type From = (u64, u64);

/// See the module. A place in `Flushing` and the later ones says where the pass goes on, as blocks ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pass {
    /// None is under way.
    Idle,
    /// Pages are written: the next, and whether any was since blocks ran out.
    Writing { from: From, wrote: bool },
    /// They are to be safe.
    Flushing(Option<From>),
    /// The journal is written.
    Saying(Option<From>),
    /// It is to be safe.
    Ending(Option<From>),
    /// There was nothing to be written.
    Over,
}

/// What a pass works on.
pub(crate) struct Desk<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) log: &'a mut Log,
    pub(crate) files: &'a mut Files,
    pub(crate) space: &'a mut Space,
    /// For what one request writes.
    pub(crate) buf: &'a mut Vec<u8>,
    /// The buffer has a batch that is to be written; whether it commits.
    pub(crate) filled: &'a mut Option<bool>,
    /// There was no block for some page.
    pub(crate) short: &'a mut bool,
    /// The client wants all to be said again.
    pub(crate) anew: &'a mut bool,
}

/// The disk failed, or what there is does not fit an area.
#[derive(Debug)]
pub(crate) struct Failed;

/// How far the writing of pages is.
enum Pages {
    Wait,
    /// All were written, or those for which there were blocks: where it goes on.
    Done(Option<From>),
}

/// How far the journal is.
enum Said {
    Wait,
    /// It has a new commit.
    All,
    /// There was nothing to be said.
    Nothing,
}

impl Pass {
    /// Goes on as far as it can now.
    pub(crate) fn advance(
        &mut self,
        desk: &mut Desk<'_>,
        outside: &mut impl Outside,
    ) -> Result<(), Failed> {
        if let Self::Writing { from, wrote } = self {
            let Pages::Done(cut) = desk.write_pages(from, wrote, outside)? else { return Ok(()) };
            if *wrote {
                *self = Self::Flushing(cut);
                outside.flush();
                return Ok(());
            }
            // Nothing on the disk is new that the journal is to name.
            *self = Self::Saying(cut);
        }
        let Self::Saying(cut) = *self else { return Ok(()) };
        match desk.say(outside)? {
            Said::Wait => {}
            Said::All => {
                *self = Self::Ending(cut);
                outside.flush();
            }
            Said::Nothing => *self = Self::Over,
        }
        Ok(())
    }
}

impl Desk<'_> {
    fn write_pages(
        &mut self,
        from: &mut From,
        wrote: &mut bool,
        outside: &mut impl Outside,
    ) -> Result<Pages, Failed> {
        while let Some((inode, pages)) = self.files.next_dirty(*from) {
            *from = (inode, pages.start);
            let want = (pages.end - pages.start) as u32;
            let Some((block, mut count)) = self.space.take(want) else {
                if *wrote || self.space.any_given() {
                    return Ok(Pages::Done(Some(*from)));
                }
                // Nothing becomes free by waiting: what the client let files have is more than there is.
                *self.short = true;
                *from = (inode, pages.end);
                continue;
            };
            self.buf.clear();
            self.buf.resize(count as usize * PAGE_BYTES, 0);
            let mut read = outside.page_bytes(inode, pages.start, self.buf);
            if count > 1 && !matches!(read, Ok(()) | Err(Errno::EAGAIN)) {
                self.space.give_unnamed(block + 1, count - 1);
                count = 1;
                self.buf.truncate(PAGE_BYTES);
                read = outside.page_bytes(inode, pages.start, self.buf);
            }
            let sums = self.buf.chunks_exact(PAGE_BYTES).map(|page| crc32c(&[page])).collect();
            let sector = self.layout.block_sector(block);
            match read.map(|()| outside.write(sector, self.buf)) {
                Ok(Ok(())) => {
                    self.files.written(inode, pages.start, (block, sums), self.space);
                    *wrote = true;
                    *from = (inode, pages.start + u64::from(count));
                }
                Err(Errno::EAGAIN) | Ok(Err(Errno::EAGAIN)) => {
                    self.space.give_unnamed(block, count);
                    return Ok(Pages::Wait);
                }
                Err(_) => {
                    self.space.give_unnamed(block, count);
                    self.files.skip(inode, pages.start..pages.start + 1);
                }
                Ok(Err(_)) => return Err(Failed),
            }
        }
        Ok(Pages::Done(None))
    }

    /// Writes the journal, up to a commit.
    fn say(&mut self, outside: &mut impl Outside) -> Result<Said, Failed> {
        loop {
            let closes = match *self.filled {
                Some(closes) => closes,
                None => self.fill(outside)?,
            };
            if closes && batch::is_empty(self.buf) && self.log.is_all_safe() {
                *self.filled = None;
                return Ok(Said::Nothing);
            }
            *self.filled = Some(closes);
            match outside.write(self.log.sector(self.layout), self.buf) {
                Ok(()) => {}
                Err(Errno::EAGAIN) => return Ok(Said::Wait),
                Err(_) => return Err(Failed),
            }
            *self.filled = None;
            self.log.wrote((self.buf.len() / SECTOR_BYTES) as u64);
            if closes {
                return Ok(Said::All);
            }
        }
    }

    /// Fills a batch; whether it commits, as nothing is left.
    fn fill(&mut self, outside: &mut impl Outside) -> Result<bool, Failed> {
        let anew = core::mem::take(self.anew);
        if anew || !self.log.has_room(self.layout) {
            if self.log.counts {
                self.log.turn();
            } else if anew {
                self.log.again();
            } else {
                return Err(Failed);
            }
            self.files.say_all();
            outside.all_again();
        }
        let most = batch::HEADER_BYTES + PAYLOAD_BYTES - RECORD_BYTES_MAX - RECORD_HEADER_BYTES;
        batch::begin(self.buf);
        let mut closes = false;
        while self.buf.len() <= most && !closes {
            let (buf, files) = (&mut *self.buf, &mut *self.files);
            let said = batch::put_record(buf, Kind::Client, |out| outside.record(out))
                || batch::put_record(buf, Kind::Map, |out| files.say(out));
            closes = !said && !files.any_unsaid();
        }
        if closes {
            self.space.seal();
        }
        batch::finish(self.buf, self.log.header(closes));
        Ok(closes)
    }
}
