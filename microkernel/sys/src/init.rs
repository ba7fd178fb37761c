// SPDX-License-Identifier: MIT OR Apache-2.0
//! The capabilities that the kernel gives to the root task, at fixed places.

use crate::cap::*;

/// The root task's own thread.
pub const TCB: Cap<Tcb> = Cap::new(1);
/// Its capability space: one CNode whose slots have their own number as capability pointer.
pub const CNODE: Cap<CNode> = Cap::new(2);
/// Its address space.
pub const VSPACE: Cap<VSpace> = Cap::new(3);
/// Makes interrupt handlers.
pub const IRQ_CONTROL: Cap<IrqControl> = Cap::new(4);
/// Makes ASID pools.
pub const ASID_CONTROL: Cap<AsidControl> = Cap::new(5);
/// The first ASID pool.
pub const ASID_POOL: Cap<AsidPool> = Cap::new(6);
/// All I/O ports.
pub const IO_PORT: Cap<IoPort> = Cap::new(7);
/// The page of the boot information.
pub const BOOT_INFO_FRAME: Cap<Frame> = Cap::new(9);
/// The page of the root task's IPC buffer.
pub const IPC_BUFFER_FRAME: Cap<Frame> = Cap::new(10);
/// Assigns scheduling domains.
pub const DOMAIN: Cap<DomainSet> = Cap::new(11);

/// Bits that the root CNode's guard and radix resolve.
pub const CNODE_DEPTH: u8 = 64;
