// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server as programs and other nodes see it.

mod backups;
mod cluster;
mod disks;
mod extras;
mod lock_moves;
mod locks;
mod model;
mod moves;
mod nameless;
mod pieces;
mod room;
mod single;
mod storm;
mod views;
mod world;
