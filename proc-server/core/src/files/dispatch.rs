// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls on files by number.

#![allow(non_upper_case_globals, reason = "the kernel's names")]

use super::extras::{self, By};
use super::names::CWD;
use super::transfer::Way;
use super::{
    descriptors, epoll, ioctl, locks, meta, names, poll, seek, signalfd, socket, timer, transfer,
};
use crate::machine::Machine;
use crate::syscall::{Call, Next, SysResult};
use abi::Errno;
use abi::linux::general::*;

/// Runs the call `number` if it is one on files and implemented.
pub(crate) fn dispatch<M: Machine>(call: &mut Call<'_, '_, M>, number: u32) -> Option<SysResult> {
    data(call, number)
        .or_else(|| table(call, number))
        .or_else(|| at_names(call, number))
        .or_else(|| plain_names(call, number))
        .or_else(|| attributes(call, number))
        .or_else(|| socket::dispatch(call, number))
        .or_else(|| absent(number))
}

fn data<M: Machine>(call: &mut Call<'_, '_, M>, number: u32) -> Option<SysResult> {
    let offset = call.args[3];
    // preadv2(2): -1 stands for the file's own offset.
    let own_or = (offset != u64::MAX).then_some(offset);
    Some(match number {
        __NR_read => transfer::plain(call, Way::Read),
        __NR_write => transfer::plain(call, Way::Write),
        __NR_pread64 => transfer::positioned(call, Way::Read),
        __NR_pwrite64 => transfer::positioned(call, Way::Write),
        __NR_readv => transfer::vector(call, Way::Read, None),
        __NR_writev => transfer::vector(call, Way::Write, None),
        __NR_preadv => transfer::vector(call, Way::Read, Some(offset)),
        __NR_pwritev => transfer::vector(call, Way::Write, Some(offset)),
        __NR_preadv2 | __NR_pwritev2 if call.args[5] != 0 => Err(Errno::EOPNOTSUPP.into()),
        __NR_preadv2 => transfer::vector(call, Way::Read, own_or),
        __NR_pwritev2 => transfer::vector(call, Way::Write, own_or),
        __NR_lseek => seek::lseek(call),
        __NR_getdents64 => seek::getdents(call),
        __NR_ftruncate => seek::ftruncate(call),
        __NR_fallocate => seek::fallocate(call),
        __NR_fsync | __NR_fdatasync => seek::fsync(call),
        __NR_sync => seek::sync(call),
        __NR_syncfs => seek::syncfs(call),
        // A file is read as a whole.
        __NR_fadvise64 | __NR_readahead => Ok(Next::Done(0)),
        __NR_poll => poll::poll(call),
        __NR_ppoll => poll::ppoll(call),
        __NR_select => poll::select(call),
        __NR_signalfd => signalfd::create(call, 0),
        __NR_signalfd4 => {
            let flags = call.args[3] as u32;
            signalfd::create(call, flags)
        }
        __NR_timerfd_create => timer::create(call),
        __NR_timerfd_settime => timer::set(call),
        __NR_timerfd_gettime => timer::get(call),
        __NR_epoll_create => epoll::create(call),
        __NR_epoll_create1 => epoll::create1(call),
        __NR_epoll_ctl => epoll::control(call),
        __NR_epoll_wait => epoll::wait(call),
        __NR_epoll_pwait => epoll::pwait(call),
        __NR_epoll_pwait2 => epoll::pwait2(call),
        __NR_pselect6 => poll::pselect(call),
        _ => return None,
    })
}

fn table<M: Machine>(call: &mut Call<'_, '_, M>, number: u32) -> Option<SysResult> {
    let [addr, flags, ..] = call.args;
    Some(match number {
        __NR_close => descriptors::close(call),
        __NR_close_range => descriptors::close_range(call),
        __NR_dup => descriptors::dup(call),
        __NR_dup2 => descriptors::dup2(call),
        __NR_dup3 => descriptors::dup3(call),
        __NR_fcntl => descriptors::fcntl(call),
        __NR_flock => locks::flock(call),
        __NR_pipe => descriptors::pipe(call, addr, 0),
        __NR_pipe2 => descriptors::pipe(call, addr, flags as u32),
        __NR_eventfd => descriptors::eventfd(call, addr, 0),
        __NR_eventfd2 => descriptors::eventfd(call, addr, flags as u32),
        __NR_ioctl => ioctl::ioctl(call),
        __NR_fstat => meta::fstat(call),
        __NR_fstatfs => meta::fstatfs(call),
        __NR_fchmod => meta::fchmod(call),
        __NR_fchown => meta::fchown(call),
        __NR_fchdir => meta::fchdir(call),
        __NR_getcwd => meta::getcwd(call),
        _ => return None,
    })
}

fn at_names<M: Machine>(call: &mut Call<'_, '_, M>, number: u32) -> Option<SysResult> {
    let [a, b, c, d, e, _] = call.args;
    Some(match number {
        __NR_openat => names::openat(call),
        __NR_newfstatat => names::newfstatat(call),
        __NR_statx => names::statx(call),
        __NR_faccessat | __NR_faccessat2 => names::access(call, a, b, c),
        __NR_readlinkat => names::readlink(call, [a, b, c, d]),
        __NR_mknodat => names::mknod(call, a, b, c),
        __NR_mkdirat => names::mkdir(call, a, b, c),
        __NR_unlinkat => names::unlink(call, a, b, c as u32),
        __NR_renameat => names::rename(call, [a, b, c, d, 0]),
        __NR_renameat2 => names::rename(call, [a, b, c, d, e]),
        __NR_linkat => names::link(call, [a, b, c, d, e]),
        __NR_symlinkat => names::symlink(call, a, b, c),
        __NR_fchmodat => meta::chmod(call, a, b, c),
        __NR_fchownat => meta::chown(call, [a, b, c, d], e as u32),
        __NR_utimensat => meta::utimensat(call),
        __NR_futimesat => meta::utimes(call, a, b, c),
        _ => return None,
    })
}

fn plain_names<M: Machine>(call: &mut Call<'_, '_, M>, number: u32) -> Option<SysResult> {
    let [a, b, c, ..] = call.args;
    Some(match number {
        __NR_open => names::open_path(call),
        __NR_creat => names::creat(call),
        __NR_stat => names::stat(call, true),
        __NR_lstat => names::stat(call, false),
        __NR_access => names::access(call, CWD, a, b),
        __NR_readlink => names::readlink(call, [CWD, a, b, c]),
        __NR_mknod => names::mknod(call, CWD, a, b),
        __NR_mkdir => names::mkdir(call, CWD, a, b),
        __NR_rmdir => names::unlink(call, CWD, a, AT_REMOVEDIR),
        __NR_unlink => names::unlink(call, CWD, a, 0),
        __NR_rename => names::rename(call, [CWD, a, CWD, b, 0]),
        __NR_link => names::link(call, [CWD, a, CWD, b, 0]),
        __NR_symlink => names::symlink(call, a, CWD, b),
        __NR_chmod => meta::chmod(call, CWD, a, b),
        __NR_chown => meta::chown(call, [CWD, a, b, c], 0),
        __NR_lchown => meta::chown(call, [CWD, a, b, c], AT_SYMLINK_NOFOLLOW),
        __NR_utimes => meta::utimes(call, CWD, a, b),
        __NR_utime => meta::utime(call),
        __NR_truncate => names::truncate(call),
        __NR_chdir => names::chdir(call),
        __NR_statfs => names::statfs(call),
        _ => return None,
    })
}

fn attributes<M: Machine>(call: &mut Call<'_, '_, M>, number: u32) -> Option<SysResult> {
    Some(match number {
        __NR_setxattr => extras::set(call, By::Path),
        __NR_lsetxattr => extras::set(call, By::Link),
        __NR_fsetxattr => extras::set(call, By::Descriptor),
        __NR_getxattr => extras::get(call, By::Path),
        __NR_lgetxattr => extras::get(call, By::Link),
        __NR_fgetxattr => extras::get(call, By::Descriptor),
        __NR_listxattr => extras::list(call, By::Path),
        __NR_llistxattr => extras::list(call, By::Link),
        __NR_flistxattr => extras::list(call, By::Descriptor),
        __NR_removexattr => extras::remove(call, By::Path),
        __NR_lremovexattr => extras::remove(call, By::Link),
        __NR_fremovexattr => extras::remove(call, By::Descriptor),
        _ => return None,
    })
}

/// Calls with a better answer than ENOSYS: programs know what to do with these.
fn absent(number: u32) -> Option<SysResult> {
    let errno = match number {
        // Programs copy in a loop of their own then.
        __NR_sendfile | __NR_splice | __NR_tee | __NR_vmsplice => Errno::EINVAL,
        _ => return None,
    };
    Some(Err(errno.into()))
}
