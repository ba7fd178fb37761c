// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of a node's files is on its disk: a journal of the tree, and blocks of bytes.
//!
//! # Model
//! ```text
//! region:  area 0 | area 1 | blocks of 4 KiB
//! area:    batches, each from a sector's beginning; those up to one marked "commit" count together
//!
//! a pass:  dirty pages -> free blocks;  flush;  records that changed -> batches;  flush;  the pass is safe
//! ```
//! The tree stands in memory, so that the disk needs no index: records say what is, a later one of the same thing
//! counts, and what they say is the client's affair ([`Outside`]). When an area is full, the other one begins with
//! all that is; until that counts the old one does. So there is nothing to clean, and nothing on the disk of what
//! was deleted.
//!
//! Pages are never overwritten: each is written to a free block, and a record then says where it is now, with a
//! checksum. The block it had is free once that record is safe.
//!
//! # Invariants
//! - What a pass that has ended found dirty is on the disk, whatever happens then.
//! - What is found on a disk is as it was at a commit: what a step of the client changed is there, or nothing of it.
//! - A block that something on the disk may name is not written.
//!
//! # Failure
//! A torn or lost end of the journal is what was not safe. Damage before that is told from it because each batch
//! says how many before it were flushed: it costs what the batch said, and is counted. A page whose checksum is wrong is
//! EIO. A disk that fails ends the store: it takes part in nothing any more.
//!
//! # Limits
//! See [`limits`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod batch;
mod checksum;
mod commit;
mod extents;
mod files;
mod layout;
pub mod limits;
mod log;
mod recover;
mod space;
mod store;
#[cfg(test)]
mod tests;
mod walker;

pub use extents::Extents;
pub use files::Place;
pub use store::{Found, Outside, Store};
