// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds of proc-server.

/// Linux threads of a node: a thread's index fits its badge. The next gets EAGAIN.
pub const THREADS_MAX: usize = 4096;
/// Processes of a node, zombies included. The next gets EAGAIN.
pub const PROCESSES_MAX: usize = 2048;
/// Threads of one process; bounds the state that moves with it.
pub const THREADS_PER_PROCESS_MAX: usize = 512;
/// Signals that wait for one process or thread, beside one of each standard kind: RLIMIT_SIGPENDING.
pub const QUEUED_SIGNALS_MAX: usize = 64;
/// Times that one system call may be run again for absent pages before it answers EAGAIN: each run
/// brings at least one page, so this is more than any call can need.
pub const RERUNS_MAX: u32 = 256;
/// Links of `#!` interpreters.
pub const SCRIPTS_MAX: u32 = 4;
/// Bytes of a process's name, as prctl(2) shows it, without the final zero.
pub const NAME_BYTES: usize = 15;
/// Bytes of a call number's counter table: numbers of Linux 6.1 and some room.
pub const CALL_NUMBERS: usize = 512;
/// Bytes of `RLIMIT_STACK`, and of the stack's mapping.
pub const STACK_BYTES: u64 = 8 * 1024 * 1024;
