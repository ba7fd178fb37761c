// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bounds of the disk server, and the sizes of a disk's parts.

/// Bytes of a sector, whatever the device's own are (virtio 1.1, 5.2.4).
pub const SECTOR_BYTES: usize = 512;
/// Sectors that one request reads or writes: what a window holds.
pub const REQUEST_SECTORS_MAX: u64 = (abi::limits::WINDOW_BYTES / SECTOR_BYTES) as u64;
/// Requests with data that are under way at once, with those whose data waits to be fetched. Each has
/// a buffer of [`abi::limits::WINDOW_BYTES`]; together with the rings they fill 1 MiB. The next one
/// gets EAGAIN.
pub const REQUESTS_MAX: usize = 15;
/// Of these, one client's: what it leaves suffices for a second one. Two copies of what the views
/// server writes at most at once, 256 KiB, fit.
pub const CLIENT_REQUESTS_MAX: usize = 8;
/// Flushes under way at once; the next one gets EAGAIN.
pub const FLUSHES_MAX: usize = 64;
/// Time after which a request that the device does not answer takes the disk out of service. Linux
/// gives its disks as long.
pub const REQUEST_NS_MAX: u64 = 30_000_000_000;
/// Looks at the device while the superblock is read at the start. Each gives the core to other threads,
/// so together they take some seconds at the least.
pub const OPEN_POLLS_MAX: u32 = 1_000_000;

/// Sectors of the region for the views server's journal: 1 MiB.
pub const JOURNAL_SECTORS: u64 = 2048;
/// Sectors of the region for the node's keys: 64 KiB.
pub const KEYS_SECTORS: u64 = 128;
/// Sectors of the region that `disks --check` writes: one request.
pub const CHECK_SECTORS: u64 = REQUEST_SECTORS_MAX;
/// Least sectors of the region for files with which it is used: fs-server's two journals, and some room. 9 MiB.
pub const FILES_SECTORS_MIN: u64 = 18 * 1024;
/// Least size of a disk in MiB: all regions, and some room for files.
pub const DISK_MIB_MIN: u32 = 8;
/// Most, so that the tool's typing errors are noticed: 1 TiB.
pub const DISK_MIB_MAX: u32 = 1 << 20;
/// Longest name of a cluster in a superblock, in bytes: longer ones are not configured.
pub const CLUSTER_BYTES_MAX: usize = 32;
