// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds of the ipc server.

/// Bytes that a pipe holds, as on Linux (pipe(7)).
pub const PIPE_BYTES: usize = 64 * 1024;
/// A write of at most so many bytes is not mixed with others (PIPE_BUF, pipe(7)).
pub const ATOMIC_BYTES: usize = 4096;
/// Bytes of the heap that stay free of what programs can make and fill.
/// Beyond it nothing is made (ENFILE, ENOSPC) and nothing written that would have to be kept (ENOMEM, ENOBUFS).
pub const HEAP_RESERVE_BYTES: usize = 256 * 1024;
/// Pipes whose home is this node.
pub const PIPES_MAX: usize = 896;
/// Event counters (eventfd(2)) whose home is this node; the next gets ENFILE.
pub const COUNTERS_MAX: usize = 448;
/// Timers (timerfd_create(2)) whose home is this node; the next gets ENFILE.
pub const TIMERS_MAX: usize = 128;
/// Sockets whose home is this node; the next gets ENFILE.
pub const SOCKETS_MAX: usize = 448;
/// Names of sockets whose home is this node; the next gets ENOSPC. As many as all sockets of two nodes
/// have, should all of them come here.
pub const NAMES_MAX: usize = 896;
/// What homes are told when they can be reached again; beyond it the oldest is given up.
pub const UNTOLD_MAX: usize = 256;
/// Open descriptions whose home is this node: two per pipe, those of counters, sockets and of the terminal, and what
/// processes have of System V objects. As many as all pipes need, so that not all of each kind fit; the next gets
/// ENFILE.
pub const FILES_MAX: usize = 1792;
/// Bytes that wait at one socket to be received, each message with [`MESSAGE_OVERHEAD_BYTES`]: the most that
/// SO_SNDBUF can be. Beyond it senders wait.
pub const SOCKET_BYTES: usize = 64 * 1024;
/// The least that SO_SNDBUF can be, as on Linux.
pub const SOCKET_BYTES_MIN: usize = 4608;
/// What a message takes beside its bytes.
pub const MESSAGE_OVERHEAD_BYTES: usize = 256;
/// Bytes that wait at all sockets of the node together: a share of a heap of 1,536 KiB. Beyond it ENOBUFS.
pub const SOCKETS_BYTES_MAX: usize = 512 * 1024;
/// Datagrams that wait at one socket, but from whom it is connected to (net.unix.max_dgram_qlen is 10 on
/// Linux). Beyond it senders wait.
pub const DATAGRAMS_MAX: usize = 10;
/// Connections that wait to be accepted at one socket (SOMAXCONN is 4096 on Linux), and calls of connect(2)
/// that wait for room among them. Beyond it EAGAIN.
pub const BACKLOG_MAX: usize = 128;
/// Bytes that other nodes may give back to a pipe beyond its size: several of their reads can fail
/// at a time. More is refused with ENOSPC: no correct node has read so much.
pub const RETURNED_BYTES_MAX: usize = 4 * PIPE_BYTES;
/// Bytes of blocked writes from other nodes, which have to be kept here. Beyond it such a write gets
/// EAGAIN.
pub const KEPT_BYTES_MAX: usize = 256 * 1024;
/// Calls of poll(2) and its kin that wait at one file; the next gets EAGAIN.
pub const POLLERS_MAX: usize = 512;
/// Bytes of one read or write; more is a short count.
pub const TRANSFER_BYTES: u64 = abi::limits::WINDOW_BYTES as u64;
/// Typed bytes that a terminal holds until a program reads them (MAX_CANON, termios(3)).
pub const INPUT_BYTES: usize = 4096;
/// Bytes of output that a terminal queues before writers wait.
pub const OUTPUT_BYTES: usize = 4096;
/// Bytes beyond [`OUTPUT_BYTES`] kept for echo and the rescue prompt, so that typing is seen while a
/// program fills the queue. Beyond it echo is dropped, as on Linux.
pub const ECHO_BYTES: usize = 2048;
/// Bytes of one message to the console driver.
pub const CONSOLE_BYTES: usize = 512;
pub use ipc_api::sysv::{
    MEMORY_BYTES_MAX, MESSAGE_BYTES_MAX, OBJECTS_MAX, QUEUE_BYTES, SEMAPHORE_MAX, SEMAPHORES_MAX,
    SEMOPS_MAX,
};
/// The most bytes to which root may raise [`QUEUE_BYTES`]: a queue moves with its slot at once.
pub const QUEUE_BYTES_MAX: u64 = 64 * 1024;
/// Messages in a queue, which may be empty.
pub const MESSAGES_MAX: usize = 2048;
/// Messages that other nodes may give back to a queue beyond its size.
pub const RETURNED_MESSAGES_MAX: usize = 4;
/// Epoll instances whose home is this node; the next gets ENFILE.
pub const EPOLLS_MAX: usize = 128;
/// Files that all of them watch; the next gets ENOSPC, as beyond fs.epoll.max_user_watches on Linux.
pub const WATCHED_MAX: usize = 1024;
/// Walks over instances that watch instances, of additions that are under way; the next addition gets EAGAIN.
pub const WALKS_MAX: usize = 64;
/// Watches of one file by one other node; the next gets EAGAIN. Those of this node's instances have [`WATCHED_MAX`].
pub const WATCHES_OF_NODE_MAX: usize = 256;
/// So long a call at an instance waits at most for what homes have to say about the present.
pub const LOOK_NS: u64 = 1_000_000_000;
/// Until a home is asked again that had no room for a watch, or did not answer.
pub const RETRY_NS: u64 = 100_000_000;
