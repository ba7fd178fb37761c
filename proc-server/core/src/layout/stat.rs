// SPDX-License-Identifier: MIT OR Apache-2.0
//! Structures of stat(2), statx(2) and statfs(2).

use super::layouts;
use super::time::Timespec;
use fs_api::file::Stat;

layouts! {
    /// `struct stat` of x86-64.
    StatLayout = 144 {
        device: u64,
        inode: u64,
        links: u64,
        mode: u32,
        uid: u32,
        gid: u32,
        pad: u32,
        rdev: u64,
        size: i64,
        block_bytes: i64,
        blocks: i64,
        atime: Timespec,
        mtime: Timespec,
        ctime: Timespec,
        unused: [i64; 3],
    }
    /// `struct statx_timestamp`.
    StatxTime = 16 { seconds: i64, nanoseconds: u32, reserved: i32 }
    /// `struct statx`.
    Statx = 256 {
        mask: u32,
        block_bytes: u32,
        attributes: u64,
        links: u32,
        uid: u32,
        gid: u32,
        mode: u16,
        spare0: u16,
        inode: u64,
        size: u64,
        blocks: u64,
        attributes_mask: u64,
        atime: StatxTime,
        btime: StatxTime,
        ctime: StatxTime,
        mtime: StatxTime,
        rdev_major: u32,
        rdev_minor: u32,
        device_major: u32,
        device_minor: u32,
        mount: u64,
        direct_io: [u32; 2],
        spare: [u64; 12],
    }
    /// `struct statfs`.
    Statfs = 120 {
        kind: i64,
        block_bytes: i64,
        blocks: u64,
        blocks_free: u64,
        blocks_available: u64,
        files: u64,
        files_free: u64,
        id: [i32; 2],
        name_bytes_max: i64,
        fragment_bytes: i64,
        flags: i64,
        spare: [i64; 4],
    }
}

/// Size of I/O that we recommend: a page.
const BLOCK_BYTES: u32 = 4096;
/// The fields that [`Statx`] always carries: STATX_BASIC_STATS.
pub const STATX_BASIC_STATS: u32 = 0x7ff;
/// `f_type` of a file system in memory: TMPFS_MAGIC.
pub const TMPFS_MAGIC: i64 = 0x0102_1994;
/// `f_type` of /proc: PROC_SUPER_MAGIC.
pub const PROC_MAGIC: i64 = 0x9fa0;

impl From<&Stat> for StatLayout {
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.device,
            inode: stat.inode,
            links: u64::from(stat.links),
            mode: stat.mode,
            uid: stat.uid,
            gid: stat.gid,
            rdev: stat.rdev,
            size: stat.size.cast_signed(),
            block_bytes: i64::from(BLOCK_BYTES),
            blocks: stat.blocks.cast_signed(),
            atime: Timespec::from_signed_ns(stat.atime_ns),
            mtime: Timespec::from_signed_ns(stat.mtime_ns),
            ctime: Timespec::from_signed_ns(stat.ctime_ns),
            ..Self::default()
        }
    }
}

fn statx_time(ns: i64) -> StatxTime {
    let time = Timespec::from_signed_ns(ns);
    StatxTime { seconds: time.seconds, nanoseconds: time.nanoseconds as u32, reserved: 0 }
}

impl From<&Stat> for Statx {
    fn from(stat: &Stat) -> Self {
        Self {
            mask: STATX_BASIC_STATS,
            block_bytes: BLOCK_BYTES,
            links: stat.links,
            uid: stat.uid,
            gid: stat.gid,
            mode: stat.mode as u16,
            inode: stat.inode,
            size: stat.size,
            blocks: stat.blocks,
            atime: statx_time(stat.atime_ns),
            mtime: statx_time(stat.mtime_ns),
            ctime: statx_time(stat.ctime_ns),
            rdev_major: major(stat.rdev),
            rdev_minor: minor(stat.rdev),
            device_major: major(stat.device),
            device_minor: minor(stat.device),
            ..Self::default()
        }
    }
}

/// The major part of a device number.
pub const fn major(device: u64) -> u32 {
    (device >> 8) as u32 & 0xfff | (device >> 32) as u32 & !0xfff
}

/// The minor part of a device number.
pub const fn minor(device: u64) -> u32 {
    device as u32 & 0xff | (device >> 12) as u32 & !0xff
}

/// The device number of a pair.
pub const fn device(major: u32, minor: u32) -> u64 {
    let (major, minor) = (major as u64, minor as u64);
    (major & 0xfff) << 8 | (major & !0xfff) << 32 | minor & 0xff | (minor & !0xff) << 12
}
