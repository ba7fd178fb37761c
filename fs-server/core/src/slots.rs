// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that move with what lives in them: the inodes of their directories with their bytes, and the
//! descriptions.
//!
//! # Model
//! ```text
//! state: length of the head (u32), head (postcard), pages of 4096 bytes in the head's order
//! ```
//! The joiner makes objects for the bytes when it admits the slot, so that no want of memory loses them
//! later. What it admitted and does not get with the next view it gives up.
//!
//! # Limits
//! A slot with more than [`MOVED_BYTES_MAX`] in its files stays, and so does one with a file that others
//! use: that is mapped, or has pages on other nodes.

use crate::FsCore;
use crate::files::{SavedFile, is_device};
use crate::job::Work;
use crate::limits::MOVED_BYTES_MAX;
use crate::lower::Lower;
use crate::tree::{FileBytes, SavedInode};
use crate::walk::Stop;
use abi::limits::PAGE_BYTES;
use abi::{Errno, FileId, InodeId, NodeId, ObjectId, SlotNo};
use alloc::vec;
use alloc::vec::Vec;
use cluster::View;
use fs_api::{file, name, peer};
use hashbrown::HashMap;
use mem_api::{
    COPY_BYTES, Content, ObjectCreate, ObjectRead, ObjectRelease, ObjectResize, ObjectUse,
    ObjectWrite,
};
use runtime::{Answer, Bulk, Client, Cx, Export, Msg, Operation, Wire};
use serde::{Deserialize, Serialize};

/// What the pages of a state belong to.
#[derive(Serialize, Deserialize)]
struct Head {
    inodes: Vec<SavedInode>,
    files: Vec<SavedFile>,
    /// What was announced of the image's directories: the joiner may have come after that.
    marks: Vec<(InodeId, u64)>,
    pages: Vec<(InodeId, u64)>,
}

/// A slot that was admitted.
pub(crate) struct Arrived {
    inodes: Vec<SavedInode>,
    files: Vec<SavedFile>,
    marks: Vec<(InodeId, u64)>,
    objects: HashMap<InodeId, ObjectId>,
}

/// What an operation is about, as far as it has a home.
enum About {
    File(FileId),
    Inode(InodeId),
}

fn about(op: u16, msg: &Msg) -> Result<Option<About>, Errno> {
    Ok(Some(match op {
        file::Read::NUMBER => About::File(file::Read::get(msg)?.file),
        file::Write::NUMBER => About::File(file::Write::get(msg)?.file),
        file::ReadAt::NUMBER => About::File(file::ReadAt::get(msg)?.file),
        file::WriteAt::NUMBER => About::File(file::WriteAt::get(msg)?.file),
        file::Seek::NUMBER => About::File(file::Seek::get(msg)?.file),
        file::FileStat::NUMBER => About::File(file::FileStat::get(msg)?.file),
        file::ListDirectory::NUMBER => About::File(file::ListDirectory::get(msg)?.file),
        file::Resize::NUMBER => About::File(file::Resize::get(msg)?.file),
        file::SetFlags::NUMBER => About::File(file::SetFlags::get(msg)?.file),
        file::GetFlags::NUMBER => About::File(file::GetFlags::get(msg)?.file),
        file::Hold::NUMBER => About::File(file::Hold::get(msg)?.file),
        file::Release::NUMBER => About::File(file::Release::get(msg)?.file),
        file::ObjectOf::NUMBER => About::File(file::ObjectOf::get(msg)?.file),
        file::InodeOf::NUMBER => About::File(file::InodeOf::get(msg)?.file),
        file::SetAttributes::NUMBER => About::File(file::SetAttributes::get(msg)?.file),
        peer::Bytes::NUMBER => About::File(peer::Bytes::get(msg)?.file),
        peer::PutBytes::NUMBER => About::File(peer::PutBytes::get(msg)?.file),
        peer::Rewind::NUMBER => About::File(peer::Rewind::get(msg)?.file),
        peer::Behind::NUMBER => About::File(peer::Behind::get(msg)?.file),
        name::PathOf::NUMBER => About::Inode(name::PathOf::get(msg)?.inode),
        peer::Seal::NUMBER => About::Inode(peer::Seal::get(msg)?.inode),
        peer::Records::NUMBER => About::Inode(peer::Records::get(msg)?.inode),
        _ => return Ok(None),
    }))
}

impl FsCore {
    /// The answer to a request that is not performed here and now: its slot is about to move, or a node
    /// asks here that ought to ask another.
    pub(crate) fn not_here(
        &self,
        cx: &Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
    ) -> Result<Option<Answer>, Errno> {
        let (slot, lost) = match about(op, msg)? {
            None => return Ok(None),
            Some(About::File(file)) if is_device(file) => return Ok(None),
            Some(About::File(file)) => {
                (file.slot(), cx.view().has_lost(file.slot(), file.serial()))
            }
            Some(About::Inode(inode)) if op == name::PathOf::NUMBER && Lower::is_lower(inode) => {
                return Ok(None);
            }
            Some(About::Inode(inode)) => (inode.slot(), self.tree.is_lost(inode)),
        };
        // What is lost is for the operation to say.
        if lost {
            return Ok(None);
        }
        let here = cx.view().home(slot) == cx.node();
        Ok(match from {
            _ if here => cx.is_frozen(slot).then_some(Answer::NextView),
            Client::Node { .. } => Some(Answer::Moved(slot)),
            Client::Server { .. } => None,
        })
    }

    /// The same for a job that goes on.
    pub(crate) fn check_place(&mut self, cx: &Cx<'_>, work: &Work) -> Result<(), Stop> {
        let file = match work {
            Work::Name { .. } => return Ok(()),
            Work::Read { file, .. }
            | Work::Write { file, .. }
            | Work::Resize { file, .. }
            | Work::List { file, .. } => *file,
        };
        if !self.is_mine(cx, file)? {
            return Err(Stop::Moved(file.slot()));
        }
        if cx.is_frozen(file.slot()) && !is_device(file) { Err(Stop::View) } else { Ok(()) }
    }

    /// Whether there are more bytes in the slot than are copied at once.
    pub(crate) fn has_too_much(&self, slot: SlotNo) -> bool {
        let all = self.tree.file_bytes(slot);
        all.iter().map(|it| it.size).sum::<u64>() > MOVED_BYTES_MAX
    }

    pub(crate) fn export_slot(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Export {
        let (inodes, files) = (self.tree.saved(slot), self.files.saved(slot));
        let marks = self.tree.announced_in(slot);
        if inodes.is_empty() && files.is_empty() && marks.is_empty() {
            return Export::Nothing;
        }
        if self.has_too_much(slot) {
            return Export::Stays;
        }
        let all = self.tree.file_bytes(slot);
        let (mut pages, mut bytes) = (Vec::new(), Vec::new());
        for it in &all {
            if copy_pages(cx, it, &mut pages, &mut bytes).is_err() {
                return Export::Stays;
            }
        }
        let Ok(head) = postcard::to_allocvec(&Head { inodes, files, marks, pages }) else {
            return Export::Stays;
        };
        let mut state = Vec::with_capacity(4 + head.len() + bytes.len());
        state.extend((head.len() as u32).to_le_bytes());
        state.extend(head);
        state.extend(bytes);
        Export::State(state)
    }

    /// Checks what another node says lives in the slot, and makes what it needs here.
    pub(crate) fn admits_slot(
        &mut self,
        cx: &mut Cx<'_>,
        slot: SlotNo,
        state: &[u8],
    ) -> Result<(), Errno> {
        if let Some(former) = self.arrived.remove(&slot) {
            give_up(cx, former);
        }
        let (len, rest) = state.split_first_chunk().ok_or(Errno::EPROTO)?;
        let len = u32::from_le_bytes(*len) as usize;
        let (head, bytes) = rest.split_at_checked(len).ok_or(Errno::EPROTO)?;
        let Head { inodes, files, marks, pages } =
            postcard::from_bytes(head).map_err(|_| Errno::EPROTO)?;
        self.tree.check_saved(slot, &inodes)?;
        self.files.check_saved(slot, &files)?;
        if pages.len() * PAGE_BYTES != bytes.len() || bytes.len() as u64 > MOVED_BYTES_MAX {
            return Err(Errno::EPROTO);
        }
        let mut arrived = Arrived { inodes, files, marks, objects: HashMap::new() };
        for ((inode, page), bytes) in pages.into_iter().zip(bytes.chunks_exact(PAGE_BYTES)) {
            let size = arrived.inodes.iter().find_map(|it| it.file_size(inode));
            if let Err(errno) = put_page(cx, &mut arrived.objects, (inode, page, size), bytes) {
                give_up(cx, arrived);
                return Err(errno);
            }
        }
        self.arrived.insert(slot, arrived);
        Ok(())
    }

    pub(crate) fn import_slot(&mut self, cx: &Cx<'_>, old: &View, slot: SlotNo) {
        let Some(arrived) = self.arrived.remove(&slot) else { return };
        let Arrived { inodes, files, marks, objects } = arrived;
        self.tree.install(inodes, &objects);
        for (dir, place) in marks.into_iter().filter(|(dir, _)| dir.slot() == slot) {
            // What names no place of the image marks nothing.
            let _ = self.tree.overlay(dir, place);
        }
        let held = |node: NodeId| old.keeps(cx.view(), node);
        for description in self.files.install(files, held) {
            if description.kept
                && let Ok(inode) = self.tree.inode_mut(description.inode)
            {
                inode.opens += 1;
            }
        }
        self.tree.free_unused_in(slot);
    }

    pub(crate) fn forget_slot(&mut self, slot: SlotNo) {
        self.files.forget_slot(slot);
        self.tree.forget_slot(slot);
    }

    /// A view was entered: what was admitted and did not come will not.
    pub(crate) fn give_up_arrived(&mut self, cx: &mut Cx<'_>) {
        for arrived in core::mem::take(&mut self.arrived).into_values() {
            give_up(cx, arrived);
        }
    }
}

fn give_up(cx: &mut Cx<'_>, arrived: Arrived) {
    for object in arrived.objects.into_values() {
        // It was made here: it is there to be released.
        let _ = cx.leaf(&ObjectRelease { object });
    }
}

/// The pages of a file that are not all zeroes.
fn copy_pages(
    cx: &mut Cx<'_>,
    it: &FileBytes,
    pages: &mut Vec<(InodeId, u64)>,
    bytes: &mut Vec<u8>,
) -> Result<(), Errno> {
    let FileBytes { inode, object, size } = *it;
    if !cx.leaf(&ObjectUse { object })?.alone {
        return Err(Errno::EBUSY);
    }
    let mut buf = vec![0; COPY_BYTES as usize];
    let mut offset = 0;
    while offset < size {
        buf.fill(0);
        let len = (size - offset).min(COPY_BYTES);
        let part = &mut buf[..len as usize];
        cx.leaf_bulk(&ObjectRead { object, offset, len }, &mut Bulk::new(part))?;
        for (page, data) in (offset / PAGE_BYTES as u64..).zip(buf.chunks_exact(PAGE_BYTES)) {
            if data.iter().any(|byte| *byte != 0) {
                pages.push((inode, page));
                bytes.extend_from_slice(data);
            }
        }
        offset += len;
    }
    Ok(())
}

fn put_page(
    cx: &mut Cx<'_>,
    objects: &mut HashMap<InodeId, ObjectId>,
    (inode, page, size): (InodeId, u64, Option<u64>),
    bytes: &[u8],
) -> Result<(), Errno> {
    let size = size.ok_or(Errno::EPROTO)?;
    let offset = page.checked_mul(PAGE_BYTES as u64).filter(|offset| *offset < size);
    let offset = offset.ok_or(Errno::EPROTO)?;
    let object = match objects.get(&inode) {
        Some(object) => *object,
        None => {
            let object = cx.leaf(&ObjectCreate { content: Content::Zero, slot: None })?.object;
            objects.insert(inode, object);
            cx.leaf(&ObjectResize { object, len: size })?;
            object
        }
    };
    let len = (size - offset).min(PAGE_BYTES as u64) as usize;
    let mut part = bytes[..len].to_vec();
    cx.leaf_bulk(&ObjectWrite { object, offset }, &mut Bulk::new(&mut part))
}
