// SPDX-License-Identifier: MIT OR Apache-2.0
//! What lives in a slot, at its backup: each step's changes, and taking over.
//!
//! # Model
//! ```text
//! a step touches inodes, names, bytes, descriptions  -->  at its end each goes to the backup as it is then
//! ```
//! So changes say what is, not what was done, and what a step touched twice goes once. Descriptions that only
//! the home itself holds do not go: they end with it. Bytes are in objects of the backup's own until it takes
//! over.
//!
//! # Limits
//! Bytes that programs write through shared mappings are not seen here. A step that writes more than
//! [`WRITTEN_BYTES_MAX`] leaves its slot without a backup, until another joins and is given all of it.

use crate::FsCore;
use crate::extras::Extras;
use crate::files::SavedFile;
use crate::inode::{Entry, Meta};
use crate::limits::WRITTEN_BYTES_MAX;
use crate::locks::SavedLocks;
use crate::tree::Shape;
use abi::limits::PAGE_BYTES;
use abi::{Errno, FileId, InodeId, NodeId, ObjectId, SlotNo};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use fs_api::peer::LockHolder;
use mem_api::{
    Content, ObjectCreate, ObjectPunch, ObjectRead, ObjectRename, ObjectResize, ObjectWrite,
};
use runtime::{Bulk, Cx};
use serde::{Deserialize, Serialize};

/// Bytes of a file that one change carries.
const PART_BYTES: u64 = 32 * 1024;
const PAGE: u64 = PAGE_BYTES as u64;

#[derive(Serialize, Deserialize)]
enum Change {
    Inode { id: InodeId, meta: Meta, links: u32, shape: Shape },
    Bytes { inode: InodeId, offset: u64, bytes: Vec<u8> },
    Name { dir: InodeId, name: String, entry: Option<Entry> },
    File(SavedFile),
    Closed(FileId),
    Gone(InodeId),
    Extras(InodeId, Extras),
    Room { inode: InodeId, first: u64, last: u64, taken: bool },
    Locks(SavedLocks),
    Unlocked(InodeId, LockHolder),
}

impl FsCore {
    /// Tells the backups what the step under way has changed. Asks first who has one: most have none.
    pub(crate) fn tell_changes(&mut self, cx: &mut Cx<'_>) {
        let mut touched = core::mem::take(&mut self.tree.touched);
        let gone = self.tell_inodes(cx, &mut touched.inodes);
        for id in core::mem::take(&mut touched.extras) {
            if let (true, Ok(inode)) = (self.is_told(cx, id.slot()), self.tree.inode(id)) {
                tell(cx, id.slot(), &Change::Extras(id, inode.extras.clone()));
            }
        }
        // Before the bytes, of which some are zeroed at the edges of a hole.
        for (inode, pages, taken) in core::mem::take(&mut touched.room) {
            if self.is_told(cx, inode.slot()) {
                let room = Change::Room { inode, first: pages.start, last: pages.end, taken };
                tell(cx, inode.slot(), &room);
            }
        }
        self.tell_written(cx, &touched.written);
        self.tell_names(cx, &mut touched.names);
        touched.clear();
        self.tree.touched = touched;
        self.tell_files(cx);
        self.tell_locks(cx);
        for id in gone {
            tell(cx, id.slot(), &Change::Gone(id));
        }
    }

    /// Those that are no more.
    fn tell_inodes(&self, cx: &mut Cx<'_>, inodes: &mut Vec<InodeId>) -> Vec<InodeId> {
        inodes.retain(|id| self.is_told(cx, id.slot()));
        inodes.sort_unstable();
        inodes.dedup();
        let mut gone = Vec::new();
        for id in inodes.iter().copied() {
            match self.tree.shape(id) {
                Some((meta, links, shape)) => {
                    tell(cx, id.slot(), &Change::Inode { id, meta, links, shape });
                }
                None => gone.push(id),
            }
        }
        gone
    }

    fn tell_names(&self, cx: &mut Cx<'_>, names: &mut Vec<(InodeId, String)>) {
        names.retain(|(dir, _)| self.is_told(cx, dir.slot()));
        names.sort_unstable();
        names.dedup();
        for (dir, name) in names.drain(..) {
            // Of one that is gone its end says all.
            if self.tree.inode(dir).is_ok() {
                let entry = self.tree.entry(dir, &name);
                tell(cx, dir.slot(), &Change::Name { dir, name, entry });
            }
        }
    }

    fn tell_files(&mut self, cx: &mut Cx<'_>) {
        let mut files = self.files.take_touched();
        files.sort_unstable();
        files.dedup();
        for id in files.iter().copied() {
            // What only this node holds is no change for anybody else.
            if self.files.concerns_backup(id, cx.node()) && self.is_told(cx, id.slot()) {
                let copy = self.files.for_backup(id);
                tell(cx, id.slot(), &copy.map_or(Change::Closed(id), Change::File));
            }
        }
        self.files.put_touched(files);
    }

    fn tell_locks(&mut self, cx: &mut Cx<'_>) {
        if !self.locks.is_touched() {
            return;
        }
        for (inode, holder, now) in self.locks.take_touched() {
            if self.is_told(cx, inode.slot()) {
                let change = now.map_or(Change::Unlocked(inode, holder), Change::Locks);
                tell(cx, inode.slot(), &change);
            }
        }
    }

    /// Whether the slot is this node's, and has a backup.
    fn is_told(&self, cx: &mut Cx<'_>, slot: SlotNo) -> bool {
        cx.view().home(slot) == cx.node() && cx.changed(slot)
    }

    fn tell_written(&self, cx: &mut Cx<'_>, written: &[(InodeId, Range<u64>)]) {
        let mut total = 0;
        for (inode, range) in written.iter().cloned() {
            let slot = inode.slot();
            if !self.is_told(cx, slot) {
                continue;
            }
            let Ok(file) = self.tree.file(inode) else { continue };
            // What was cut off again in the same step needs no bytes.
            let range = range.start..range.end.min(file.size);
            let (Some(object), false) = (file.object, range.is_empty()) else { continue };
            total += range.end - range.start;
            if total > WRITTEN_BYTES_MAX || tell_bytes(cx, inode, object, range).is_err() {
                cx.leave_alone(slot);
            }
        }
    }

    /// Takes in a change of the primary's.
    pub(crate) fn apply_change(
        &mut self,
        cx: &mut Cx<'_>,
        slot: SlotNo,
        change: &[u8],
    ) -> Result<(), Errno> {
        match postcard::from_bytes(change).map_err(|_| Errno::EPROTO)? {
            Change::Inode { id, meta, links, shape } => {
                let cut = self.tree.put_shape(slot, (id, meta, links), shape)?;
                match cut {
                    Some((object, len)) => {
                        if !len.is_multiple_of(PAGE) {
                            self.disk.dirty(id, len / PAGE..len / PAGE + 1);
                        }
                        cx.leaf(&ObjectResize { object, len })
                    }
                    None => Ok(()),
                }
            }
            Change::Bytes { inode, offset, bytes } if inode.slot() == slot => {
                self.put_bytes(cx, inode, offset, bytes)
            }
            Change::Name { dir, name, entry } => self.tree.put_name(slot, (dir, name), entry),
            Change::File(saved) => {
                let inode = saved.inode();
                let more = self.files.put_copy(slot, saved)?;
                self.count_opens(inode, more);
                Ok(())
            }
            Change::Closed(file) if file.slot() == slot => {
                if let Some(it) = self.files.drop_copy(file) {
                    self.count_opens(it.inode, -i32::from(it.kept));
                }
                Ok(())
            }
            Change::Gone(id) if id.slot() == slot => {
                self.tree.drop_copy(id);
                Ok(())
            }
            Change::Room { inode, first, last, taken } if inode.slot() == slot => {
                match self.tree.copy_room(inode, first..last, taken)? {
                    Some(object) if !taken && first < last => {
                        cx.leaf(&ObjectPunch { object, first, pages: last - first })
                    }
                    Some(_) | None => Ok(()),
                }
            }
            Change::Extras(id, extras) if id.slot() == slot => self.tree.set_extras(id, extras),
            Change::Locks(saved) => self.locks.put_copy(slot, saved),
            Change::Unlocked(inode, holder) if inode.slot() == slot => {
                self.locks.drop_copy(inode, holder);
                Ok(())
            }
            Change::Bytes { .. }
            | Change::Room { .. }
            | Change::Extras(..)
            | Change::Closed(_)
            | Change::Gone(_)
            | Change::Unlocked(..) => Err(Errno::EPROTO),
        }
    }

    fn count_opens(&mut self, inode: InodeId, more: i32) {
        if let Ok(inode) = self.tree.inode_here(inode) {
            inode.opens = inode.opens.saturating_add_signed(more);
        }
    }

    fn put_bytes(
        &mut self,
        cx: &mut Cx<'_>,
        inode: InodeId,
        offset: u64,
        mut bytes: Vec<u8>,
    ) -> Result<(), Errno> {
        let end = offset.checked_add(bytes.len() as u64).ok_or(Errno::EPROTO)?;
        self.tree.grow_copy(inode, offset..end)?;
        let file = self.tree.file(inode)?;
        let size = file.size;
        let object = match file.object {
            Some(object) => object,
            None => {
                let made = cx.leaf(&ObjectCreate { content: Content::Zero, slot: None })?.object;
                self.tree.set_object(inode, made)?;
                cx.leaf(&ObjectResize { object: made, len: size })?;
                made
            }
        };
        cx.leaf_bulk(&ObjectWrite { object, offset }, &mut Bulk::new(&mut bytes))
    }

    /// This node has a copy of the slot, and is its home now.
    pub(crate) fn take_over(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        let member = |node: NodeId| cx.view().contains(node);
        for (file, description) in self.files.drop_strangers(slot, member) {
            self.close(cx, file, &description);
        }
        self.prune_locks(cx, slot);
        self.tree.free_unused_in(slot);
    }

    /// Objects of files are in slots of this node, and at home in their files': so that they move, or stay,
    /// with these.
    pub(crate) fn settle_objects(&mut self, cx: &mut Cx<'_>) {
        for (inode, object) in self.tree.objects() {
            let is_home = self.tree.is_home(inode);
            let lost = cx.view().home(object.slot()) != cx.node();
            if !lost && (!is_home || object.slot() == inode.slot()) {
                continue;
            }
            let slot = if is_home { Some(inode.slot()) } else { cx.slot_for_new() };
            // What others use keeps its id: it is where it was.
            if let Some(slot) = slot
                && let Ok(renamed) = cx.leaf(&ObjectRename { object, slot })
            {
                // It was there a moment ago.
                let _ = self.tree.set_object(inode, renamed.object);
            }
        }
    }
}

fn tell(cx: &mut Cx<'_>, slot: SlotNo, change: &Change) {
    match postcard::to_allocvec(change) {
        Ok(bytes) => cx.replicate(slot, bytes),
        Err(_) => cx.leave_alone(slot),
    }
}

fn tell_bytes(
    cx: &mut Cx<'_>,
    inode: InodeId,
    object: ObjectId,
    range: Range<u64>,
) -> Result<(), Errno> {
    let mut offset = range.start;
    while offset < range.end {
        let len = PART_BYTES.min(range.end - offset);
        let mut bytes = vec![0; len as usize];
        cx.leaf_bulk(&ObjectRead { object, offset, len }, &mut Bulk::new(&mut bytes))?;
        tell(cx, inode.slot(), &Change::Bytes { inode, offset, bytes });
        offset += len;
    }
    Ok(())
}
