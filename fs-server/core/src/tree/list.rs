// SPDX-License-Identifier: MIT OR Apache-2.0
//! getdents64(2): records in an order that stays while names come and go.
//!
//! # Model
//! A record's cookie is its `d_off`: 1 and 2 are `.` and `..`; then the image's entries by their
//! position there, also where a writable file has taken the name; then the other names, by a number
//! that grows with every new name. So an entry that stays is seen exactly once.

use crate::inode::{Body, Entry, Folder, LOWER_COOKIES, UPPER_COOKIES};
use crate::lower::{Lower, LowerNo};
use crate::tree::{Kind, Tree};
use abi::linux::general::{DT_CHR, DT_DIR, DT_FIFO, DT_LNK, DT_REG, DT_SOCK};
use abi::{Errno, InodeId};
use alloc::vec::Vec;
use core::ops::ControlFlow;
use fs_api::name::Special;

/// Records, and the cookie of the last one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listing {
    /// Whole records.
    pub data: Vec<u8>,
    /// The last one's cookie.
    pub last: u64,
}

struct Writer {
    data: Vec<u8>,
    len_max: usize,
    last: u64,
    refused: bool,
}

impl Writer {
    /// Appends one `struct linux_dirent64`; breaks when it does not fit.
    fn put(&mut self, cookie: u64, inode: InodeId, kind: u32, name: &str) -> ControlFlow<()> {
        // d_ino (8), d_off (8), d_reclen (2), d_type (1), the name and its zero; a multiple of 8.
        let len = (19 + name.len() + 1).next_multiple_of(8);
        if self.data.len() + len > self.len_max {
            self.refused = true;
            return ControlFlow::Break(());
        }
        let end = self.data.len() + len;
        self.data.extend_from_slice(&inode.raw().to_le_bytes());
        self.data.extend_from_slice(&cookie.to_le_bytes());
        self.data.extend_from_slice(&(len as u16).to_le_bytes());
        self.data.push(kind as u8);
        self.data.extend_from_slice(name.as_bytes());
        self.data.resize(end, 0);
        self.last = cookie;
        ControlFlow::Continue(())
    }
}

impl Tree {
    /// Records of a directory that is here, after cookie `after`, at most `len_max` bytes.
    ///
    /// # Errors
    /// EINVAL: not even one fits. ENOENT: it was removed. ENOTDIR. ESTALE.
    pub fn list(&self, dir: InodeId, after: u64, len_max: usize) -> Result<Listing, Errno> {
        if self.kind(dir)? != Kind::Directory {
            return Err(Errno::ENOTDIR);
        }
        let folder = match self.inode(dir).map(|inode| &inode.body) {
            Ok(Body::Directory(folder)) if folder.dead => return Err(Errno::ENOENT),
            Ok(Body::Directory(folder)) => Some(folder),
            Ok(Body::File(_) | Body::Link(_) | Body::Special(_)) | Err(_) => None,
        };
        let mut out = Writer { data: Vec::new(), len_max, last: after, refused: false };
        let parent = self.parent(dir)?;
        // A break only means that the buffer is full.
        let _ = self.list_into(&mut out, dir, parent, folder, after);
        if out.data.is_empty() && out.refused {
            return Err(Errno::EINVAL);
        }
        Ok(Listing { data: out.data, last: out.last })
    }

    fn list_into(
        &self,
        out: &mut Writer,
        dir: InodeId,
        parent: InodeId,
        folder: Option<&Folder>,
        after: u64,
    ) -> ControlFlow<()> {
        if after < 1 {
            out.put(1, dir, DT_DIR, ".")?;
        }
        if after < 2 {
            out.put(2, parent, DT_DIR, "..")?;
        }
        if let Some(number) = self.lower.number(dir) {
            self.list_lower(out, number, folder, after)?;
        }
        let Some(folder) = folder else { return ControlFlow::Continue(()) };
        for (cookie, name) in folder.order.range(after.max(UPPER_COOKIES).saturating_add(1)..) {
            if let Some(Entry::Present { inode, .. }) = folder.entries.get(name) {
                out.put(*cookie, *inode, self.record_kind(*inode), name)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn list_lower(
        &self,
        out: &mut Writer,
        number: LowerNo,
        folder: Option<&Folder>,
        after: u64,
    ) -> ControlFlow<()> {
        let seen = after.saturating_add(1).saturating_sub(LOWER_COOKIES);
        for (at, (name, child)) in self.lower.entries(number).iter().enumerate() {
            if (at as u64) < seen {
                continue;
            }
            let inode = match folder.and_then(|folder| folder.entries.get(&**name)) {
                Some(Entry::Whiteout) => continue,
                Some(Entry::Present { inode, .. }) => *inode,
                None => Lower::id(*child),
            };
            out.put(LOWER_COOKIES + at as u64, inode, self.record_kind(inode), name)?;
        }
        ControlFlow::Continue(())
    }

    fn record_kind(&self, inode: InodeId) -> u32 {
        match self.kind(inode) {
            Ok(Kind::Directory) => DT_DIR,
            Ok(Kind::File | Kind::LowerFile(_)) => DT_REG,
            Ok(Kind::Link(_)) => DT_LNK,
            Ok(Kind::Special(Special::Socket)) => DT_SOCK,
            Ok(Kind::Special(Special::Fifo)) => DT_FIFO,
            Ok(Kind::Device(_)) => DT_CHR,
            Ok(Kind::Elsewhere) => self.stat(inode).map_or(0, |stat| stat.mode >> 12),
            Err(_) => 0,
        }
    }
}
