// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed bindings to seL4: capabilities, invocations, system calls, boot information.
//!
//! This is the only crate with raw system calls in it. Capabilities are typed by the kind of object
//! they are expected to name ([`Cap<Tcb>`](Cap)), so an invocation on the wrong kind does not compile;
//! what a slot really holds only the kernel knows, and it answers with an [`Error`].
//!
//! # Model
//! - Invocations are methods of `Cap<Kind>`, generated at build time from the interface
//!   descriptions that travel with the kernel's source; see [`labels`].
//! - Messages: four words in CPU registers, the rest in the thread's IPC buffer ([`ipc`]), which the
//!   kernel keeps at the base of `gs`. So nothing here needs thread-local storage.
//!
//! # Invariants
//! - The IPC buffer is shared by all calls of a thread: an invocation with more than four words or
//!   with capabilities overwrites message words and capability slots. Take what you need first.
//!
//! # Source
//! seL4 5.0.0, `libsel4` and `src/arch/x86`; SYSCALL entry, SMP configuration, with the stack pointer
//! kept across system calls (a kernel edit of ours).
#![no_std]

#[cfg(test)]
extern crate std;

mod bootinfo;
mod cap;
mod endpoint;
mod error;
mod fault;
pub mod init;
mod invoke;
pub mod ipc;
mod message;
mod object;
mod registers;
mod slot;
mod syscall;

/// The invocation labels of the configured kernel.
pub mod labels {
    include!(concat!(env!("OUT_DIR"), "/labels.rs"));
}

pub use bootinfo::{BootInfo, SlotRange, UntypedInfo};
pub use cap::{
    AnyFrame, AsidControl, AsidPool, CNode, Cap, DomainSet, Endpoint, Frame, HugeFrame, IoPort,
    IrqControl, IrqHandler, LargeFrame, Notification, PageDirectory, PageTable, Pdpt, Reply, Tcb,
    Untyped, VSpace,
};
pub use endpoint::{reply, reply_with, yield_now};
pub use error::{Error, MapError, Table};
pub use fault::{CapFault, Fault, UnknownSyscall, UserException, VmFault};
pub use message::{Message, MessageInfo, Received};
pub use object::{Caching, CapData, Create, ObjectType, Priorities, Rights};
pub use registers::{FpuImage, Registers, State, ThreadState};
pub use slot::Slot;

/// Bytes of a page, and of a [`Frame`].
pub const PAGE_BYTES: u64 = 4096;
/// Bytes of a [`LargeFrame`].
pub const LARGE_PAGE_BYTES: u64 = 2 << 20;

#[cfg(test)]
mod tests {
    use crate::labels::*;

    /// The numbers of an SMP build without VT-x, IOMMU and debug registers, as read off a kernel.
    #[test]
    fn labels_have_the_numbers_of_the_configured_kernel() {
        assert_eq!((UNTYPED_RETYPE, TCB_READ_REGISTERS, TCB_CONFIGURE), (1, 2, 5));
        assert_eq!((TCB_SET_AFFINITY, CNODE_REVOKE, CNODE_SAVE_CALLER), (14, 15, 23));
        assert_eq!((IRQ_ISSUE_IRQ_HANDLER, DOMAIN_SET_SET, X86_PDPT_MAP), (24, 28, 29));
        assert_eq!((X86_PAGE_DIRECTORY_MAP, X86_PAGE_TABLE_MAP, X86_PAGE_MAP), (31, 34, 38));
        assert_eq!((X86_PAGE_GET_ADDRESS, X86_ASID_POOL_ASSIGN), (42, 44));
        assert_eq!((X86_IO_PORT_IN8, X86_IO_PORT_OUT8), (45, 48));
        assert_eq!((X86_IRQ_ISSUE_IRQ_HANDLER_MSI, X86_PAGE_TABLE_PROTECT, END), (52, 53, 54));
    }
}
