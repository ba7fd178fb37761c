// SPDX-License-Identifier: MIT OR Apache-2.0
//! semop(2), semtimedop(2).

use super::{SysvWait, by, id, wait};
use crate::files::{self, OpenFile};
use crate::layout::Layout;
use crate::layout::sysv::Sembuf;
use crate::layout::time::Timespec;
use crate::machine::Machine;
use crate::syscall::{Call, Fail, SysResult};
use crate::thread::{Progress, Restart};
use abi::Errno;
use fs_api::name::FileKind;
use ipc_api::sysv::{Operate, SEMOPS_MAX, SemOp, UndoOpen, UndoOpened};
use runtime::Wire;

/// SEM_UNDO.
const UNDO: u16 = 0x1000;

/// semop(2); semtimedop(2) if it is `timed`.
pub(super) fn operate<M: Machine>(call: &mut Call<'_, '_, M>, timed: bool) -> SysResult {
    let [set, addr, count, timeout, ..] = call.args;
    let set = id(set)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > SEMOPS_MAX {
        return Err(Errno::E2BIG.into());
    }
    let mut bytes = alloc::vec![0; count * Sembuf::BYTES];
    call.copy_in(addr, &mut bytes)?;
    let deadline_ns = if timed { deadline(call, timeout)? } else { None };
    let bufs = bytes.chunks_exact(Sembuf::BYTES).filter_map(Sembuf::from_slice);
    let ops = bufs.map(|Sembuf { number, value, flags }| SemOp { number, value, flags });
    let ops: alloc::vec::Vec<SemOp> = ops.collect();
    let undoes = ops.iter().any(|op| op.flags & UNDO != 0 && op.value != 0);
    let undo = call.process().own.files.undo_of(set);
    if undoes && undo.is_none() {
        if call.process().own.files.is_full_of_undos() {
            return Err(Errno::ENOSPC.into());
        }
        let op = UndoOpen { id: set, by: by(call) };
        return Ok(call.ask(&op, wait(SysvWait::Undo(set))));
    }
    let op = Operate { id: set, ops, undo: undo.filter(|_| undoes), by: by(call) };
    let next = call.ask(&op, wait(SysvWait::Block { deadline_ns, timed_out: false }));
    if let Some(deadline_ns) = deadline_ns {
        call.timeout_at(deadline_ns)?;
    }
    Ok(next)
}

fn deadline<M: Machine>(call: &mut Call<'_, '_, M>, timeout: u64) -> Result<Option<u64>, Errno> {
    if timeout == 0 {
        return Ok(None);
    }
    if let Some(deadline_ns) = Progress::deadline(call.progress()) {
        return Ok(Some(deadline_ns));
    }
    let time_ns = call.read::<Timespec>(timeout)?.to_ns()?;
    Ok(Some(call.cx.now_ns().saturating_add(time_ns)))
}

/// The list is there: the call runs again from its start.
pub(super) fn undo_opened<M: Machine>(
    call: &mut Call<'_, '_, M>,
    set: u32,
    reply: &runtime::NodeReply,
) -> SysResult {
    let UndoOpened { file } = UndoOpened::get(&reply.msg)?;
    let undo = OpenFile { file, kind: FileKind::Held };
    call.core.holders.add_held(undo);
    let files = &mut call.process_mut().own.files;
    if files.undo_of(set).is_some() {
        // Another thread was faster.
        files::close_all(call.core, call.cx, alloc::vec![undo.into()]);
    } else {
        files.note_undo(set, file);
    }
    if call.interrupt.is_some() {
        return Err(Fail::Interrupted(Restart::Always));
    }
    crate::entry::rerun_now(call)
}

/// The semaphores are gone: there is nothing to undo.
pub(super) fn forget_undo<M: Machine>(call: &mut Call<'_, '_, M>) {
    let Ok(set) = id(call.args[0]) else { return };
    if let Some(undo) = call.process_mut().own.files.drop_undo(set) {
        files::close_all(call.core, call.cx, alloc::vec![undo]);
    }
}
