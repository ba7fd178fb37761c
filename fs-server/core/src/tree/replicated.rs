// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes at the backup of their slot: what changed, and how it is taken in.
//!
//! What comes is another node's word: a change that no tree can have is refused.

use super::Tree;
use crate::extras::Extras;
use crate::inode::{Body, Entry, FileBody, Folder, Inode, Meta};
use crate::limits::{EXTRAS_BYTES_MAX, FILE_BYTES_MAX, INODES_MAX, NAMES_MAX, TOUCHED_KEPT};
use crate::lower::{Lower, LowerKind};
use abi::limits::{NAME_BYTES, PAGE_BYTES, PATH_BYTES};
use abi::{Errno, InodeId, ObjectId, SlotNo};
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use fs_api::name::Special;
use fs_api::peer::ITSELF;
use serde::{Deserialize, Serialize};

/// What a step has changed. Something may stand here twice: most steps have no backup to tell, and should not
/// pay for sets.
#[derive(Default, Debug)]
pub struct Touched {
    /// Inodes that changed, came or went.
    pub inodes: Vec<InodeId>,
    /// Directories and names in them.
    pub names: Vec<(InodeId, String)>,
    /// Bytes of files.
    pub written: Vec<(InodeId, Range<u64>)>,
    /// Inodes whose extended attributes changed.
    pub extras: Vec<InodeId>,
    /// Pages of files that were reserved, or given back.
    pub room: Vec<(InodeId, Range<u64>, bool)>,
    /// How many of each the disk's journal was told of already.
    noted: [usize; 5],
}

impl Touched {
    /// An inode changed, came or went.
    pub fn inode(&mut self, id: InodeId) {
        if self.inodes.last() != Some(&id) {
            self.inodes.push(id);
        }
    }

    /// What the disk's journal was not told of yet; from now on it was.
    pub fn note(&mut self) -> Unnoted<'_> {
        let Self { inodes, names, written, extras, room, noted } = self;
        let lens = [inodes.len(), names.len(), written.len(), extras.len(), room.len()];
        let from = core::mem::replace(noted, lens);
        Unnoted {
            inodes: &inodes[from[0]..],
            names: &names[from[1]..],
            written: &written[from[2]..],
            extras: &extras[from[3]..],
            room: &room[from[4]..],
        }
    }

    /// Nothing is touched any more; the next step uses the same memory.
    pub fn clear(&mut self) {
        self.noted = [0; 5];
        self.inodes.clear();
        self.inodes.shrink_to(TOUCHED_KEPT);
        self.names.clear();
        self.names.shrink_to(TOUCHED_KEPT);
        self.written.clear();
        self.written.shrink_to(TOUCHED_KEPT);
        self.extras.clear();
        self.extras.shrink_to(TOUCHED_KEPT);
        self.room.clear();
        self.room.shrink_to(TOUCHED_KEPT);
    }
}

/// Some of what a step has changed, as in [`Touched`].
#[derive(Debug)]
pub struct Unnoted<'a> {
    /// Inodes.
    pub inodes: &'a [InodeId],
    /// Names.
    pub names: &'a [(InodeId, String)],
    /// Bytes.
    pub written: &'a [(InodeId, Range<u64>)],
    /// Attributes.
    pub extras: &'a [InodeId],
    /// Pages.
    pub room: &'a [(InodeId, Range<u64>, bool)],
}

/// An inode without its names and bytes.
#[derive(Serialize, Deserialize)]
pub enum Shape {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// As [`FileBody::mapped`].
        mapped: bool,
        /// As [`FileBody::linkable`].
        linkable: bool,
    },
    /// A directory.
    Directory {
        /// The one that it is in.
        parent: InodeId,
        /// The last cookie that was given.
        next_cookie: u64,
        /// It was removed.
        dead: bool,
    },
    /// A symbolic link.
    Link(String),
    /// The name of a socket or a FIFO.
    Special(Special),
}

impl Tree {
    /// An inode of this home as its backup has to have it; `None` if it is no more.
    pub fn shape(&self, id: InodeId) -> Option<(Meta, u32, Shape)> {
        let inode = self.inodes.get(&id)?;
        let shape = match &inode.body {
            Body::File(file) => {
                Shape::File { size: file.size, mapped: file.mapped, linkable: file.linkable }
            }
            Body::Link(target) => Shape::Link(target.clone()),
            Body::Special(special) => Shape::Special(*special),
            Body::Directory(folder) => Shape::Directory {
                parent: folder.parent,
                next_cookie: folder.next_cookie(),
                dead: folder.dead,
            },
        };
        Some((inode.meta, inode.links, shape))
    }

    /// What a directory of this home knows of a name.
    pub fn entry(&self, dir: InodeId, name: &str) -> Option<Entry> {
        match &self.inodes.get(&dir)?.body {
            Body::Directory(folder) => folder.entries.get(name).copied(),
            Body::File(_) | Body::Link(_) | Body::Special(_) => None,
        }
    }

    /// Takes in an inode of another home; an object of a file that has to be cut to its size.
    ///
    /// # Errors
    /// EPROTO: it cannot be. ENOSPC.
    pub fn put_shape(
        &mut self,
        slot: SlotNo,
        (id, meta, links): (InodeId, Meta, u32),
        shape: Shape,
    ) -> Result<Option<(ObjectId, u64)>, Errno> {
        if id.slot() != slot || !self.can_be(id, &shape) {
            return Err(Errno::EPROTO);
        }
        if !self.inodes.contains_key(&id) {
            if self.short || self.inodes.len() >= INODES_MAX {
                return Err(Errno::ENOSPC);
            }
            let body = match &shape {
                Shape::File { .. } => Body::File(FileBody::default()),
                Shape::Link(target) => Body::Link(target.clone()),
                Shape::Special(special) => Body::Special(*special),
                Shape::Directory { parent, .. } => {
                    Body::Directory(Folder::new(*parent, self.lower.number(id)))
                }
            };
            self.inodes
                .insert(id, Inode { meta, links, opens: 0, body, extras: Extras::default() });
        }
        self.touched.inode(id);
        let Some(inode) = self.inodes.get_mut(&id) else { return Ok(None) };
        (inode.meta, inode.links) = (meta, links);
        match (&mut inode.body, shape) {
            (Body::File(file), Shape::File { size, mapped, linkable }) => {
                (file.mapped, file.linkable) = (mapped, linkable);
                let cut = file.object.filter(|_| size != file.size);
                file.size = size;
                let freed = file.extents.cut(size.div_ceil(PAGE_BYTES as u64));
                self.charge(0, freed);
                Ok(cut.map(|object| (object, size)))
            }
            (Body::Link(link), Shape::Link(target)) => {
                *link = target;
                Ok(None)
            }
            (Body::Special(special), Shape::Special(other)) if *special == other => Ok(None),
            (Body::Directory(folder), Shape::Directory { parent, next_cookie, dead }) => {
                folder.replaced(parent, next_cookie, dead);
                Ok(None)
            }
            (Body::File(_) | Body::Link(_) | Body::Directory(_) | Body::Special(_), _) => {
                Err(Errno::EPROTO)
            }
        }
    }

    fn can_be(&self, id: InodeId, shape: &Shape) -> bool {
        let number = self.lower.number(id);
        match shape {
            Shape::File { size, .. } => !Lower::is_lower(id) && *size <= FILE_BYTES_MAX,
            Shape::Link(target) => !Lower::is_lower(id) && target.len() < PATH_BYTES,
            Shape::Special(_) => !Lower::is_lower(id),
            Shape::Directory { .. } => {
                let is_directory =
                    |number| matches!(self.lower.node(number).kind, LowerKind::Directory(_));
                !Lower::is_lower(id) || number.is_some_and(is_directory)
            }
        }
    }

    /// Takes in what a directory of another home knows of a name.
    ///
    /// # Errors
    /// EPROTO: it cannot be. ENOSPC.
    pub fn put_name(
        &mut self,
        slot: SlotNo,
        (dir, name): (InodeId, String),
        entry: Option<Entry>,
    ) -> Result<(), Errno> {
        let named = !name.is_empty() && name.len() <= NAME_BYTES && !name.contains('/');
        let is_here = |inode: InodeId| inode.slot() == slot && self.inodes.contains_key(&inode);
        let leads = match entry {
            Some(Entry::Present { inode, .. }) => !Lower::is_lower(inode) && is_here(inode),
            Some(Entry::Whiteout) | None => true,
        };
        if !named || !leads || dir.slot() != slot {
            return Err(Errno::EPROTO);
        }
        if self.short && entry.is_some() || self.names >= NAMES_MAX {
            return Err(Errno::ENOSPC);
        }
        let inode = self.inodes.get_mut(&dir).ok_or(Errno::EPROTO)?;
        let Body::Directory(folder) = &mut inode.body else { return Err(Errno::EPROTO) };
        let before = folder.entries.len();
        self.touched.names.push((dir, name.clone()));
        folder.set(name, entry)?;
        self.names = self.names + folder.entries.len() - before;
        if Lower::is_lower(dir) {
            self.overlaid.insert(dir);
        }
        Ok(())
    }

    /// An inode of another home is no more.
    pub fn drop_copy(&mut self, id: InodeId) {
        self.touched.inode(id);
        let gone = self.inodes.remove(&id);
        self.extra_bytes -= gone.as_ref().map_or(0, |inode| inode.extras.bytes());
        match gone.map(|inode| inode.body) {
            Some(Body::File(file)) => {
                self.charge(0, file.extents.pages());
                self.freed_objects.extend(file.object);
            }
            Some(Body::Directory(folder)) => self.names -= folder.entries.len(),
            Some(Body::Link(_) | Body::Special(_)) | None => {}
        }
    }

    /// Counts bytes of a file that were written at its home, or will be.
    ///
    /// # Errors
    /// EPROTO: it has not so many. ENOSPC.
    pub fn grow_copy(&mut self, id: InodeId, range: Range<u64>) -> Result<(), Errno> {
        let page = PAGE_BYTES as u64;
        let pages = range.start / page..range.end.div_ceil(page);
        let file = self.file(id)?;
        if range.end > file.size || range.start >= range.end {
            return Err(Errno::EPROTO);
        }
        self.room_for(file.extents.missing(pages.clone()))?;
        let Body::File(file) = &mut self.inode_here(id)?.body else { return Err(Errno::EPROTO) };
        let more = file.extents.add(pages);
        self.charge(more, 0);
        self.touched.written.push((id, range));
        Ok(())
    }

    /// Counts pages that a file may take; there is room for them.
    ///
    /// # Errors
    /// ESTALE: there is no such file here.
    pub fn reserve(&mut self, id: InodeId, pages: Range<u64>) -> Result<(), Errno> {
        let Body::File(file) = &mut self.inode_here(id)?.body else { return Err(Errno::ESTALE) };
        let more = file.extents.add(pages.clone());
        self.charge(more, 0);
        self.touched.room.push((id, pages, true));
        Ok(())
    }

    /// Counts pages that a file has given back.
    ///
    /// # Errors
    /// ESTALE: there is no such file here.
    pub fn give_back(&mut self, id: InodeId, pages: Range<u64>) -> Result<(), Errno> {
        let Body::File(file) = &mut self.inode_here(id)?.body else { return Err(Errno::ESTALE) };
        let fewer = file.extents.remove(pages.clone());
        self.charge(0, fewer);
        self.touched.room.push((id, pages, false));
        Ok(())
    }

    /// The same for a copy, as its home says; its object, if it has one.
    ///
    /// # Errors
    /// EPROTO: they cannot be. ENOSPC.
    pub fn copy_room(
        &mut self,
        id: InodeId,
        pages: Range<u64>,
        taken: bool,
    ) -> Result<Option<ObjectId>, Errno> {
        if pages.start > pages.end || pages.end > FILE_BYTES_MAX / PAGE_BYTES as u64 {
            return Err(Errno::EPROTO);
        }
        let file = self.file(id)?;
        let object = file.object;
        if taken {
            self.room_for(file.extents.missing(pages.clone()))?;
            self.reserve(id, pages)?;
        } else {
            self.give_back(id, pages)?;
        }
        Ok(object)
    }

    /// Bytes of all extended attributes here.
    #[cfg(test)]
    pub fn extra_bytes(&self) -> usize {
        self.extra_bytes
    }

    /// An inode has these attributes from now on.
    ///
    /// # Errors
    /// ENOSPC. ESTALE: there is no such inode here. EPROTO: they cannot be.
    pub fn set_extras(&mut self, id: InodeId, extras: Extras) -> Result<(), Errno> {
        let had = self.inode(id)?.extras.bytes();
        if !extras.are_sound() {
            return Err(Errno::EPROTO);
        }
        let all = self.extra_bytes - had + extras.bytes();
        if all > EXTRAS_BYTES_MAX || self.short && extras.bytes() > had {
            return Err(Errno::ENOSPC);
        }
        self.extra_bytes = all;
        self.inode_here(id)?.extras = extras;
        self.touched.extras.push(id);
        Ok(())
    }

    /// Notes where a file's bytes are on this node.
    ///
    /// # Errors
    /// ESTALE: there is no such file here.
    pub fn set_object(&mut self, id: InodeId, object: ObjectId) -> Result<(), Errno> {
        match &mut self.inode_here(id)?.body {
            Body::File(file) => file.object = Some(object),
            Body::Directory(_) | Body::Link(_) | Body::Special(_) => return Err(Errno::ESTALE),
        }
        Ok(())
    }

    /// All inodes here, in no order.
    pub fn all(&self) -> impl Iterator<Item = (InodeId, &Inode)> {
        self.inodes.iter().map(|(id, inode)| (*id, inode))
    }

    /// The inodes of a slot, in no order.
    pub fn ids_in(&self, slot: SlotNo) -> Vec<InodeId> {
        self.inodes.keys().filter(|id| id.slot() == slot).copied().collect()
    }

    /// The slots that have inodes.
    pub fn slots(&self) -> BTreeSet<SlotNo> {
        self.inodes.keys().map(|id| id.slot()).collect()
    }

    /// Files that programs have mapped to write, and have their bytes here.
    pub fn mapped(&self) -> Vec<InodeId> {
        let mapped = |inode: &Inode| matches!(&inode.body, Body::File(file) if file.mapped);
        self.all().filter(|(_, inode)| mapped(inode)).map(|(id, _)| id).collect()
    }

    /// The directories of the image of a slot that was found on the disk have writable parts: whatever may have
    /// been changed of them was.
    pub fn overlay_found(&mut self, slot: SlotNo) {
        let mut places = Vec::new();
        for id in self.ids_in(slot).into_iter().filter(|id| Lower::is_lower(*id)) {
            let Ok(Body::Directory(folder)) = self.inode(id).map(|inode| &inode.body) else {
                continue;
            };
            places.push((id, ITSELF));
            places.extend(folder.entries.keys().map(|name| (id, self.place(id, name))));
        }
        for (id, place) in places {
            // It is a directory of the image, or nothing of it was found.
            let _ = self.overlay(id, place);
        }
    }

    /// Files may have no more pages than there are.
    pub fn bound_pages(&mut self, pages: u64) {
        self.pages_max = self.pages_max.min(pages);
    }

    /// Files with the objects that hold their bytes here, in no order.
    pub fn objects(&self) -> Vec<(InodeId, ObjectId)> {
        let all = self.inodes.iter().filter_map(|(id, inode)| match &inode.body {
            Body::File(FileBody { object: Some(object), .. }) => Some((*id, *object)),
            Body::File(_) | Body::Directory(_) | Body::Link(_) | Body::Special(_) => None,
        });
        all.collect()
    }
}
