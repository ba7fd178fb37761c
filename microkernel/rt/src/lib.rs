// SPDX-License-Identifier: MIT OR Apache-2.0
//! Start code for programs that run directly on seL4: entry point, memory functions, panic, heap.
