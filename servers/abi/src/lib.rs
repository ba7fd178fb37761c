// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ids, errno, limits and the boot image's format: what every server and the host tool agree on.
//!
//! It holds no behaviour. An id is a newtype with a checked constructor, so that a slot is never
//! taken for a node and a number that came from a program or from the wire is checked once, here.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod errno;
pub mod id;
pub mod image;
pub mod limits;
pub mod startup;

pub use errno::Errno;
pub use id::{
    CoreId, Epoch, FileId, InodeId, NodeId, ObjectId, Pid, ServerId, SlotNo, SpaceId, ThreadId,
    Ticket,
};
/// Linux's own structures and constants.
pub use linux_raw_sys as linux;
