// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of ckpt-server: checkpoints and restarts of processes.
//!
//! There is no such server yet (ADR 0010): no manifest hosts one, and nothing sends these.
//!
//! # Model
//! A process's state is one value, which proc-server and mem-server export for a migration too. A
//! checkpoint writes it, and the pages, to a file; a restart reads them back.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::{Pid, ServerId};
use alloc::string::String;
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

/// Writes a process's state to a file. The process stands still meanwhile, and goes on.
///
/// # Errors
/// ESRCH: no such process. EEXIST: the file is there. ENOSPC: it does not fit. EBUSY: the process is
/// moving, or being written already. EOPNOTSUPP: it holds something that a file cannot hold.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The process; it may be on any node.
    pub pid: Pid,
    /// Absolute path of the file, at most [`abi::limits::PATH_BYTES`].
    pub path: String,
}
hot! {
    /// Nanoseconds in which the process stood still; pages and bytes written.
    pub struct Checkpointed { pub freeze_ns: u64, pub pages: u64, pub bytes: u64 }
}
/// Makes a process from a file. It gets a new id and runs on the node that is asked.
///
/// # Errors
/// ENOENT: no such file. EPROTO: the file is none of ours, damaged, or of another version. ENOMEM.
/// EOPNOTSUPP: the processor lacks what the program may have found where it was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Restart {
    /// Absolute path of the file, at most [`abi::limits::PATH_BYTES`].
    pub path: String,
}
hot! {
    /// The new process.
    pub struct Restarted { pub pid: Pid }
}

cold!(Checkpoint, Restart);

operations! {
    ServerId::Ckpt;
    1, slow, once: Checkpoint => Checkpointed;
    2, slow, once: Restart => Restarted;
}
