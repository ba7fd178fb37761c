// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of mem-server.
//!
//! # Model
//! An address space belongs to one process of this node. It has one *private object*, whose page
//! numbers are the space's virtual page numbers: it holds everything that the process wrote to
//! private mappings. Shared mappings and the clean pages of private file mappings belong to other
//! memory objects.
//!
//! A page may rest on another node. A copy that meets such a page fails with `ERESTART` and notes
//! it; the caller then calls [`FetchAbsent`] and, when that has ended, runs the whole operation again
//! from its start.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod message;
pub mod peer;

pub use message::*;
