// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages about files: operations on open files, which fs-server and the ipc server both perform,
//! and operations on names, which fs-server performs.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod file;
pub mod name;
pub mod peer;
