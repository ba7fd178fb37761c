// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds that several crates share. Each server has a `limits.rs` of its own for the rest.

/// Bytes of a page. x86-64's smallest; everything is counted in it.
pub const PAGE_BYTES: usize = 4096;
/// Bytes of a worker's window: one step of any copy between a server and a program, and the
/// longest body of a message between nodes. 64 KiB is Linux's default pipe size.
pub const WINDOW_BYTES: usize = 64 * 1024;
/// Bytes of a message that travel in a request beside its four words: what fits the kernel's
/// message of 120 words with room for a header. Longer data goes through the window.
pub const MESSAGE_BYTES: usize = 896;
/// Longest path, with its end: it must fit a message. Linux's PATH_MAX is 4096; a longer path
/// gets ENAMETOOLONG.
pub const PATH_BYTES: usize = 768;
/// Longest name of one directory entry (Linux's NAME_MAX).
pub const NAME_BYTES: usize = 255;
/// CPU cores of a node that the kernel image and the servers serve.
pub const CORES_MAX: usize = 8;
/// First address that no program may map: the last page below the canonical hole stays free, as a
/// `syscall` there would make the kernel return to a non-canonical address.
pub const USER_TOP: u64 = 0x0000_7fff_ffff_f000;
/// Nodes that one cluster.toml may name today.
pub const NODES_CONFIGURED_MAX: usize = 64;
