// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cluster-wide ids.
//!
//! # Model
//! An id that names an object carries the object's slot in its top [`SLOT_BITS`] bits (process ids:
//! in the top ten of their 22), so that finding an object's home is an array index.
//!
//! # Invariants
//! A value of one of these types is in range; the constructors check it.

use core::fmt;
use core::num::NonZeroU16;
use serde::{Deserialize, Serialize};

/// Slots in a cluster: the unit of placement.
pub const SLOTS: u16 = 1024;
/// Bits of a slot number.
pub const SLOT_BITS: u32 = 10;
/// Bits of a process id below its slot.
pub const PID_SERIAL_BITS: u32 = 12;
/// Bits of an object's id below its slot.
pub const OBJECT_SERIAL_BITS: u32 = 64 - SLOT_BITS;
/// Nodes that a cluster can have.
pub const NODES_MAX: u16 = 1024;

/// A node of the cluster, 1 to [`NODES_MAX`]: the number that people type.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct NodeId(NonZeroU16);

impl NodeId {
    /// `None` if `number` is 0 or above [`NODES_MAX`].
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) if number.get() <= NODES_MAX => Some(Self(number)),
            Some(_) | None => None,
        }
    }

    /// The number, 1 to [`NODES_MAX`].
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One of the [`SLOTS`] buckets of objects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SlotNo(u16);

impl SlotNo {
    /// `None` if `number` is not below [`SLOTS`].
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOTS { Some(Self(number)) } else { None }
    }

    /// The slot's index, below [`SLOTS`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for SlotNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

/// The number of a view: it grows by one with every change of membership or placement.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

/// A CPU core of the local node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CoreId(pub u8);

macro_rules! slotted {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub struct $name(u64);

        impl $name {
            /// The id with `serial` in `slot`; `None` if the serial needs too many bits.
            pub const fn new(slot: SlotNo, serial: u64) -> Option<Self> {
                if serial >> OBJECT_SERIAL_BITS != 0 {
                    return None;
                }
                Some(Self((slot.0 as u64) << OBJECT_SERIAL_BITS | serial))
            }

            /// The id as it travels in a message. Every value is a well-formed id.
            pub const fn from_raw(raw: u64) -> Self {
                Self(raw)
            }

            /// The id as it travels in a message.
            pub const fn raw(self) -> u64 {
                self.0
            }

            /// The slot that holds the object.
            pub const fn slot(self) -> SlotNo {
                SlotNo((self.0 >> OBJECT_SERIAL_BITS) as u16)
            }

            /// The number within the slot.
            pub const fn serial(self) -> u64 {
                self.0 & ((1 << OBJECT_SERIAL_BITS) - 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{:x}", self.slot().0, self.serial())
            }
        }
    };
}

slotted!(
    /// A memory object: a range of pages that can be mapped.
    ObjectId
);
slotted!(
    /// An open file description, pipe end or terminal: what a file descriptor names.
    FileId
);
slotted!(
    /// An inode: a file, directory or link of the file tree.
    InodeId
);

/// A process id: slot (10 bits) and serial (12 bits); 0 is no process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Pid(u32);

impl Pid {
    /// `None` if the value is 0 or needs more than 22 bits.
    pub const fn new(raw: u32) -> Option<Self> {
        if raw == 0 || raw >> (SLOT_BITS + PID_SERIAL_BITS) != 0 { None } else { Some(Self(raw)) }
    }

    /// The id with `serial` in `slot`; `None` if it would be 0 or the serial needs too many bits.
    pub const fn in_slot(slot: SlotNo, serial: u32) -> Option<Self> {
        if serial >> PID_SERIAL_BITS != 0 {
            return None;
        }
        Self::new((slot.0 as u32) << PID_SERIAL_BITS | serial)
    }

    /// The number that programs see.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The slot whose home keeps the process's entry.
    pub const fn slot(self) -> SlotNo {
        SlotNo((self.0 >> PID_SERIAL_BITS) as u16)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An address space on the local node: an index and the generation of its use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct SpaceId {
    /// Row in mem-server's table.
    pub index: u32,
    /// Grows each time the row is used again, so that a stale id is an error.
    pub generation: u32,
}

impl SpaceId {
    /// The id in one message word.
    pub const fn to_word(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The id from one message word.
    pub const fn from_word(word: u64) -> Self {
        Self { index: word as u32, generation: (word >> 32) as u32 }
    }
}

/// A Linux thread on the local node: an index and the generation of its use; fits a badge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ThreadId {
    /// Row in proc-server's table, below 2^16.
    pub index: u16,
    /// Grows each time the row is used again; 11 bits of it fit the badge.
    pub generation: u16,
}

impl ThreadId {
    /// Bits of the generation that travel in a badge.
    pub const GENERATION_BITS: u32 = 11;

    /// The id in 27 bits.
    pub const fn to_badge(self) -> u64 {
        let generation = self.generation & ((1 << Self::GENERATION_BITS) - 1);
        (generation as u64) << 16 | self.index as u64
    }

    /// The id from a badge's lower 27 bits.
    pub const fn from_badge(badge: u64) -> Self {
        let generation = (badge >> 16) as u16 & ((1 << Self::GENERATION_BITS) - 1);
        Self { index: badge as u16, generation }
    }
}

/// Names a call that was answered "later": it ends exactly once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Ticket {
    /// Row in the server's table of open calls.
    pub index: u32,
    /// Grows each time the row is used again.
    pub generation: u32,
}

impl Ticket {
    /// The ticket in one message word.
    pub const fn to_word(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The ticket from one message word.
    pub const fn from_word(word: u64) -> Self {
        Self { index: word as u32, generation: (word >> 32) as u32 }
    }
}

/// The servers of a node. Whom each may ask, ARCHITECTURE.md says; the numbers say nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum ServerId {
    /// Console driver.
    Console = 0,
    /// Timer driver.
    Timer = 1,
    /// Links between nodes.
    Net = 2,
    /// Frames, address spaces, memory objects.
    Mem = 3,
    /// Files.
    Fs = 4,
    /// Pipes and terminals.
    Ipc = 5,
    /// Processes.
    Proc = 6,
    /// Checkpoints.
    Ckpt = 7,
    /// Administration.
    Shell = 8,
    /// Views: who is a member, and who holds which slot.
    Views = 9,
    /// Disk driver.
    Disk = 10,
}

impl ServerId {
    /// All servers, by number.
    pub const ALL: [Self; 11] = [
        Self::Console,
        Self::Timer,
        Self::Net,
        Self::Mem,
        Self::Fs,
        Self::Ipc,
        Self::Proc,
        Self::Ckpt,
        Self::Shell,
        Self::Views,
        Self::Disk,
    ];

    /// The server with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The server with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|server| server.name() == name)
    }

    /// As people write it in cluster.toml.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Timer => "timer",
            Self::Net => "net",
            Self::Mem => "mem",
            Self::Fs => "fs",
            Self::Ipc => "ipc",
            Self::Proc => "proc",
            Self::Ckpt => "ckpt",
            Self::Shell => "shell",
            Self::Views => "views",
            Self::Disk => "disk",
        }
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
