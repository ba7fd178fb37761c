// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who a process is: ids, groups, sessions, limits.

use super::{Call, Next, SysResult};
use crate::cluster::Fact;
use crate::layout::time::Rlimit;
use crate::machine::Machine;
use abi::Errno;

type C<'a, 'b, 'c, M> = &'a mut Call<'b, 'c, M>;

/// getpid(2).
pub fn getpid<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    Ok(Next::Done(call.process().own.pid.get().into()))
}

/// getppid(2).
pub fn getppid<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    Ok(Next::Done(call.process().own.parent.into()))
}

/// gettid(2).
pub fn gettid<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    Ok(Next::Done(call.thread().own.tid.get().into()))
}

/// getuid(2), geteuid(2).
pub fn getuid<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    Ok(Next::Done(call.process().own.ids.uid.into()))
}

/// getgid(2), getegid(2).
pub fn getgid<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    Ok(Next::Done(call.process().own.ids.gid.into()))
}

/// Changes one id: real, effective and saved ids are one here, so only root may change it, and each
/// of the given values that is not -1 must be the same.
fn set_id(now: &mut u32, privileged: bool, wanted: &[u64]) -> SysResult {
    let mut value = *now;
    for id in wanted.iter().map(|id| *id as u32).filter(|id| *id != u32::MAX) {
        if id != *now && !privileged {
            return Err(Errno::EPERM.into());
        }
        value = id;
    }
    *now = value;
    Ok(Next::Done(0))
}

/// setuid(2), setreuid(2), setresuid(2): `count` arguments.
pub fn setuid<M: Machine>(call: C<'_, '_, '_, M>, count: usize) -> SysResult {
    let args = call.args;
    let ids = &mut call.process_mut().own.ids;
    let privileged = ids.uid == 0;
    set_id(&mut ids.uid, privileged, &args[..count])
}

/// setgid(2), setregid(2), setresgid(2): `count` arguments.
pub fn setgid<M: Machine>(call: C<'_, '_, '_, M>, count: usize) -> SysResult {
    let args = call.args;
    let ids = &mut call.process_mut().own.ids;
    let privileged = ids.uid == 0;
    set_id(&mut ids.gid, privileged, &args[..count])
}

/// getresuid(2), getresgid(2).
pub fn getres<M: Machine>(call: C<'_, '_, '_, M>, id: u32) -> SysResult {
    for addr in [call.args[0], call.args[1], call.args[2]] {
        call.write(addr, &id)?;
    }
    Ok(Next::Done(0))
}

/// getgroups(2): no supplementary groups.
pub fn getgroups<M: Machine>(_call: C<'_, '_, '_, M>) -> SysResult {
    Ok(Next::Done(0))
}

/// setgroups(2): root may set an empty list.
pub fn setgroups<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    match (call.process().own.ids.uid, call.args[0]) {
        (0, 0) => Ok(Next::Done(0)),
        (0, _) => Err(Errno::EINVAL.into()),
        _ => Err(Errno::EPERM.into()),
    }
}

/// getpgid(2); 0 is the caller.
pub fn getpgid<M: Machine>(call: C<'_, '_, '_, M>, pid: u64) -> SysResult {
    of_process(call, pid, false)
}

/// getsid(2); 0 is the caller.
pub fn getsid<M: Machine>(call: C<'_, '_, '_, M>, pid: u64) -> SysResult {
    of_process(call, pid, true)
}

fn of_process<M: Machine>(call: C<'_, '_, '_, M>, pid: u64, session: bool) -> SysResult {
    let no = match pid as u32 {
        0 => call.process,
        pid => match call.core.pids.process(pid) {
            Some(no) => no,
            None => return crate::cluster::ask_identity(call, pid, session),
        },
    };
    let own = &call.core.processes.get(no).ok_or(Errno::ESRCH)?.own;
    Ok(Next::Done(if session { own.session } else { own.group }.into()))
}

/// setpgid(2).
pub fn setpgid<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let [pid, group, ..] = call.args;
    let caller = call.process().own.pid.get();
    let pid = if pid as u32 == 0 { caller } else { pid as u32 };
    let group = if group as u32 == 0 { pid } else { group as u32 };
    if group > i32::MAX as u32 {
        return Err(Errno::EINVAL.into());
    }
    let session = call.process().own.session;
    if pid != caller && !call.process().own.children.contains_key(&pid) {
        return Err(Errno::ESRCH.into());
    }
    let exists = group == pid
        || call
            .core
            .processes
            .iter()
            .any(|other| other.own.group == group && other.own.session == session);
    if !exists {
        return Err(Errno::EPERM.into());
    }
    let no = call.core.pids.process(pid).ok_or(Errno::ESRCH)?;
    let process = call.core.processes.get_mut(no).ok_or(Errno::ESRCH)?;
    if process.own.session == pid || process.own.session != session {
        return Err(Errno::EPERM.into());
    }
    if pid != caller && process.own.executed {
        return Err(Errno::EACCES.into());
    }
    process.own.group = group;
    let parent = process.own.parent;
    call.core.group_changed(call.cx, parent, pid, group);
    Ok(Next::Done(0))
}

/// setsid(2).
pub fn setsid<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let pid = call.process().own.pid.get();
    let is_group = call.core.processes.iter().any(|other| other.own.group == pid);
    if is_group {
        return Err(Errno::EPERM.into());
    }
    let process = call.process_mut();
    process.own.group = pid;
    process.own.session = pid;
    process.own.terminal = 0;
    let parent = process.own.parent;
    call.core.group_changed(call.cx, parent, pid, pid);
    Ok(Next::Done(pid.into()))
}

impl<M: Machine> crate::ProcCore<M> {
    /// A process is in another group now: its parent waits for it by group.
    fn group_changed(&mut self, cx: &mut runtime::Cx<'_>, parent: u32, pid: u32, group: u32) {
        let fact = Fact::Grouped { parent, pid, group };
        if self.pids.process(parent).is_some() {
            self.learn(cx, fact);
        } else if parent != 0 {
            self.tell_pid(cx, parent, &fact);
        }
    }
}

/// prlimit64(2), and with pid 0 getrlimit(2) and setrlimit(2).
pub fn prlimit<M: Machine>(
    call: C<'_, '_, '_, M>,
    pid: u64,
    resource: u64,
    new: u64,
    old: u64,
) -> SysResult {
    let no = match pid as u32 {
        0 => call.process,
        pid => call.core.pids.process(pid).ok_or(Errno::ESRCH)?,
    };
    let index = usize::try_from(resource).map_err(|_| Errno::EINVAL)?;
    let process = call.core.processes.get(no).ok_or(Errno::ESRCH)?;
    let now = *process.own.limits.get(index).ok_or(Errno::EINVAL)?;
    let privileged = call.process().own.ids.uid == 0;
    let wanted = if new == 0 { None } else { Some(call.read::<Rlimit>(new)?) };
    if let Some(wanted) = wanted {
        if wanted.current > wanted.maximum {
            return Err(Errno::EINVAL.into());
        }
        if wanted.maximum > now.1 && !privileged {
            return Err(Errno::EPERM.into());
        }
    }
    if old != 0 {
        call.write(old, &Rlimit { current: now.0, maximum: now.1 })?;
    }
    if let (Some(wanted), Some(process)) = (wanted, call.core.processes.get_mut(no)) {
        process.own.limits[index] = (wanted.current, wanted.maximum);
    }
    Ok(Next::Done(0))
}
