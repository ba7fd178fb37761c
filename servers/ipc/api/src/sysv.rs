// SPDX-License-Identifier: MIT OR Apache-2.0
//! System V objects: shared memory, semaphores, message queues.
//!
//! # Model
//! An object is known by its id, which every node understands; a key other than IPC_PRIVATE leads to it. Both say
//! in which slot the object lives, so that a key and its object have one home. Whoever asks says who he is
//! ([`By`]): the home checks permissions as sysvipc(7) has them.
//!
//! # Source
//! sysvipc(7), shmget(2), semget(2), msgget(2) and their kin.

use abi::{FileId, ObjectId, ServerId, SpaceId};
use alloc::vec::Vec;
use fs_api::file::Moved;
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

/// System V objects whose home is one node. Beyond it shmget(2) and its kin get ENOSPC.
pub const OBJECTS_MAX: usize = 1024;
/// Semaphores of a set: their values fit a message.
pub const SEMAPHORES_MAX: usize = 256;
/// Operations of one semop(2): they fit a message.
pub const SEMOPS_MAX: usize = 64;
/// Largest value of a semaphore, and of what is undone to it (SEMVMX, semctl(2)).
pub const SEMAPHORE_MAX: i32 = 32_767;
/// Bytes of a message's text (MSGMAX, msgsnd(2)).
pub const MESSAGE_BYTES_MAX: usize = 8192;
/// Bytes of all texts in a new queue (MSGMNB).
pub const QUEUE_BYTES: u64 = 16_384;
/// Bytes of shared memory: what mem-server gives an object.
pub const MEMORY_BYTES_MAX: u64 = 1 << 40;

/// The three kinds; each has its own keys and ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Shared memory.
    Memory,
    /// Semaphores.
    Semaphores,
    /// A message queue.
    Messages,
}

/// Who asks, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct By {
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub now_s: i64,
}

/// shmget(2), semget(2), msgget(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Get {
    /// Which kind.
    pub kind: Kind,
    /// The key; 0: IPC_PRIVATE.
    pub key: u32,
    /// Bytes of shared memory, or number of semaphores.
    pub size: u64,
    /// IPC_CREAT, IPC_EXCL, and the permissions.
    pub flags: u32,
    /// Who.
    pub by: By,
}
/// The object's id: a positive `int`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Got {
    /// Id.
    pub id: u32,
}
/// IPC_STAT.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GetStatus {
    /// Which kind.
    pub kind: Kind,
    /// Which one.
    pub id: u32,
    /// Whether permissions do not count: SHM_STAT_ANY and its kin.
    pub any: bool,
    /// Who.
    pub by: By,
}
/// What there is to know of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Its key.
    pub key: u32,
    /// Owner.
    pub uid: u32,
    /// Owner's group.
    pub gid: u32,
    /// Who made it.
    pub cuid: u32,
    /// His group.
    pub cgid: u32,
    /// Permissions, and SHM_DEST.
    pub mode: u32,
    /// Bytes of shared memory, number of semaphores, or bytes that a queue may hold.
    pub size: u64,
    /// Attachments, or messages.
    pub count: u64,
    /// Bytes of the messages.
    pub bytes: u64,
    /// Seconds since 1970: last attachment, semop(2) or msgsnd(2); last detachment or msgrcv(2); last change.
    pub times_s: [i64; 3],
    /// Process that made the memory, or sent last; process that attached, detached or received last.
    pub pids: [u32; 2],
}
/// IPC_SET.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetStatus {
    /// Which kind.
    pub kind: Kind,
    /// Which one.
    pub id: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions.
    pub mode: u32,
    /// Bytes that a queue may hold.
    pub size: u64,
    /// Who.
    pub by: By,
}
/// IPC_RMID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remove {
    /// Which kind.
    pub kind: Kind,
    /// Which one.
    pub id: u32,
    /// Who.
    pub by: By,
}
/// The ids of all nodes' objects from `after` on, ascending, as many as fit: an empty answer is the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct List {
    /// Which kind.
    pub kind: Kind,
    /// Only ids above this one.
    pub after: u32,
}
/// Ids, ascending.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ids(pub Vec<u32>);

/// One operation of semop(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SemOp {
    /// Number of the semaphore.
    pub number: u16,
    /// What is added; 0: waits until it is 0.
    pub value: i16,
    /// IPC_NOWAIT, SEM_UNDO.
    pub flags: u16,
}
/// semop(2): ends when all of it has been done at once. ERESTART: the object moves, call again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operate {
    /// Which one.
    pub id: u32,
    /// What.
    pub ops: Vec<SemOp>,
    /// Where SEM_UNDO is written down: [`UndoOpened`].
    pub undo: Option<FileId>,
    /// Who.
    pub by: By,
}
/// Begins a list of what is undone when the calling process ends. The calling node holds it like a file; when
/// no node does, it is undone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UndoOpen {
    /// The semaphores.
    pub id: u32,
    /// Who.
    pub by: By,
}
hot! {
    /// The list.
    pub struct UndoOpened { pub file: FileId }
}
/// What is asked about semaphores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum About {
    /// GETALL.
    Values,
    /// GETVAL.
    Value(u16),
    /// GETPID.
    Pid(u16),
    /// GETNCNT.
    WaitForMore(u16),
    /// GETZCNT.
    WaitForZero(u16),
}
/// semctl(2), what reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SemRead {
    /// Which one.
    pub id: u32,
    /// What.
    pub about: About,
    /// Who.
    pub by: By,
}
/// The values.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SemValues(pub Vec<u32>);
/// SETVAL and SETALL: sets values, and forgets what was to be undone to them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SemWrite {
    /// Which one.
    pub id: u32,
    /// Which semaphore; `None`: all.
    pub number: Option<u16>,
    /// The values.
    pub values: Vec<u16>,
    /// Who.
    pub by: By,
}

/// msgsnd(2). ERESTART.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Send {
    /// Which one.
    pub id: u32,
    /// Type of the message, above 0.
    pub kind: i64,
    /// IPC_NOWAIT.
    pub flags: u32,
    /// The program's space.
    pub space: SpaceId,
    /// The text's address.
    pub addr: u64,
    /// Bytes of the text.
    pub len: u64,
    /// Who.
    pub by: By,
}
/// msgrcv(2): writes the type and the text to the program. ERESTART.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receive {
    /// Which one.
    pub id: u32,
    /// Which message.
    pub wanted: Wanted,
    /// The program's space.
    pub space: SpaceId,
    /// Where to.
    pub addr: u64,
    /// Who.
    pub by: By,
}
/// The message that a receiver wants, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// Its type as msgrcv(2) has it.
    pub kind: i64,
    /// IPC_NOWAIT, MSG_NOERROR, MSG_EXCEPT.
    pub flags: u32,
    /// Most bytes of the text.
    pub len: u64,
}

/// shmat(2). The calling node holds the attachment like a file, and the object as after `ObjectOf`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attach {
    /// Which one.
    pub id: u32,
    /// To write.
    pub write: bool,
    /// Who.
    pub by: By,
}
hot! {
    /// An attachment.
    pub struct Attached { pub file: FileId, pub object: ObjectId, pub bytes: u64 }
}

cold!(
    Get, Got, GetStatus, Status, SetStatus, Remove, List, Ids, Operate, UndoOpen, SemRead,
    SemValues, SemWrite, Send, Receive, Attach,
);

/// What the ipc servers of two nodes say to each other of these objects.
pub mod peer {
    use super::{By, Deserialize, Ids, Kind, Serialize, Wanted};

    /// [`super::Send`] with the text as bulk data.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
    pub struct SendText {
        /// Which one.
        pub id: u32,
        /// Type of the message.
        pub kind: i64,
        /// IPC_NOWAIT.
        pub flags: u32,
        /// Who.
        pub by: By,
    }
    /// [`super::Receive`]; type and text are the answer's bulk data.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
    pub struct ReceiveText {
        /// Which one.
        pub id: u32,
        /// Which message.
        pub wanted: Wanted,
        /// Who.
        pub by: By,
    }
    /// Gives a message back that could not be delivered (type and text are the bulk data): it is the first one.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
    pub struct GiveBack {
        /// Which queue.
        pub id: u32,
    }
    /// The ids of one node's objects above `after`, as many as fit.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
    pub struct ListHere {
        /// Which kind.
        pub kind: Kind,
        /// Only ids above this one.
        pub after: u32,
    }

    runtime::cold!(SendText, ReceiveText, GiveBack, ListHere);

    runtime::operations! {
        abi::ServerId::Ipc;
        0x140, slow, once: SendText => ();
        0x141, slow, once: ReceiveText => fs_api::file::Moved;
        0x142, slow, once: GiveBack => ();
        0x143, slow, repeat: ListHere => Ids;
    }
}

operations! {
    ServerId::Ipc;
    96, slow, once: Get => Got;
    97, slow, repeat: GetStatus => Status;
    98, slow, once: SetStatus => ();
    99, slow, once: Remove => ();
    100, slow, repeat: List => Ids;
    101, slow, once: Operate => ();
    102, slow, once: UndoOpen => UndoOpened;
    103, slow, repeat: SemRead => SemValues;
    104, slow, once: SemWrite => ();
    105, slow, once: Send => ();
    106, slow, once: Receive => Moved;
    107, slow, once: Attach => Attached;
}
