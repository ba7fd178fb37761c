// SPDX-License-Identifier: MIT OR Apache-2.0
//! What becomes of the tree when the view changes.
//!
//! # Model
//! A slot that began anew is empty: the directories of the image that have it are as in the image
//! again, on every node, and whatever was made in them is gone.

use super::Tree;
use crate::inode::Body;
use crate::lower::{Lower, LowerNo};
use abi::{InodeId, SlotNo};
use cluster::View;

impl Tree {
    /// The view changed; `old` is the one before.
    pub fn enter(&mut self, old: &View, view: &View) {
        self.view = view.clone();
        let anew = |slot: SlotNo| view.slot(slot).lost > old.epoch();
        self.overlaid.retain(|dir| !anew(dir.slot()));
        self.overlaid.extend(Lower::writable());
        self.changed.retain(|(dir, _)| !anew(dir.slot()));
        self.revive(anew);
    }

    /// Directories of the image that were removed from one that is as in the image again: their names
    /// are back.
    fn revive(&mut self, anew: impl Fn(SlotNo) -> bool) {
        let lower = &self.lower;
        let back = |number: LowerNo| anew(Lower::id(lower.node(number).parent).slot());
        for inode in self.inodes.values_mut() {
            if let Body::Directory(folder) = &mut inode.body
                && folder.lower.is_some_and(back)
            {
                folder.dead = false;
            }
        }
    }

    /// Whether the inode is gone, with a home that left. The image's are never: they are as in the
    /// image again.
    pub fn is_lost(&self, inode: InodeId) -> bool {
        !Lower::is_lower(inode) && self.view.has_lost(inode.slot(), inode.serial())
    }

    /// Whether anything lives in the slot: inodes, or what others were told of the image's directories.
    pub fn any_in(&self, slot: SlotNo) -> bool {
        let mut told = self.overlaid.iter().filter(|dir| Lower::writable().all(|it| it != **dir));
        self.inodes.keys().any(|inode| inode.slot() == slot)
            || self.changed.iter().any(|(dir, _)| dir.slot() == slot)
            || told.any(|dir| dir.slot() == slot)
    }
}
