// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of the ipc server: pipes, event counters, sockets and terminals. On an open one it performs the
//! operations of [`fs_api::file`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod between;
pub mod epoll;
pub mod internet;
pub mod peer;
pub mod socket;
pub mod sysv;
pub mod timer;

use abi::{FileId, InodeId, NodeId, ServerId};
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
    /// eventfd2(2); `flags`: O_NONBLOCK. The calling node holds it.
    pub struct CounterCreate { pub count: u64, pub semaphore: bool, pub flags: u32 }
}
hot! {
    /// An event counter.
    pub struct CounterMade { pub file: FileId }
}
hot! {
    /// signalfd4(2); `flags`: O_NONBLOCK. The calling node holds it. Its signals are proc-server's.
    pub struct SignalsCreate { pub flags: u32 }
}
hot! {
    /// A description for signalfd(2).
    pub struct SignalsMade { pub file: FileId }
}
hot! {
    /// open(2) of a FIFO, whose inode is this: at the home of the inode's slot, where the pipe is. `flags`: access mode,
    /// O_NONBLOCK. The calling node holds it. It waits for the other end, or ENXIO.
    pub struct FifoOpen { pub inode: InodeId, pub flags: u32 }
}
hot! {
    /// An open FIFO.
    pub struct FifoOpened { pub file: FileId }
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

cold!(RescueWrite, RescueInput);

operations! {
    ServerId::Ipc;
    64, slow, once: PipeCreate => PipeEnds;
    65, slow, once: TerminalOpen => TerminalOpened;
    66, slow, once: RescueWrite => ();
    67, slow, repeat: RescueEnd => ();
    68, slow, once: CounterCreate => CounterMade;
    69, slow, once: SignalsCreate => SignalsMade;
    114, slow, once: FifoOpen => FifoOpened;
}

/// Upcall to proc: a terminal sends a signal to a process group.
pub const EVENT_TERMINAL_SIGNAL: u16 = 1;
hot! {
    /// [`EVENT_TERMINAL_SIGNAL`].
    pub struct TerminalSignal { pub group: u32, pub signal: u32 }
}

/// Upcall to proc: descriptors in flight will not be received by anybody.
pub const EVENT_RIGHTS_DROPPED: u16 = 5;
hot! {
    /// [`EVENT_RIGHTS_DROPPED`]: the sender's node, and its number for them.
    pub struct RightsDropped { pub node: NodeId, pub token: u64 }
}

/// Ctrl-], the key that asks for the rescue prompt.
pub const RESCUE_KEY: u8 = 0x1d;
/// Upcall to shell: [`RESCUE_KEY`] was typed on the console, the rescue prompt is wanted. No content.
pub const EVENT_RESCUE: u16 = 2;
/// Upcall to shell: bytes were typed at the rescue prompt. (3 was a whole line.)
pub const EVENT_RESCUE_INPUT: u16 = 4;
/// [`EVENT_RESCUE_INPUT`]: at most 256 bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RescueInput(pub Vec<u8>);

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

    /// Upcall to ipc, and to shell if ipc died: bytes were typed.
    pub const EVENT_INPUT: u16 = 1;
    /// Upcall to the same: the queue has room again. No content.
    pub const EVENT_ROOM: u16 = 2;
}
