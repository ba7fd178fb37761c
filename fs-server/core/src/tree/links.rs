// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names that come and go, and inodes with them.

use super::{Kind, Tree};
use crate::extras::Extras;
use crate::inode::{Body, Entry, Folder, Inode, Meta};
use crate::limits::{INODES_MAX, LINKS_MAX, NAMES_MAX};
use crate::lower::{Lower, LowerKind};
use abi::{Errno, InodeId, SlotNo};
use alloc::borrow::ToOwned;
use fs_api::name::Credentials;
use runtime::Mutant;
use runtime::collections::growth_bytes;

impl Tree {
    /// The writable part of a directory whose home is here and that everyone knows to have one.
    ///
    /// # Errors
    /// ENOENT: it was removed. ENOTDIR. ESTALE. ENOSPC.
    pub fn folder_mut(&mut self, dir: InodeId) -> Result<&mut Folder, Errno> {
        assert!(
            self.is_home(dir) && self.is_overlaid(dir),
            "changes happen at the home, announced"
        );
        if !self.inodes.contains_key(&dir) {
            let number = self.lower.number(dir).ok_or(Errno::ESTALE)?;
            let node = self.lower.node(number);
            let parent = Lower::id(node.parent);
            let body = match node.kind {
                LowerKind::Directory(_) => Body::Directory(Folder::new(parent, Some(number))),
                LowerKind::File { .. }
                | LowerKind::Link(_)
                | LowerKind::Device(_)
                | LowerKind::Elsewhere { .. } => return Err(Errno::ENOTDIR),
            };
            let (links, meta) = (node.links, self.meta(dir)?);
            self.room_for_inode()?;
            self.inodes
                .insert(dir, Inode { meta, links, opens: 0, body, extras: Extras::default() });
            self.touched.inode(dir);
        }
        match &mut self.inode_here(dir)?.body {
            Body::Directory(folder) if folder.dead => Err(Errno::ENOENT),
            Body::Directory(folder) => Ok(folder),
            Body::File(_) | Body::Link(_) | Body::Special(_) => Err(Errno::ENOTDIR),
        }
    }

    /// Whether a directory that is here holds no names.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn is_empty(&self, dir: InodeId) -> Result<bool, Errno> {
        let folder = match self.inodes.get(&dir).map(|inode| &inode.body) {
            Some(Body::Directory(folder)) => Some(folder),
            Some(Body::File(_) | Body::Link(_) | Body::Special(_)) => return Err(Errno::ENOTDIR),
            None => None,
        };
        let present = |entry: &Entry| matches!(entry, Entry::Present { .. });
        if folder.is_some_and(|folder| folder.entries.values().any(present)) {
            return Ok(false);
        }
        let lower = self.lower.number(dir).map_or(&[][..], |number| self.lower.entries(number));
        let hidden = |name: &str| folder.is_some_and(|folder| folder.entries.contains_key(name));
        Ok(lower.iter().all(|(name, _)| hidden(name)))
    }

    /// Bytes that the table of inodes needs when it next grows, if that is now.
    pub fn growth_bytes(&self) -> usize {
        growth_bytes(&self.inodes)
    }

    /// Whether one more name fits.
    ///
    /// # Errors
    /// ENOSPC.
    pub fn room_for_name(&self) -> Result<(), Errno> {
        if self.short || self.names >= NAMES_MAX { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    pub(super) fn room_for_inode(&self) -> Result<(), Errno> {
        if self.short || self.inodes.len() >= INODES_MAX { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// A new inode without a name, for a directory in this slot of this node.
    ///
    /// # Errors
    /// ENOSPC.
    pub fn add(&mut self, slot: SlotNo, meta: Meta, body: Body) -> Result<InodeId, Errno> {
        self.room_for_inode()?;
        self.made += 1;
        let serial = self.view.slot(slot).serial(self.made).ok_or(Errno::ENOSPC)?;
        let id = InodeId::new(slot, serial).ok_or(Errno::ENOSPC)?;
        self.inodes.insert(id, Inode { meta, links: 0, opens: 0, body, extras: Extras::default() });
        self.touched.inode(id);
        Ok(id)
    }

    /// Gives an inode of this home the name `name` in `dir`, in place of what has it.
    ///
    /// # Errors
    /// EMLINK; as [`Self::folder_mut`].
    pub fn link(
        &mut self,
        dir: InodeId,
        name: &str,
        inode: InodeId,
        now_ns: i64,
    ) -> Result<(), Errno> {
        if self.inode(inode)?.links >= LINKS_MAX {
            return Err(Errno::EMLINK);
        }
        if self.names >= NAMES_MAX {
            return Err(Errno::ENOSPC);
        }
        self.folder_mut(dir)?;
        if self.lookup(dir, name)?.is_some() {
            self.unlink(dir, name, now_ns)?;
        }
        let number = self.lower.number(dir);
        let place = number.and_then(|number| self.lower.find(number, name)).map(|(at, _)| at);
        self.edit(dir, name, |folder| folder.put(name, inode, place))?;
        let target = self.inode_mut(inode)?;
        target.meta.ctime_ns = now_ns;
        let is_directory = if let Body::Directory(folder) = &mut target.body {
            folder.parent = dir;
            target.links = target.links.max(2);
            true
        } else {
            target.links += 1;
            false
        };
        self.touch(dir, i32::from(is_directory), now_ns)
    }

    /// Takes a name away. Without a further name the inode goes with its last open file; a directory
    /// goes at once. The caller has checked that a directory is empty, or moves it.
    ///
    /// # Errors
    /// ENOENT; as [`Self::folder_mut`].
    pub fn unlink(&mut self, dir: InodeId, name: &str, now_ns: i64) -> Result<(), Errno> {
        if Mutant::UnlinkDoesNothing.is_on() {
            return Ok(());
        }
        let inode = self.detach(dir, name, now_ns)?;
        if Lower::is_lower(inode) {
            return Ok(());
        }
        let gone = self.inode_mut(inode)?;
        if let Body::Directory(folder) = &mut gone.body {
            folder.dead = true;
            gone.links = 0;
        }
        self.free_unused(inode);
        Ok(())
    }

    /// Takes a name away and leaves the inode, for a rename.
    ///
    /// # Errors
    /// As [`Self::unlink`].
    pub fn detach(&mut self, dir: InodeId, name: &str, now_ns: i64) -> Result<InodeId, Errno> {
        let inode = self.lookup(dir, name)?.ok_or(Errno::ENOENT)?;
        let in_lower =
            self.lower.number(dir).is_some_and(|number| self.lower.find(number, name).is_some());
        let is_directory = matches!(self.kind(inode)?, Kind::Directory);
        self.edit(dir, name, |folder| folder.take(name, in_lower))?;
        if !Lower::is_lower(inode) {
            let target = self.inode_mut(inode)?;
            target.links -= u32::from(!is_directory);
            target.meta.ctime_ns = now_ns;
        }
        self.touch(dir, if is_directory { -1 } else { 0 }, now_ns)?;
        Ok(inode)
    }

    /// Changes a name of a directory, and counts names.
    fn edit(
        &mut self,
        dir: InodeId,
        name: &str,
        change: impl FnOnce(&mut Folder),
    ) -> Result<(), Errno> {
        let folder = self.folder_mut(dir)?;
        let before = folder.entries.len();
        change(folder);
        let after = folder.entries.len();
        self.names = self.names + after - before;
        self.touched.inode(dir);
        self.touched.names.push((dir, name.to_owned()));
        Ok(())
    }

    pub(super) fn touch(&mut self, dir: InodeId, links: i32, now_ns: i64) -> Result<(), Errno> {
        let inode = self.inode_mut(dir)?;
        inode.links = inode.links.saturating_add_signed(links);
        inode.meta.mtime_ns = now_ns;
        inode.meta.ctime_ns = now_ns;
        Ok(())
    }

    /// Frees the inode if nothing needs it.
    pub fn free_unused(&mut self, id: InodeId) {
        let unused = |inode: &Inode| inode.links == 0 && inode.opens == 0;
        if Lower::is_lower(id) || !self.inodes.get(&id).is_some_and(unused) {
            return;
        }
        self.touched.inode(id);
        let gone = self.inodes.remove(&id);
        self.extra_bytes -= gone.as_ref().map_or(0, |inode| inode.extras.bytes());
        match gone.map(|inode| inode.body) {
            Some(Body::File(file)) => {
                self.pages_used -= file.extents.pages();
                self.freed_objects.extend(file.object);
            }
            Some(Body::Directory(folder)) => self.names -= folder.entries.len(),
            Some(Body::Link(_) | Body::Special(_)) | None => {}
        }
    }

    /// Whether `who` may take the name of `inode` out of `dir`: with the sticky bit, only the owner of
    /// either.
    ///
    /// # Errors
    /// EPERM.
    pub fn check_sticky(
        &self,
        dir: InodeId,
        inode: InodeId,
        who: &Credentials,
    ) -> Result<(), Errno> {
        let folder = self.meta(dir)?;
        if folder.mode & 0o1000 == 0 || who.uid == 0 || who.uid == folder.uid {
            return Ok(());
        }
        // A directory of the image that has its writable part elsewhere: the image says who owns it.
        let owner = self.meta(inode)?.uid;
        if who.uid == owner { Ok(()) } else { Err(Errno::EPERM) }
    }
}
