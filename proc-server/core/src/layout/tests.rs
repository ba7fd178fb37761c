// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes and offsets against the host's C library.

use super::io::*;
use super::signal::*;
use super::socket::*;
use super::stat::*;
use super::system::*;
use super::sysv::*;
use super::terminal::*;
use super::time::*;
use super::*;
use alloc::vec::Vec;
use core::mem::{offset_of, size_of};

macro_rules! same_size {
    ($($ours:ty = $theirs:ty),* $(,)?) => {
        $(assert_eq!(size_of::<$ours>(), size_of::<$theirs>(), stringify!($theirs));)*
    };
}

macro_rules! same_offsets {
    ($ours:ty = $theirs:ty: $($our:ident = $their:ident),* $(,)?) => {
        $(assert_eq!(
            offset_of!($ours, $our),
            offset_of!($theirs, $their),
            stringify!($their)
        );)*
    };
}

#[test]
fn layouts_have_the_sizes_of_the_c_library() {
    same_size! {
        StatLayout = libc::stat, Statx = libc::statx, Statfs = libc::statfs,
        Timespec = libc::timespec, Timeval = libc::timeval, Itimerval = libc::itimerval,
        Rusage = libc::rusage, Rlimit = libc::rlimit, Tms = libc::tms,
        Sysinfo = libc::sysinfo, Utsname = libc::utsname, Winsize = libc::winsize,
        Iovec = libc::iovec, Pollfd = libc::pollfd, Flock = libc::flock,
        SigInfo = libc::siginfo_t, Sigevent = libc::sigevent, StackT = libc::stack_t, Utimbuf = libc::utimbuf,
        IpcPerm = libc::ipc_perm, ShmidDs = libc::shmid_ds, SemidDs = libc::semid_ds,
        MsqidDs = libc::msqid_ds, Sembuf = libc::sembuf, Seminfo = libc::seminfo, Msginfo = libc::msginfo,
        Msghdr = libc::msghdr, Cmsghdr = libc::cmsghdr, Ucred = libc::ucred,
    }
}

#[test]
fn stat_fields_stand_where_the_c_library_has_them() {
    same_offsets!(StatLayout = libc::stat:
        device = st_dev, inode = st_ino, links = st_nlink, mode = st_mode, uid = st_uid,
        gid = st_gid, rdev = st_rdev, size = st_size, block_bytes = st_blksize,
        blocks = st_blocks, atime = st_atime, mtime = st_mtime, ctime = st_ctime);
    same_offsets!(Msghdr = libc::msghdr:
        name_len = msg_namelen, ranges = msg_iov, range_count = msg_iovlen, control = msg_control,
        control_len = msg_controllen, flags = msg_flags);
    same_offsets!(Statx = libc::statx:
        mask = stx_mask, links = stx_nlink, mode = stx_mode, inode = stx_ino, size = stx_size,
        blocks = stx_blocks, atime = stx_atime, mtime = stx_mtime, rdev_major = stx_rdev_major,
        device_minor = stx_dev_minor);
    same_offsets!(Statfs = libc::statfs:
        kind = f_type, block_bytes = f_bsize, blocks = f_blocks, files = f_files,
        name_bytes_max = f_namelen);
}

#[test]
fn signal_frame_fields_stand_where_the_c_library_has_them() {
    same_offsets!(UContext = libc::ucontext_t:
        flags = uc_flags, link = uc_link, stack = uc_stack, registers = uc_mcontext,
        mask = uc_sigmask);
    assert_eq!(offset_of!(SigContext, fpu), offset_of!(libc::mcontext_t, fpregs));
    assert_eq!(offset_of!(SigContext, rip), 8 * usize::try_from(libc::REG_RIP).unwrap());
    assert_eq!(offset_of!(SigContext, rsp), 8 * usize::try_from(libc::REG_RSP).unwrap());
    assert_eq!(offset_of!(SigContext, rflags), 8 * usize::try_from(libc::REG_EFL).unwrap());
    assert_eq!(offset_of!(SigContext, cr2), 8 * usize::try_from(libc::REG_CR2).unwrap());
}

#[test]
fn dirent_records_are_aligned_and_bounded() {
    let mut out = Vec::new();
    assert!(push_dirent(&mut out, 64, 7, 1, 4, b"."));
    assert!(push_dirent(&mut out, 64, 8, 2, 8, b"abcdef"));
    assert_eq!(out.len(), 24 + 32);
    assert!(!push_dirent(&mut out, 64, 9, 3, 8, b"x"));
    assert_eq!(u16::from_le_bytes([out[16], out[17]]), 24);
    assert_eq!(&out[24 + DIRENT_NAME_OFFSET..24 + DIRENT_NAME_OFFSET + 7], b"abcdef\0");
    assert_eq!(DIRENT_NAME_OFFSET, offset_of!(libc::dirent64, d_name));
}

#[test]
fn timespec_out_of_range_is_refused() {
    assert!(Timespec { seconds: -1, nanoseconds: 0 }.to_ns().is_err());
    assert!(Timespec { seconds: 0, nanoseconds: 1_000_000_000 }.to_ns().is_err());
    assert_eq!(Timespec { seconds: i64::MAX, nanoseconds: 0 }.to_ns(), Ok(i64::MAX as u64));
    assert_eq!(Timeval { seconds: 1, microseconds: 5 }.to_ns(), Ok(1_000_005_000));
    let before = Timespec::from_signed_ns(-1);
    assert_eq!((before.seconds, before.nanoseconds), (-1, 999_999_999));
}

#[test]
fn device_numbers_round_trip() {
    for (a, b) in [(4, 64), (136, 3), (0xabcde, 0x12345)] {
        let number = device(a, b);
        assert_eq!((major(number), minor(number)), (a, b));
        assert_eq!(number, libc::makedev(a, b));
    }
}

#[test]
fn layout_of_too_few_bytes_is_none() {
    assert_eq!(Timespec::from_slice(&[0; 15]), None);
    assert!(Timespec::from_slice(&[0; 16]).is_some());
}

#[test]
fn layouts_of_system_v_objects_are_those_of_the_c_library() {
    same_offsets! {
        IpcPerm = libc::ipc_perm:
        key = __key, uid = uid, gid = gid, cuid = cuid, cgid = cgid, mode = mode, sequence = __seq,
    }
    same_offsets! {
        ShmidDs = libc::shmid_ds:
        bytes = shm_segsz, attached_s = shm_atime, detached_s = shm_dtime, changed_s = shm_ctime,
        made_by = shm_cpid, used_by = shm_lpid, attachments = shm_nattch,
    }
    same_offsets! {
        SemidDs = libc::semid_ds:
        operated_s = sem_otime, changed_s = sem_ctime, count = sem_nsems,
    }
    same_offsets! {
        MsqidDs = libc::msqid_ds:
        sent_s = msg_stime, received_s = msg_rtime, changed_s = msg_ctime, bytes = __msg_cbytes,
        messages = msg_qnum, room = msg_qbytes, sent_by = msg_lspid, received_by = msg_lrpid,
    }
}
