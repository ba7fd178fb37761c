// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one tree that programs see: the image's files below, the writable inodes above.
//!
//! # Model
//! A directory is the image's part, if it has one, and the writable part: names and whiteouts. An
//! inode of the writable tree is made in the slot of its directory and stays there, so a directory and
//! all writable inodes in it have one home, and move or are lost together. Only directories of the image
//! may have another slot than the directory they are in. Their writable part is at the home of their slot; a directory of
//! the image that is not in `overlaid` has none, and every node can look into it by itself.
//!
//! # Invariants
//! Names lead only to inodes that exist. An inode is freed when it has neither names nor open files.

mod links;
mod list;
mod places;
mod replicated;
mod saved;
mod views;

pub use list::Listing;
pub use replicated::{Shape, Touched};
pub use saved::{FileBytes, SavedInode};

use crate::device::Device;
use crate::inode::{Body, Entry, FileBody, Inode, Meta};
use crate::limits::{DEPTH_MAX, INODES_MAX};
use crate::lower::{Lower, LowerKind, LowerNo, ROOT};
use abi::limits::PAGE_BYTES;
use abi::linux::general::{S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK};
use abi::{Errno, InodeId, NodeId, ObjectId};
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use cluster::View;
use fs_api::file::Stat;
use fs_api::name::Special;
use fs_api::name::TreeFigures;
use runtime::collections::{HashMap, HashSet};

/// `st_dev` of every file: programs see one file system.
const DEVICE: u64 = 0x10;

/// The tree as this node knows it.
pub struct Tree {
    /// The image's part.
    pub lower: Lower,
    me: NodeId,
    view: View,
    /// Inodes that this node has made.
    made: u64,
    inodes: HashMap<InodeId, Inode>,
    overlaid: HashSet<InodeId>,
    /// Names of the image that were changed: directory and position there, or [`ITSELF`].
    changed: HashSet<(InodeId, u64)>,
    lower_objects: HashMap<LowerNo, ObjectId>,
    names: usize,
    /// Bytes of all extended attributes.
    extra_bytes: usize,
    pages_used: u64,
    pages_max: u64,
    /// Objects that no file has any more.
    pub freed_objects: Vec<ObjectId>,
    /// What the step under way has changed.
    pub touched: Touched,
    /// The heap is nearly used up: nothing new is taken in.
    pub short: bool,
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
    /// The name of a socket or a FIFO.
    Special(Special),
}

impl Tree {
    /// The tree over an image. `bytes_max`: what this node's writable files may hold.
    pub fn new(me: NodeId, view: View, lower: Lower, bytes_max: u64) -> Self {
        Self {
            overlaid: Lower::writable().collect(),
            me,
            view,
            made: 0,
            short: false,
            inodes: HashMap::default(),
            changed: HashSet::default(),
            lower_objects: HashMap::default(),
            names: 0,
            extra_bytes: 0,
            pages_used: 0,
            pages_max: bytes_max / PAGE_BYTES as u64,
            freed_objects: Vec::new(),
            touched: Touched::default(),
            lower,
        }
    }

    /// The root directory.
    pub fn root() -> InodeId {
        Lower::id(ROOT)
    }

    /// An inode of the writable tree.
    ///
    /// # Errors
    /// ESTALE: there is no such inode here.
    pub fn inode(&self, id: InodeId) -> Result<&Inode, Errno> {
        self.inodes.get(&id).ok_or(Errno::ESTALE)
    }

    /// The same, to be changed.
    ///
    /// # Errors
    /// As [`Self::inode`].
    pub fn inode_mut(&mut self, id: InodeId) -> Result<&mut Inode, Errno> {
        self.touched.inode(id);
        self.inodes.get_mut(&id).ok_or(Errno::ESTALE)
    }

    /// The same, for what each node counts by itself: objects and open files.
    ///
    /// # Errors
    /// As [`Self::inode`].
    pub fn inode_here(&mut self, id: InodeId) -> Result<&mut Inode, Errno> {
        self.inodes.get_mut(&id).ok_or(Errno::ESTALE)
    }

    /// A writable regular file's data.
    ///
    /// # Errors
    /// ESTALE: there is no such file here.
    pub fn file(&self, id: InodeId) -> Result<&FileBody, Errno> {
        match &self.inode(id)?.body {
            Body::File(file) => Ok(file),
            Body::Directory(_) | Body::Link(_) | Body::Special(_) => Err(Errno::ESTALE),
        }
    }

    /// The same, and the inode's state, to be changed.
    ///
    /// # Errors
    /// ESTALE: there is no such file here.
    pub fn file_mut(&mut self, id: InodeId) -> Result<(&mut FileBody, &mut Meta), Errno> {
        let inode = self.inode_mut(id)?;
        match &mut inode.body {
            Body::File(file) => Ok((file, &mut inode.meta)),
            Body::Directory(_) | Body::Link(_) | Body::Special(_) => Err(Errno::ESTALE),
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
            Body::Special(special) => Kind::Special(*special),
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
                Body::Special(Special::Socket) => (S_IFSOCK, inode.links, 0, 0, 0),
                Body::Special(Special::Fifo) => (S_IFIFO, inode.links, 0, 0, 0),
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

    /// The directory that this one, which is here, is in; or was in, if it was removed and is still
    /// somebody's working directory.
    ///
    /// # Errors
    /// ENOTDIR. ESTALE.
    pub fn parent(&self, dir: InodeId) -> Result<InodeId, Errno> {
        if let Some(number) = self.lower.number(dir) {
            return Ok(Lower::id(self.lower.node(number).parent));
        }
        match &self.inode(dir)?.body {
            Body::Directory(folder) => Ok(folder.parent),
            Body::File(_) | Body::Link(_) | Body::Special(_) => Err(Errno::ENOTDIR),
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
        let full = pages > self.pages_max.saturating_sub(self.pages_used);
        // Each run of pages that a file has needs memory, too.
        if full || self.short && pages > 0 {
            return Err(Errno::ENOSPC);
        }
        Ok(())
    }

    /// Counts pages that a file took or gave back.
    pub fn charge(&mut self, more: u64, fewer: u64) {
        self.pages_used = self.pages_used + more - fewer;
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
