// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of the ipc server: pipes and terminals. On an open pipe or terminal it performs the
//! operations of [`fs_api::file`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod peer;

use abi::{FileId, NodeId, ServerId};
use alloc::vec::Vec;
pub use fs_api::file;
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

hot! {
    /// pipe2(2); `flags`: O_NONBLOCK, O_DIRECT is refused with EINVAL. The calling node holds both.
    pub struct PipeCreate { pub flags: u32 }
}
hot! {
    /// The two ends.
    pub struct PipeEnds { pub read: FileId, pub write: FileId }
}
hot! {
    /// Opens the console terminal of a node with these status flags; the calling node holds it.
    pub struct TerminalOpen { pub node: NodeId, pub flags: u32 }
}
hot! {
    /// An open terminal.
    pub struct TerminalOpened { pub file: FileId }
}
/// Writes to the local console past the terminal: the rescue prompt's and the log's output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RescueWrite {
    /// Bytes, at most 512.
    pub text: Vec<u8>,
}
hot! {
    /// The rescue prompt ends: input goes to the terminal again.
    pub struct RescueEnd {}
}

cold!(RescueWrite, RescueLine);

operations! {
    ServerId::Ipc;
    64, slow, once: PipeCreate => PipeEnds;
    65, slow, once: TerminalOpen => TerminalOpened;
    66, slow, once: RescueWrite => ();
    67, slow, repeat: RescueEnd => ();
}

/// Upcall to proc: a terminal sends a signal to a process group.
pub const EVENT_TERMINAL_SIGNAL: u16 = 1;
hot! {
    /// [`EVENT_TERMINAL_SIGNAL`].
    pub struct TerminalSignal { pub group: u32, pub signal: u32 }
}

/// Upcall to shell: Ctrl-] was typed on the console, the rescue prompt is wanted. No content.
pub const EVENT_RESCUE: u16 = 2;
/// Upcall to shell: a line was typed at the rescue prompt.
pub const EVENT_RESCUE_LINE: u16 = 3;
/// [`EVENT_RESCUE_LINE`]: the line without its end.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RescueLine(pub Vec<u8>);

/// The console driver's operations.
pub mod console {
    use super::{Deserialize, Serialize, ServerId, Vec, cold, operations};

    /// Writes bytes to the console, at most 512; the driver queues what the UART cannot take yet.
    /// EAGAIN: the queue is full, [`EVENT_ROOM`] follows.
    #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
    pub struct ConsoleWrite(pub Vec<u8>);
    /// [`EVENT_INPUT`].
    #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
    pub struct ConsoleInput(pub Vec<u8>);

    cold!(ConsoleWrite, ConsoleInput);

    operations! {
        ServerId::Console;
        1, leaf, once: ConsoleWrite => ();
    }

    /// Upcall to ipc: bytes were typed.
    pub const EVENT_INPUT: u16 = 1;
    /// Upcall to ipc: the queue has room again. No content.
    pub const EVENT_ROOM: u16 = 2;
}
