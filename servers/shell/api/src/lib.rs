// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of the shell server between nodes: an administrator's command is run where it must be.
//!
//! # Failure
//! EINVAL: not a command that one node does for another. EAGAIN: too many commands run there.
//! EPERM: only shell servers of other nodes may ask.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::{Pid, ServerId};
use alloc::string::String;
use alloc::vec::Vec;
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

/// Runs a command on the node that receives it; the answer is its output in the bulk data. The
/// words are one of `ps`, `mem`, `net`, `disks`, `klog`, `halt`, `reboot`, `crash` with a server, and `here`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RunCommand {
    /// The command's words.
    pub words: Vec<String>,
}
/// How the command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommandEnd {
    /// Exit status.
    pub status: u8,
}
hot! {
    /// How far the fetching of a process's pages is that moved to the node that is asked. ESRCH.
    pub struct MovedPages { pub pid: Pid }
}
hot! {
    /// Pages still elsewhere, fetched because a thread wanted them, fetched ahead.
    pub struct PagesMoved { pub left: u64, pub on_demand: u64, pub prefetched: u64 }
}

cold!(RunCommand, CommandEnd);

operations! {
    ServerId::Shell;
    1, slow, once: RunCommand => CommandEnd;
    2, slow, repeat: MovedPages => PagesMoved;
}
