// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors and every system call on files.

pub mod holders;
pub mod local;
pub mod path;
pub mod table;
