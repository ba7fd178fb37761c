// SPDX-License-Identifier: MIT OR Apache-2.0
//! Simulator: the servers' cores of several nodes in one thread, from one seed, with faults.
//!
//! # Model
//! A [`world::World`] has some [`node::Node`]s. Each runs the real cores of all servers in their real
//! hosts: mem, fs, ipc, net, proc and shell. Simulated are the machines below them: frames and page
//! tables ([`memory`]), threads ([`threads`]), the console and the network ([`wire`]). Programs are
//! ELF files for a small processor ([`isa`]), written with an assembler ([`asm`]): they live in pages
//! and registers, so they can be loaded, forked and moved by the servers alone.
//!
//! Chance decides what happens next; one seed decides chance. So a failure is repeated exactly by its
//! seed.
//!
//! # Invariants
//! [`check`] has them: one running copy of a process at every instant; what a program prints; nothing
//! left behind at rest.

#![forbid(unsafe_code)]

pub mod asm;
pub mod check;
pub mod checkers;
pub mod clock;
pub mod console;
pub mod faults;
pub mod figures;
pub mod history;
pub mod isa;
pub mod memory;
mod network;
pub mod node;
pub mod programs;
pub mod rng;
pub mod root;
pub mod scenario;
pub mod storm;
pub mod threads;
pub mod trace;
mod watch;
pub mod wire;
pub mod worker;
pub mod workload;
pub mod world;
