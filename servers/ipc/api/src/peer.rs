// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the ipc servers of two nodes say to each other, beside the operations of
//! [`fs_api::file`] that name no memory and so travel as they are.
//!
//! A program's memory is reached only on its own node: its ipc server copies, and bytes travel.

use abi::{FileId, ServerId};
use fs_api::file::{Caller, Moved};
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

/// Longest [`ReadFrom`] and [`WriteTo`]: what fits a message between nodes.
pub const REMOTE_BYTES: u64 = 60 * 1024;

/// Reads from a pipe or terminal; the data is the answer's bulk data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadFrom {
    /// The file.
    pub file: FileId,
    /// Bytes, at most [`REMOTE_BYTES`].
    pub len: u64,
    /// Who reads, for job control.
    pub caller: Option<Caller>,
}
hot! {
    /// Writes the bulk data to a pipe or terminal.
    pub struct WriteTo { pub file: FileId }
}
hot! {
    /// Gives bytes back that a [`ReadFrom`] brought and that could not be delivered (the bulk data):
    /// they are the next to be read.
    pub struct PutBack { pub file: FileId }
}

cold!(ReadFrom);

operations! {
    ServerId::Ipc;
    0x100, slow, once: ReadFrom => Moved;
    0x101, slow, once: WriteTo => Moved;
    0x102, slow, once: PutBack => ();
}
