// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of fs-server: name space, inodes, open files.
//!
//! # Model
//! One tree on all nodes: [`tree`] has its state, [`walk`] the values that travel from home to home,
//! [`names`] what happens at a path's end, [`files`] the open file descriptions,
//! [`data`] the bytes, [`job`] what waits.
//!
//! # Failure
//! When a node stops answering, what needs a directory or file of its home ends with EHOSTDOWN. When it
//! leaves the cluster its writable files are gone: what names them ends with EIO, and the image's
//! directories that it was home to are as in the image again.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod data;
mod device;
mod disk;
mod extras;
mod files;
mod inode;
mod job;
pub mod limits;
mod lock_waits;
mod locks;
mod lower;
mod names;
mod pieces;
mod replicate;
mod requests;
mod server;
mod slots;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

pub use crate::server::{Config, FsCore};
