// SPDX-License-Identifier: MIT OR Apache-2.0
//! The one shape of every server, and the loop that drives it.
//!
//! # Model
//! A server's *core* implements [`Core`]: it takes requests, answers to what it asked, events and
//! timers, and acts through [`Cx`]. A [`Host`] holds one core under its lock together with the
//! tables that every server needs (open tickets, open asks, completions that wait for `take`,
//! timers, calls to other nodes). The outside of a host is a [`Platform`]: the clock, calls to other
//! servers of the node, notifications. There are three: seL4 (`servers/domain`), a direct call
//! inside a domain (the same crate), and the simulator (`tests/sim`).
//!
//! ```text
//! client --request--> Host --(lock)--> Core.request --> Answer: Done | Pending(ticket) | Failed
//!                                        |  cx.leaf(op)            a bounded call down, under the lock
//!                                        |  cx.ask(op, cookie)     a call down, after unlock
//!                                        |  cx.call_node / tell_node  to the same server elsewhere
//!                                        |  cx.complete(ticket)    ends an earlier Pending
//!                                        |  cx.raise(client, event)   an upcall, collected by `take`
//! ```
//!
//! # Invariants
//! A ticket ends exactly once. Messages to one node leave in the order in which the core sent them:
//! sending happens under the lock. Only leaf operations are called under the lock.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod collections;
mod core_trait;
mod cx;
mod giving;
#[cfg(test)]
mod giving_tests;
mod host;
mod kept;
pub mod limits;
mod lock;
mod membership;
mod msg;
mod mutant;
pub mod node;
mod op;
mod owed;
#[cfg(test)]
mod owed_tests;
mod parking;
mod replication;
#[cfg(test)]
mod replication_tests;
mod service;
#[cfg(any(test, feature = "testing"))]
pub mod stepping;
mod tables;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use core_trait::{Answer, Client, Core, Cursor, Event, Export, NodeReply, Piece};
pub use core_trait::{encode_head, head_len};
pub use cx::Cx;
pub use host::Host;
pub use kept::{EVENT_MISSING, Missing};
pub use lock::{Lock, set_yield};
pub use msg::{Bulk, Msg, Wire, Word, get_postcard, put_postcard};
pub use mutant::Mutant;
pub use op::{Crash, Give, Given, Lease, Operation, Platform, Status, system};
pub use replication::{Alone, EVENT_ALONE};
pub use service::{Service, handle_interrupt};
pub use tables::Completion;
