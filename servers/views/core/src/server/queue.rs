// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes and flushes of the journal's region, in order.
//!
//! # Model
//! What is written is given to the disk server at once, as long as it has room; a flush is asked for when
//! all that came before it was given, and answered later. Several may be under way. Only the newest of
//! flushes that stand behind each other is asked for: it says what the others would.
//!
//! # Failure
//! Whatever the disk server refuses but for lack of room is an error, and so is a disk that is so slow that
//! more than [`QUEUED_BYTES_MAX`] wait for it. After an error it is not known what is on the disk.

use crate::journal::Write;
use crate::limits::{AREA_BYTES, QUEUED_BYTES_MAX, SECTOR_BYTES};
use abi::Errno;
use abi::limits::WINDOW_BYTES;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use disk_api::{Flush, Region};
use runtime::{Bulk, Cx};

/// Flushes under way at once: the disk serves all that wait by one.
const FLUSHES_MAX: usize = 4;
/// Set in the cookies of what is asked of the disk server.
const COOKIE: u64 = 1 << 63;

/// Numbers of what is asked of the disk server, never one twice: what was asked before all was wiped is
/// answered afterwards.
#[derive(Default)]
pub(super) struct Cookies(u64);

impl Cookies {
    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1;
        COOKIE | self.0
    }

    /// Whether it is one of these.
    pub(super) fn is_one(cookie: u64) -> bool {
        cookie & COOKIE != 0
    }
}

/// What a flush makes safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mark {
    /// What the core recorded up to a number.
    Synced(u64),
    /// Both copies of what was found.
    Repaired,
    /// The areas have no beginning any more.
    Beheaded,
    /// They are empty.
    Wiped,
}

enum Step {
    Write {
        sector: u64,
        bytes: Vec<u8>,
        /// Bytes that were given to the disk server.
        given: usize,
    },
    Flush(Mark),
}

/// See the module.
#[derive(Default)]
pub(super) struct Queue {
    steps: VecDeque<Step>,
    /// Bytes of the writes that wait.
    bytes: usize,
    flushes: Vec<(u64, Mark)>,
    /// The disk server had no room, and will say when it has.
    waits_for_room: bool,
}

impl Queue {
    /// Writes behind all that was written before.
    pub(super) fn write(&mut self, write: Write) {
        let Write { area, offset, bytes } = write;
        self.bytes += bytes.len();
        let sector = ((area * AREA_BYTES + offset) / SECTOR_BYTES) as u64;
        self.steps.push_back(Step::Write { sector, bytes, given: 0 });
    }

    /// Flushes all that was written before.
    pub(super) fn flush(&mut self, mark: Mark) {
        if let (Some(Step::Flush(last @ Mark::Synced(_))), Mark::Synced(_)) =
            (self.steps.back_mut(), mark)
        {
            *last = mark;
        } else {
            self.steps.push_back(Step::Flush(mark));
        }
    }

    /// The disk server has room again.
    pub(super) fn has_room(&mut self) {
        self.waits_for_room = false;
    }

    /// Gives the disk server what it takes.
    ///
    /// # Errors
    /// It failed.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>, cookies: &mut Cookies) -> Result<(), Errno> {
        while !self.waits_for_room
            && let Some(step) = self.steps.front_mut()
        {
            match step {
                Step::Write { sector, bytes, given } => {
                    let end = (*given + WINDOW_BYTES).min(bytes.len());
                    let sector = *sector + (*given / SECTOR_BYTES) as u64;
                    let write = disk_api::Write { region: Region::Journal, sector };
                    match cx.leaf_bulk(&write, &mut Bulk::new(&mut bytes[*given..end])) {
                        Ok(()) => *given = end,
                        Err(Errno::EAGAIN) => self.waits_for_room = true,
                        Err(errno) => return Err(errno),
                    }
                    if *given == bytes.len() {
                        self.bytes -= bytes.len();
                        self.steps.pop_front();
                    }
                }
                Step::Flush(_) if self.flushes.len() >= FLUSHES_MAX => break,
                Step::Flush(mark) => {
                    let cookie = cookies.next();
                    self.flushes.push((cookie, *mark));
                    cx.ask(&Flush { region: Region::Journal }, cookie);
                    self.steps.pop_front();
                }
            }
        }
        // Writes that are many are as good as lost when they are so late.
        if self.bytes > QUEUED_BYTES_MAX { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// A flush was answered: what is safe now. `None` for what was not asked here, or is asked again.
    ///
    /// # Errors
    /// It failed: what was written since the last one may be there, or not.
    pub(super) fn answered(
        &mut self,
        cookie: u64,
        result: Result<(), Errno>,
    ) -> Result<Option<Mark>, Errno> {
        let Some(at) = self.flushes.iter().position(|(asked, _)| *asked == cookie) else {
            return Ok(None);
        };
        let (_, mark) = self.flushes.swap_remove(at);
        match result {
            Ok(()) => Ok(Some(mark)),
            Err(Errno::EAGAIN) => {
                self.waits_for_room = true;
                self.steps.push_front(Step::Flush(mark));
                Ok(None)
            }
            Err(errno) => Err(errno),
        }
    }
}
