// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations on open files.
//!
//! # Model
//! A [`FileId`] names an open file description: it has one offset and one set of status flags,
//! wherever its holders are. Its home is the node of its slot, which counts for each node how often
//! it holds the description: once when it is opened, once more with each [`Hold`], once less with
//! each [`Release`]. Descriptors of one node are counted by its proc-server. A device such as
//! /dev/null has no offset: every node serves its descriptions by itself.
//!
//! Reads and writes name the program's memory; the server copies through mem-server. `ERESTART`
//! means: a page of the program rests elsewhere; fetch it and run the call again, nothing has
//! happened. A call that must wait answers "later"; its end may be `ERESTART` too.

use crate::name::Credentials;
use abi::{FileId, NodeId, ObjectId, ServerId, SpaceId};
use alloc::vec::Vec;
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

hot! {
    /// read(2) at the file's offset. At most a window at a time: a short count is right.
    pub struct Read { pub file: FileId, pub space: SpaceId, pub addr: u64, pub len: u64 }
}
hot! {
    /// write(2) at the file's offset, or at its end with O_APPEND.
    pub struct Write { pub file: FileId, pub space: SpaceId, pub addr: u64, pub len: u64 }
}
/// pread(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReadAt {
    /// The file.
    pub file: FileId,
    /// The program's space.
    pub space: SpaceId,
    /// Where to.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
    /// First byte in the file.
    pub offset: u64,
}
/// pwrite(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WriteAt {
    /// The file.
    pub file: FileId,
    /// The program's space.
    pub space: SpaceId,
    /// Where from.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
    /// First byte in the file.
    pub offset: u64,
}
hot! {
    /// Bytes moved.
    pub struct Moved { pub bytes: u64 }
}
hot! {
    /// lseek(2); `whence` is SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA or SEEK_HOLE.
    pub struct Seek { pub file: FileId, pub offset: i64, pub whence: u32 }
}
hot! {
    /// fsync(2): ends when what was written before is on the disks of the file's home and of its backup. EIO: a disk
    /// failed.
    pub struct Fsync { pub file: FileId }
}
hot! {
    /// sync(2): the same for all that any node has.
    pub struct SyncAll {}
}
hot! {
    /// The offset, as an answer.
    pub struct Position { pub offset: u64 }
}
hot! {
    /// fstat(2).
    pub struct FileStat { pub file: FileId }
}
/// What stat(2) tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stat {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device that it stands for.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Units of 512 bytes in use.
    pub blocks: u64,
    /// Last read, nanoseconds since 1970.
    pub atime_ns: i64,
    /// Last write.
    pub mtime_ns: i64,
    /// Last change of the inode.
    pub ctime_ns: i64,
}
hot! {
    /// poll(2): which of `events` (and POLLERR, POLLHUP) hold now.
    pub struct Poll { pub file: FileId, pub events: u32 }
}
hot! {
    /// Ends when one of `events` holds.
    pub struct PollWait { pub file: FileId, pub events: u32 }
}
hot! {
    /// What holds.
    pub struct Ready { pub events: u32 }
}
/// ioctl(2). proc-server copies the structure that the request names in and out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ioctl {
    /// The file.
    pub file: FileId,
    /// Request.
    pub request: u32,
    /// The argument, where it is a number.
    pub arg: u64,
    /// The argument's bytes, where it is a structure.
    pub data: Vec<u8>,
    /// The calling process, its group and its session.
    pub caller: Caller,
}
/// Who calls, for job control.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Caller {
    /// Process.
    pub pid: u32,
    /// Process group.
    pub group: u32,
    /// Session.
    pub session: u32,
}
/// The result and, where the request writes a structure, its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct IoctlReply {
    /// What ioctl returns.
    pub value: u64,
    /// The structure.
    pub data: Vec<u8>,
}
hot! {
    /// getdents64(2) at the file's offset, into the program's memory; whole records only.
    pub struct ListDirectory { pub file: FileId, pub space: SpaceId, pub addr: u64, pub len: u64 }
}
hot! {
    /// ftruncate(2).
    pub struct Resize { pub file: FileId, pub len: u64 }
}
hot! {
    /// fallocate(2): FALLOC_FL_ flags, first byte, bytes.
    pub struct Allocate { pub file: FileId, pub mode: u32, pub offset: u64, pub len: u64 }
}
hot! {
    /// fcntl(F_SETFL): the whole set of status flags.
    pub struct SetFlags { pub file: FileId, pub flags: u32 }
}
hot! {
    /// fcntl(F_GETFL).
    pub struct GetFlags { pub file: FileId }
}
hot! {
    /// Flags, as an answer.
    pub struct Flags { pub flags: u32 }
}
hot! {
    /// Node `node` will hold the file too.
    pub struct Hold { pub file: FileId, pub node: NodeId }
}
hot! {
    /// The calling node holds the file no more.
    pub struct Release { pub file: FileId }
}
hot! {
    /// For mmap and exec: the object behind the file. The caller gets a reference to the object.
    pub struct ObjectOf { pub file: FileId }
}
hot! {
    /// The object, the file's size in bytes, whether the description may be written.
    pub struct FileObject { pub object: ObjectId, pub size: u64, pub writable: bool }
}
hot! {
    /// The directory that an open directory shows, for fchdir(2) and the *at(2) calls.
    pub struct InodeOf { pub file: FileId }
}
hot! {
    /// An inode, as an answer.
    pub struct Inode { pub inode: abi::InodeId }
}
/// A read of a terminal: it needs to know who reads. The ipc server only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TerminalRead {
    /// The terminal.
    pub file: FileId,
    /// The program's space.
    pub space: SpaceId,
    /// Where to.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
    /// Who; a background group gets EIO or, after the server raised SIGTTIN, ERESTART.
    pub caller: Caller,
}
/// Changes owner, mode or times of an open file. Fields that are `None` stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Last read, nanoseconds since 1970.
    pub atime_ns: Option<i64>,
    /// Last write, nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// Both times are the present one: who may write the file may set them.
    pub now: bool,
}
/// fchmod(2), fchown(2), futimens(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetAttributes {
    /// The file. EBADF: it is only a path, O_PATH.
    pub file: FileId,
    /// Whose permissions count.
    pub who: Credentials,
    /// What to change.
    pub attributes: Attributes,
}

/// Whose a lock is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LockOwner {
    /// flock(2): the open file description's, of the whole file.
    Whole,
    /// fcntl(F_OFD_SETLK): the open file description's.
    Description,
    /// fcntl(F_SETLK): the process's, wherever it goes.
    Process {
        /// Process.
        pid: u32,
        /// How often it has moved: tells which of two nodes that speak of it knows it later.
        moves: u32,
    },
}
/// What a lock keeps others from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LockMode {
    /// Exclusive locks.
    Shared,
    /// All other locks.
    Exclusive,
    /// Nothing: the range is let go.
    Unlock,
}
/// A range of bytes as `struct flock` has it: `len` 0 reaches to the end of all files, and one below 0 ends
/// before `start`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LockRange {
    /// SEEK_SET, SEEK_CUR or SEEK_END.
    pub whence: u32,
    /// Bytes from there.
    pub start: i64,
    /// Bytes.
    pub len: i64,
}
/// flock(2), fcntl(F_SETLK) and its kin. EAGAIN: another has it. ENOLCK: there are too many. EDEADLK: who
/// has it waits for the caller. EBADF: the access mode does not allow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lock {
    /// The file.
    pub file: FileId,
    /// Whose.
    pub owner: LockOwner,
    /// How.
    pub mode: LockMode,
    /// Which bytes; [`LockOwner::Whole`] takes all.
    pub range: LockRange,
    /// Whether it waits, F_SETLKW.
    pub wait: bool,
}
/// fcntl(F_GETLK).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TestLock {
    /// The file.
    pub file: FileId,
    /// Who would lock.
    pub owner: LockOwner,
    /// How; with `Unlock` any lock of the owner's own is looked for.
    pub mode: LockMode,
    /// Which bytes.
    pub range: LockRange,
}
/// A lock that stands in the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockInTheWay {
    /// Exclusive, or shared.
    pub exclusive: bool,
    /// First byte.
    pub first: u64,
    /// Last byte; `i64::MAX` for all.
    pub last: u64,
    /// The process; `None`: it is an open file description's.
    pub pid: Option<u32>,
}
/// The first lock in the way, if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LockFound {
    /// That one.
    pub lock: Option<LockInTheWay>,
}
hot! {
    /// A process has closed a descriptor of the file, or ends: it has no locks of the file any more.
    pub struct EndLocks { pub file: FileId, pub pid: u32 }
}
/// The locks of a process on a file go with it from node to node: they end when all nodes end where it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MoveLocks {
    /// The file.
    pub file: FileId,
    /// Process.
    pub pid: u32,
    /// A node where it may be soon, and how often it will have moved then.
    pub enters: Option<(NodeId, u32)>,
    /// A node where it is not any more, and how often it had moved there.
    pub leaves: Option<(NodeId, u32)>,
}
hot! {
    /// A process was lost: it has no locks any more at this node.
    pub struct LoseLocks { pub pid: u32 }
}

cold!(ReadAt, WriteAt, Stat, Ioctl, IoctlReply, TerminalRead, SetAttributes);
cold!(Lock, TestLock, LockFound, MoveLocks);

operations! {
    ServerId::Fs;
    1, slow, once: Read => Moved;
    2, slow, once: Write => Moved;
    3, slow, repeat: ReadAt => Moved;
    4, slow, repeat: WriteAt => Moved;
    5, slow, once: Seek => Position;
    6, slow, repeat: FileStat => Stat;
    7, slow, repeat: Poll => Ready;
    8, slow, repeat: PollWait => Ready;
    9, slow, once: Ioctl => IoctlReply;
    10, slow, once: ListDirectory => Moved;
    11, slow, repeat: Resize => ();
    12, slow, repeat: SetFlags => ();
    13, slow, repeat: GetFlags => Flags;
    14, slow, once: Hold => ();
    15, slow, once: Release => ();
    16, slow, once: ObjectOf => FileObject;
    17, slow, repeat: InodeOf => Inode;
    18, slow, once: TerminalRead => Moved;
    19, slow, repeat: SetAttributes => ();
    20, slow, repeat: Fsync => ();
    21, slow, once: Lock => ();
    22, slow, repeat: TestLock => LockFound;
    23, slow, repeat: EndLocks => ();
    24, slow, repeat: MoveLocks => ();
    25, slow, repeat: LoseLocks => ();
    26, slow, repeat: Allocate => ();
    27, slow, repeat: SyncAll => ();
}
