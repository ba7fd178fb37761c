// SPDX-License-Identifier: MIT OR Apache-2.0
//! futex(2): the queues live in mem-server.

use super::{AskResult, Call, Fail, Next, SysResult, TAG_TIMER, Wait};
use crate::layout::time::Timespec;
use crate::machine::Machine;
use crate::thread::{Progress, Restart};
use abi::Errno;
use abi::linux::general::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_CLOCK_REALTIME, FUTEX_CMD_MASK, FUTEX_CMP_REQUEUE,
    FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE,
    FUTEX_WAKE_BITSET,
};
use mem_api::{Count, FutexRequeue, FutexWait, FutexWake};
use runtime::Wire;

/// Set in a bitset word for a futex that processes share.
const SHARED: u64 = 1 << 32;

/// futex(2).
pub fn futex<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, op, value, fourth, other, sixth] = call.args;
    let op = op as u32;
    let shared = op & FUTEX_PRIVATE_FLAG == 0;
    if addr % 4 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let any = FUTEX_BITSET_MATCH_ANY;
    match op & FUTEX_CMD_MASK.cast_unsigned() {
        FUTEX_WAIT => wait(call, any, shared, false),
        FUTEX_WAIT_BITSET => wait(call, sixth as u32, shared, op & FUTEX_CLOCK_REALTIME != 0),
        FUTEX_WAKE => wake(call, value, any, shared),
        FUTEX_WAKE_BITSET => wake(call, value, sixth as u32, shared),
        FUTEX_REQUEUE => requeue(call, value, fourth, other, None, shared),
        FUTEX_CMP_REQUEUE => requeue(call, value, fourth, other, Some(sixth as u32), shared),
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn bits(bitset: u32, shared: bool) -> Result<u64, Errno> {
    if bitset == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(u64::from(bitset) | if shared { SHARED } else { 0 })
}

fn wake<M: Machine>(
    call: &mut Call<'_, '_, M>,
    count: u64,
    bitset: u32,
    shared: bool,
) -> SysResult {
    let bitset_shared = bits(bitset, shared)?;
    let (space, addr) = (call.space()?, call.args[0]);
    let count = (count as u32).min(i32::MAX as u32);
    let op = FutexWake { space, addr, count, bitset_shared };
    // Its queue may be on another node.
    let woken = call.leaf_or_wait(&op, Wait::Woken)?;
    Ok(woken.map_or(Next::Wait, |woken| Next::Done(woken.count)))
}

fn requeue<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wake: u64,
    requeue: u64,
    to: u64,
    expected: Option<u32>,
    shared: bool,
) -> SysResult {
    let (wake, requeue) = (wake as u32, requeue as u32);
    if !to.is_multiple_of(4) || wake > i32::MAX as u32 || requeue > i32::MAX as u32 {
        return Err(Errno::EINVAL.into());
    }
    let (space, addr) = (call.space()?, call.args[0]);
    let op = FutexRequeue { space, addr, to, wake, requeue, expected, shared };
    let woken = call.leaf_or_wait(&op, Wait::Woken)?;
    Ok(woken.map_or(Next::Wait, |woken| Next::Done(woken.count)))
}

/// FUTEX_WAIT's timeout is relative, FUTEX_WAIT_BITSET's is a time on the monotonic or the wall
/// clock.
fn deadline<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wall_clock: bool,
) -> Result<Option<u64>, Errno> {
    let [_, op, _, timeout, ..] = call.args;
    if timeout == 0 {
        return Ok(None);
    }
    if let Some(deadline_ns) = Progress::deadline(call.progress()) {
        return Ok(Some(deadline_ns));
    }
    let time_ns = call.read::<Timespec>(timeout)?.to_ns()?;
    let relative = op as u32 & FUTEX_CMD_MASK.cast_unsigned() == FUTEX_WAIT;
    let deadline_ns = match (relative, wall_clock) {
        (true, _) => call.cx.now_ns().saturating_add(time_ns),
        (false, true) => time_ns.saturating_sub(call.core.machine.boot_time_ns()),
        (false, false) => call.from_monotonic(time_ns),
    };
    Ok(Some(deadline_ns))
}

fn wait<M: Machine>(
    call: &mut Call<'_, '_, M>,
    bitset: u32,
    shared: bool,
    wall_clock: bool,
) -> SysResult {
    let bitset_shared = bits(bitset, shared)?;
    let deadline_ns = deadline(call, wall_clock)?;
    let (space, addr, value) = (call.space()?, call.args[0], call.args[2] as u32);
    let op = FutexWait { space, addr, value, bitset_shared };
    let wait = Wait::Futex { deadline_ns, timed_out: false };
    if call.leaf_or_wait(&op, wait)?.is_some() {
        return Ok(Next::Done(0));
    }
    if let Some(deadline_ns) = deadline_ns {
        call.timeout_at(deadline_ns)?;
    }
    Ok(Next::Wait)
}

/// Goes on with a wake-up of waiters at another node: how many there were.
pub(crate) fn woken_resume(result: AskResult) -> SysResult {
    Ok(Next::Done(Count::get(&result?.msg)?.count))
}

/// Goes on with a futex wait. A wake-up and the end of the time may cross: then the wake-up counts,
/// as it was taken from somebody else.
pub(crate) fn futex_resume<M: Machine>(
    call: &mut Call<'_, '_, M>,
    deadline_ns: Option<u64>,
    timed_out: bool,
    tag: u32,
    result: AskResult,
) -> SysResult {
    match result {
        Ok(_) => Ok(Next::Done(0)),
        Err(Errno::ETIMEDOUT) if tag == TAG_TIMER => {
            for ask in call.asks.clone() {
                call.cx.cancel(ask.cookie);
            }
            Ok(call.keep_waiting(Wait::Futex { deadline_ns, timed_out: true }))
        }
        Err(Errno::ECANCELED) if timed_out => Err(Errno::ETIMEDOUT.into()),
        Err(Errno::ECANCELED) => {
            let progress = deadline_ns.map(Progress::Deadline);
            call.thread_mut().own.progress = progress;
            let restart = if progress.is_some() { Restart::NoHandler } else { Restart::Call };
            Err(Fail::Interrupted(restart))
        }
        Err(errno) => Err(errno.into()),
    }
}
