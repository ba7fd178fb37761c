// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that watch files, epoll(7), and how homes tell each other that something holds.
//!
//! # Model
//! An epoll instance is an open file description with a home, as an event counter is. Its home asks the home of each
//! file that it watches to answer when something holds ([`Watch`]), and asks again when that has been told. An
//! answer brings how often the file has changed; who tells edges asks for what comes after that.

use abi::{FileId, ServerId};
use alloc::vec::Vec;
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

/// Most events of one [`EpollEvents`]: what fits an answer between servers.
pub const EVENTS_MAX: usize = 40;
/// Most epoll instances in a row that watch each other, as on Linux. ELOOP beyond.
pub const DEPTH_MAX: u8 = 5;

hot! {
    /// epoll_create(2). The calling node holds it.
    pub struct EpollCreate {}
}
hot! {
    /// An epoll instance.
    pub struct EpollMade { pub file: FileId }
}
/// What epoll_ctl(2) does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// EPOLL_CTL_ADD. EEXIST: it is watched already.
    Add,
    /// EPOLL_CTL_MOD. ENOENT: it is not watched.
    Modify,
    /// EPOLL_CTL_DEL. ENOENT: it is not watched.
    Remove,
}
/// epoll_ctl(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpollControl {
    /// The instance.
    pub epoll: FileId,
    /// What is done.
    pub change: Change,
    /// The descriptor's number, which is part of what is watched.
    pub fd: u32,
    /// The file that it names.
    pub file: FileId,
    /// That is an epoll instance itself.
    pub nests: bool,
    /// EPOLL flags.
    pub events: u32,
    /// What is told with events.
    pub data: u64,
}
hot! {
    /// epoll_wait(2). With `now` it does not wait.
    pub struct EpollWait { pub file: FileId, pub max: u32, pub now: bool }
}
/// What holds: descriptor, events, data.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EpollEvents(pub Vec<(u32, u32, u64)>);
/// What was told of these descriptors did not reach the program: it is told again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EpollAgain {
    /// The instance.
    pub file: FileId,
    /// The descriptors.
    pub fds: Vec<u32>,
}

/// How often a file has changed: what can be read, and what can be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Changes {
    /// Something came to be read.
    pub ins: u32,
    /// Room came to write.
    pub outs: u32,
}
/// Ends when one of `events` holds; with `seen` only after a change since. Of the home of an epoll instance; EBADF:
/// nobody has the file open any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Watch {
    /// The file.
    pub file: FileId,
    /// Events. Nothing is added: without any it ends when the file is closed.
    pub events: u32,
    /// Changes that have been told.
    pub seen: Option<Changes>,
    /// It answers at once, with what holds now.
    pub now: bool,
    /// So many instances watch each other above this file.
    pub depth: u8,
}
hot! {
    /// What holds, none if the call is to come again, and the file's changes.
    pub struct Watched { pub events: u32, pub ins: u32, pub outs: u32 }
}
hot! {
    /// Answers sent before this one's are there before it.
    pub struct Sync {}
}
/// How many instances watch each other from this one down. ELOOP: `seek` is among them, or there are too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Nest {
    /// The instance.
    pub file: FileId,
    /// One that is to watch it.
    pub seek: FileId,
    /// So many stand above.
    pub depth: u8,
}
hot! {
    /// See [`Nest`].
    pub struct Height { pub height: u8 }
}

cold!(EpollControl, EpollEvents, EpollAgain, Watch, Nest);

operations! {
    ServerId::Ipc;
    110, slow, once: EpollCreate => EpollMade;
    111, slow, once: EpollControl => ();
    112, slow, once: EpollWait => EpollEvents;
    113, slow, repeat: EpollAgain => ();
    0x150, slow, repeat: Watch => Watched;
    0x151, slow, repeat: Sync => ();
    0x152, slow, repeat: Nest => Height;
}
