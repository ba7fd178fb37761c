// SPDX-License-Identifier: MIT OR Apache-2.0
//! Capability pointers typed by the kind of object.

use core::fmt;
use core::marker::PhantomData;

/// A capability pointer: an index into the calling thread's capability space, expected to name an
/// object of kind `K`.
///
/// Zero-cost and `Copy`: it is a name, not an owner. Using a stale or wrong one is an error of the
/// kernel, never undefined behaviour of this crate.
///
/// An invocation of another kind does not compile:
///
/// ```compile_fail
/// use microkernel_sys::{Cap, Endpoint};
/// let endpoint: Cap<Endpoint> = Cap::new(20);
/// let _ = endpoint.suspend(); // only Cap<Tcb> has that
/// ```
///
/// ```no_run
/// use microkernel_sys::{Cap, Tcb};
/// let thread: Cap<Tcb> = Cap::new(20);
/// let _ = thread.suspend();
/// ```
#[repr(transparent)]
pub struct Cap<K> {
    bits: u64,
    kind: PhantomData<fn() -> K>,
}

impl<K> Cap<K> {
    /// The capability pointer of an empty slot.
    pub const NULL: Self = Self::new(0);

    /// Names the capability at `bits`, resolved from the root of the thread's capability space.
    #[must_use]
    pub const fn new(bits: u64) -> Self {
        Self { bits, kind: PhantomData }
    }

    /// The capability pointer as the kernel takes it.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.bits
    }

    /// The same slot, expected to hold another kind: for slots that are used again, and for kernel
    /// interfaces that take any kind.
    #[must_use]
    pub const fn cast<L>(self) -> Cap<L> {
        Cap::new(self.bits)
    }
}

impl<K> Clone for Cap<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Cap<K> {}

impl<K> PartialEq for Cap<K> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl<K> Eq for Cap<K> {}

impl<K> fmt::Debug for Cap<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cap({:#x})", self.bits)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $($(#[$doc])* #[derive(Debug)] pub enum $name {})*
    };
}

kinds! {
    /// Memory of no type yet.
    Untyped,
    /// A thread.
    Tcb,
    /// A synchronous message port.
    Endpoint,
    /// A word of signal bits.
    Notification,
    /// A table of capabilities.
    CNode,
    /// A page of 4 KiB.
    Frame,
    /// A page of 2 MiB.
    LargeFrame,
    /// A page of 1 GiB.
    HugeFrame,
    /// Maps 512 frames.
    PageTable,
    /// Maps 512 page tables or large frames.
    PageDirectory,
    /// Maps 512 page directories or huge frames.
    Pdpt,
    /// The root of an address space (PML4).
    VSpace,
    /// Makes ASID pools.
    AsidControl,
    /// Gives address spaces their identifiers.
    AsidPool,
    /// Makes interrupt handlers.
    IrqControl,
    /// One interrupt.
    IrqHandler,
    /// A range of I/O ports.
    IoPort,
    /// Assigns scheduling domains.
    DomainSet,
    /// A saved right to answer one call.
    Reply,
}

/// Kinds that can be mapped into an address space as memory.
pub trait AnyFrame {
    /// log2 of the frame's bytes.
    const SIZE_BITS: u32;
}

impl AnyFrame for Frame {
    const SIZE_BITS: u32 = 12;
}

impl AnyFrame for LargeFrame {
    const SIZE_BITS: u32 = 21;
}

impl AnyFrame for HugeFrame {
    const SIZE_BITS: u32 = 30;
}
