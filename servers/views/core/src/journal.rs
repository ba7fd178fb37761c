// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must survive a restart, as bytes on a disk: a journal with two copies.
//!
//! # Model
//! The disk has four areas of [`AREA_BYTES`]: two, filled in turn, and a copy of each, so that one
//! spoilt place, or one write that the disk forgot, loses nothing. An area begins with a checkpoint
//! (all there is to know) and goes on with batches of changes. A full area's successor begins with
//! a checkpoint of the next generation; once it is there, the last sector of the old one says so.
//!
//! The journal decides what is written where; who runs it writes, in this order, flushes, and says
//! [`Journal::synced`].
//!
//! ```text
//!   area 0 | checkpoint g | batch | batch | ...            | closed |   area 1: the same
//!   area 2 | checkpoint g+1 | batch | ...                  |        |   area 3: the same
//! ```
//!
//! # Failure
//! A record is read only if its checksum holds; each begins a sector, so a torn write spoils no
//! earlier one. The first place that is good in neither copy ends the journal: what was being written
//! when the node stopped is there as a whole or not at all. Each record says up to where the
//! journal was flushed when it was written: if something is missing before that, or the area that a
//! closed one names is gone, then the disk lost what it had acknowledged, and that is
//! [`Damage`]: the node must not vote with such a memory. Not found is the loss of both copies of the
//! very last flushed records with nothing behind them.

use crate::checksum::crc32c;
use crate::limits::{AREA_BYTES, AREAS, SECTOR_BYTES};
use crate::wire::{Entry, Position, Snapshot, VoterId};
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// "KRRVIEW" and the version of the format.
const MAGIC: u64 = u64::from_le_bytes(*b"KRRVIEW\x02");
const HEADER_BYTES: usize = 48;
/// Sequence of the first record of all.
const FIRST: u64 = 1;
/// The last sector is kept for the closing mark.
const BODY_BYTES: usize = AREA_BYTES - SECTOR_BYTES;

/// One thing to remember.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Record {
    /// Which disk this is.
    Disk {
        /// Its number.
        number: u32,
        /// The cluster that gave it the number; 0 if that has no name.
        cluster: u64,
    },
    /// The term, and whom the node voted for in it.
    Vote {
        /// The term.
        term: u64,
        /// The vote.
        voted_for: Option<VoterId>,
    },
    /// The log behind `prev` is this.
    Append {
        /// Where it begins.
        prev: Position,
        /// Its entries.
        entries: Vec<Entry>,
    },
    /// The log up to a place is this, and what is behind it stays if it fits.
    Install(Snapshot),
}

/// Bytes to be written, whole sectors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Which area, below [`AREAS`].
    pub area: usize,
    /// Where in it, a multiple of [`SECTOR_BYTES`].
    pub offset: usize,
    /// What, a multiple of [`SECTOR_BYTES`] long.
    pub bytes: Vec<u8>,
}

/// The disk lost what it had acknowledged: its memory must not be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damage;

/// What a disk remembers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// All that was recorded, in order, from a checkpoint on.
    pub records: Vec<Record>,
    /// To go on with.
    pub journal: Journal,
    /// To be written and flushed before the node starts: the same records, so that both copies have
    /// them. What was found may have been in one of them alone.
    pub repair: Vec<Write>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
enum Kind {
    Checkpoint = 1,
    Batch = 2,
    Closed = 3,
}

#[derive(Clone, Copy, Debug)]
struct Header {
    kind: Kind,
    generation: u64,
    sequence: u64,
    /// All records before this one had been flushed when it was written.
    durable: u64,
}

/// Where the journal stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Journal {
    generation: u64,
    /// Of the next record.
    sequence: u64,
    durable: u64,
    /// Where the next record goes, in both copies of the generation's area.
    offset: usize,
    /// Of the generation's checkpoint.
    checkpoint: u64,
    /// The area before, to be closed when its successor's checkpoint is safe.
    full: Option<Full>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Full {
    area: usize,
    mark: Vec<u8>,
    checkpoint: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

impl Journal {
    /// The journal of a disk without any: what there is on it is written over.
    pub fn new() -> Self {
        // A full area: the first record begins another.
        Self {
            generation: 0,
            sequence: FIRST,
            durable: FIRST,
            offset: AREA_BYTES,
            checkpoint: 0,
            full: None,
        }
    }

    /// Records a batch of changes; or, when the area is full, `checkpoint`, which holds all there is
    /// to know after these changes. The records are safe once [`Journal::written`] was synced.
    pub fn append(
        &mut self,
        records: &[Record],
        checkpoint: impl FnOnce() -> Vec<Record>,
    ) -> Vec<Write> {
        let mut writes = self.close();
        let bytes = self.record(Kind::Batch, records);
        if self.offset + bytes.len() <= BODY_BYTES {
            self.write(bytes, &mut writes);
            return writes;
        }
        if self.checkpoint < self.durable {
            let mark = self.record(Kind::Closed, &[]);
            // A new disk has nothing to close.
            self.full = (self.generation > 0).then_some(Full {
                area: self.area(),
                mark,
                checkpoint: self.sequence,
            });
            self.generation += 1;
        } else {
            // The disk is slower than the area fills. Nothing in it counts yet, and what counts is in
            // the other one: it begins again.
            self.generation += 2;
            if let Some(full) = &mut self.full {
                full.checkpoint = self.sequence;
            }
        }
        self.checkpoint = self.sequence;
        self.offset = 0;
        let bytes = self.record(Kind::Checkpoint, &checkpoint());
        assert!(bytes.len() <= BODY_BYTES, "the log's bytes are bounded");
        self.write(bytes, &mut writes);
        writes
    }

    fn close(&mut self) -> Vec<Write> {
        let safe = |full: &mut Full| full.checkpoint < self.durable;
        let Some(Full { area, mark, .. }) = self.full.take_if(safe) else { return Vec::new() };
        [area, area + 1].map(|area| Write { area, offset: BODY_BYTES, bytes: mark.clone() }).into()
    }

    /// The number up to which all has been written.
    pub fn written(&self) -> u64 {
        self.sequence
    }

    /// What had been written when [`Journal::written`] was `number` has been flushed.
    pub fn synced(&mut self, number: u64) {
        // A number that was never written is a fault of who runs this, and believed no further.
        self.durable = self.durable.max(number.min(self.sequence));
    }

    /// Whether all that was written is safe.
    pub fn is_synced(&self) -> bool {
        self.durable == self.sequence
    }

    /// The number up to which all is safe.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    fn area(&self) -> usize {
        (self.generation % 2) as usize * 2
    }

    fn write(&mut self, bytes: Vec<u8>, writes: &mut Vec<Write>) {
        let (area, offset) = (self.area(), self.offset);
        self.offset += bytes.len();
        self.sequence += 1;
        writes.push(Write { area: area + 1, offset, bytes: bytes.clone() });
        writes.push(Write { area, offset, bytes });
    }

    fn record(&self, kind: Kind, records: &[Record]) -> Vec<u8> {
        let header = vec![0; HEADER_BYTES];
        let mut bytes = postcard::to_extend(records, header).expect("a vector grows as it must");
        let len = (bytes.len() - HEADER_BYTES) as u32;
        for (at, word) in [MAGIC, self.generation, self.sequence, self.durable].iter().enumerate() {
            bytes[at * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        bytes[32..36].copy_from_slice(&len.to_le_bytes());
        bytes[36..40].copy_from_slice(&(kind as u32).to_le_bytes());
        let crc = crc32c(&[&bytes[..40], &bytes[HEADER_BYTES..]]);
        bytes[40..44].copy_from_slice(&crc.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(SECTOR_BYTES), 0);
        bytes
    }

    /// What the areas of a disk hold; `None` if nothing was ever recorded there. An area that could
    /// not be read is empty.
    ///
    /// # Errors
    /// Acknowledged records are gone.
    pub fn recover(areas: [&[u8]; AREAS]) -> Result<Option<Recovered>, Damage> {
        let pairs = [[areas[0], areas[1]], [areas[2], areas[3]]];
        // Only the newest checkpoint counts, and what follows it: reading the other one takes memory.
        let begins = |pair: &[&[u8]; 2]| Found::first(*pair).map(|(header, ..)| header.generation);
        let newest = pairs.into_iter().max_by_key(begins);
        let newest = newest.map(Found::read).transpose()?.flatten();
        let Some(found) = newest else {
            // Records without a checkpoint: the beginning is gone, or was never flushed.
            let flushed = |header: &Header| header.durable > FIRST;
            let any = pairs.iter().flatten().any(|area| records(area).any(|h| flushed(&h)));
            return if any { Err(Damage) } else { Ok(None) };
        };
        // What any record says was flushed must have been found, and an area that was closed has a
        // successor.
        let later = |header: &Header| match header.kind {
            Kind::Closed => header.generation >= found.generation,
            Kind::Checkpoint | Kind::Batch => header.durable > found.sequence,
        };
        if pairs.iter().flatten().any(|area| records(area).any(|header| later(&header))) {
            return Err(Damage);
        }
        // Above all generations that ever were begun, so that nothing left of them can be taken for
        // what comes; and such that the next one goes to the other areas.
        let seen = pairs.iter().flatten().flat_map(|area| records(area));
        let seen = seen.map(|header| header.generation).max().unwrap_or(0);
        let generation = seen + (seen + found.generation) % 2;
        let Found { checkpoint, sequence, records, bytes, .. } = found;
        let (durable, offset) = (sequence, AREA_BYTES);
        let journal = Self { generation, sequence, durable, offset, checkpoint, full: None };
        let area = journal.area();
        let copy = Write { area: area + 1, offset: 0, bytes: bytes.clone() };
        let repair = vec![Write { area, offset: 0, bytes }, copy];
        Ok(Some(Recovered { records, journal, repair }))
    }
}

/// What a pair of areas holds.
struct Found {
    generation: u64,
    /// Sequence of the checkpoint.
    checkpoint: u64,
    /// Of the record that would come next.
    sequence: u64,
    records: Vec<Record>,
    /// All of it, as it is to be in both copies.
    bytes: Vec<u8>,
}

impl Found {
    /// The checkpoint with which the pair begins: header, payload, and its sectors.
    fn first(pair: [&[u8]; 2]) -> Option<(Header, &[u8], &[u8])> {
        let first = pair.into_iter().filter_map(|area| parse(area, 0));
        let first = first.filter(|(header, ..)| header.kind == Kind::Checkpoint);
        first.max_by_key(|(header, ..)| header.generation)
    }

    fn read(pair: [&[u8]; 2]) -> Result<Option<Self>, Damage> {
        let Some((header, payload, whole)) = Self::first(pair) else { return Ok(None) };
        let decode = |payload| postcard::from_bytes::<Vec<Record>>(payload).map_err(|_| Damage);
        let generation = header.generation;
        let mut found = Self {
            generation,
            checkpoint: header.sequence,
            sequence: header.sequence + 1,
            records: decode(payload)?,
            // No more than an area: what grows by itself takes twice as much.
            bytes: Vec::with_capacity(AREA_BYTES),
        };
        found.bytes.extend(whole);
        let next = |offset: usize, sequence: u64| {
            pair.iter().filter_map(|area| parse(area, offset)).find(|(header, ..)| {
                let is_next = header.generation == generation && header.sequence == sequence;
                is_next && header.kind == Kind::Batch
            })
        };
        while let Some((_, payload, whole)) = next(found.bytes.len(), found.sequence) {
            found.records.extend(decode(payload)?);
            found.sequence += 1;
            found.bytes.extend(whole);
        }
        Ok(Some(found))
    }
}

/// The headers of all records in an area whose checksum holds, wherever they begin.
fn records(area: &[u8]) -> impl Iterator<Item = Header> + '_ {
    let offsets = (0..area.len()).step_by(SECTOR_BYTES);
    offsets.filter_map(|offset| parse(area, offset).map(|(header, ..)| header))
}

/// The record at `offset`: header, payload, and its sectors.
fn parse(area: &[u8], offset: usize) -> Option<(Header, &[u8], &[u8])> {
    let bytes = area.get(offset..)?;
    let header = bytes.get(..HEADER_BYTES)?;
    let word = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let half = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
    if word(0)? != MAGIC {
        return None;
    }
    let kind = match half(36)? {
        1 => Kind::Checkpoint,
        2 => Kind::Batch,
        3 => Kind::Closed,
        _ => return None,
    };
    let len = half(32)? as usize;
    let payload = bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(len)?)?;
    if crc32c(&[&header[..40], payload]) != half(40)? {
        return None;
    }
    let header = Header { kind, generation: word(8)?, sequence: word(16)?, durable: word(24)? };
    let whole = bytes.get(..(HEADER_BYTES + len).next_multiple_of(SECTOR_BYTES))?;
    Some((header, payload, whole))
}

#[cfg(test)]
mod tests;
