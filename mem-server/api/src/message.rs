// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every operation of mem-server.

use abi::{NodeId, ObjectId, ServerId, SlotNo, SpaceId};
use alloc::vec::Vec;
use runtime::{Word, cold, hot, operations};
use serde::{Deserialize, Serialize};

/// How memory is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Access {
    /// A load or an instruction fetch.
    Read = 0,
    /// A store.
    Write = 1,
}

impl Word for Access {
    fn to_word(&self) -> u64 {
        *self as u64
    }

    fn from_word(word: u64) -> Option<Self> {
        match word {
            0 => Some(Self::Read),
            1 => Some(Self::Write),
            _ => None,
        }
    }
}

/// Protection of a mapping, mmap(2). seL4 5.0.0 cannot forbid execution, so `execute` is kept and
/// shown, not enforced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Protection {
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// May be executed.
    pub execute: bool,
}

/// What a mapping shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Backing {
    /// Zeroes.
    Anonymous,
    /// An object, from this byte on (a multiple of the page size).
    Object {
        /// The object; the space holds a reference while it is mapped.
        object: ObjectId,
        /// First byte.
        offset: u64,
    },
}

/// What a new object holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Content {
    /// Zeroes; it grows as it is written.
    Zero,
    /// A file of the root file system, never written.
    Root {
        /// First byte in RootData, a multiple of the page size.
        offset: u64,
        /// Bytes.
        len: u64,
    },
}

hot! {
    /// A thread faulted. Done: run it again. Pending: it can run when the ticket ends. EFAULT: no
    /// such mapping; EACCES: not permitted (both SIGSEGV). EIO: beyond the file's end, or lost (SIGBUS).
    /// ENOMEM: no frame is left.
    pub struct Fault {
        /// The faulting thread's space.
        pub space: SpaceId,
        /// The address.
        pub addr: u64,
        /// What it tried.
        pub access: Access,
    }
}
hot! {
    /// Copies `len` bytes of a program's memory into the bulk data. EFAULT, ERESTART.
    pub struct CopyIn { pub space: SpaceId, pub addr: u64, pub len: u64 }
}
hot! {
    /// Copies the bulk data into a program's memory. EFAULT, ERESTART. All pages are checked before
    /// the first byte is written.
    pub struct CopyOut { pub space: SpaceId, pub addr: u64 }
}
hot! {
    /// Copies a string that ends with a zero byte, without it, into the bulk data (at most its
    /// buffer's length). EFAULT, ERESTART, ENAMETOOLONG.
    pub struct CopyString { pub space: SpaceId, pub addr: u64 }
}
hot! {
    /// Makes sure that a later copy to (`Write`) or from (`Read`) this range will succeed, if nobody
    /// changes the mappings. EFAULT, ERESTART, ENOMEM.
    pub struct Prepare { pub space: SpaceId, pub addr: u64, pub len: u64, pub access: Access }
}
hot! {
    /// Brings the page that the last ERESTART in this space named. Done or Pending.
    pub struct FetchAbsent { pub space: SpaceId }
}
hot! {
    /// A new, empty space.
    pub struct SpaceCreate {}
}
hot! {
    /// A space, as an answer.
    pub struct SpaceCreated { pub space: SpaceId }
}
hot! {
    /// A copy of a space, copy-on-write. Pending while pages of the space rest on another node; its
    /// end carries nothing: call again.
    pub struct SpaceFork { pub space: SpaceId }
}
hot! {
    /// Frees a space. No thread of it may run any more.
    pub struct SpaceDestroy { pub space: SpaceId }
}
/// Maps a range, mmap(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Map {
    /// Where.
    pub space: SpaceId,
    /// Wanted address; 0 leaves it to mem-server.
    pub addr: u64,
    /// Bytes; rounded up to pages.
    pub len: u64,
    /// Protection.
    pub protection: Protection,
    /// Content.
    pub backing: Backing,
    /// MAP_SHARED: writes go to the object. A shared anonymous mapping gets an object of its own.
    pub shared: bool,
    /// MAP_FIXED: exactly there, replacing what is there.
    pub fixed: bool,
    /// MAP_FIXED_NOREPLACE: EEXIST if something is there.
    pub no_replace: bool,
    /// Grows downwards by faults (the stack).
    pub grows_down: bool,
}
hot! {
    /// Where it was mapped.
    pub struct Mapped { pub addr: u64 }
}
hot! {
    /// munmap(2).
    pub struct Unmap { pub space: SpaceId, pub addr: u64, pub len: u64 }
}
/// mprotect(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Protect {
    /// Where.
    pub space: SpaceId,
    /// First byte, on a page.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
    /// New protection.
    pub protection: Protection,
}
/// mremap(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remap {
    /// Where.
    pub space: SpaceId,
    /// Present first byte.
    pub addr: u64,
    /// Present length.
    pub len: u64,
    /// Wanted length.
    pub new_len: u64,
    /// MREMAP_MAYMOVE.
    pub may_move: bool,
    /// MREMAP_FIXED and its address.
    pub fixed: Option<u64>,
}
hot! {
    /// Sizes of a space.
    pub struct SpaceSize { pub space: SpaceId }
}
hot! {
    /// In bytes: mapped, present on this node, in the stack, in files' text.
    pub struct SpaceSizes { pub mapped: u64, pub resident: u64, pub stack: u64, pub text: u64 }
}
hot! {
    /// The mappings from `after` on, as many as fit: an empty answer is the end.
    pub struct Regions { pub space: SpaceId, pub after: u64 }
}
/// One mapping.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// Protection.
    pub protection: Protection,
    /// Content.
    pub backing: Backing,
    /// MAP_SHARED.
    pub shared: bool,
    /// The stack.
    pub grows_down: bool,
}
/// Mappings in ascending order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegionList(pub Vec<Region>);
hot! {
    /// FUTEX_WAIT: Pending if the word at `addr` is `value`, else EAGAIN; compare and enqueue are one
    /// step. `bitset_shared`: bitset in the low half; bit 32 set for a process-shared futex.
    pub struct FutexWait { pub space: SpaceId, pub addr: u64, pub value: u32, pub bitset_shared: u64 }
}
hot! {
    /// FUTEX_WAKE: at most `count` waiters whose bitset meets this one.
    pub struct FutexWake { pub space: SpaceId, pub addr: u64, pub count: u32, pub bitset_shared: u64 }
}
/// FUTEX_CMP_REQUEUE and FUTEX_REQUEUE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FutexRequeue {
    /// Where.
    pub space: SpaceId,
    /// From here.
    pub addr: u64,
    /// To here.
    pub to: u64,
    /// Wake at most this many.
    pub wake: u32,
    /// Move at most this many.
    pub requeue: u32,
    /// EAGAIN unless the word at `addr` is this.
    pub expected: Option<u32>,
    /// Process-shared.
    pub shared: bool,
}
hot! {
    /// A number, as an answer.
    pub struct Count { pub count: u64 }
}
/// A new object, held once by the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObjectCreate {
    /// What it holds.
    pub content: Content,
    /// The slot whose things it belongs to: it goes when they go. `None`, or a slot of another home: any.
    pub slot: Option<SlotNo>,
}
hot! {
    /// An object, as an answer.
    pub struct ObjectCreated { pub object: ObjectId }
}
hot! {
    /// Reads into the bulk data. Beyond what was written stand zeroes. ERESTART: call
    /// [`ObjectFetch`] first.
    pub struct ObjectRead { pub object: ObjectId, pub offset: u64, pub len: u64 }
}
hot! {
    /// Writes the bulk data. ERESTART, ENOMEM.
    pub struct ObjectWrite { pub object: ObjectId, pub offset: u64 }
}
/// Copies between an object and a program's memory, `read(2)` and `write(2)` of files. EFAULT,
/// ERESTART (a page of the space), EAGAIN (a page of the object: [`ObjectFetch`] first), ENOMEM.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObjectCopy {
    /// The object.
    pub object: ObjectId,
    /// First byte in the object.
    pub offset: u64,
    /// The program's space.
    pub space: SpaceId,
    /// The program's address.
    pub addr: u64,
    /// Bytes, at most [`COPY_BYTES`].
    pub len: u64,
    /// Out of the object (`Read`) or into it (`Write`).
    pub access: Access,
}
/// Longest [`ObjectCopy`]: bounds the time under the lock.
pub const COPY_BYTES: u64 = 64 * 1024;
hot! {
    /// Brings the object's page at `offset` here for `access`. Done or Pending.
    pub struct ObjectFetch { pub object: ObjectId, pub offset: u64, pub access: Access }
}
hot! {
    /// The object ends here: pages beyond are freed, the rest of the last page is zeroed.
    pub struct ObjectResize { pub object: ObjectId, pub len: u64 }
}
hot! {
    /// Frees pages of the object: from now on they are zeroes, where it is mapped too. ENOSYS: other nodes may
    /// hold pages of it.
    pub struct ObjectPunch { pub object: ObjectId, pub first: u64, pub pages: u64 }
}
hot! {
    /// Drops the caller's reference; the last one frees the object.
    pub struct ObjectRelease { pub object: ObjectId }
}
hot! {
    /// At the object's home: node `node` refers to it from now on. Whoever passes an object on to
    /// another node calls this first, and the taker [`ObjectAdopt`]. For the home itself it is one
    /// more reference, without more ado. ESTALE, EINVAL.
    pub struct ObjectHold { pub object: ObjectId, pub node: NodeId }
}
hot! {
    /// Takes over a reference that the home counts for this node since [`ObjectHold`]. The caller
    /// drops it with [`ObjectRelease`].
    pub struct ObjectAdopt { pub object: ObjectId }
}
hot! {
    /// Whether anybody but the caller uses the object: maps it, refers to it, has pages of it or waits for
    /// one. ESTALE.
    pub struct ObjectUse { pub object: ObjectId }
}
hot! {
    /// The answer.
    pub struct ObjectUsers { pub alone: bool }
}
hot! {
    /// Gives an object that only the caller uses another id, in this slot of this node; also one whose own slot
    /// has been given away. The former id is none any more. EINVAL: the slot is not this node's, or frozen.
    /// EBUSY: others use the object. ESTALE.
    pub struct ObjectRename { pub object: ObjectId, pub slot: SlotNo }
}
hot! {
    /// Kernel objects for one Linux thread in `space`: in the caller's capability space appear, at
    /// three consecutive slots, its TCB, its capability space and a copy of its address space.
    pub struct ThreadCreate { pub space: SpaceId }
}
hot! {
    /// First of the three slots.
    pub struct ThreadCreated { pub slot: u64 }
}
hot! {
    /// Gives the three back. The thread must be stopped.
    pub struct ThreadRelease { pub slot: u64 }
}
hot! {
    /// Writes the description of a stopped space, from byte `offset` of it on, into the bulk data.
    /// Answers the whole length. ERESTART while pages of it rest elsewhere (call FetchAll).
    pub struct SpaceExport { pub space: SpaceId, pub offset: u64 }
}
hot! {
    /// Pending until no page of the space rests on another node.
    pub struct FetchAll { pub space: SpaceId }
}
hot! {
    /// Builds a space from a description (the bulk data; at most a window, so descriptions longer
    /// than that are sent in parts: `offset` counts up to `total`, the answer of the last part names
    /// the space). Its pages rest at `from`.
    pub struct SpaceImport { pub from: NodeId, pub token: u64, pub offset: u64, pub total: u64 }
}
hot! {
    /// The imported space and its new private object. While parts are missing `complete` is false.
    pub struct SpaceImported { pub space: SpaceId, pub object: ObjectId, pub complete: bool }
}
hot! {
    /// The space now lives on `to` under the private object `object`: its pages wait here to be
    /// fetched, and the space is gone.
    pub struct SpaceGive { pub space: SpaceId, pub object: ObjectId, pub to: NodeId }
}
hot! {
    /// How far the fetching of a space's pages is. When all are here the figures stay until the space
    /// goes; all are 0 for a space that never moved.
    pub struct MoveState { pub space: SpaceId }
}
hot! {
    /// Pages still elsewhere, fetched because a thread wanted them, fetched ahead.
    pub struct MoveProgress { pub left: u64, pub on_demand: u64, pub prefetched: u64 }
}
hot! {
    /// Figures of this node's memory.
    pub struct MemoryUse {}
}
/// Figures of this node's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MemoryFigures {
    /// Bytes that mem-server manages.
    pub total: u64,
    /// Bytes free.
    pub free: u64,
    /// Bytes in file objects.
    pub cached: u64,
    /// Bytes of page tables and other kernel objects in use.
    pub kernel: u64,
    /// Bytes of kernel objects that wait to be used again for the same, and gaps between objects.
    pub pooled: u64,
    /// Address spaces.
    pub spaces: u64,
    /// Memory objects.
    pub objects: u64,
    /// Capability slots in use, pooled ones not counted.
    pub slots: u64,
    /// Threads' kernel objects in use.
    pub threads: u64,
}

cold!(Map, Protect, Remap, RegionList, FutexRequeue, ObjectCreate, ObjectCopy, MemoryFigures);

operations! {
    ServerId::Mem;
    1, leaf, repeat: Fault => ();
    2, leaf, repeat: CopyIn => ();
    3, leaf, repeat: CopyOut => ();
    4, leaf, repeat: CopyString => Count;
    5, leaf, repeat: Prepare => ();
    6, leaf, repeat: FetchAbsent => ();
    10, leaf, once: SpaceCreate => SpaceCreated;
    11, leaf, once: SpaceFork => SpaceCreated;
    12, leaf, once: SpaceDestroy => ();
    13, leaf, once: Map => Mapped;
    14, leaf, repeat: Unmap => ();
    15, leaf, repeat: Protect => ();
    16, leaf, once: Remap => Mapped;
    17, leaf, repeat: SpaceSize => SpaceSizes;
    18, leaf, repeat: Regions => RegionList;
    20, leaf, once: FutexWait => ();
    21, leaf, once: FutexWake => Count;
    22, leaf, once: FutexRequeue => Count;
    30, leaf, once: ObjectCreate => ObjectCreated;
    31, leaf, repeat: ObjectRead => ();
    32, leaf, repeat: ObjectWrite => ();
    33, leaf, repeat: ObjectCopy => ();
    34, leaf, repeat: ObjectFetch => ();
    35, leaf, repeat: ObjectResize => ();
    36, leaf, once: ObjectRelease => ();
    37, leaf, once: ObjectHold => ();
    38, leaf, once: ObjectAdopt => ();
    39, leaf, repeat: ObjectUse => ObjectUsers;
    40, leaf, once: ObjectRename => ObjectCreated;
    41, leaf, repeat: ObjectPunch => ();
    45, leaf, once: ThreadCreate => ThreadCreated;
    46, leaf, once: ThreadRelease => ();
    50, leaf, repeat: SpaceExport => Count;
    51, leaf, repeat: FetchAll => ();
    52, leaf, once: SpaceImport => SpaceImported;
    53, leaf, once: SpaceGive => ();
    54, leaf, repeat: MoveState => MoveProgress;
    60, leaf, repeat: MemoryUse => MemoryFigures;
}

/// Upcall to proc: pages of this space are lost with a node; its process cannot go on.
pub const EVENT_SPACE_LOST: u16 = 1;
/// Upcall to proc: the last page of a moved space has arrived.
pub const EVENT_MOVE_DONE: u16 = 2;

hot! {
    /// [`EVENT_SPACE_LOST`].
    pub struct SpaceLost { pub space: SpaceId, pub node: NodeId }
}
hot! {
    /// [`EVENT_MOVE_DONE`].
    pub struct MoveDone { pub space: SpaceId, pub on_demand: u64, pub prefetched: u64 }
}
