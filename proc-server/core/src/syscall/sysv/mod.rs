// SPDX-License-Identifier: MIT OR Apache-2.0
//! System V objects: the ipc server has them.
//!
//! # Source
//! sysvipc(7) and the man page of each call.

#![allow(non_upper_case_globals, reason = "the kernel's names")]

mod control;
mod memory;
mod messages;
mod semaphores;

use super::{AskResult, Call, Fail, Next, SysResult, TAG_TIMER, Wait};
use crate::machine::Machine;
use crate::thread::{Progress, Restart};
use abi::Errno;
use abi::linux::general::*;
use control::Listing;
use fs_api::file::Moved;
use ipc_api::sysv::{By, Get, Got, Kind};
use runtime::Wire;

/// What a call waits for.
#[derive(Debug)]
pub enum SysvWait {
    /// An id.
    Id,
    /// Nothing but the end.
    End,
    /// The end of an object.
    Removed(Kind, u32),
    /// What is written to the program at this address; then the call answers this.
    Status(Kind, u64, u64),
    /// Ids.
    List(Listing),
    /// GETALL: values for this address.
    Values(u64),
    /// GETVAL and its kin.
    Value,
    /// shmat(2): the address and the flags.
    Attach(u64, u32),
    /// A list of what is to be undone to this set; then the call begins again.
    Undo(u32),
    /// Semaphores, or a message: how long, and whether that is over.
    Block {
        /// When it stops waiting, since boot.
        deadline_ns: Option<u64>,
        /// It waits for the end of the cancelled call.
        timed_out: bool,
    },
    /// A message: bytes to answer.
    Message,
}

/// Runs the system call `number`, if it is one of these.
pub(crate) fn dispatch<M: Machine>(call: &mut Call<'_, '_, M>, number: u32) -> Option<SysResult> {
    Some(match number {
        __NR_shmget => {
            let size = call.args[1];
            get(call, Kind::Memory, size, call.args[2] as u32)
        }
        __NR_semget => {
            let count = call.args[1] as u32;
            get(call, Kind::Semaphores, count.into(), call.args[2] as u32)
        }
        __NR_msgget => get(call, Kind::Messages, 0, call.args[1] as u32),
        __NR_shmat => memory::attach(call),
        __NR_shmdt => memory::detach(call),
        __NR_shmctl => control::shmctl(call),
        __NR_semctl => control::semctl(call),
        __NR_msgctl => control::msgctl(call),
        __NR_semop => semaphores::operate(call, false),
        __NR_semtimedop => semaphores::operate(call, true),
        __NR_msgsnd => messages::send(call),
        __NR_msgrcv => messages::receive(call),
        _ => return None,
    })
}

/// Goes on with a call that waited.
pub(crate) fn resume<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: SysvWait,
    tag: u32,
    result: AskResult,
) -> SysResult {
    // What a home had that left is gone.
    let result = result.map_err(|errno| if errno == Errno::EIO { Errno::EIDRM } else { errno });
    match wait {
        SysvWait::Block { deadline_ns, timed_out } => {
            blocked(call, (deadline_ns, timed_out), tag, result)
        }
        SysvWait::Message => {
            let moved = result.map_err(|errno| without_restart(call, None, errno))?;
            Ok(Next::Done(Moved::get(&moved.msg)?.bytes))
        }
        SysvWait::Id => Ok(Next::Done(Got::get(&result?.msg)?.id.into())),
        SysvWait::End => result.map(|_| Next::Done(0)).map_err(Fail::from),
        SysvWait::Removed(kind, id) => {
            result.map_err(Fail::from).and_then(|_| control::removed(call, kind, id))
        }
        SysvWait::Status(kind, addr, answer) => {
            control::status_came(call, (kind, addr, answer), &result?)
        }
        SysvWait::List(listing) => control::listed(call, listing, &result?),
        SysvWait::Values(addr) => control::values_came(call, addr, &result?),
        SysvWait::Value => control::value_came(&result?),
        SysvWait::Attach(addr, flags) => memory::attached(call, (addr, flags), &result?),
        SysvWait::Undo(id) => semaphores::undo_opened(call, id, &result?),
    }
}

fn wait(wait: SysvWait) -> Wait {
    Wait::Sysv(wait)
}

/// Who calls.
fn by<M: Machine>(call: &Call<'_, '_, M>) -> By {
    let own = &call.process().own;
    let now_s = call.core.wall_ns(call.cx) / crate::layout::time::NS_PER_S;
    By { pid: own.pid.get(), uid: own.ids.uid, gid: own.ids.gid, now_s: now_s.cast_signed() }
}

fn get<M: Machine>(call: &mut Call<'_, '_, M>, kind: Kind, size: u64, flags: u32) -> SysResult {
    let op = Get { kind, key: call.args[0] as u32, size, flags, by: by(call) };
    Ok(call.ask(&op, wait(SysvWait::Id)))
}

/// An id as programs pass it: an `int`.
///
/// # Errors
/// EINVAL: it is negative.
fn id(arg: u64) -> Result<u32, Errno> {
    let id = arg as u32;
    if id.cast_signed() < 0 { Err(Errno::EINVAL) } else { Ok(id) }
}

/// How a blocked call fails: no handler lets it go on, signal(7).
fn without_restart<M: Machine>(
    call: &mut Call<'_, '_, M>,
    deadline_ns: Option<u64>,
    errno: Errno,
) -> Fail {
    if matches!(errno, Errno::ECANCELED | Errno::ERESTART) {
        call.thread_mut().own.progress = deadline_ns.map(Progress::Deadline);
    }
    match errno {
        Errno::ECANCELED => Fail::Interrupted(Restart::NoHandler),
        errno => errno.into(),
    }
}

/// Goes on with a call that blocks. Its end and the end of its time may cross: then it has been done.
fn blocked<M: Machine>(
    call: &mut Call<'_, '_, M>,
    (deadline_ns, timed_out): (Option<u64>, bool),
    tag: u32,
    result: AskResult,
) -> SysResult {
    match result {
        Ok(_) => Ok(Next::Done(0)),
        Err(Errno::ETIMEDOUT) if tag == TAG_TIMER => {
            for ask in call.asks.clone() {
                call.cx.cancel(ask.cookie);
            }
            Ok(call.keep_waiting(wait(SysvWait::Block { deadline_ns, timed_out: true })))
        }
        Err(Errno::ECANCELED) if timed_out => Err(Errno::EAGAIN.into()),
        Err(errno) => {
            if matches!(errno, Errno::EIDRM | Errno::EINVAL) {
                semaphores::forget_undo(call);
            }
            Err(without_restart(call, deadline_ns, errno))
        }
    }
}
