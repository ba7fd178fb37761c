// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every operation of proc-server that other servers of the node use.

use abi::{FileId, NodeId, Pid, ServerId};
use alloc::string::String;
use alloc::vec::Vec;
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

/// Starts a program as leader of a new session, with the terminal as descriptors 0, 1 and 2.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Spawn {
    /// Absolute path of the program.
    pub path: String,
    /// Arguments, the program's name first.
    pub arguments: Vec<String>,
    /// NAME=VALUE.
    pub environment: Vec<String>,
    /// Its working directory.
    pub directory: String,
    /// A terminal that the caller holds; the reference passes to the process.
    pub terminal: FileId,
}
hot! {
    /// The new process.
    pub struct Spawned { pub pid: Pid }
}
hot! {
    /// kill(2) by the administrator; the process may be on any node. ESRCH, EINVAL, EHOSTDOWN.
    pub struct Signal { pub pid: Pid, pub signal: u32 }
}
hot! {
    /// Moves a process, wherever it is, to `node`. Ends when it runs there.
    pub struct Migrate { pub pid: Pid, pub node: NodeId }
}
/// How a migration went. EBUSY: it is already moving to another node, or is in the middle of an exec.
/// Who asks for the same move again waits for its end with the first. EINVAL: the node is no member. EHOSTDOWN: the
/// node does not answer, and the process goes on where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Migrated {
    /// Node that it came from.
    pub from: u16,
    /// Nanoseconds from the stop of its threads until the target said that it runs there. It stood
    /// still for one way less.
    pub freeze_ns: u64,
    /// Nanoseconds from the request until the target said so; pages may follow for long after.
    pub total_ns: u64,
    /// Pages that it had at the source.
    pub pages: u64,
    /// Bytes of its state that were sent while it was frozen.
    pub state_bytes: u64,
    /// Messages of proc- and mem-server between source and target in that time, those of its pages
    /// not counted.
    pub messages: u64,
}
hot! {
    /// Processes of this node with a pid above `after` (0 for the first), as many as fit; an empty
    /// answer is the end.
    pub struct List { pub after: u32 }
}
/// One process as ps(1) shows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
    /// Owner.
    pub uid: u32,
    /// Node where it is.
    pub node: u16,
    /// R, S, T or Z.
    pub state: char,
    /// Threads.
    pub threads: u32,
    /// Name, at most 15 bytes.
    pub name: String,
}
/// Processes in ascending order of pid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ProcessList(pub Vec<ProcessInfo>);
hot! {
    /// How far the fetching of a moved process's pages is. Asked on the node where the process runs
    /// now; ESRCH elsewhere.
    pub struct MoveFigures { pub pid: Pid }
}
hot! {
    /// Pages still elsewhere, fetched because a thread wanted them, fetched ahead: since the move.
    pub struct Moving { pub left: u64, pub on_demand: u64, pub prefetched: u64 }
}
/// The answer to an [`AdminRequest`]; parts come in order, the last one with `status`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdminReply {
    /// The request's number.
    pub request: u64,
    /// Text to show, at most 600 bytes.
    pub text: String,
    /// Exit status; `None` while more follows.
    pub status: Option<u8>,
}

cold!(Spawn, Migrated, ProcessList, AdminReply, AdminRequest);

operations! {
    ServerId::Proc;
    1, slow, once: Spawn => Spawned;
    2, slow, once: Signal => ();
    3, slow, once: Migrate => Migrated;
    4, slow, repeat: List => ProcessList;
    5, slow, once: AdminReply => ();
    6, slow, repeat: MoveFigures => Moving;
}

/// Upcall to shell: a program wrote a command to `/sys/cluster/admin`.
pub const EVENT_ADMIN: u16 = 1;
/// [`EVENT_ADMIN`]: answered with [`AdminReply`]s.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdminRequest {
    /// Its number.
    pub request: u64,
    /// The process that asks.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// The command's words, at most 512 bytes in all.
    pub words: Vec<String>,
}
/// Upcall to shell: a process that it spawned has ended.
pub const EVENT_EXITED: u16 = 2;
hot! {
    /// [`EVENT_EXITED`]: `status` as wait(2) gives it.
    pub struct Exited { pub pid: Pid, pub status: u32 }
}
