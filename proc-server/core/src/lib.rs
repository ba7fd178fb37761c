// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of proc-server: the Linux personality.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod elf;
pub mod files;
pub mod layout;
pub mod stack;
