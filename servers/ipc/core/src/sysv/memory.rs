// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shared memory: a memory object with a name.
//!
//! # Source
//! shmget(2), shmctl(2).

use crate::files::Files;
use abi::{FileId, ObjectId};
use alloc::collections::BTreeSet;

#[derive(Debug)]
pub(crate) struct Memory {
    pub(super) object: ObjectId,
    pub(super) bytes: u64,
    /// IPC_RMID was called: it goes with its last attachment.
    pub(super) condemned: bool,
    pub(super) attachments: BTreeSet<FileId>,
    /// Last attachment, last detachment: seconds since 1970.
    pub(super) times_s: [i64; 2],
    /// Who made it, who attached it last.
    pub(super) pids: [u32; 2],
}

impl Memory {
    pub(super) fn new(object: ObjectId, bytes: u64, pid: u32) -> Self {
        let attachments = BTreeSet::new();
        Self { object, bytes, condemned: false, attachments, times_s: [0; 2], pids: [pid, 0] }
    }

    /// Attachments of all processes: each holds its own once.
    pub(super) fn count(&self, files: &Files) -> u64 {
        self.attachments.iter().map(|file| files.holds(*file)).sum()
    }
}
