// SPDX-License-Identifier: MIT OR Apache-2.0
//! A batch: what is written to the journal at once.
//!
//! # Model
//! Little-endian, filled up with zeroes to whole sectors:
//!
//! ```text
//!  0  magic "KORFILE1"    16  nonce (8)              32  batches before it that were flushed (4)
//!  8  epoch (8)           24  number in the area (4) 36  flags: 1, commit (4)
//!                         28  bytes of records (4)   40  CRC-32C of all that is before and of the records (4)
//! 44  records: length (4), kind (1), content
//! ```
//! The nonce is drawn for each start of the store: what an earlier one left in an area is never taken for what follows.

use crate::checksum::crc32c;
use crate::limits::SECTOR_BYTES;
use abi::limits::WINDOW_BYTES;
use alloc::vec::Vec;

const MAGIC: [u8; 8] = *b"KORFILE1";
const CHECKSUM: usize = 40;
/// Bytes before the records.
pub(crate) const HEADER_BYTES: usize = 44;
/// Bytes of records in one batch, at most.
pub(crate) const PAYLOAD_BYTES: usize = WINDOW_BYTES - HEADER_BYTES;
/// Bytes before a record's content.
pub(crate) const RECORD_HEADER_BYTES: usize = 5;

/// What a batch says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// Grows with each area that is begun.
    pub(crate) epoch: u64,
    pub(crate) nonce: u64,
    pub(crate) number: u32,
    /// Batches of the area before it that are safe.
    pub(crate) flushed: u32,
    pub(crate) commits: bool,
}

/// What a record is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Client = 0,
    Map = 1,
}

/// An empty batch, to which records are added.
pub(crate) fn begin(batch: &mut Vec<u8>) {
    batch.clear();
    batch.resize(HEADER_BYTES, 0);
}

/// Adds a record, whose content `write` appends; nothing if it appends nothing.
pub(crate) fn put_record(
    batch: &mut Vec<u8>,
    kind: Kind,
    write: impl FnOnce(&mut Vec<u8>),
) -> bool {
    let start = batch.len();
    batch.extend([0; RECORD_HEADER_BYTES]);
    write(batch);
    let len = batch.len() - start - RECORD_HEADER_BYTES;
    if len == 0 {
        batch.truncate(start);
        return false;
    }
    batch[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
    batch[start + 4] = kind as u8;
    true
}

/// Whether a finished batch has no records.
pub(crate) fn is_empty(batch: &[u8]) -> bool {
    half(batch, 28) == 0
}

/// Puts the header in, and fills the last sector.
pub(crate) fn finish(batch: &mut Vec<u8>, header: Header) {
    let len = batch.len() - HEADER_BYTES;
    assert!(len <= PAYLOAD_BYTES, "who fills it looks how much fits");
    let mut put = |at: usize, data: &[u8]| batch[at..at + data.len()].copy_from_slice(data);
    put(0, &MAGIC);
    put(8, &header.epoch.to_le_bytes());
    put(16, &header.nonce.to_le_bytes());
    put(24, &header.number.to_le_bytes());
    put(28, &(len as u32).to_le_bytes());
    put(32, &header.flushed.to_le_bytes());
    put(36, &u32::from(header.commits).to_le_bytes());
    let checksum = crc32c(&[&batch[..CHECKSUM], &batch[HEADER_BYTES..]]);
    batch[CHECKSUM..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    batch.resize(batch.len().next_multiple_of(SECTOR_BYTES), 0);
}

/// What begins with a sector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begins {
    /// A batch of so many bytes of records.
    Batch(Header, usize),
    /// It may be one when there are so many bytes.
    Cut(usize),
    /// No batch, or a damaged one.
    Nothing,
}

/// Looks what `bytes` begin with: a sector at least.
pub(crate) fn decode(bytes: &[u8]) -> Begins {
    if bytes.len() < HEADER_BYTES || bytes[..8] != MAGIC {
        return Begins::Nothing;
    }
    let len = half(bytes, 28) as usize;
    if len > PAYLOAD_BYTES || half(bytes, 36) > 1 {
        return Begins::Nothing;
    }
    let Some(records) = bytes.get(HEADER_BYTES..HEADER_BYTES + len) else {
        return Begins::Cut((HEADER_BYTES + len).next_multiple_of(SECTOR_BYTES));
    };
    if half(bytes, CHECKSUM) != crc32c(&[&bytes[..CHECKSUM], records]) {
        return Begins::Nothing;
    }
    let header = Header {
        epoch: word(bytes, 8),
        nonce: word(bytes, 16),
        number: half(bytes, 24),
        flushed: half(bytes, 32),
        commits: half(bytes, 36) == 1,
    };
    Begins::Batch(header, len)
}

/// Sectors of a batch with so many bytes of records.
pub(crate) fn sectors(len: usize) -> u64 {
    (HEADER_BYTES + len).div_ceil(SECTOR_BYTES) as u64
}

/// The first of some records: whose it is, what it says, and the rest; `None` if it makes no sense.
pub(crate) fn split_record(records: &[u8]) -> Option<(Kind, &[u8], &[u8])> {
    let (head, rest) = records.split_at_checked(RECORD_HEADER_BYTES)?;
    let kind = match head[4] {
        0 => Kind::Client,
        1 => Kind::Map,
        _ => return None,
    };
    let (record, rest) = rest.split_at_checked(half(head, 0) as usize)?;
    Some((kind, record, rest))
}

pub(crate) fn half(bytes: &[u8], at: usize) -> u32 {
    let mut half = [0; 4];
    half.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(half)
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}
