// SPDX-License-Identifier: MIT OR Apache-2.0
//! What all objects have in common: owner and permissions.
//!
//! # Source
//! sysvipc(7), "permissions"; ipc_perm.

use super::{Memory, Queue, Set};
use crate::files::Files;
use abi::Errno;
use ipc_api::sysv::{By, Kind, Status};
use serde::{Deserialize, Serialize};

/// Bits that IPC_SET changes.
const MODE: u32 = 0o777;
/// SHM_DEST: it goes with its last attachment.
const DEST: u32 = 0o1000;
/// Permission to read, as in the lowest three bits of a mode.
pub(super) const READ: u32 = 4;
/// Permission to write, or to change.
pub(super) const WRITE: u32 = 2;

/// Whose an object is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Permissions {
    uid: u32,
    gid: u32,
    cuid: u32,
    cgid: u32,
    mode: u32,
    /// Seconds since 1970.
    pub(super) changed_s: i64,
}

impl Permissions {
    pub(super) fn new(by: By, flags: u32) -> Self {
        let By { uid, gid, now_s, .. } = by;
        Self { uid, gid, cuid: uid, cgid: gid, mode: flags & MODE, changed_s: now_s }
    }

    /// Whether all of `wanted` is permitted.
    ///
    /// # Errors
    /// EACCES.
    pub(super) fn check(&self, by: By, wanted: u32) -> Result<(), Errno> {
        let shift = if by.uid == self.uid || by.uid == self.cuid {
            6
        } else if by.gid == self.gid || by.gid == self.cgid {
            3
        } else {
            0
        };
        let granted = self.mode >> shift & 7;
        if by.uid == 0 || wanted & !granted & 7 == 0 { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Whether who asks for it with these flags may have it.
    pub(super) fn check_get(&self, by: By, flags: u32) -> Result<(), Errno> {
        self.check(by, (flags >> 6 | flags >> 3 | flags) & 7)
    }

    /// Whether `by` may change and remove it.
    ///
    /// # Errors
    /// EPERM.
    pub(super) fn check_owner(&self, by: By) -> Result<(), Errno> {
        let owner = by.uid == 0 || by.uid == self.uid || by.uid == self.cuid;
        if owner { Ok(()) } else { Err(Errno::EPERM) }
    }

    pub(super) fn change(&mut self, by: By, (uid, gid, mode): (u32, u32, u32)) {
        (self.uid, self.gid, self.mode) = (uid, gid, mode & MODE);
        self.changed_s = by.now_s;
    }
}

/// What kind of object it is, and its state.
#[derive(Debug)]
pub(crate) enum What {
    Memory(Memory),
    Semaphores(Set),
    Messages(Queue),
}

impl What {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Memory(_) => Kind::Memory,
            Self::Semaphores(_) => Kind::Semaphores,
            Self::Messages(_) => Kind::Messages,
        }
    }

    /// Its size, as a later get(2) of the same key may not exceed it.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.bytes,
            Self::Semaphores(set) => set.len() as u64,
            Self::Messages(_) => u64::MAX,
        }
    }
}

/// One object.
#[derive(Debug)]
pub(crate) struct Object {
    /// Its key; 0: none.
    pub(super) key: u32,
    pub(super) permissions: Permissions,
    pub(super) what: What,
}

impl Object {
    pub(super) fn status(&self, files: &Files) -> Status {
        let Permissions { uid, gid, cuid, cgid, mode, changed_s } = self.permissions;
        let common = Status { key: self.key, uid, gid, cuid, cgid, mode, ..Status::default() };
        let [first, second] = match &self.what {
            What::Memory(memory) => [memory.times_s[0], memory.times_s[1]],
            What::Semaphores(set) => [set.operated_s, 0],
            What::Messages(queue) => queue.times_s,
        };
        let common = Status { times_s: [first, second, changed_s], ..common };
        match &self.what {
            What::Memory(memory) => Status {
                mode: mode | if memory.condemned { DEST } else { 0 },
                size: memory.bytes,
                count: memory.count(files),
                pids: memory.pids,
                ..common
            },
            What::Semaphores(set) => Status { size: set.len() as u64, ..common },
            What::Messages(queue) => Status {
                size: queue.room,
                count: queue.len() as u64,
                bytes: queue.bytes() as u64,
                pids: queue.pids,
                ..common
            },
        }
    }
}
