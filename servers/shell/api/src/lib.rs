// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of the shell server between nodes: an administrator's command is run where it must be.
//!
//! # Failure
//! EINVAL: not a command that one node does for another. EAGAIN: too many commands run there.
//! EPERM: only shell servers of other nodes may ask.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::image::KEY_BYTES;
use abi::{NodeId, Pid, ServerId};
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

hot! {
    /// The node that is asked wishes to leave the cluster, or to stay after all. ENOSYS: its views are static.
    pub struct Leave { pub leaves: bool }
}
hot! {
    /// Moves one process of the node that is asked to another one: the first with an id above `after` that is
    /// not the node's own. The answer comes when its pages have left too. With `force` it is killed if it
    /// cannot be moved.
    pub struct MoveNext { pub after: u32, pub force: bool }
}
/// What became of [`MoveNext`]. Names are as in ps(1), at most 15 bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MovedNext {
    /// There is no further process.
    End,
    /// The process was gone before it could be moved.
    Gone {
        /// Its id.
        pid: u32,
    },
    /// It runs elsewhere.
    Moved {
        /// Its id.
        pid: u32,
        /// Its name.
        name: String,
        /// The node where it is now.
        to: u16,
    },
    /// It is where it was.
    Stays {
        /// Its id.
        pid: u32,
        /// Its name.
        name: String,
        /// Where it was to go.
        to: u16,
        /// Why it did not, as proc-server says it.
        errno: u16,
    },
    /// It could not be moved, and was killed.
    Killed {
        /// Its id.
        pid: u32,
        /// Its name.
        name: String,
    },
}

impl MovedNext {
    /// The process, if there was one.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::End => None,
            Self::Gone { pid }
            | Self::Moved { pid, .. }
            | Self::Stays { pid, .. }
            | Self::Killed { pid, .. } => Some(*pid),
        }
    }
}

/// Upcall from the shell server of a node to its views server: a [`Wish`].
pub const EVENT_WISH: u16 = 1;

hot! {
    /// Whether this node wishes to leave the cluster: slots and votes are moved away from it then. Holds for this
    /// start of the node, until the next one is told. A node that starts wishes to stay.
    pub struct Wish { pub leaves: bool }
}

/// Upcall from the shell server of a node to its views server: a [`KeyWish`].
pub const EVENT_KEY: u16 = 2;

/// An administrator wishes that the cluster takes this for the node's public key from now on, or no key at all. It
/// ends when a view has it, or after a few seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyWish {
    /// The node.
    pub node: NodeId,
    /// The key; none to revoke it.
    pub key: Option<[u8; KEY_BYTES]>,
}

/// Upcall from the shell server of a node to its views server: an [`AddWish`].
pub const EVENT_ADD: u16 = 3;

/// An administrator wishes that this be a node of the cluster, though images do not name it. As for [`KeyWish`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AddWish {
    /// The node.
    pub node: NodeId,
    /// Its public key.
    pub key: [u8; KEY_BYTES],
    /// Its Ethernet address.
    pub address: [u8; 6],
}

cold!(RunCommand, CommandEnd, MovedNext, KeyWish, AddWish);

operations! {
    ServerId::Shell;
    1, slow, once: RunCommand => CommandEnd;
    2, slow, repeat: MovedPages => PagesMoved;
    3, slow, repeat: Leave => ();
    4, slow, once: MoveNext => MovedNext;
}
