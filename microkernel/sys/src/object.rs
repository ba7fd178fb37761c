// SPDX-License-Identifier: MIT OR Apache-2.0
//! Arguments of invocations: object types and sizes, rights, caching, priorities.

use crate::cap::*;
use crate::error::Error;
use crate::slot::Slot;

/// What untyped memory can become. Numbers as the kernel counts them with huge pages and without IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum ObjectType {
    /// Smaller untyped memory.
    Untyped = 0,
    /// A thread: 2 KiB.
    Tcb = 1,
    /// An endpoint: 16 bytes.
    Endpoint = 2,
    /// A notification: 32 bytes.
    Notification = 3,
    /// A capability table: 32 bytes a slot.
    CNode = 4,
    /// A page directory pointer table.
    Pdpt = 5,
    /// The root of an address space.
    VSpace = 6,
    /// A page of 1 GiB.
    HugeFrame = 7,
    /// A page of 4 KiB.
    Frame = 8,
    /// A page of 2 MiB.
    LargeFrame = 9,
    /// A page table.
    PageTable = 10,
    /// A page directory.
    PageDirectory = 11,
}

impl ObjectType {
    /// The number that the kernel takes.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self as u64
    }

    /// log2 of the object's bytes; `size_bits` is the argument of variable sizes (bytes for untyped
    /// memory, slots for a capability table) and ignored for the others.
    #[must_use]
    pub const fn object_bits(self, size_bits: u32) -> u32 {
        match self {
            Self::Untyped => size_bits,
            Self::Tcb => 11,
            Self::Endpoint => 4,
            Self::Notification => 5,
            Self::CNode => size_bits + 5,
            Self::HugeFrame => 30,
            Self::LargeFrame => 21,
            Self::Pdpt | Self::VSpace | Self::Frame | Self::PageTable | Self::PageDirectory => 12,
        }
    }
}

/// Kinds that untyped memory can become.
pub trait Create {
    /// The kernel's number of the kind.
    const TYPE: ObjectType;
}

macro_rules! create {
    ($($kind:ident)*) => { $(impl Create for $kind { const TYPE: ObjectType = ObjectType::$kind; })* };
}

create!(Untyped Tcb Endpoint Notification CNode Pdpt VSpace HugeFrame Frame LargeFrame PageTable PageDirectory);

impl Cap<Untyped> {
    /// Makes `count` objects (at most 256) of kind `K` in the slots from `at` on, which must be empty
    /// and lie in the CNode that `at.root` itself names. `size_bits`: log2 of the bytes of untyped
    /// memory or of the slots of a CNode, else 0.
    ///
    /// The first retype of boot memory clears all of it: 0.64 instructions a byte.
    ///
    /// # Errors
    /// `NotEnoughMemory`, `DeleteFirst` if a slot is in use, `Range` for count or slots.
    pub fn create<K: Create>(self, size_bits: u32, at: Slot, count: u64) -> Result<(), Error> {
        self.retype(K::TYPE, u64::from(size_bits), at.root, 0, 0, at.index, count)
    }
}

/// Which rights a copied capability keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Rights(u64);

impl Rights {
    /// None: for frames, a page that only the kernel may read.
    pub const NONE: Self = Self(0);
    /// Read, receive.
    pub const READ: Self = Self(2);
    /// Write, send.
    pub const WRITE: Self = Self(1);
    /// Read and write.
    pub const READ_WRITE: Self = Self(3);
    /// Send and be answered: what a client, or a thread's fault endpoint, needs.
    pub const CALL: Self = Self(5);
    /// Everything.
    pub const ALL: Self = Self(7);

    /// The word that the kernel takes: 1 write, 2 read, 4 grant.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// What a minted capability is marked with: a badge, a guard, or a port range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct CapData(u64);

impl CapData {
    /// Leaves the capability as it is.
    pub const NONE: Self = Self(0);

    /// A badge. The kernel keeps 28 bits and drops the rest, so more is a bug of the caller.
    ///
    /// # Panics
    /// If the badge has more than 28 bits.
    #[must_use]
    pub const fn badge(badge: u64) -> Self {
        assert!(badge >> 28 == 0, "a badge has 28 bits");
        Self(badge)
    }

    /// A guard of zeros, `size_bits` (0..=63) long, before a CNode.
    ///
    /// # Panics
    /// If `size_bits` is 64 or more.
    #[must_use]
    pub const fn zero_guard(size_bits: u32) -> Self {
        assert!(size_bits < 64, "a guard has at most 63 bits");
        Self((size_bits as u64) << 2)
    }

    /// I/O ports `first..=last`.
    #[must_use]
    pub const fn ports(first: u16, last: u16) -> Self {
        Self((first as u64) << 16 | last as u64)
    }

    /// The word that the kernel takes.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// A thread's priorities, 0 (lowest) to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priorities {
    /// When the thread runs.
    pub priority: u8,
    /// The highest priority that the thread may give to others.
    pub max_controlled: u8,
}

impl Priorities {
    /// The word that the kernel takes.
    #[must_use]
    pub const fn bits(self) -> u64 {
        (self.max_controlled as u64) << 8 | self.priority as u64
    }
}

/// How accesses to a page are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum Caching {
    /// Ordinary memory.
    #[default]
    WriteBack = 0,
    /// Reads from the cache, writes through it.
    WriteThrough = 1,
    /// Not cached, but write-combining by MTRR may apply.
    Disabled = 2,
    /// Device registers.
    Uncacheable = 3,
    /// Frame buffers.
    WriteCombining = 4,
}

impl Caching {
    /// The word that the kernel takes.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self as u64
    }
}
