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
/// Ranges of bytes that are locked in one file, by all together: a lock that would make more gets ENOLCK, and so
/// does an unlock that leaves two for one.
pub const LOCKS_PER_FILE_MAX: usize = 1024;
/// The same in all files that one node is home to, and in the copies that it keeps: 40 bytes each.
pub const LOCKS_MAX: usize = 4096;
/// Calls that wait for a lock of this home; the next gets ENOLCK.
pub const LOCK_WAITS_MAX: usize = 1024;
/// Until a process that waits for a lock is looked for in a ring of waits over several homes, and each time
/// twice as long up to [`LOOK_NS_MAX`]: most waits are shorter.
pub const LOOK_NS: u64 = 50_000_000;
/// See [`LOOK_NS`].
pub const LOOK_NS_MAX: u64 = 10_000_000_000;
/// Processes that one such search finds, and those that one message names, at five bytes each: with more it ends
/// without a word.
pub const LOOK_PIDS_MAX: usize = 160;
const _: () =
    assert!(5 * (LOOK_PIDS_MAX + 1) + 3 <= abi::limits::MESSAGE_BYTES, "one message names them");
/// Times that it asks all members, each time for what the last one found.
pub const LOOK_ROUNDS_MAX: u32 = 32;
/// Until a cancel is sent again: it misses a call that is between two homes.
pub const CANCEL_NS: u64 = 100_000_000;
/// Bytes of the extended attributes of one inode, names and values, as on ext4: they go to the backup together.
/// The next gets ENOSPC.
pub const EXTRA_BYTES_MAX: usize = 4096;
/// The same of all inodes of a node, its copies too: a share of its heap.
pub const EXTRAS_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an attribute's name, as in Linux.
pub const EXTRA_NAME_BYTES: usize = 255;

/// Bytes of the heap that stay free of what programs can make; the tables that are about to grow need more. Beyond it
/// nothing is made (ENOSPC, ENFILE, ENOLCK).
pub const HEAP_RESERVE_BYTES: usize = 512 * 1024;

/// Inodes and names that changed and that the disk's journal was not told yet, of some 40 bytes each; with more it is
/// told all anew.
pub const UNSAID_NAMES_MAX: usize = 4096;
/// Inodes that are looked up at once when all are told, by looking at all of them.
pub const SAID_AT_ONCE: usize = 256;
/// Ranges of pages that a file may take of which its record says: those that are on the disk are said with their
/// places, and the room that was reserved in more ranges than these is not, after a restart.
pub const SAID_ROOM_MAX: usize = 128;
/// Until what changed is on the disk, if nobody asks for it before.
pub const WRITE_BACK_NS: u64 = 5_000_000_000;
/// Files that wait to be read from the disk; whoever wants another one waits longer.
pub const LOADS_MAX: usize = 64;
/// Calls that wait for the disks; the next gets EAGAIN.
pub const SYNCS_MAX: usize = 1024;
