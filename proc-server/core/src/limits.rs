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
/// Bytes of arguments and environments of all calls of execve(2) that are under way; the next gets ENOMEM.
pub const EXEC_BYTES_MAX: usize = 768 * 1024;
/// Bytes of the heap that stay free of new processes and threads, and of long lists that a call keeps while it waits:
/// for what those that are there have under way, which is arguments above all.
pub const HEAP_RESERVE_BYTES: usize = EXEC_BYTES_MAX + 512 * 1024;
/// Files that fly with messages from this node (SCM_RIGHTS), each as often as it flies; the next message gets
/// ETOOMANYREFS.
pub const FLIGHT_FILES_MAX: usize = 1024;
/// Links of `#!` interpreters.
pub const SCRIPTS_MAX: u32 = 4;
/// Bytes of a process's name, as prctl(2) shows it, without the final zero.
pub const NAME_BYTES: usize = 15;
/// Bytes of a call number's counter table: numbers of Linux 6.1 and some room.
pub const CALL_NUMBERS: usize = 512;
/// Bytes of `RLIMIT_STACK`, and of the stack's mapping.
pub const STACK_BYTES: u64 = 8 * 1024 * 1024;
/// Events that wait while the node may not act: a timer per thread, an alarm and two facts of mem-server
/// per process, and keys that are signals; of those what comes later is lost, with a line in the log.
pub const FENCED_EVENTS_MAX: usize = 2 * THREADS_MAX + 4 * PROCESSES_MAX;
/// Requests that wait for ids to be counted; the next gets EAGAIN. Threads of this node need no room.
pub const PARKED_REQUESTS_MAX: usize = 1024;
/// Facts about processes that wait for ids to be counted, beside the requests: one per process of two full
/// nodes. The next is lost, with a line in the log.
pub const PARKED_TELLS_MAX: usize = 2 * PROCESSES_MAX;
/// Ids that have left with their processes and whose homes may not know it yet: those of 16 processes with
/// all threads that there can be. No process with threads beyond that moves: EAGAIN.
pub const GIVEN_MAX: usize = 16 * THREADS_PER_PROCESS_MAX;
/// Processes that have come and whose homes may not know it yet; the next is refused with EAGAIN.
pub const ARRIVALS_MAX: usize = PROCESSES_MAX;
/// Until Commit, for which a link had no room, is said again. Nanoseconds.
pub const COMMIT_RETRY_NS: u64 = 10_000_000;
/// POSIX timers of a process; the next is EAGAIN.
pub const PROCESS_TIMERS_MAX: usize = 64;
/// Timers with shorter intervals ring once for all times of so long.
pub const TIMER_TICK_NS: u64 = 1_000_000;
