// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds of a server's tables.

/// Calls that a server may have answered "later" and not ended yet. One per blocked thread and
/// server; the next gets EAGAIN.
pub const TICKETS_MAX: usize = 8192;
/// Completions and events that wait for one client and core. Completions are bounded by the tickets
/// that the client holds; events beyond this number are dropped and counted.
pub const EVENTS_MAX: usize = 4096;
/// Bytes of one completion beside its four words: it travels inside a message with its header.
pub const COMPLETION_BYTES: usize = abi::limits::MESSAGE_BYTES - 48;
/// Calls to other nodes without an answer yet, per server; the next gets EAGAIN.
pub const NODE_CALLS_MAX: usize = 4096;
/// Timers of one server; the next gets EAGAIN.
pub const TIMERS_MAX: usize = 8192;
/// Messages of other nodes that wait for a view or a lease, per server, and their bytes: beyond that the
/// node whose message finds no room counts as down.
pub const HELD_MESSAGES_MAX: usize = 1024;
/// See [`HELD_MESSAGES_MAX`].
pub const HELD_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a message to another node behind its header.
pub const NODE_BODY_BYTES: usize = abi::limits::WINDOW_BYTES - 1024;
