// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls by number; those on files stand in [`crate::files::dispatch`].

use super::{Call, Next, SysResult};
use super::{exec, exit, fork, futex, identity, memory, misc, sysv, time, timers, wait};
use crate::machine::Machine;
use crate::{files, signal};
use abi::Errno;
use abi::linux::general::*;

/// Runs the system call `number`.
pub(crate) fn dispatch<M: Machine>(call: &mut Call<'_, '_, M>, number: u64) -> SysResult {
    let Ok(number) = u32::try_from(number) else { return Err(Errno::ENOSYS.into()) };
    if let Some(result) = own(call, number) {
        return result;
    }
    if let Some(result) = identities(call, number) {
        return result;
    }
    if let Some(result) = sysv::dispatch(call, number) {
        return result;
    }
    if let Some(result) = files::dispatch(call, number) {
        return result;
    }
    if let Some(count) = call.core.unimplemented.get_mut(number as usize) {
        *count = count.saturating_add(1);
    }
    Err(Errno::ENOSYS.into())
}

fn own<M: Machine>(call: &mut Call<'_, '_, M>, number: u32) -> Option<SysResult> {
    Some(match number {
        __NR_exit => exit::exit(call),
        __NR_exit_group => exit::exit_group(call),
        __NR_clone => fork::clone(call),
        __NR_fork => fork::fork(call),
        __NR_vfork => fork::vfork(call),
        __NR_execve => exec::execve(call),
        __NR_wait4 => wait::wait4(call),
        __NR_waitid => wait::waitid(call),
        __NR_futex => futex::futex(call),
        __NR_rt_sigaction => signal::sys_sigaction(call),
        __NR_rt_sigprocmask => signal::sys_sigprocmask(call),
        __NR_rt_sigpending => signal::sys_sigpending(call),
        __NR_rt_sigsuspend => signal::sys_sigsuspend(call),
        __NR_rt_sigtimedwait => signal::sys_sigtimedwait(call),
        __NR_rt_sigreturn => signal::sys_sigreturn(call),
        __NR_rt_sigqueueinfo => signal::sys_sigqueue(call, false),
        __NR_rt_tgsigqueueinfo => signal::sys_sigqueue(call, true),
        __NR_sigaltstack => signal::sys_sigaltstack(call),
        __NR_pause => signal::sys_pause(call),
        __NR_kill => signal::sys_kill(call),
        __NR_tkill => signal::sys_tkill(call),
        __NR_tgkill => signal::sys_tgkill(call),
        __NR_mmap => memory::mmap(call),
        __NR_munmap => memory::munmap(call),
        __NR_mprotect => memory::mprotect(call),
        __NR_mremap => memory::mremap(call),
        __NR_madvise => memory::madvise(call),
        __NR_brk => memory::brk(call),
        __NR_clock_gettime => time::clock_gettime(call),
        __NR_clock_getres => time::clock_getres(call),
        __NR_clock_nanosleep => time::clock_nanosleep(call),
        __NR_nanosleep => time::nanosleep(call),
        __NR_gettimeofday => time::gettimeofday(call),
        __NR_time => time::time(call),
        __NR_times => time::times(call),
        __NR_getrusage => time::getrusage(call),
        __NR_alarm => time::alarm(call),
        __NR_setitimer => time::setitimer(call),
        __NR_getitimer => time::getitimer(call),
        __NR_timer_create => timers::create(call),
        __NR_timer_settime => timers::settime(call),
        __NR_timer_gettime => timers::gettime(call),
        __NR_timer_getoverrun => timers::overruns(call),
        __NR_timer_delete => timers::delete(call),
        __NR_uname => misc::uname(call),
        __NR_sysinfo => misc::sysinfo(call),
        __NR_getrandom => misc::getrandom(call),
        __NR_arch_prctl => misc::arch_prctl(call),
        __NR_prctl => misc::prctl(call),
        __NR_set_tid_address => misc::set_tid_address(call),
        __NR_set_robust_list => misc::set_robust_list(call),
        __NR_sched_getaffinity => misc::sched_getaffinity(call),
        __NR_getcpu => misc::getcpu(call),
        __NR_umask => misc::umask(call),
        // One priority and one policy, and every thread may run anywhere.
        __NR_sched_yield | __NR_sched_setaffinity | __NR_personality => Ok(Next::Done(0)),
        // Everything is in memory, all the time.
        __NR_mlock | __NR_munlock | __NR_mlockall | __NR_munlockall | __NR_msync => {
            Ok(Next::Done(0))
        }
        _ => return None,
    })
}

fn identities<M: Machine>(call: &mut Call<'_, '_, M>, number: u32) -> Option<SysResult> {
    let args = call.args;
    Some(match number {
        __NR_getpid => identity::getpid(call),
        __NR_getppid => identity::getppid(call),
        __NR_gettid => identity::gettid(call),
        __NR_getuid | __NR_geteuid => identity::getuid(call),
        __NR_getgid | __NR_getegid => identity::getgid(call),
        __NR_setuid => identity::setuid(call, 1),
        __NR_setreuid => identity::setuid(call, 2),
        __NR_setresuid => identity::setuid(call, 3),
        __NR_setgid => identity::setgid(call, 1),
        __NR_setregid => identity::setgid(call, 2),
        __NR_setresgid => identity::setgid(call, 3),
        __NR_getresuid => {
            let id = call.process().own.ids.uid;
            identity::getres(call, id)
        }
        __NR_getresgid => {
            let id = call.process().own.ids.gid;
            identity::getres(call, id)
        }
        __NR_getgroups => identity::getgroups(call),
        __NR_setgroups => identity::setgroups(call),
        __NR_getpgrp => identity::getpgid(call, 0),
        __NR_getpgid => identity::getpgid(call, args[0]),
        __NR_getsid => identity::getsid(call, args[0]),
        __NR_setpgid => identity::setpgid(call),
        __NR_setsid => identity::setsid(call),
        __NR_getrlimit => identity::prlimit(call, 0, args[0], 0, args[1]),
        __NR_setrlimit => identity::prlimit(call, 0, args[0], args[1], 0),
        __NR_prlimit64 => identity::prlimit(call, args[0], args[1], args[2], args[3]),
        __NR_getpriority => Ok(Next::Done(20)),
        _ => return None,
    })
}
