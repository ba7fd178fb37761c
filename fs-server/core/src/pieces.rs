// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bytes of files whose slot moves. They come after the head, piece by piece, as neither heap has room
//! for all of them: from the objects of one home straight into those of the other.
//!
//! # Model
//! ```text
//! piece: records of 4112 bytes: inode, page in the file (both u64, little-endian), the page's bytes
//! ```
//! Records ascend, by inode and page, over all pieces. Pages of zeroes are left out. A cursor is the inode
//! and the page to go on with.
//!
//! # Invariants
//! A joiner takes a page only once, of a file that the head names, below the file's size: so what comes is
//! bounded by what the head says, and that by [`MOVED_BYTES_MAX`](crate::limits::MOVED_BYTES_MAX).
//!
//! # Failure
//! A page that cannot be read, or finds no memory, ends the giving: the slot stays.

use crate::FsCore;
use crate::limits::PIECE_PAGES_MAX;
use crate::tree::FileBytes;
use abi::limits::PAGE_BYTES;
use abi::{Errno, InodeId, ObjectId, SlotNo};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use mem_api::{Content, ObjectCreate, ObjectRead, ObjectRelease, ObjectResize, ObjectWrite};
use runtime::limits::NODE_BODY_BYTES;
use runtime::{Bulk, Cursor, Cx, Piece};

const PAGE: u64 = PAGE_BYTES as u64;
/// Bytes of a record before the page.
const KEY_BYTES: usize = 16;
/// Bytes of a record.
pub(crate) const RECORD_BYTES: usize = KEY_BYTES + PAGE_BYTES;
/// Bytes of the longest piece.
const PIECE_BYTES: usize = NODE_BODY_BYTES / RECORD_BYTES * RECORD_BYTES;

/// A slot that was admitted: its files that have bytes.
pub(crate) struct Arrived {
    files: BTreeMap<InodeId, ArrivedFile>,
    /// The last page that came.
    last: Option<(InodeId, u64)>,
}

struct ArrivedFile {
    size: u64,
    /// `None` until a page comes that is not all zeroes.
    object: Option<ObjectId>,
}

impl Arrived {
    /// Files of these sizes, above 0.
    pub(crate) fn new(sizes: impl Iterator<Item = (InodeId, u64)>) -> Self {
        let file = |(inode, size)| (inode, ArrivedFile { size, object: None });
        Self { files: sizes.map(file).collect(), last: None }
    }

    /// Where the bytes of a file are, if it has any.
    pub(crate) fn object(&self, inode: InodeId) -> Option<ObjectId> {
        self.files.get(&inode)?.object
    }

    /// Takes in a record.
    fn put(&mut self, cx: &mut Cx<'_>, record: &[u8]) -> Result<(), Errno> {
        let (inode, rest) = record.split_first_chunk().ok_or(Errno::EPROTO)?;
        let (page, bytes) = rest.split_first_chunk().ok_or(Errno::EPROTO)?;
        let inode = InodeId::from_raw(u64::from_le_bytes(*inode));
        let page = u64::from_le_bytes(*page);
        let file = self.files.get_mut(&inode).ok_or(Errno::EPROTO)?;
        if self.last >= Some((inode, page)) || page >= file.size.div_ceil(PAGE) {
            return Err(Errno::EPROTO);
        }
        self.last = Some((inode, page));
        let object = file.made(cx)?;
        let offset = page * PAGE;
        let len = (file.size - offset).min(PAGE) as usize;
        let mut part = bytes[..len].to_vec();
        cx.leaf_bulk(&ObjectWrite { object, offset }, &mut Bulk::new(&mut part))
    }
}

impl ArrivedFile {
    /// The file's object; makes it.
    fn made(&mut self, cx: &mut Cx<'_>) -> Result<ObjectId, Errno> {
        if let Some(object) = self.object {
            return Ok(object);
        }
        let object = cx.leaf(&ObjectCreate { content: Content::Zero, slot: None })?.object;
        self.object = Some(object);
        cx.leaf(&ObjectResize { object, len: self.size })?;
        Ok(object)
    }
}

impl FsCore {
    /// The piece that begins there.
    pub(crate) fn export_piece(
        &self,
        cx: &mut Cx<'_>,
        slot: SlotNo,
        [mut inode, mut page]: Cursor,
    ) -> Result<Piece, Errno> {
        let mut bytes = Vec::with_capacity(PIECE_BYTES);
        let mut looked = 0;
        while let Some(file) = self.file_from(slot, inode) {
            if file.inode.raw() != inode {
                (inode, page) = (file.inode.raw(), 0);
            }
            for page in page..file.size.div_ceil(PAGE) {
                if looked == PIECE_PAGES_MAX || bytes.len() == PIECE_BYTES {
                    return Ok(Piece { bytes, next: Some([inode, page]) });
                }
                looked += 1;
                put_record(cx, &file, page, &mut bytes)?;
            }
            let Some(next) = inode.checked_add(1) else { break };
            (inode, page) = (next, 0);
        }
        Ok(Piece { bytes, next: None })
    }

    /// The first file with bytes in a slot, from this inode on. Found by looking at all of them: a list in
    /// order would take its room of the heap for as long as the slot leaves.
    fn file_from(&self, slot: SlotNo, inode: u64) -> Option<FileBytes> {
        let from = self.tree.file_bytes(slot).filter(|it| it.inode.raw() >= inode);
        from.min_by_key(|it| it.inode)
    }

    /// Takes in a piece of a slot whose head was admitted.
    pub(crate) fn admits_piece(
        &mut self,
        cx: &mut Cx<'_>,
        slot: SlotNo,
        piece: &[u8],
    ) -> Result<(), Errno> {
        let arrived = self.arrived.get_mut(&slot).ok_or(Errno::EPROTO)?;
        if !piece.len().is_multiple_of(RECORD_BYTES) {
            return Err(Errno::EPROTO);
        }
        piece.chunks_exact(RECORD_BYTES).try_for_each(|record| arrived.put(cx, record))
    }

    /// Gives up what was admitted of a slot.
    pub(crate) fn abandon_slot(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        let Some(arrived) = self.arrived.remove(&slot) else { return };
        for object in arrived.files.into_values().filter_map(|file| file.object) {
            // It was made here: it is there to be released.
            let _ = cx.leaf(&ObjectRelease { object });
        }
    }
}

/// Adds a page, unless it is all zeroes.
fn put_record(
    cx: &mut Cx<'_>,
    file: &FileBytes,
    page: u64,
    bytes: &mut Vec<u8>,
) -> Result<(), Errno> {
    let FileBytes { inode, object, size } = *file;
    let (start, offset) = (bytes.len(), page * PAGE);
    let len = (size - offset).min(PAGE);
    bytes.extend(inode.raw().to_le_bytes());
    bytes.extend(page.to_le_bytes());
    bytes.resize(start + RECORD_BYTES, 0);
    let data = &mut bytes[start + KEY_BYTES..][..len as usize];
    cx.leaf_bulk(&ObjectRead { object, offset, len }, &mut Bulk::new(data))?;
    if data.iter().all(|byte| *byte == 0) {
        bytes.truncate(start);
    }
    Ok(())
}
