// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whole clusters in one thread, from one seed, in virtual time: what the views core promises, while
//! networks, disks, clocks and nodes misbehave.
//!
//! # Model
//! [`world::World`] runs the nodes' cores; [`chaos`] disturbs them for a while and then heals
//! everything; the [`checkers`], one property each, look after every step. A failure prints the seed
//! and the command that repeats it.

mod chaos;
mod checkers;
mod disk;
mod founding;
mod keys;
mod moves;
mod mutants;
mod rng;
mod scenarios;
mod suspicion;
mod voters;
mod world;
