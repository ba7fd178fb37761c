// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls that belong to no other group.

use super::{Call, Next, SysResult};
use crate::layout::system::{Sysinfo, Utsname};
use crate::layout::time::NS_PER_S;
use crate::limits::NAME_BYTES;
use crate::machine::Machine;
use crate::signal::{Info, number};
use abi::Errno;
use abi::linux::general::{GRND_NONBLOCK, GRND_RANDOM};
use abi::linux::prctl::{
    PR_GET_DUMPABLE, PR_GET_NAME, PR_GET_NO_NEW_PRIVS, PR_GET_PDEATHSIG, PR_SET_DUMPABLE,
    PR_SET_NAME, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG,
};
use alloc::format;
use mem_api::MemoryUse;

const ARCH_SET_FS: u64 = 0x1002;
const ARCH_GET_FS: u64 = 0x1003;
/// Addresses that may be put into fs: below the last page of the lower half.
const FS_MAX: u64 = abi::limits::USER_TOP;
/// Bytes of one getrandom(2): more is given in another call.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// Release that uname(2) names: the Linux whose calls are spoken.
pub const RELEASE: &str = "6.1.0-korrigan";

/// uname(2).
pub fn uname<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let node = format!("node{}", call.core.node);
    let texts = ["Linux", &node, RELEASE, "#1 SMP Korrigan", "x86_64", "(none)"];
    call.write(call.args[0], &Utsname::of(texts))?;
    Ok(Next::Done(0))
}

/// sysinfo(2).
pub fn sysinfo<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let figures = call.cx.leaf(&MemoryUse {})?;
    let info = Sysinfo {
        uptime_s: (call.cx.now_ns() / NS_PER_S).cast_signed(),
        total_ram: figures.total,
        free_ram: figures.free,
        buffer_ram: figures.cached,
        processes: call.core.processes.len() as u16,
        unit_bytes: 1,
        ..Sysinfo::default()
    };
    call.write(call.args[0], &info)?;
    Ok(Next::Done(0))
}

/// getrandom(2).
pub fn getrandom<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, len, flags, ..] = call.args;
    if flags as u32 & !(GRND_NONBLOCK | GRND_RANDOM) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = len.min(RANDOM_BYTES_MAX);
    let mut bytes = alloc::vec![0; len as usize];
    call.core.machine.random(&mut bytes);
    call.copy_out(addr, &bytes)?;
    Ok(Next::Done(len))
}

/// arch_prctl(2): the kernel keeps no gs for programs.
pub fn arch_prctl<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [code, addr, ..] = call.args;
    match code {
        ARCH_SET_FS if addr >= FS_MAX => Err(Errno::EPERM.into()),
        ARCH_SET_FS => {
            let own = &mut call.thread_mut().own;
            own.registers.fs_base = addr;
            own.registers.rax = 0;
            Ok(Next::Resume)
        }
        ARCH_GET_FS => {
            let base = call.thread().own.registers.fs_base;
            call.write(addr, &base)?;
            Ok(Next::Done(0))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// prctl(2).
pub fn prctl<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [option, arg, ..] = call.args;
    match option as u32 {
        PR_SET_NAME => {
            let mut bytes = [0; NAME_BYTES];
            let mut len = 0;
            while len < NAME_BYTES {
                let byte = call.read::<u8>(arg.wrapping_add(len as u64))?;
                if byte == 0 {
                    break;
                }
                bytes[len] = byte;
                len += 1;
            }
            let name = alloc::string::String::from_utf8_lossy(&bytes[..len]).into_owned();
            call.process_mut().own.name = name;
            Ok(Next::Done(0))
        }
        PR_GET_NAME => {
            let mut bytes = [0; NAME_BYTES + 1];
            let name = call.process().own.name.as_bytes();
            let len = name.len().min(NAME_BYTES);
            bytes[..len].copy_from_slice(&name[..len]);
            call.copy_out(arg, &bytes)?;
            Ok(Next::Done(0))
        }
        PR_SET_PDEATHSIG => {
            let signal = arg as u32;
            if arg > u64::from(number::MAX) {
                return Err(Errno::EINVAL.into());
            }
            call.process_mut().own.parent_death_signal = signal;
            Ok(Next::Done(0))
        }
        PR_GET_PDEATHSIG => {
            let signal = call.process().own.parent_death_signal;
            call.write(arg, &signal)?;
            Ok(Next::Done(0))
        }
        PR_GET_DUMPABLE | PR_SET_DUMPABLE => Ok(Next::Done(0)),
        // No program gains privileges here.
        PR_SET_NO_NEW_PRIVS => Ok(Next::Done(0)),
        PR_GET_NO_NEW_PRIVS => Ok(Next::Done(1)),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// set_tid_address(2).
pub fn set_tid_address<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let addr = call.args[0];
    let own = &mut call.thread_mut().own;
    own.clear_tid = addr;
    Ok(Next::Done(own.tid.get().into()))
}

/// set_robust_list(2).
pub fn set_robust_list<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    const HEAD_BYTES: u64 = 24;
    if call.args[1] != HEAD_BYTES {
        return Err(Errno::EINVAL.into());
    }
    let head = call.args[0];
    call.thread_mut().own.robust_list = head;
    Ok(Next::Done(0))
}

/// sched_getaffinity(2): every thread may run on every core of its node.
pub fn sched_getaffinity<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [_, len, addr, ..] = call.args;
    if len < 8 || len % 8 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let cores = (1u64 << call.core.machine.cores()) - 1;
    call.write(addr, &cores)?;
    Ok(Next::Done(8))
}

/// getcpu(2).
pub fn getcpu<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [cpu, node, ..] = call.args;
    if cpu != 0 {
        let core = u32::from(call.thread().core.0);
        call.write(cpu, &core)?;
    }
    if node != 0 {
        call.write(node, &0u32)?;
    }
    Ok(Next::Done(0))
}

/// umask(2).
pub fn umask<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let wanted = call.args[0] as u32 & 0o777;
    let own = &mut call.process_mut().own;
    let before = core::mem::replace(&mut own.umask, wanted);
    Ok(Next::Done(before.into()))
}

impl<M: Machine> Call<'_, '_, M> {
    /// Raises a signal for the calling thread: it comes when the call ends.
    pub fn signal_self(&mut self, signal: u32) {
        let pid = self.process().own.pid.get();
        let ignored = self.process().own.actions.ignores(signal);
        let thread = self.thread_mut();
        if ignored && !thread.own.mask.has(signal) {
            return;
        }
        // A standard signal is always taken.
        let _ = thread.own.pending.add(Info::sent(signal, 0, pid, 0));
        thread.attention = true;
    }
}
