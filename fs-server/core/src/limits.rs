// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds of fs-server.

/// Inodes of the writable tree that one node is home to; the next gets ENOSPC.
pub const INODES_MAX: usize = 16 * 1024;
/// Names in the writable parts of directories that one node is home to, whiteouts too; the next gets
/// ENOSPC. Four for each inode: hard links cost no inode, and a whiteout none either.
pub const NAMES_MAX: usize = 64 * 1024;
/// Open file descriptions that one node is home to; the next gets ENFILE.
pub const FILES_MAX: usize = 16 * 1024;
/// Largest file in bytes; a byte beyond gets EFBIG. Far above any node's memory: only holes reach it.
pub const FILE_BYTES_MAX: u64 = 1 << 40;
/// Names of one inode (ext4 has 65,000); the next gets EMLINK.
pub const LINKS_MAX: u32 = 65_000;
/// Symbolic links that one walk follows, as in Linux; the next gets ELOOP.
pub const FOLLOWED_MAX: u8 = 40;
/// Bytes of a path while its links are put in: as long as Linux's PATH_MAX.
pub const WALK_BYTES: usize = 4096;
/// Bytes that one read or write for another node moves: fits a message with its header.
pub const REMOTE_BYTES: u64 = 60 * 1024;
/// Bytes in the files of a slot that moves to another node, holes too: nobody reads or writes them until
/// all are there and the next view is, and a slot that waits for longer than a second is noticed. With more
/// the slot stays.
pub const MOVED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Pages that are looked at for one piece of a slot that moves, of which there is room for fifteen: what
/// one step may take while others wait, where there are only zeroes.
pub const PIECE_PAGES_MAX: usize = 64;
/// Bytes of files that one step writes for the backup of a slot: with more (a file of the image that is opened
/// to be written, and is copied) the slot has none until another has joined.
pub const WRITTEN_BYTES_MAX: u64 = 128 * 1024;
/// Times that one operation starts again because a page or a directory was elsewhere. A walk of the
/// longest path crosses fewer directories.
pub const TURNS_MAX: u32 = 1024;
/// Operations that wait for another server or node; the next gets EAGAIN.
pub const JOBS_MAX: usize = 1024;
/// Depth of a directory that getcwd(2) can name.
pub const DEPTH_MAX: usize = 400;
/// Things that changed in a step whose places are kept for the next one: most steps change a few.
pub const TOUCHED_KEPT: usize = 64;
