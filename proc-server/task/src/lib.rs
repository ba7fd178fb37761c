// SPDX-License-Identifier: MIT OR Apache-2.0
//! proc-server on seL4: Linux threads are kernel threads whose every fault comes here.
//!
//! - `machine`: [`proc_core::Machine`] by invocations on TCBs.
//! - `faults`: fault messages to [`proc_core::UserFault`] and back.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod faults;
mod machine;

pub use faults::{Reply, decode};
pub use machine::{KICK_BIT, Sel4Machine};
