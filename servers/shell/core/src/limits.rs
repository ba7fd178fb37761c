// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds of the shell server.

/// Commands that run at once on one node, those of other nodes too; the next is refused.
pub const JOBS_MAX: usize = 32;
/// Bytes of text in one [`proc_api::AdminReply`].
pub const REPLY_BYTES: usize = 600;
/// Bytes of text in one [`ipc_api::RescueWrite`]; as many fit the console driver's own message when
/// each line's end takes two.
pub const CONSOLE_BYTES: usize = 256;
/// Bytes of a line at the rescue prompt; the rest is refused with the bell.
pub const RESCUE_LINE_BYTES: usize = 256;
/// Bytes that one command may print on one node; what is beyond is cut, and a line says so.
pub const PART_BYTES: usize = 60 * 1024;
/// Bytes that wait for the console; what is beyond is cut, as nobody reads that far back.
pub const CONSOLE_QUEUE_BYTES: usize = 256 * 1024;
/// Bytes of a command's words.
pub const COMMAND_BYTES: usize = 512;
/// Time between two looks at links while the node waits for the others at its start.
pub const READY_POLL_NS: u64 = 50_000_000;
/// Longest wait for the other nodes at the start: then the login shell starts without them.
pub const READY_WAIT_NS: u64 = 3_000_000_000;
/// Time between two starts of the login shell.
pub const LOGIN_PAUSE_NS: u64 = 1_000_000_000;
/// Time until a call that found a full queue is made again.
pub const RETRY_NS: u64 = 20_000_000;
/// Time between two looks at a moved process's pages.
pub const MOVE_POLL_NS: u64 = 5_000_000;
/// Time without a page moved after which `migrate` stops waiting for the rest.
pub const MOVE_PATIENCE_NS: u64 = 2_000_000_000;
/// Time between the answer to `halt` or `reboot` and the deed, so that the answer is seen.
pub const STOP_DELAY_NS: u64 = 200_000_000;
/// Time between two looks at a series of null requests.
pub const PING_POLL_NS: u64 = 100_000_000;
/// MiB of a `net --load`, at most.
pub const LOAD_MIB_MAX: u64 = 1024;
/// Null requests of a `net --ping` that does not say how many.
pub const PINGS_DEFAULT: u64 = 10;
/// Time between two looks at a node that leaves or comes back.
pub const DRAIN_LOOK_NS: u64 = 200_000_000;
/// Time between two passes over the processes of a node that leaves, and between two lines about its slots.
pub const DRAIN_PASS_NS: u64 = 2_000_000_000;
/// Time without any change after which a node that leaves is said to be stuck. Longer than the views server leaves a
/// slot alone that could not move, also where times are stretched.
pub const DRAIN_PATIENCE_NS: u64 = 40_000_000_000;
/// Longest wait for a node that was told to stop, or to start again.
pub const BACK_PATIENCE_NS: u64 = 120_000_000_000;
/// Longest wait for a view that has another key for a node, and for one without a node whose key was revoked.
/// Longer than the views server wishes for it, also where times are stretched.
pub const KEY_PATIENCE_NS: u64 = 40_000_000_000;
/// Private keys that the node's disk keeps: one that counts, and one that is to come.
pub const KEYS_KEPT_MAX: usize = 2;
/// Time that a login shell has to end after it was hung up.
pub const HANG_UP_NS: u64 = 1_000_000_000;
