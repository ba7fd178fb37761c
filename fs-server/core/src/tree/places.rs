// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where what is known: homes, and which parts of the image still stand.

use super::Tree;
use crate::lower::{Lower, LowerKind};
use abi::{Errno, InodeId, NodeId, SlotNo};
use alloc::vec::Vec;
use fs_api::peer::{ITSELF, NO_NAME};

impl Tree {
    /// The node that keeps the inode's writable state.
    pub fn home(&self, inode: InodeId) -> NodeId {
        self.view.home(inode.slot())
    }

    /// The other members.
    pub fn others(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.view.members().iter().copied().filter(|node| *node != self.me)
    }

    /// Whether this node can read the inode: it is its home, or it is the image's and unchanged.
    pub fn is_here(&self, inode: InodeId) -> bool {
        let unchanged = self.lower.number(inode).is_some() && self.is_as_in_image(inode);
        unchanged || self.home(inode) == self.me
    }

    /// Whether a directory of the image has no writable part. One whose slot goes on from a disk may have.
    fn is_as_in_image(&self, inode: InodeId) -> bool {
        !self.overlaid.contains(&inode) && !self.view.slot(inode.slot()).is_kept()
    }

    /// Whether this node is the inode's home.
    pub fn is_home(&self, inode: InodeId) -> bool {
        self.home(inode) == self.me
    }

    /// Whether everyone knows that this directory has a writable part.
    pub fn is_overlaid(&self, dir: InodeId) -> bool {
        !Lower::is_lower(dir) || self.overlaid.contains(&dir)
    }

    /// Whether everyone knows that the image's entry at `place` of this directory may have changed.
    pub fn is_changed(&self, dir: InodeId, place: u64) -> bool {
        self.is_overlaid(dir) && (place == NO_NAME || self.changed.contains(&(dir, place)))
    }

    /// Whether the image's entry of this name is as it was, wherever the directory's home is.
    pub fn is_unchanged(&self, dir: InodeId, name: &str) -> bool {
        let place = self.place(dir, name);
        place != NO_NAME
            && !self.view.slot(dir.slot()).is_kept()
            && !self.changed.contains(&(dir, place))
            && !self.changed.contains(&(dir, ITSELF))
    }

    /// The position of the image's entry of this name; [`NO_NAME`] if there is none.
    pub fn place(&self, dir: InodeId, name: &str) -> u64 {
        let found = self.lower.number(dir).and_then(|number| self.lower.find(number, name));
        found.map_or(NO_NAME, |(at, _)| at as u64)
    }

    /// Notes that a directory of the image has a writable part, and that its entry at `place` is to
    /// change.
    ///
    /// # Errors
    /// ESTALE: it is no directory of the image, or has no such entry.
    pub fn overlay(&mut self, dir: InodeId, place: u64) -> Result<(), Errno> {
        let number = self.lower.number(dir).ok_or(Errno::ESTALE)?;
        let LowerKind::Directory(entries) = &self.lower.node(number).kind else {
            return Err(Errno::ESTALE);
        };
        let is_name = place < entries.len() as u64;
        if !is_name && place != ITSELF && place != NO_NAME {
            return Err(Errno::ESTALE);
        }
        self.overlaid.insert(dir);
        if place != NO_NAME {
            self.changed.insert((dir, place));
        }
        Ok(())
    }

    /// What this node has announced: directories and places.
    pub fn announced_here(&self) -> Vec<(InodeId, u64)> {
        self.announced(|dir| self.is_home(dir))
    }

    /// What was announced of the directories of a slot, beside those that everybody knows to be
    /// writable.
    pub fn announced_in(&self, slot: SlotNo) -> Vec<(InodeId, u64)> {
        let mut all = self.announced(|dir| dir.slot() == slot);
        all.retain(|(dir, place)| *place != NO_NAME || Lower::writable().all(|it| it != *dir));
        all
    }

    fn announced(&self, of: impl Fn(InodeId) -> bool) -> Vec<(InodeId, u64)> {
        let dirs = self.overlaid.iter().map(|dir| (*dir, NO_NAME));
        let all = dirs.chain(self.changed.iter().copied());
        all.filter(|(dir, _)| of(*dir)).collect()
    }
}
