// SPDX-License-Identifier: MIT OR Apache-2.0
//! Start code for programs that run directly on seL4: entry point, memory functions, panic, heap.
//!
//! A program here is a static ELF file without any C library. It names its main function with
//! [`root_entry!`] (the task that the kernel starts) or [`domain_entry!`] (a program that root starts),
//! calls [`heap::init`] before it allocates, and [`print::set_sink`] before it prints.
//!
//! # Failure
//! A panic prints, calls the hook, and stops the thread with an invalid instruction, so that the
//! thread's fault handler learns of it. Running out of heap is a panic.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod entry;
pub mod heap;
mod mem;
pub mod pages;
pub mod panic;
pub mod print;
pub mod sync;
pub mod thread;

#[doc(hidden)]
pub use microkernel_sys as sys;
