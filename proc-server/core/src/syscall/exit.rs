// SPDX-License-Identifier: MIT OR Apache-2.0
//! exit(2) and exit_group(2).

use super::{Call, Fail, Next, SysResult};
use crate::machine::Machine;
use crate::process::Phase;
use abi::Errno;
use mem_api::FutexWake;

/// Any bit of a bitset; process-shared, where the word is in memory that is.
const FUTEX_ANY: u64 = 1 << 32 | 0xffff_ffff;

/// Wait status of an exit with this code.
pub(crate) const fn wait_status_exit(code: u64) -> u32 {
    (code as u32 & 0xff) << 8
}

/// Wait status of an end by a signal.
pub(crate) const fn wait_status_signal(signal: u32, core: bool) -> u32 {
    signal | if core { 0x80 } else { 0 }
}

/// Entries of a robust list that are looked at, as on Linux.
const ROBUST_MAX: usize = 2048;
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_WAITERS: u32 = 0x8000_0000;

/// exit(2): the calling thread's end.
pub fn exit<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let code = call.args[0];
    if let Err(Fail::Absent) = leave_robust_list(call) {
        return Err(Fail::Absent);
    }
    let clear = call.thread().own.clear_tid;
    if clear != 0 {
        match call.write(clear, &0u32) {
            Ok(()) => wake(call, clear)?,
            Err(Errno::ERESTART) => return Err(Fail::Absent),
            // The program took that memory away itself.
            Err(_) => {}
        }
    }
    let last = call.process().threads.len() == 1;
    if last && call.process().phase == Phase::Live {
        call.core.end_process(call.cx, call.process, wait_status_exit(code));
        return Ok(Next::Done(0));
    }
    call.core.thread_ends(call.cx, call.thread);
    Ok(Next::Gone)
}

/// exit_group(2).
pub fn exit_group<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let status = wait_status_exit(call.args[0]);
    call.core.end_process(call.cx, call.process, status);
    Ok(Next::Done(0))
}

fn wake<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64) -> Result<(), Fail> {
    let space = call.space()?;
    let op = FutexWake { space, addr, count: 1, bitset_shared: FUTEX_ANY };
    // Where the queue is on another node nobody waits for the answer.
    let cookie = call.core.forgotten_cookie();
    match call.cx.leaf_or_wait(&op, cookie) {
        Err(Errno::ERESTART) => Err(Fail::Absent),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Marks the robust futexes that the thread still holds, get_robust_list(2). Running it again does
/// no harm: what is marked is not held any more.
fn leave_robust_list<M: Machine>(call: &mut Call<'_, '_, M>) -> Result<(), Fail> {
    let head = call.thread().own.robust_list;
    if head == 0 {
        return Ok(());
    }
    let tid = call.thread().own.tid.get();
    let [mut entry, offset, pending] = {
        let mut words = [0; 24];
        call.copy_in(head, &mut words)?;
        let word = |at: usize| {
            let bytes = words[at..at + 8].first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        [word(0), word(8), word(16)]
    };
    for _ in 0..ROBUST_MAX {
        // The lowest bit marks futexes with priority inheritance, which there are not here.
        entry &= !1;
        if entry == head || entry == 0 {
            break;
        }
        let next = call.read::<u64>(entry)?;
        if entry != pending {
            mark_dead(call, entry.wrapping_add(offset), tid)?;
        }
        entry = next;
    }
    if pending != 0 {
        mark_dead(call, (pending & !1).wrapping_add(offset), tid)?;
    }
    Ok(())
}

fn mark_dead<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64, tid: u32) -> Result<(), Fail> {
    let word = call.read::<u32>(addr)?;
    if word & FUTEX_TID_MASK != tid {
        return Ok(());
    }
    call.write(addr, &(word & FUTEX_WAITERS | FUTEX_OWNER_DIED))?;
    if word & FUTEX_WAITERS != 0 {
        wake(call, addr)?;
    }
    Ok(())
}
