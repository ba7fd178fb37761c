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
/// What a link had no room for is sent again after so long.
pub const CROWDED_NS: u64 = 5_000_000;
/// Bytes of answers that wait for room on their links; those beyond it are net-server's to queue or refuse.
pub const OWED_BYTES_MAX: usize = 128 * 1024;
/// Timers of one server; the next gets EAGAIN.
pub const TIMERS_MAX: usize = 8192;
/// Messages of other nodes that wait for a view or a lease, per server, and their bytes: beyond that the
/// node that has sent most of them counts as down.
pub const HELD_MESSAGES_MAX: usize = 1024;
/// See [`HELD_MESSAGES_MAX`].
pub const HELD_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the state of one slot, or of its head, on its way to another node: it stands in the heaps of
/// both. These are small and fixed (fs 3,072 KiB, ipc 1,536 KiB), and a server whose heap is used up dies.
/// With more the slot stays where it is; what may be longer goes in pieces after the head.
pub const SLOT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of all states and heads together that are on their way to this node, per server. With more the
/// slots that come later stay, and are tried again.
pub const COMING_BYTES_MAX: usize = 2 * SLOT_BYTES_MAX;
/// Bytes of those together that are about to leave this node, per server. With more the slots that are asked
/// for later stay, and are tried again.
pub const LEAVING_BYTES_MAX: usize = 2 * SLOT_BYTES_MAX;
/// Requests that wait for the next view because their slot is about to move, per server; the next gets
/// EAGAIN. A view comes within a second: one for each thread that gets there meanwhile.
pub const PARKED_MAX: usize = 1024;
/// Bytes of their messages and bulk data together: six writes of what one message carries. A share of the
/// smallest heap in which anything waits, ipc's 1,536 KiB.
pub const PARKED_BYTES_MAX: usize = 384 * 1024;
/// Bytes of messages and bulk data of calls to other nodes that are kept until they are answered, to follow
/// a slot to its new home. A call beyond it, whose slot moves, ends with EAGAIN. As small as it is for the
/// same reason as [`PARKED_BYTES_MAX`].
pub const KEPT_CALL_BYTES_MAX: usize = 384 * 1024;
/// Bytes of a message to another node behind its header.
pub const NODE_BODY_BYTES: usize = abi::limits::WINDOW_BYTES - 1024;
/// Bytes of what one step changes that go to a backup. A step that changes more (a file of the image that is
/// copied to be written) leaves the slot without a backup, until another has joined.
pub const CHANGES_BYTES_MAX: usize = 192 * 1024;
/// Bytes of changes that no backup has applied yet, per server: beyond, requests wait.
pub const UNAPPLIED_BYTES_MAX: usize = 128 * 1024;
/// Bytes of answers that are kept because who asked may ask again, per server; beyond, the oldest of who
/// has the newest are forgotten.
pub const RESULTS_BYTES_MAX: usize = 128 * 1024;
/// Places for what a step tells that are kept for the next one.
pub const OUTPUTS_KEPT: usize = 16;
