// SPDX-License-Identifier: MIT OR Apache-2.0
//! The timer server: deadlines on the PIT.
//!
//! # Model
//! Each server arms, per core, the earliest time at which it wants to look at its timers; the time
//! itself it reads from the time-stamp counter. The PIT makes one shot to the earliest deadline of
//! all, or as far as it reaches. Without deadlines there are no interrupts.
//!
//! # Invariants
//! **A client is notified at or after its deadline, never before, and once.**
//!
//! # Source
//! Intel 8254, mode 0: the output rises at the end of the count.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod deadlines;
mod service;

pub use deadlines::{Deadlines, shot};
pub use service::TimerService;
