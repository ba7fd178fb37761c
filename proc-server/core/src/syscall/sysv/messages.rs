// SPDX-License-Identifier: MIT OR Apache-2.0
//! msgsnd(2), msgrcv(2).

use super::{SysvWait, by, id, wait};
use crate::machine::Machine;
use crate::syscall::{Call, SysResult};
use abi::Errno;
use ipc_api::sysv::{MESSAGE_BYTES_MAX, Receive, Send, Wanted};

/// Bytes of a message's type before its text.
const TYPE_BYTES: u64 = 8;
/// MSG_COPY: Linux, too, has it only where it is made for checkpoints.
const COPY: u32 = 0o40_000;

/// msgsnd(2).
pub(super) fn send<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [queue, addr, len, flags, ..] = call.args;
    let id = id(queue)?;
    if len > MESSAGE_BYTES_MAX as u64 {
        return Err(Errno::EINVAL.into());
    }
    let kind = call.read::<u64>(addr)?.cast_signed();
    if kind <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let addr = addr.checked_add(TYPE_BYTES).ok_or(Errno::EFAULT)?;
    let op = Send { id, kind, flags: flags as u32, space: call.space()?, addr, len, by: by(call) };
    Ok(call.ask(&op, wait(SysvWait::Block { deadline_ns: None, timed_out: false })))
}

/// msgrcv(2).
pub(super) fn receive<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [queue, addr, len, kind, flags, _] = call.args;
    let (id, flags) = (id(queue)?, flags as u32);
    if len.cast_signed() < 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags & COPY != 0 {
        return Err(Errno::ENOSYS.into());
    }
    let wanted = Wanted { kind: kind.cast_signed(), flags, len };
    let op = Receive { id, wanted, space: call.space()?, addr, by: by(call) };
    Ok(call.ask(&op, wait(SysvWait::Message)))
}
