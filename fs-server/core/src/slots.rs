// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that move with what lives in them: the inodes of their directories, and the descriptions. The
//! bytes of files follow in [`pieces`](crate::pieces).
//!
//! # Model
//! ```text
//! head: inodes, descriptions, marks (postcard)      then pieces: pages of the files that the head names
//! ```
//! The joiner makes objects for the bytes when they come, so that no want of memory loses them later. What
//! it admitted and does not get with the next view it gives up. The host keeps the head meanwhile.
//!
//! # Limits
//! A slot with more than [`MOVED_BYTES_MAX`] in its files stays, and so does one whose head is too long
//! ([`runtime::head_len`]), or with a file that others use: that is mapped, or has pages on other nodes.

use crate::FsCore;
use crate::files::{SavedFile, held_elsewhere, is_device};
use crate::job::Work;
use crate::limits::MOVED_BYTES_MAX;
use crate::locks::SavedLocks;
use crate::lower::Lower;
use crate::pieces::Arrived;
use crate::tree::SavedInode;
use crate::walk::Stop;
use abi::{Errno, FileId, InodeId, NodeId, SlotNo};
use alloc::vec::Vec;
use cluster::View;
use fs_api::{file, name, peer};
use mem_api::{ObjectRename, ObjectUse};
use runtime::collections::HashMap;
use runtime::{Answer, Client, Cx, Export, Msg, Operation, Wire, encode_head, head_len};
use serde::{Deserialize, Serialize};

/// What lives in a slot, but for the bytes of files. It is written from what stands in the tables, and read
/// into vectors.
#[derive(Serialize, Deserialize)]
struct Head<I, F> {
    inodes: I,
    files: F,
    /// What was announced of the image's directories: the joiner may have come after that.
    marks: Vec<(InodeId, u64)>,
    locks: Vec<SavedLocks>,
}

/// A head that came.
type Read = Head<Vec<SavedInode>, Vec<SavedFile>>;

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
        file::Allocate::NUMBER => About::File(file::Allocate::get(msg)?.file),
        file::SetFlags::NUMBER => About::File(file::SetFlags::get(msg)?.file),
        file::GetFlags::NUMBER => About::File(file::GetFlags::get(msg)?.file),
        file::Hold::NUMBER => About::File(file::Hold::get(msg)?.file),
        file::Release::NUMBER => About::File(file::Release::get(msg)?.file),
        file::Fsync::NUMBER => About::File(file::Fsync::get(msg)?.file),
        file::ObjectOf::NUMBER => About::File(file::ObjectOf::get(msg)?.file),
        file::InodeOf::NUMBER => About::File(file::InodeOf::get(msg)?.file),
        file::Lock::NUMBER => About::File(file::Lock::get(msg)?.file),
        file::TestLock::NUMBER => About::File(file::TestLock::get(msg)?.file),
        file::EndLocks::NUMBER => About::File(file::EndLocks::get(msg)?.file),
        file::MoveLocks::NUMBER => About::File(file::MoveLocks::get(msg)?.file),
        file::SetAttributes::NUMBER => About::File(file::SetAttributes::get(msg)?.file),
        peer::Bytes::NUMBER => About::File(peer::Bytes::get(msg)?.file),
        peer::PutBytes::NUMBER => About::File(peer::PutBytes::get(msg)?.file),
        peer::Rewind::NUMBER => About::File(peer::Rewind::get(msg)?.file),
        peer::Behind::NUMBER => About::File(peer::Behind::get(msg)?.file),
        peer::IsOpen::NUMBER => About::File(peer::IsOpen::get(msg)?.file),
        peer::LockAt::NUMBER => About::Inode(peer::LockAt::get(msg)?.inode),
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
            _ if here => self.is_closed(cx, slot).then_some(Answer::NextView),
            Client::Node { .. } => Some(Answer::Moved(slot)),
            Client::Server { .. } => None,
        })
    }

    /// The same for a job that goes on.
    pub(crate) fn check_place(&mut self, cx: &mut Cx<'_>, work: &Work) -> Result<(), Stop> {
        let file = match work {
            Work::Name { .. } => return Ok(()),
            Work::Read { file, .. }
            | Work::Write { file, .. }
            | Work::Resize { file, .. }
            | Work::Allocate { file, .. }
            | Work::List { file, .. } => *file,
        };
        if !self.is_mine(cx, file)? {
            return Err(Stop::Moved(file.slot()));
        }
        if is_device(file) {
            return Ok(());
        }
        if self.is_closed(cx, file.slot()) {
            return Err(Stop::View);
        }
        let inode = self.files.get(file)?.inode;
        if self.is_loaded(cx, inode)? { Ok(()) } else { Err(Stop::View) }
    }

    /// What of the slot goes in its head.
    fn head(&self, slot: SlotNo) -> Head<impl Serialize, impl Serialize> {
        let (inodes, files) = (self.tree.saved(slot), self.files.saved(slot));
        let (marks, locks) = (self.tree.announced_in(slot), self.locks.saved(slot));
        Head { inodes, files, marks, locks }
    }

    /// Whether there is more in the slot than is moved.
    pub(crate) fn has_too_much(&self, slot: SlotNo) -> bool {
        let bytes: u64 = self.tree.file_bytes(slot).map(|it| it.size).sum();
        bytes > MOVED_BYTES_MAX || head_len(&self.head(slot)).is_none()
    }

    pub(crate) fn export_slot(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Export {
        if self.disk.closes(slot) {
            return Export::Stays;
        }
        let nothing = self.tree.saved(slot).is_empty()
            && self.files.saved(slot).is_empty()
            && self.tree.announced_in(slot).is_empty()
            && !self.locks.any_in(slot);
        // Also where nobody has a lock: what waits for one is nobody's any more.
        self.send_waiters_away(cx, slot);
        if nothing {
            return Export::Nothing;
        }
        if self.has_too_much(slot) {
            return Export::Stays;
        }
        match self.is_slot_loaded(cx, slot) {
            Ok(true) => {}
            Ok(false) => return Export::NotYet,
            Err(_) => return Export::Stays,
        }
        self.files.mark_copied(slot);
        let mut any = false;
        for it in self.tree.file_bytes(slot) {
            any = true;
            // It stays so: what could change it waits for the next view.
            if !cx.leaf(&ObjectUse { object: it.object }).is_ok_and(|users| users.alone) {
                return Export::Stays;
            }
        }
        let how = if any { Export::Head } else { Export::State };
        encode_head(&self.head(slot)).map_or(Export::Stays, how)
    }

    /// Checks what another node says lives in the slot. The bytes of its files follow.
    pub(crate) fn admits_slot(&mut self, slot: SlotNo, head: &[u8]) -> Result<(), Errno> {
        let Read { inodes, files, locks, .. } =
            postcard::from_bytes(head).map_err(|_| Errno::EPROTO)?;
        self.tree.check_saved(slot, &inodes)?;
        self.files.check_saved(slot, &files)?;
        self.locks.check_saved(slot, &locks)?;
        let sizes = inodes.iter().filter_map(SavedInode::file_size);
        if sizes.clone().map(|(_, size)| size).sum::<u64>() > MOVED_BYTES_MAX {
            return Err(Errno::EPROTO);
        }
        let former = self.arrived.insert(slot, Arrived::new(sizes));
        assert!(former.is_none(), "the host abandons what came before");
        Ok(())
    }

    pub(crate) fn import_slot(&mut self, cx: &mut Cx<'_>, old: &View, slot: SlotNo, head: &[u8]) {
        // It was read when it was admitted.
        let (Some(arrived), Ok(Read { inodes, files, marks, locks })) =
            (self.arrived.remove(&slot), postcard::from_bytes(head))
        else {
            return;
        };
        // Made where the joiner could make them, they belong in the slot of their inodes: what is in
        // another one loses its home when that one moves.
        let mut objects = HashMap::default();
        for (inode, _) in inodes.iter().filter_map(SavedInode::file_size) {
            let Some(object) = arrived.object(inode) else { continue };
            let renamed = cx.leaf(&ObjectRename { object, slot });
            objects.insert(inode, renamed.map_or(object, |it| it.object));
        }
        self.tree.install(inodes, |inode| objects.get(&inode).copied());
        self.put_on_disk(slot);
        for (dir, place) in marks.into_iter().filter(|(dir, _)| dir.slot() == slot) {
            // What names no place of the image marks nothing.
            let _ = self.tree.overlay(dir, place);
        }
        let home = cx.view().home(slot);
        let files = if home == cx.node() { files } else { held_elsewhere(files, home) };
        let held = |node: NodeId| old.keeps(cx.view(), node);
        for description in self.files.install(files, held) {
            if description.kept
                && let Ok(inode) = self.tree.inode_here(description.inode)
            {
                inode.opens += 1;
            }
        }
        self.locks.install(locks);
        // A backup keeps what its primary keeps.
        if home == cx.node() {
            self.prune_locks(cx, slot);
            self.tree.free_unused_in(slot);
        }
    }

    pub(crate) fn forget_slot(&mut self, slot: SlotNo) {
        self.files.forget_slot(slot);
        self.locks.forget_slot(slot);
        self.tree.forget_slot(slot);
    }
}
