// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several nodes while views change: who may act, which ids are given, what becomes of processes.

mod cluster;
mod fakes;
mod fence;
mod lost;
mod moves;
mod random;
mod rebuild;
