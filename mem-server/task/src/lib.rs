// SPDX-License-Identifier: MIT OR Apache-2.0
//! mem-server on seL4: frames, page tables and threads' objects out of untyped memory.
//!
//! # Model
//! Frames, tables, address spaces and thread objects go to pools and are used again. An address space
//! goes to its pool with its (empty) tables, as the next program has nearly the same layout. Where
//! memory gets short, pooled tables become frames; frames never become anything else, so that a part of
//! the memory is kept from them.
//!
//! - `slots`: the domain's own CNode.
//! - `objects`: untyped memory, made into kernel objects.
//! - `frames`: frames, their capabilities, their bytes.
//! - `tables`: page tables that no space has.
//! - `spaces`: address spaces and their tables.
//! - `threads`: TCBs and CNodes in the client's capability space.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod frames;
mod machine;
mod objects;
mod slots;
mod spaces;
mod tables;
mod threads;

pub use machine::Sel4Machine;
