// SPDX-License-Identifier: MIT OR Apache-2.0
//! timer_create(2), timer_settime(2), timer_gettime(2), timer_getoverrun(2), timer_delete(2).
//!
//! Their clocks are CLOCK_REALTIME, CLOCK_MONOTONIC and CLOCK_BOOTTIME; CPU clocks are EINVAL, as CPU time is not
//! measured.

use super::{Call, Next, SysResult};
use crate::layout::signal::Sigevent;
use crate::layout::time::{Itimerspec, Timespec};
use crate::machine::Machine;
use crate::process::Alarm;
use crate::signal::number;
use crate::timers::Notice;
use abi::Errno;
use abi::linux::general::{CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, TIMER_ABSTIME};

/// `sigev_notify`.
const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD: i32 = 2;
const SIGEV_THREAD_ID: i32 = 4;

/// timer_create(2).
pub fn create<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [clock, event, to, ..] = call.args;
    let wall = match clock as u32 {
        CLOCK_REALTIME => true,
        CLOCK_MONOTONIC | CLOCK_BOOTTIME => false,
        _ => return Err(Errno::EINVAL.into()),
    };
    let event = if event == 0 { None } else { Some(notice(call, event)?) };
    let default = |id| Notice { signal: number::ALRM, tid: 0, value: u64::from(id) };
    let notice = |id| event.unwrap_or_else(|| default(id));
    let id = call.core.change_timers(call.cx, call.process, |it| it.add(wall, notice))??;
    if let Err(fail) = call.write(to, &id) {
        call.core.change_timers(call.cx, call.process, |it| it.remove(id.into()))??;
        return Err(fail.into());
    }
    Ok(Next::Done(0))
}

fn notice<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64) -> Result<Notice, Errno> {
    let event: Sigevent = call.read(addr)?;
    let signal = u32::try_from(event.signal).map_err(|_| Errno::EINVAL)?;
    let sends = matches!(event.notify, SIGEV_SIGNAL | SIGEV_THREAD | SIGEV_THREAD_ID);
    if !sends && event.notify != SIGEV_NONE || sends && !(1..=number::MAX).contains(&signal) {
        return Err(Errno::EINVAL);
    }
    let signal = if sends { signal } else { 0 };
    let tid = if event.notify == SIGEV_THREAD_ID { event.tid.cast_unsigned() } else { 0 };
    if tid != 0 {
        let thread = call.core.thread_by_tid(tid).and_then(|id| call.core.threads.get(id));
        if thread.is_none_or(|thread| thread.process != call.process) {
            return Err(Errno::EINVAL);
        }
    }
    Ok(Notice { signal, tid, value: event.value })
}

/// timer_settime(2).
pub fn settime<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [id, flags, new, old, ..] = call.args;
    let wanted: Itimerspec = call.read(new)?;
    let (value_ns, interval_ns) = (wanted.value.to_ns()?, wanted.interval.to_ns()?);
    let now_ns = call.cx.now_ns();
    let timer = *call.process_mut().own.timers.get(id)?;
    let deadline_ns = match value_ns {
        0 => 0,
        _ if flags as u32 & TIMER_ABSTIME == 0 => now_ns.saturating_add(value_ns),
        // One of the past rings at once; 0 means that it is not set.
        _ if timer.wall => value_ns.saturating_sub(call.core.machine.boot_time_ns()).max(1),
        _ => call.from_monotonic(value_ns).max(1),
    };
    if old != 0 {
        call.write(old, &layout(&timer.alarm, now_ns))?;
    }
    call.core.change_timers(call.cx, call.process, |timers| {
        timers.get(id).map(|timer| {
            timer.alarm = Alarm { deadline_ns, interval_ns };
            timer.overruns = 0;
        })
    })??;
    Ok(Next::Done(0))
}

/// timer_gettime(2).
pub fn gettime<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [id, to, ..] = call.args;
    let alarm = call.process_mut().own.timers.get(id)?.alarm;
    let now = layout(&alarm, call.cx.now_ns());
    call.write(to, &now)?;
    Ok(Next::Done(0))
}

/// timer_getoverrun(2).
pub fn overruns<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let id = call.args[0];
    Ok(Next::Done(call.process_mut().own.timers.get(id)?.overruns.into()))
}

/// timer_delete(2). A signal that waits already comes.
pub fn delete<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let id = call.args[0];
    call.core.change_timers(call.cx, call.process, |timers| timers.remove(id))??;
    Ok(Next::Done(0))
}

fn layout(alarm: &Alarm, now_ns: u64) -> Itimerspec {
    let value = Timespec::from_ns(alarm.left_ns(now_ns));
    Itimerspec { interval: Timespec::from_ns(alarm.interval_ns), value }
}
