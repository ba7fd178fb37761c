// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of proc-server to the servers above it.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod message;
pub mod peer;

pub use message::*;
