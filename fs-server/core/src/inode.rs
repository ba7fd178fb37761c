// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes of the writable tree.

use crate::extras::Extras;
use crate::lower::LowerNo;
use abi::{Errno, InodeId, ObjectId};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::file::Attributes;
use fs_api::name::Credentials;
use fs_api::name::Special;
use fs_store::Extents;
use serde::{Deserialize, Serialize};

/// Owner, permissions and times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Meta {
    /// `st_mode & 07777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last read, nanoseconds since 1970.
    pub atime_ns: i64,
    /// Last write.
    pub mtime_ns: i64,
    /// Last change of the inode.
    pub ctime_ns: i64,
}

/// May read, in the bits of access(2).
pub const MAY_READ: u32 = 4;
/// May write.
pub const MAY_WRITE: u32 = 2;
/// May execute, or walk through a directory.
pub const MAY_EXECUTE: u32 = 1;

impl Meta {
    /// Whether `who` may do all of `wanted`, path_resolution(7): root may, except execute what nobody
    /// may execute.
    ///
    /// # Errors
    /// EACCES.
    pub fn check(&self, who: &Credentials, wanted: u32, directory: bool) -> Result<(), Errno> {
        if who.uid == 0 {
            let runs = directory || self.mode & 0o111 != 0 || wanted & MAY_EXECUTE == 0;
            return if runs { Ok(()) } else { Err(Errno::EACCES) };
        }
        let shift = match () {
            () if self.uid == who.uid => 6,
            () if self.gid == who.gid => 3,
            () => 0,
        };
        if self.mode >> shift & wanted == wanted { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// chmod(2), chown(2), utimensat(2).
    ///
    /// # Errors
    /// EPERM. EACCES: the present time, by who may not write.
    pub fn change(
        &mut self,
        who: &Credentials,
        change: &Attributes,
        now_ns: i64,
    ) -> Result<(), Errno> {
        let owns = who.uid == 0 || who.uid == self.uid;
        let gives = change.uid.is_some_and(|uid| uid != self.uid)
            || change.gid.is_some_and(|gid| gid != self.gid && gid != who.gid);
        let sets_times = change.atime_ns.is_some() || change.mtime_ns.is_some();
        let changes = [change.mode, change.uid, change.gid].iter().any(Option::is_some);
        if !sets_times && !changes {
            return Ok(());
        }
        if change.now && !changes && !owns {
            self.check(who, MAY_WRITE, false)?;
        } else if !(owns && (who.uid == 0 || !gives)) {
            return Err(Errno::EPERM);
        }
        if (change.uid.is_some() || change.gid.is_some()) && self.mode & 0o111 != 0 {
            self.mode &= !0o6000;
        }
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        self.mode = change.mode.map_or(self.mode, |mode| mode & 0o7777);
        self.atime_ns = change.atime_ns.unwrap_or(self.atime_ns);
        self.mtime_ns = change.mtime_ns.unwrap_or(self.mtime_ns);
        self.ctime_ns = now_ns;
        Ok(())
    }
}

/// An inode of the writable tree, or the writable part of a directory of the image.
#[derive(Debug)]
pub struct Inode {
    /// Owner, permissions, times.
    pub meta: Meta,
    /// Names of it. A file without names lives until its last description is closed.
    pub links: u32,
    /// Open file descriptions of it.
    pub opens: u32,
    /// What it is.
    pub body: Body,
    /// Its extended attributes.
    pub extras: Extras,
}

/// What an inode is.
#[derive(Debug)]
pub enum Body {
    /// A regular file.
    File(FileBody),
    /// A directory.
    Directory(Folder),
    /// A symbolic link.
    Link(String),
    /// The name of a socket or a FIFO; the ipc server knows which.
    Special(Special),
}

/// A regular file's data.
#[derive(Debug, Default)]
pub struct FileBody {
    /// Where the bytes are; made with the first write or mapping.
    pub object: Option<ObjectId>,
    /// Bytes.
    pub size: u64,
    /// Pages that were written, or reserved.
    pub extents: Extents,
    /// Programs may have written through a mapping what `extents` knows nothing of: all of it is data.
    pub mapped: bool,
    /// It was made without a name and may get one, O_TMPFILE.
    pub linkable: bool,
}

/// What a directory knows of one name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Entry {
    /// It is this inode, of the writable tree and of the directory's slot.
    Present {
        /// The inode.
        inode: InodeId,
        /// Its place in the directory's order.
        cookie: u64,
    },
    /// The image's file of that name is gone.
    Whiteout,
}

/// First cookie of names that the image does not have in the directory.
pub const UPPER_COOKIES: u64 = 1 << 32;
/// Cookie of the image's first entry: 1 and 2 are `.` and `..`.
pub const LOWER_COOKIES: u64 = 3;

/// The writable part of a directory.
#[derive(Debug)]
pub struct Folder {
    /// The directory that it is in.
    pub parent: InodeId,
    /// The directory of the image that it lies over.
    pub lower: Option<LowerNo>,
    /// Its names.
    pub entries: BTreeMap<String, Entry>,
    /// Names that the image has not, by cookie. A cookie is not used twice.
    pub order: BTreeMap<u64, String>,
    next_cookie: u64,
    /// It was removed: nothing can be made in it.
    pub dead: bool,
}

impl Folder {
    /// An empty one.
    pub fn new(parent: InodeId, lower: Option<LowerNo>) -> Self {
        Self {
            parent,
            lower,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next_cookie: UPPER_COOKIES,
            dead: false,
        }
    }

    /// One that came from another home. No cookie among `entries` is above `next_cookie`.
    pub fn restored(
        (parent, lower): (InodeId, Option<LowerNo>),
        entries: Vec<(String, Entry)>,
        next_cookie: u64,
        dead: bool,
    ) -> Self {
        let mut folder = Self { next_cookie, dead, ..Self::new(parent, lower) };
        for (name, entry) in entries {
            if let Entry::Present { cookie, .. } = entry
                && cookie > UPPER_COOKIES
            {
                folder.order.insert(cookie, name.clone());
            }
            folder.entries.insert(name, entry);
        }
        folder
    }

    /// The last cookie that was given.
    pub fn next_cookie(&self) -> u64 {
        self.next_cookie
    }

    /// Names `inode`; `lower_place` is the position of the image's entry of that name.
    pub fn put(&mut self, name: &str, inode: InodeId, lower_place: Option<usize>) {
        let kept = match self.entries.get(name) {
            Some(Entry::Present { cookie, .. }) => Some(*cookie),
            Some(Entry::Whiteout) | None => lower_place.map(|at| LOWER_COOKIES + at as u64),
        };
        let cookie = kept.unwrap_or_else(|| {
            self.next_cookie += 1;
            self.order.insert(self.next_cookie, name.to_owned());
            self.next_cookie
        });
        self.entries.insert(name.to_owned(), Entry::Present { inode, cookie });
    }

    /// What its home says of a copy.
    pub fn replaced(&mut self, parent: InodeId, next_cookie: u64, dead: bool) {
        (self.parent, self.next_cookie, self.dead) = (parent, next_cookie, dead);
    }

    /// What its home says of a name in a copy.
    ///
    /// # Errors
    /// EPROTO: a cookie that was not given yet.
    pub fn set(&mut self, name: String, entry: Option<Entry>) -> Result<(), Errno> {
        if let Some(Entry::Present { cookie, .. }) = self.entries.remove(&name) {
            self.order.remove(&cookie);
        }
        match entry {
            Some(Entry::Present { cookie, .. }) if cookie > self.next_cookie => {
                return Err(Errno::EPROTO);
            }
            Some(Entry::Present { cookie, .. }) if cookie > UPPER_COOKIES => {
                self.order.insert(cookie, name.clone());
            }
            Some(Entry::Present { .. } | Entry::Whiteout) | None => {}
        }
        if let Some(entry) = entry {
            self.entries.insert(name, entry);
        }
        Ok(())
    }

    /// Forgets a name; the image's file of that name, if there is one, is then hidden.
    pub fn take(&mut self, name: &str, in_lower: bool) {
        if let Some(Entry::Present { cookie, .. }) = self.entries.remove(name) {
            self.order.remove(&cookie);
        }
        if in_lower {
            self.entries.insert(name.to_owned(), Entry::Whiteout);
        }
    }
}
