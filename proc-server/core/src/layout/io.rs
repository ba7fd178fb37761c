// SPDX-License-Identifier: MIT OR Apache-2.0
//! Structures of reading, polling and listing.

use super::layouts;
use alloc::vec::Vec;

layouts! {
    /// `struct iovec`.
    Iovec = 16 { base: u64, len: u64 }
    /// `struct pollfd`.
    Pollfd = 8 { fd: i32, events: i16, returned: i16 }
    /// `struct epoll_event`, which is packed.
    EpollEvent = 12 { events: u32, data: [u32; 2] }
    /// The sixth argument of pselect6(2).
    SignalMaskArgument = 16 { mask: u64, bytes: u64 }
    /// `struct flock`.
    Flock = 32 { kind: i16, whence: i16, pad: u32, start: i64, len: i64, pid: i32, pad2: u32 }
    /// What stands before the name of a `struct linux_dirent64`, without the last byte of padding.
    DirentHead = 24 {
        inode: u64,
        /// Position of the next entry.
        next: i64,
        bytes: u16,
        kind: u8,
        /// The name's first bytes: it begins here, at byte 19.
        name: [u8; 5],
    }
}

impl EpollEvent {
    /// Events, and the program's word for the file.
    pub const fn new(events: u32, data: u64) -> Self {
        Self { events, data: [data as u32, (data >> 32) as u32] }
    }

    /// That word.
    pub const fn data(&self) -> u64 {
        self.data[0] as u64 | (self.data[1] as u64) << 32
    }
}

/// Offset of the name in a `struct linux_dirent64`.
pub const DIRENT_NAME_OFFSET: usize = 19;

/// Appends a `struct linux_dirent64` to `out` if it then has at most `limit` bytes; `false` if it
/// did not fit. `kind` is a DT_ number; `next` the position after this entry.
pub fn push_dirent(
    out: &mut Vec<u8>,
    limit: usize,
    inode: u64,
    next: u64,
    kind: u8,
    name: &[u8],
) -> bool {
    let bytes = (DIRENT_NAME_OFFSET + name.len() + 1).next_multiple_of(8);
    let Ok(record_bytes) = u16::try_from(bytes) else { return false };
    if out.len() + bytes > limit {
        return false;
    }
    let start = out.len();
    out.extend_from_slice(&inode.to_le_bytes());
    out.extend_from_slice(&next.to_le_bytes());
    out.extend_from_slice(&record_bytes.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(name);
    out.resize(start + bytes, 0);
    true
}

/// Bytes of a set of `count` descriptors as select(2) takes it: whole words of 64 bits.
pub const fn fd_set_bytes(count: usize) -> usize {
    count.div_ceil(64) * 8
}

/// Whether descriptor `fd` is in the set.
pub fn fd_set_has(set: &[u8], fd: usize) -> bool {
    set.get(fd / 8).is_some_and(|byte| byte & 1 << (fd % 8) != 0)
}

/// Puts descriptor `fd` into the set; one beyond its end is left out.
pub fn fd_set_add(set: &mut [u8], fd: usize) {
    if let Some(byte) = set.get_mut(fd / 8) {
        *byte |= 1 << (fd % 8);
    }
}
