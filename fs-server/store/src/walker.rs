// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads an area's batches, one after the other.
//!
//! # Model
//! What follows is the batch with the next number, the same nonce and epoch. Where that is not, it is looked on for
//! one that says that more was flushed: then what is missing is damaged, and it goes on behind that. Otherwise
//! the journal ends there.

use crate::batch::{self, Begins, Header};
use crate::limits::{LOOK_SECTORS, REQUEST_SECTORS, SECTOR_BYTES};
use alloc::vec::Vec;

/// What a walk wants, or has.
#[derive(Debug)]
pub(crate) enum Step {
    /// Sectors of the area.
    Read { sector: u64, sectors: u64 },
    /// A batch that counts; its records are [`Walk::records`].
    Batch(Header),
    /// There is no more.
    End,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Sectors of the area.
    sectors: u64,
    /// Sector of the area that is looked at next: where the buffer goes on at `done`.
    at: u64,
    buf: Vec<u8>,
    done: usize,
    /// Where the records of the last batch are in it.
    payload: (usize, usize),
    expected: u32,
    id: Option<Id>,
    gap: Option<Gap>,
    /// Places where something is missing.
    pub(crate) damaged: u32,
    /// The highest epoch of all batches that were seen.
    pub(crate) epoch_seen: u64,
}

/// Epoch and nonce.
type Id = (u64, u64);

/// The next batch is not where it ought to be.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// The sector behind the last one that was.
    begins: u64,
    /// The first one behind it that may go on: its sector, number and whose it is.
    first: Option<(u64, u32, Id)>,
}

impl Walk {
    /// Of an area with so many sectors.
    pub(crate) fn new(sectors: u64) -> Self {
        Self {
            sectors,
            at: 0,
            buf: Vec::new(),
            done: 0,
            payload: (0, 0),
            expected: 0,
            id: None,
            gap: None,
            damaged: 0,
            epoch_seen: 0,
        }
    }

    /// What was read comes, as it was asked for.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        self.buf.drain(..self.done);
        self.payload = (0, 0);
        self.done = 0;
        self.buf.extend_from_slice(bytes);
    }

    /// The records of the batch that was just found.
    pub(crate) fn records(&self) -> &[u8] {
        &self.buf[self.payload.0..self.payload.1]
    }

    fn pass(&mut self, sectors: u64) {
        self.at += sectors;
        self.done += sectors as usize * SECTOR_BYTES;
    }

    /// Goes on.
    pub(crate) fn step(&mut self) -> Step {
        loop {
            let looked = self.gap.is_some_and(|gap| self.at >= gap.begins + LOOK_SECTORS);
            if self.at >= self.sectors || looked {
                return Step::End;
            }
            let rest = &self.buf[self.done..];
            let have = (rest.len() / SECTOR_BYTES) as u64;
            let begins = if have == 0 { Begins::Cut(SECTOR_BYTES) } else { batch::decode(rest) };
            match begins {
                Begins::Cut(len) if self.at + (len / SECTOR_BYTES) as u64 <= self.sectors => {
                    let sector = self.at + have;
                    let sectors = REQUEST_SECTORS.min(self.sectors - sector);
                    return Step::Read { sector, sectors };
                }
                Begins::Batch(header, len) => {
                    self.epoch_seen = self.epoch_seen.max(header.epoch);
                    if self.meet(header, len) {
                        return Step::Batch(header);
                    }
                }
                Begins::Cut(_) | Begins::Nothing => {
                    self.gap.get_or_insert(Gap { begins: self.at, first: None });
                    self.pass(1);
                }
            }
        }
    }

    /// A sound batch stands here; whether it counts.
    fn meet(&mut self, header: Header, len: usize) -> bool {
        let id = (header.epoch, header.nonce);
        let known = self.gap.and_then(|gap| gap.first).map(|(.., id)| id).or(self.id);
        let follows = known.is_none_or(|known| known == id) && header.number >= self.expected;
        let Some(gap) = &mut self.gap else {
            if follows && header.number == self.expected {
                self.id = Some(id);
                self.expected = header.number.saturating_add(1);
                let start = self.done + batch::HEADER_BYTES;
                self.payload = (start, start + len);
                self.pass(batch::sectors(len));
                return true;
            }
            self.gap = Some(Gap { begins: self.at, first: None });
            return false;
        };
        if !follows {
            self.pass(1);
            return false;
        }
        let first = *gap.first.get_or_insert((self.at, header.number, id));
        if header.flushed <= self.expected {
            self.pass(batch::sectors(len));
            return false;
        }
        // What was to come here was safe: it goes on behind what is damaged.
        let (sector, number, id) = first;
        (self.damaged, self.gap, self.id) = (self.damaged + 1, None, Some(id));
        (self.at, self.expected) = (sector, number);
        self.buf.clear();
        (self.done, self.payload) = (0, (0, 0));
        false
    }
}
