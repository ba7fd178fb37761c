// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one tree that programs see: the image's files below, the writable inodes above.
//!
//! # Model
//! A directory is the image's part, if it has one, and the writable part: names and whiteouts. An
//! inode of the writable tree is made at the home of its directory and stays there, so a directory
//! and all writable inodes in it have one home. Only directories of the image may have another home
//! than the directory they are in. Their writable part is at the home of their slot; a directory of
//! the image that is not in `overlaid` has none, and every node can look into it by itself.
//!
//! # Invariants
//! Names lead only to inodes that exist. An inode is freed when it has neither names nor open files.

use crate::device::Device;
use crate::inode::{Body, Entry, FileBody, Folder, Inode, Meta};
use crate::limits::{DEPTH_MAX, INODES_MAX, LINKS_MAX};
use crate::lower::{Lower, LowerKind, LowerNo, ROOT, WRITABLE};
use abi::limits::PAGE_BYTES;
use abi::linux::general::{S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG};
use abi::{Errno, InodeId, NodeId, ObjectId, SlotNo};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use cluster::View;
use fs_api::file::Stat;
use fs_api::name::{Credentials, TreeFigures};
use fs_api::peer::{ITSELF, NO_NAME};
use hashbrown::{HashMap, HashSet};

/// `st_dev` of every file: programs see one file system.
const DEVICE: u64 = 0x10;

/// The tree as this node knows it.
pub struct Tree {
    /// The image's part.
    pub lower: Lower,
    me: NodeId,
    view: View,
    slots: Vec<SlotNo>,
    serial: u64,
    inodes: HashMap<InodeId, Inode>,
    overlaid: HashSet<InodeId>,
    /// Names of the image that were changed: directory and position there, or [`ITSELF`].
    changed: HashSet<(InodeId, u64)>,
    lower_objects: HashMap<LowerNo, ObjectId>,
    pages_used: u64,
    pages_max: u64,
    /// Objects that no file has any more.
    pub freed_objects: Vec<ObjectId>,
}

/// What an inode is, as far as a walk must know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file of the writable tree.
    File,
    /// A regular file of the image.
    LowerFile(LowerNo),
    /// A symbolic link and where it points.
    Link(String),
    /// A device.
    Device(Device),
    /// proc-server's.
    Elsewhere,
}

impl Tree {
    /// The tree over an image. `bytes_max`: what this node's writable files may hold; the serials of
    /// its inodes follow on `serial`.
    pub fn new(me: NodeId, view: View, lower: Lower, bytes_max: u64, serial: u64) -> Self {
        let overlaid = WRITABLE.iter().filter_map(|path| lower.at_path(path)).map(Lower::id);
        Self {
            overlaid: overlaid.collect(),
            slots: view.slots_of(me).collect(),
            me,
            view,
            serial,
            inodes: HashMap::new(),
            changed: HashSet::new(),
            lower_objects: HashMap::new(),
            pages_used: 0,
            pages_max: bytes_max / PAGE_BYTES as u64,
            freed_objects: Vec::new(),
            lower,
        }
    }

    /// The root directory.
    pub fn root() -> InodeId {
        Lower::id(ROOT)
    }

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
        let unchanged = self.lower.number(inode).is_some() && !self.overlaid.contains(&inode);
        unchanged || self.home(inode) == self.me
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
        let dirs = self.overlaid.iter().map(|dir| (*dir, NO_NAME));
        let all = dirs.chain(self.changed.iter().copied());
        all.filter(|(dir, _)| self.is_home(*dir)).collect()
    }

    /// An inode of the writable tree.
    ///
    /// # Errors
    /// ESTALE: there is no such inode here.
    pub fn inode(&self, id: InodeId) -> Result<&Inode, Errno> {
        self.inodes.get(&id).ok_or(Errno::ESTALE)
    }

    /// The same.
    ///
    /// # Errors
    /// As [`Self::inode`].
    pub fn inode_mut(&mut self, id: InodeId) -> Result<&mut Inode, Errno> {
        self.inodes.get_mut(&id).ok_or(Errno::ESTALE)
    }

    /// A writable regular file's data.
    ///
    /// # Errors
    /// ESTALE: there is no such file here.
    pub fn file_mut(&mut self, id: InodeId) -> Result<(&mut FileBody, &mut Meta), Errno> {
        let inode = self.inode_mut(id)?;
        match &mut inode.body {
            Body::File(file) => Ok((file, &mut inode.meta)),
            Body::Directory(_) | Body::Link(_) => Err(Errno::ESTALE),
        }
    }

    /// What the inode is.
    ///
    /// # Errors
    /// ESTALE: there is no such inode here.
    pub fn kind(&self, id: InodeId) -> Result<Kind, Errno> {
        if Lower::is_lower(id) {
            let number = self.lower.number(id).ok_or(Errno::ESTALE)?;
            return Ok(match &self.lower.node(number).kind {
                LowerKind::Directory(_) => Kind::Directory,
                LowerKind::File { .. } => Kind::LowerFile(number),
                LowerKind::Link(target) => Kind::Link((**target).to_owned()),
                LowerKind::Device(device) => Kind::Device(*device),
                LowerKind::Elsewhere { .. } => Kind::Elsewhere,
            });
        }
        Ok(match &self.inode(id)?.body {
            Body::File(_) => Kind::File,
            Body::Directory(_) => Kind::Directory,
            Body::Link(target) => Kind::Link(target.clone()),
        })
    }

    /// Owner, permissions and times.
    ///
    /// # Errors
    /// ESTALE: there is no such inode here.
    pub fn meta(&self, id: InodeId) -> Result<Meta, Errno> {
        if let Some(inode) = self.inodes.get(&id) {
            return Ok(inode.meta);
        }
        let node = self.lower.node(self.lower.number(id).ok_or(Errno::ESTALE)?);
        let time_ns = node.mtime_s.saturating_mul(1_000_000_000);
        Ok(Meta {
            mode: node.mode,
            uid: 0,
            gid: 0,
            atime_ns: time_ns,
            mtime_ns: time_ns,
            ctime_ns: time_ns,
        })
    }

    /// stat(2).
    ///
    /// # Errors
    /// ESTALE: there is no such inode here.
    pub fn stat(&self, id: InodeId) -> Result<Stat, Errno> {
        let meta = self.meta(id)?;
        let (kind, links, rdev, size, pages) = match self.inodes.get(&id) {
            Some(inode) => match &inode.body {
                Body::File(file) => (S_IFREG, inode.links, 0, file.size, file.extents.pages()),
                Body::Link(target) => (S_IFLNK, inode.links, 0, target.len() as u64, 0),
                Body::Directory(folder) => {
                    (S_IFDIR, if folder.dead { 0 } else { inode.links }, 0, PAGE_BYTES as u64, 1)
                }
            },
            None => self.lower_stat(self.lower.number(id).ok_or(Errno::ESTALE)?),
        };
        Ok(Stat {
            device: DEVICE,
            inode: id.raw(),
            mode: kind | meta.mode,
            links,
            uid: meta.uid,
            gid: meta.gid,
            rdev,
            size,
            blocks: pages * (PAGE_BYTES as u64 / 512),
            atime_ns: meta.atime_ns,
            mtime_ns: meta.mtime_ns,
            ctime_ns: meta.ctime_ns,
        })
    }

    fn lower_stat(&self, number: LowerNo) -> (u32, u32, u64, u64, u64) {
        let node = self.lower.node(number);
        match &node.kind {
            LowerKind::Directory(_) | LowerKind::Elsewhere { directory: true } => {
                (S_IFDIR, node.links, 0, PAGE_BYTES as u64, 1)
            }
            LowerKind::File { len, .. } => {
                (S_IFREG, node.links, 0, *len, len.div_ceil(PAGE_BYTES as u64))
            }
            LowerKind::Link(target) => (S_IFLNK, node.links, 0, target.len() as u64, 0),
            LowerKind::Device(device) => (S_IFCHR, node.links, device.number(), 0, 0),
            LowerKind::Elsewhere { directory: false } => (S_IFCHR, node.links, 0x500, 0, 0),
        }
    }

    /// The inode of a name in a directory that is here, or of a name that is as in the image.
    ///
    /// # Errors
    /// ENOTDIR. ESTALE: there is no such directory here.
    pub fn lookup(&self, dir: InodeId, name: &str) -> Result<Option<InodeId>, Errno> {
        if let Some(inode) = self.inodes.get(&dir) {
            let Body::Directory(folder) = &inode.body else { return Err(Errno::ENOTDIR) };
            match folder.entries.get(name) {
                Some(Entry::Present { inode, .. }) => return Ok(Some(*inode)),
                Some(Entry::Whiteout) => return Ok(None),
                None if folder.lower.is_none() => return Ok(None),
                None => {}
            }
        }
        let number = self.lower.number(dir).ok_or(Errno::ESTALE)?;
        match self.lower.node(number).kind {
            LowerKind::Directory(_) => {}
            LowerKind::File { .. }
            | LowerKind::Link(_)
            | LowerKind::Device(_)
            | LowerKind::Elsewhere { .. } => return Err(Errno::ENOTDIR),
        }
        Ok(self.lower.find(number, name).map(|(_, child)| Lower::id(child)))
    }

    /// The directory that this one, which is here, is in.
    ///
    /// # Errors
    /// ENOENT: it was removed. ENOTDIR. ESTALE.
    pub fn parent(&self, dir: InodeId) -> Result<InodeId, Errno> {
        if let Some(number) = self.lower.number(dir) {
            return Ok(Lower::id(self.lower.node(number).parent));
        }
        match &self.inode(dir)?.body {
            Body::Directory(folder) if folder.dead => Err(Errno::ENOENT),
            Body::Directory(folder) => Ok(folder.parent),
            Body::File(_) | Body::Link(_) => Err(Errno::ENOTDIR),
        }
    }

    /// The absolute path of a directory whose home is here.
    ///
    /// # Errors
    /// ENOENT: it was removed. ENAMETOOLONG.
    pub fn path(&self, dir: InodeId) -> Result<String, Errno> {
        let mut names: Vec<&str> = Vec::new();
        let mut at = dir;
        while !Lower::is_lower(at) {
            let parent = self.parent(at)?;
            let Body::Directory(folder) = &self.inode(parent)?.body else {
                return Err(Errno::ENOENT);
            };
            let is_it =
                |entry: &Entry| matches!(entry, Entry::Present { inode, .. } if *inode == at);
            let found = folder.entries.iter().find(|(_, entry)| is_it(entry));
            names.push(found.ok_or(Errno::ENOENT)?.0);
            at = parent;
            if names.len() > DEPTH_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
        }
        let mut path = self.lower.path(self.lower.number(at).ok_or(Errno::ESTALE)?);
        if path == "/" && !names.is_empty() {
            path.clear();
        }
        Ok(names.iter().rev().fold(path, |path, name| path + "/" + name))
    }

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
            self.inodes.insert(dir, Inode { meta, links, opens: 0, body });
        }
        match &mut self.inode_mut(dir)?.body {
            Body::Directory(folder) if folder.dead => Err(Errno::ENOENT),
            Body::Directory(folder) => Ok(folder),
            Body::File(_) | Body::Link(_) => Err(Errno::ENOTDIR),
        }
    }

    /// Whether a directory that is here holds no names.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub fn is_empty(&self, dir: InodeId) -> Result<bool, Errno> {
        let folder = match self.inodes.get(&dir).map(|inode| &inode.body) {
            Some(Body::Directory(folder)) => Some(folder),
            Some(Body::File(_) | Body::Link(_)) => return Err(Errno::ENOTDIR),
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

    fn room_for_inode(&self) -> Result<(), Errno> {
        if self.inodes.len() >= INODES_MAX { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// A new inode without a name.
    ///
    /// # Errors
    /// ENOSPC.
    pub fn add(&mut self, meta: Meta, body: Body) -> Result<InodeId, Errno> {
        self.room_for_inode()?;
        self.serial += 1;
        let id = self.new_id(self.serial).ok_or(Errno::ENOSPC)?;
        self.inodes.insert(id, Inode { meta, links: 0, opens: 0, body });
        Ok(id)
    }

    fn new_id(&self, serial: u64) -> Option<InodeId> {
        let slot = self.slots.get(serial as usize % self.slots.len().max(1))?;
        InodeId::new(*slot, serial)
    }

    /// A slot of this node for an open file description.
    pub fn file_slot(&self, serial: u64) -> Option<SlotNo> {
        self.slots.get(serial as usize % self.slots.len().max(1)).copied()
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
        self.folder_mut(dir)?;
        if self.lookup(dir, name)?.is_some() {
            self.unlink(dir, name, now_ns)?;
        }
        let number = self.lower.number(dir);
        let place = number.and_then(|number| self.lower.find(number, name)).map(|(at, _)| at);
        self.folder_mut(dir)?.put(name, inode, place);
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
        self.folder_mut(dir)?.take(name, in_lower);
        if !Lower::is_lower(inode) {
            let target = self.inode_mut(inode)?;
            target.links -= u32::from(!is_directory);
            target.meta.ctime_ns = now_ns;
        }
        self.touch(dir, if is_directory { -1 } else { 0 }, now_ns)?;
        Ok(inode)
    }

    fn touch(&mut self, dir: InodeId, links: i32, now_ns: i64) -> Result<(), Errno> {
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
        if let Some(Inode { body: Body::File(file), .. }) = self.inodes.remove(&id) {
            self.pages_used -= file.extents.pages();
            self.freed_objects.extend(file.object);
        }
    }

    /// The object of a file of the image, if one was made.
    pub fn lower_object(&self, number: LowerNo) -> Option<ObjectId> {
        self.lower_objects.get(&number).copied()
    }

    /// Notes the object of a file of the image.
    pub fn set_lower_object(&mut self, number: LowerNo, object: ObjectId) {
        self.lower_objects.insert(number, object);
    }

    /// Checks that `pages` more fit.
    ///
    /// # Errors
    /// ENOSPC.
    pub fn room_for(&self, pages: u64) -> Result<(), Errno> {
        if pages > self.pages_max.saturating_sub(self.pages_used) {
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    /// Counts pages that a file took or gave back.
    pub fn charge(&mut self, more: u64, fewer: u64) {
        self.pages_used = self.pages_used + more - fewer;
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

    /// Figures for statfs(2).
    pub fn figures(&self) -> TreeFigures {
        let page = PAGE_BYTES as u64;
        TreeFigures {
            bytes_total: self.pages_max * page,
            bytes_free: self.pages_max.saturating_sub(self.pages_used) * page,
            inodes_total: INODES_MAX as u64,
            inodes_free: INODES_MAX.saturating_sub(self.inodes.len()) as u64,
        }
    }
}
