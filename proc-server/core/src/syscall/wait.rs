// SPDX-License-Identifier: MIT OR Apache-2.0
//! wait4(2) and waitid(2).

use super::{Call, Next, SysResult, Wait};
use crate::layout::signal::SigInfo;
use crate::layout::time::Rusage;
use crate::machine::Machine;
use crate::process::{Child, ChildState};
use crate::signal::number;
use abi::Errno;
use abi::linux::general::{
    __WALL, __WCLONE, __WNOTHREAD, CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED,
    P_ALL, P_PGID, P_PID, WCONTINUED, WEXITED, WNOHANG, WNOWAIT, WUNTRACED,
};

/// Which children are waited for.
#[derive(Clone, Copy)]
enum Whom {
    All,
    Pid(u32),
    Group(u32),
}

impl Whom {
    fn has(self, pid: u32, child: &Child) -> bool {
        match self {
            Self::All => true,
            Self::Pid(wanted) => pid == wanted,
            Self::Group(group) => child.group == group,
        }
    }
}

const WAIT4_OPTIONS: u32 = WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL;
const WAITID_OPTIONS: u32 = WAIT4_OPTIONS | WEXITED | WNOWAIT;
const STATUS_CONTINUED: u32 = 0xffff;

/// A child that a wait answers.
struct Found {
    pid: u32,
    child: Child,
}

fn find<M: Machine>(
    call: &Call<'_, '_, M>,
    whom: Whom,
    options: u32,
) -> Result<Option<Found>, Errno> {
    let mut any = false;
    for (&pid, child) in &call.process().own.children {
        let clone = child.exit_signal != number::CHLD;
        let kind = options & __WALL != 0 || clone == (options & __WCLONE != 0);
        if !whom.has(pid, child) || !kind {
            continue;
        }
        any = true;
        let wanted = match child.state {
            ChildState::Running => false,
            ChildState::Ended(_) => options & WEXITED != 0,
            ChildState::Stopped { seen, .. } => options & WUNTRACED != 0 && !seen,
            ChildState::Continued => options & WCONTINUED != 0,
        };
        if wanted {
            return Ok(Some(Found { pid, child: *child }));
        }
    }
    if any { Ok(None) } else { Err(Errno::ECHILD) }
}

/// The wait has answered this state.
fn consume<M: Machine>(call: &mut Call<'_, '_, M>, found: &Found) {
    let children = &mut call.process_mut().own.children;
    match found.child.state {
        ChildState::Ended(_) => {
            children.remove(&found.pid);
            call.core.reap_child(call.cx, found.pid, found.child.node);
        }
        ChildState::Stopped { signal, .. } => {
            if let Some(child) = children.get_mut(&found.pid) {
                child.state = ChildState::Stopped { signal, seen: true };
            }
        }
        ChildState::Continued | ChildState::Running => {
            if let Some(child) = children.get_mut(&found.pid) {
                child.state = ChildState::Running;
            }
        }
    }
}

/// wait4(2).
pub fn wait4<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [pid, status, options, usage, ..] = call.args;
    let options = options as u32;
    if options & !WAIT4_OPTIONS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let whom = match pid as u32 as i32 {
        -1 => Whom::All,
        0 => Whom::Group(call.process().own.group),
        pid if pid > 0 => Whom::Pid(pid.unsigned_abs()),
        i32::MIN => return Err(Errno::ESRCH.into()),
        pid => Whom::Group(pid.unsigned_abs()),
    };
    let Some(found) = find(call, whom, options | WEXITED)? else {
        if options & WNOHANG != 0 {
            return Ok(Next::Done(0));
        }
        return Ok(call.keep_waiting(Wait::Child));
    };
    let word = match found.child.state {
        ChildState::Ended(status) => status,
        ChildState::Stopped { signal, .. } => signal << 8 | 0x7f,
        ChildState::Continued | ChildState::Running => STATUS_CONTINUED,
    };
    if status != 0 {
        call.write(status, &word)?;
    }
    if usage != 0 {
        call.write(usage, &Rusage::default())?;
    }
    consume(call, &found);
    Ok(Next::Done(found.pid.into()))
}

/// waitid(2).
pub fn waitid<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [kind, id, addr, options, usage, _] = call.args;
    let options = options as u32;
    let states = WEXITED | WUNTRACED | WCONTINUED;
    if options & !WAITID_OPTIONS != 0 || options & states == 0 {
        return Err(Errno::EINVAL.into());
    }
    let whom = match kind as u32 {
        P_ALL => Whom::All,
        P_PID => Whom::Pid(id as u32),
        P_PGID if id == 0 => Whom::Group(call.process().own.group),
        P_PGID => Whom::Group(id as u32),
        _ => return Err(Errno::EINVAL.into()),
    };
    let Some(found) = find(call, whom, options)? else {
        if options & WNOHANG == 0 {
            return Ok(call.keep_waiting(Wait::Child));
        }
        if addr != 0 {
            call.write(addr, &SigInfo::default())?;
        }
        return Ok(Next::Done(0));
    };
    if addr != 0 {
        let (code, status) = reason(found.child.state);
        let signal = number::CHLD.cast_signed();
        let info = SigInfo::child(
            signal,
            code.cast_signed(),
            found.pid,
            found.child.uid,
            status.cast_signed(),
        );
        call.write(addr, &info)?;
    }
    if usage != 0 {
        call.write(usage, &Rusage::default())?;
    }
    if options & WNOWAIT == 0 {
        consume(call, &found);
    }
    Ok(Next::Done(0))
}

fn reason(state: ChildState) -> (u32, u32) {
    match state {
        ChildState::Ended(status) if status & 0x7f == 0 => (CLD_EXITED, status >> 8 & 0xff),
        ChildState::Ended(status) if status & 0x80 != 0 => (CLD_DUMPED, status & 0x7f),
        ChildState::Ended(status) => (CLD_KILLED, status & 0x7f),
        ChildState::Stopped { signal, .. } => (CLD_STOPPED, signal),
        ChildState::Continued | ChildState::Running => (CLD_CONTINUED, number::CONT),
    }
}
