// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations between the fs-servers of two nodes; beside them a home performs the operations of
//! [`crate::file`] that name no space for another node.
//!
//! All of it is untrusted input at the receiver.

use crate::file::LockMode;
use abi::{FileId, InodeId, NodeId, ServerId};
use alloc::vec::Vec;
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

/// [`Bytes::offset`] and [`PutBytes::offset`]: at the file's own offset.
pub const AT_POSITION: u64 = u64::MAX;
/// [`Bytes::offset`]: records of a directory, at the file's own offset.
pub const LISTING: u64 = u64::MAX - 1;

/// [`Overlaid::place`]: the image's names stay as they are.
pub const NO_NAME: u64 = u64::MAX;
/// [`Overlaid::place`]: owner or permissions of the directory itself are to change.
pub const ITSELF: u64 = u64::MAX - 1;

hot! {
    /// Goes on with a walk and the operation at its end. Request and reply are bulk data that
    /// fs-core encodes.
    pub struct NameStep {}
}
hot! {
    /// From a directory's home to everyone: from now on a directory of the image has a writable part,
    /// so ask its home; but for names of the image that nobody has changed, of which `place` is one
    /// no more (their position in the directory, or [`NO_NAME`] or [`ITSELF`]).
    pub struct Overlaid { pub inode: InodeId, pub place: u64 }
}
hot! {
    /// To the home of a directory of the image whose name is about to be removed: nothing may be
    /// made in it any more. ENOTEMPTY.
    pub struct Seal { pub inode: InodeId }
}
hot! {
    /// read(2) for another node: the bytes are the reply's bulk data.
    pub struct Bytes { pub file: FileId, pub offset: u64, pub len: u64 }
}
hot! {
    /// The file's offset before and after.
    pub struct BytesRead { pub before: u64, pub after: u64 }
}
hot! {
    /// write(2) for another node: the bytes are the bulk data.
    pub struct PutBytes { pub file: FileId, pub offset: u64 }
}
hot! {
    /// The reader could not take the bytes after all: back to `to` if the offset still is `from`.
    pub struct Rewind { pub file: FileId, pub from: u64, pub to: u64 }
}
hot! {
    /// Records of the directory's entries after cookie `after`, at most `len` bytes of them.
    pub struct Records { pub inode: InodeId, pub after: u64, pub len: u64 }
}
hot! {
    /// The cookie of the last record in the bulk data.
    pub struct RecordsEnd { pub last: u64 }
}
hot! {
    /// What is behind an open file, for a mapping on another node.
    pub struct Behind { pub file: FileId }
}
/// What is behind an open file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BehindFile {
    /// A file of the writable tree.
    Object {
        /// Its object.
        object: abi::ObjectId,
        /// Bytes.
        size: u64,
        /// Whether the description may be written.
        writable: bool,
    },
    /// A file of the boot image, which every node has.
    Image(InodeId),
}
/// Whose a lock is, in the whole cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum LockHolder {
    /// An open file description, flock(2).
    Whole(FileId),
    /// An open file description, fcntl(F_OFD_SETLK).
    Description(FileId),
    /// A process.
    Process(u32),
}
/// Something with the locks of an inode, at its home.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LockStep {
    /// Locks or unlocks bytes, the last one too.
    Set {
        /// How.
        mode: LockMode,
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
        /// Whether it waits.
        wait: bool,
        /// Where the process is, and how often it has moved.
        at: (NodeId, u32),
    },
    /// Looks for what is in the way.
    Test {
        /// How it would be locked.
        mode: LockMode,
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// All locks of the holder end.
    End,
    /// See [`crate::file::MoveLocks`].
    Move {
        /// Where it may be soon.
        enters: Option<(NodeId, u32)>,
        /// Where it is not any more.
        leaves: Option<(NodeId, u32)>,
    },
}
/// A step with the locks of an inode whose home is not the description's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockAt {
    /// The inode.
    pub inode: InodeId,
    /// Whose locks.
    pub holder: LockHolder,
    /// What.
    pub step: LockStep,
}
/// For whom do these processes wait with F_SETLKW at the home that is asked, and those in turn?
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WaitsFor {
    /// Processes.
    pub pids: Vec<u32>,
}
/// Processes, as an answer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pids {
    /// Them.
    pub pids: Vec<u32>,
}
hot! {
    /// What the node has of the asking one's slots, and all else, is to be safe on its disk. Answered when it is; at once by
    /// a node that has none. EIO: its disk failed. ENOSPC.
    pub struct SyncDisk {}
}
hot! {
    /// Whether an open file description is still there. EBADF, EIO.
    pub struct IsOpen { pub file: FileId }
}
cold!(BehindFile, LockAt, WaitsFor, Pids);

operations! {
    ServerId::Fs;
    0x100, slow, once: NameStep => ();
    0x101, slow, repeat: Overlaid => ();
    0x102, slow, repeat: Seal => ();
    0x103, slow, once: Bytes => BytesRead;
    0x104, slow, once: PutBytes => crate::file::Moved;
    0x105, slow, repeat: Rewind => ();
    0x106, slow, repeat: Records => RecordsEnd;
    0x107, slow, repeat: Behind => BehindFile;
    0x108, slow, once: LockAt => crate::file::LockFound;
    0x109, slow, repeat: WaitsFor => Pids;
    0x10a, slow, repeat: IsOpen => ();
    0x10b, slow, repeat: SyncDisk => ();
}
