// SPDX-License-Identifier: MIT OR Apache-2.0
//! Clocks, sleeping, interval timers.
//!
//! The monotonic clock of a process is the node's plus an offset that a move sets, so that it never
//! runs backwards. CPU time is not measured by the kernel: times(2) and getrusage(2) say 0, the CPU
//! clocks EINVAL.

use super::{AskResult, Call, Fail, Next, SysResult, Wait};
use crate::ProcCore;
use crate::entry::alarm_cookie;
use crate::layout::time::{
    Itimerval, NS_PER_S, Rusage, TICKS_PER_S, Timespec, Timeval, Timezone, Tms,
};
use crate::limits::{COMMIT_RETRY_NS, TIMER_TICK_NS};
use crate::machine::Machine;
use crate::process::{Alarm, ProcessNo};
use crate::signal::{Info, number};
use crate::thread::{Interrupt, Progress, Restart};
use abi::Errno;
use abi::linux::general::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_COARSE, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME,
    CLOCK_REALTIME_COARSE, TIMER_ABSTIME,
};
use runtime::Cx;

/// A sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SleepWait {
    /// Its end, since boot.
    deadline_ns: u64,
    /// Where the rest goes if it is interrupted, or 0.
    rest: u64,
}

impl<M: Machine> Call<'_, '_, M> {
    /// The process's monotonic clock.
    pub fn monotonic_ns(&self) -> u64 {
        self.cx.now_ns().saturating_add_signed(self.process().own.clock_offset_ns)
    }

    /// A time of the process's monotonic clock as a time since boot.
    pub fn from_monotonic(&self, time_ns: u64) -> u64 {
        time_ns.saturating_add_signed(self.process().own.clock_offset_ns.saturating_neg())
    }
}

impl<M: Machine> ProcCore<M> {
    /// Nanoseconds since 1970.
    pub fn wall_ns(&self, cx: &Cx<'_>) -> u64 {
        self.machine.boot_time_ns().saturating_add(cx.now_ns())
    }
}

fn clock<M: Machine>(call: &Call<'_, '_, M>, id: u64) -> Result<u64, Errno> {
    match id as u32 {
        CLOCK_REALTIME | CLOCK_REALTIME_COARSE => Ok(call.core.wall_ns(call.cx)),
        CLOCK_MONOTONIC | CLOCK_MONOTONIC_RAW | CLOCK_MONOTONIC_COARSE | CLOCK_BOOTTIME => {
            Ok(call.monotonic_ns())
        }
        _ => Err(Errno::EINVAL),
    }
}

/// clock_gettime(2).
pub fn clock_gettime<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let time = Timespec::from_ns(clock(call, call.args[0])?);
    call.write(call.args[1], &time)?;
    Ok(Next::Done(0))
}

/// clock_getres(2).
pub fn clock_getres<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    clock(call, call.args[0])?;
    if call.args[1] != 0 {
        call.write(call.args[1], &Timespec { seconds: 0, nanoseconds: 1 })?;
    }
    Ok(Next::Done(0))
}

/// gettimeofday(2).
pub fn gettimeofday<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [time, zone, ..] = call.args;
    if time != 0 {
        let now = Timeval::from_ns(call.core.wall_ns(call.cx));
        call.write(time, &now)?;
    }
    if zone != 0 {
        call.write(zone, &Timezone::default())?;
    }
    Ok(Next::Done(0))
}

/// time(2).
pub fn time<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let seconds = call.core.wall_ns(call.cx) / NS_PER_S;
    if call.args[0] != 0 {
        call.write(call.args[0], &seconds)?;
    }
    Ok(Next::Done(seconds))
}

/// times(2): ticks since boot.
pub fn times<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    if call.args[0] != 0 {
        call.write(call.args[0], &Tms::default())?;
    }
    Ok(Next::Done(call.monotonic_ns() / (NS_PER_S / TICKS_PER_S)))
}

/// getrusage(2).
pub fn getrusage<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    call.write(call.args[1], &Rusage::default())?;
    Ok(Next::Done(0))
}

/// nanosleep(2).
pub fn nanosleep<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [time, rest, ..] = call.args;
    let wanted_ns = call.read::<Timespec>(time)?.to_ns()?;
    let deadline_ns = Progress::deadline(call.progress())
        .unwrap_or_else(|| call.cx.now_ns().saturating_add(wanted_ns));
    sleep_until(call, SleepWait { deadline_ns, rest })
}

/// clock_nanosleep(2).
pub fn clock_nanosleep<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [id, flags, time, rest, ..] = call.args;
    clock(call, id)?;
    let wanted_ns = call.read::<Timespec>(time)?.to_ns()?;
    if flags as u32 & TIMER_ABSTIME != 0 {
        let deadline_ns = match id as u32 {
            CLOCK_REALTIME => wanted_ns.saturating_sub(call.core.machine.boot_time_ns()),
            _ => call.from_monotonic(wanted_ns),
        };
        return sleep_until(call, SleepWait { deadline_ns, rest: 0 });
    }
    let deadline_ns = Progress::deadline(call.progress())
        .unwrap_or_else(|| call.cx.now_ns().saturating_add(wanted_ns));
    sleep_until(call, SleepWait { deadline_ns, rest })
}

fn sleep_until<M: Machine>(call: &mut Call<'_, '_, M>, wait: SleepWait) -> SysResult {
    if wait.deadline_ns <= call.cx.now_ns() {
        return Ok(Next::Done(0));
    }
    call.timeout_at(wait.deadline_ns)?;
    Ok(call.keep_waiting(Wait::Sleep(wait)))
}

/// Goes on with a sleep.
pub(crate) fn sleep_resume<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: SleepWait,
    result: AskResult,
) -> SysResult {
    if result.is_ok() || result == Err(Errno::ETIMEDOUT) {
        return Ok(Next::Done(0));
    }
    let left_ns = wait.deadline_ns.saturating_sub(call.cx.now_ns());
    // A move must not be noticed; a signal's handler ends the sleep.
    if wait.rest != 0 && call.interrupt == Some(Interrupt::Signal) {
        call.write(wait.rest, &Timespec::from_ns(left_ns))?;
    }
    call.thread_mut().own.progress = Some(Progress::Deadline(wait.deadline_ns));
    Err(Fail::Interrupted(Restart::NoHandler))
}

/// alarm(2): seconds left of the former one.
pub fn alarm<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let value_ns = u64::from(call.args[0] as u32) * NS_PER_S;
    let before = call.core.set_alarm(call.cx, call.process, value_ns, 0)?;
    let left_ns = before.left_ns(call.cx.now_ns());
    Ok(Next::Done(left_ns.div_ceil(NS_PER_S)))
}

/// setitimer(2): ITIMER_REAL only.
pub fn setitimer<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [which, new, old, ..] = call.args;
    if which != 0 {
        return Err(Errno::EINVAL.into());
    }
    let wanted = if new == 0 { Itimerval::default() } else { call.read::<Itimerval>(new)? };
    let (value_ns, interval_ns) = (wanted.value.to_ns()?, wanted.interval.to_ns()?);
    if old != 0 {
        let now = call.process().own.alarm.layout(call.cx.now_ns());
        call.write(old, &now)?;
    }
    call.core.set_alarm(call.cx, call.process, value_ns, interval_ns)?;
    Ok(Next::Done(0))
}

/// getitimer(2).
pub fn getitimer<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    if call.args[0] != 0 {
        return Err(Errno::EINVAL.into());
    }
    let now = call.process().own.alarm.layout(call.cx.now_ns());
    call.write(call.args[1], &now)?;
    Ok(Next::Done(0))
}

impl Alarm {
    /// Nanoseconds until it rings; at least 1 while it is set.
    pub fn left_ns(&self, now_ns: u64) -> u64 {
        if self.deadline_ns == 0 { 0 } else { self.deadline_ns.saturating_sub(now_ns).max(1) }
    }

    fn layout(&self, now_ns: u64) -> Itimerval {
        let left_ns = self.left_ns(now_ns);
        // Rounded up: a set timer never reads as unset.
        let value = Timeval::from_ns(left_ns.div_ceil(1000) * 1000);
        Itimerval { interval: Timeval::from_ns(self.interval_ns), value }
    }
}

impl<M: Machine> ProcCore<M> {
    /// Sets a process's alarm; 0 clears it. The former one.
    ///
    /// # Errors
    /// EAGAIN: too many timers.
    pub(crate) fn set_alarm(
        &mut self,
        cx: &mut Cx<'_>,
        no: ProcessNo,
        value_ns: u64,
        interval_ns: u64,
    ) -> Result<Alarm, Errno> {
        let process = self.processes.get_mut(no).ok_or(Errno::ESRCH)?;
        let cookie = alarm_cookie(process.own.pid.get());
        let before = process.own.alarm;
        if before.deadline_ns != 0 {
            cx.disarm(before.deadline_ns, cookie);
        }
        process.own.alarm = Alarm::default();
        if value_ns != 0 {
            let deadline_ns = cx.now_ns().saturating_add(value_ns);
            cx.arm(deadline_ns, cookie)?;
            process.own.alarm = Alarm { deadline_ns, interval_ns };
        }
        Ok(before)
    }

    /// A process's alarm rings.
    pub(crate) fn alarm_rings(&mut self, cx: &mut Cx<'_>, pid: u32) {
        let Some(no) = self.pids.process(pid) else { return };
        if self.is_on_its_way(pid) {
            // What is left of it travels with the process. If that stays after all it rings here.
            let _ = cx.arm(cx.now_ns() + COMMIT_RETRY_NS, alarm_cookie(pid));
            return;
        }
        let Some(process) = self.processes.get_mut(no) else { return };
        let alarm = process.own.alarm;
        if alarm.deadline_ns == 0 || alarm.deadline_ns > cx.now_ns() {
            return;
        }
        process.own.alarm = Alarm::default();
        if alarm.interval_ns != 0 {
            let next_ns = alarm.deadline_ns.saturating_add(alarm.interval_ns);
            // One that is late or very short must not ring again before anybody runs.
            let late = next_ns <= cx.now_ns() || alarm.interval_ns < TIMER_TICK_NS;
            let deadline_ns =
                if late { cx.now_ns().saturating_add(TIMER_TICK_NS) } else { next_ns };
            // The row that rang is free.
            if cx.arm(deadline_ns, alarm_cookie(pid)).is_ok() {
                process.own.alarm = Alarm { deadline_ns, ..alarm };
            }
        }
        self.signal_process(cx, no, Info::kernel(number::ALRM));
    }
}
