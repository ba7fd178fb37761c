// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open files of proc-server itself: a text or a listing as it was when it was opened.
//!
//! # Limits
//! [`TEXT_BYTES_MAX`] per file; what is longer is cut at a line's end.

use crate::layout::io::push_dirent;
use abi::{Errno, Pid};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Bytes of an open text: what one message between nodes can carry.
pub const TEXT_BYTES_MAX: usize = 60 * 1024;
/// `d_type` of a directory.
pub const DT_DIR: u8 = 4;
/// `d_type` of a regular file.
pub const DT_REG: u8 = 8;
/// `d_type` of a symbolic link.
pub const DT_LNK: u8 = 10;

/// An open file of proc-server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Local {
    /// Its absolute path.
    pub path: String,
    /// What it holds.
    pub content: Content,
    /// Byte, or entry of a directory, that is read next.
    pub offset: u64,
    /// O_ flags that it was opened with.
    pub flags: u32,
}

/// What an open file of proc-server holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Content {
    /// A text.
    Text(Vec<u8>),
    /// A listing.
    Directory(Vec<Entry>),
    /// `/proc/PID/node`: reads as a text; a number written moves the process.
    Node {
        /// The process.
        pid: Pid,
        /// Its node when the file was opened, and a newline.
        text: Vec<u8>,
    },
    /// `/sys/cluster/admin`: a command written there is answered by what is read.
    Admin {
        /// The conversation on this node; copies of the descriptor share it.
        conversation: u64,
    },
}

/// A directory's entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Inode number.
    pub inode: u64,
    /// DT_ number.
    pub kind: u8,
    /// Name.
    pub name: String,
}

impl Local {
    /// The text that it reads as.
    ///
    /// # Errors
    /// EISDIR: it is a directory. EINVAL: it is a conversation, not a text.
    pub fn text(&self) -> Result<&[u8], Errno> {
        match &self.content {
            Content::Text(text) | Content::Node { text, .. } => Ok(text),
            Content::Directory(_) => Err(Errno::EISDIR),
            Content::Admin { .. } => Err(Errno::EINVAL),
        }
    }

    /// The part of the text at `offset`, at most `len` bytes.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn read_at(&self, offset: u64, len: u64) -> Result<&[u8], Errno> {
        let text = self.text()?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        Ok(&text[start..start.saturating_add(len).min(text.len())])
    }

    /// lseek(2).
    ///
    /// # Errors
    /// EINVAL: before the start, or an unknown `whence`. ESPIPE: it cannot be positioned.
    pub fn seek(&mut self, offset: i64, whence: u32) -> Result<u64, Errno> {
        use abi::linux::general::{SEEK_CUR, SEEK_END, SEEK_SET};
        let end = match &self.content {
            Content::Text(text) | Content::Node { text, .. } => text.len() as u64,
            Content::Directory(entries) => entries.len() as u64,
            Content::Admin { .. } => return Err(Errno::ESPIPE),
        };
        let base = match whence {
            SEEK_SET => 0,
            SEEK_CUR => self.offset,
            SEEK_END => end,
            _ => return Err(Errno::EINVAL),
        };
        let position = base.checked_add_signed(offset).ok_or(Errno::EINVAL)?;
        if i64::try_from(position).is_err() {
            return Err(Errno::EINVAL);
        }
        self.offset = position;
        Ok(position)
    }

    /// getdents64(2): records from the offset on, at most `limit` bytes, and the offset behind them.
    ///
    /// # Errors
    /// ENOTDIR. EINVAL: not even one record fits.
    pub fn list(&self, limit: usize) -> Result<(Vec<u8>, u64), Errno> {
        let Content::Directory(entries) = &self.content else { return Err(Errno::ENOTDIR) };
        let mut out = Vec::new();
        let mut position = self.offset;
        let start = usize::try_from(position).unwrap_or(usize::MAX).min(entries.len());
        for entry in &entries[start..] {
            let name = entry.name.as_bytes();
            if !push_dirent(&mut out, limit, entry.inode, position + 1, entry.kind, name) {
                break;
            }
            position += 1;
        }
        if out.is_empty() && start < entries.len() {
            return Err(Errno::EINVAL);
        }
        Ok((out, position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn text() -> Local {
        let content = Content::Text(b"hello\n".to_vec());
        Local { path: "/proc/x".into(), content, offset: 0, flags: 0 }
    }

    #[test]
    fn text_is_read_from_any_offset() {
        assert_eq!(text().read_at(0, 3), Ok(&b"hel"[..]));
        assert_eq!(text().read_at(4, 100), Ok(&b"o\n"[..]));
        assert_eq!(text().read_at(u64::MAX, u64::MAX), Ok(&b""[..]));
    }

    #[test]
    fn seek_before_the_start_is_refused() {
        let mut file = text();
        assert_eq!(file.seek(-1, 2), Ok(5));
        assert_eq!(file.seek(-6, 1), Err(Errno::EINVAL));
        assert_eq!(file.seek(0, 9), Err(Errno::EINVAL));
        assert_eq!(file.seek(i64::MAX, 1), Err(Errno::EINVAL));
    }

    #[test]
    fn listing_goes_on_where_it_stopped() {
        let entry = |name: &str| Entry { inode: 1, kind: DT_REG, name: name.into() };
        let content = Content::Directory(vec![entry("a"), entry("b"), entry("c")]);
        let mut file = Local { path: "/proc".into(), content, offset: 0, flags: 0 };
        let (bytes, position) = file.list(50).unwrap();
        assert_eq!((bytes.len(), position), (48, 2));
        file.offset = position;
        assert_eq!(file.list(50).unwrap().1, 3);
        file.offset = 3;
        assert_eq!(file.list(50).unwrap(), (vec![], 3));
        file.offset = 0;
        assert_eq!(file.list(10), Err(Errno::EINVAL));
    }
}
