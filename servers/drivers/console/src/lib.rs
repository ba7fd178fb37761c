// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console server: a 16550 UART.
//!
//! # Model
//! Output is queued and fed to the transmitter, 16 bytes at a time, when it is empty; input is raised
//! to the ipc server as it comes. When that dies, the shell server has the console, for its rescue
//! prompt.
//!
//! # Limits
//! [`QUEUE_BYTES`] of output; beyond, EAGAIN, and an event when half of it is free again.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod core;
mod service;

pub use self::core::{ConsoleCore, QUEUE_BYTES, Uart};
pub use service::ConsoleService;
