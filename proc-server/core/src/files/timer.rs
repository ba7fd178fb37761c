// SPDX-License-Identifier: MIT OR Apache-2.0
//! timerfd_create(2), timerfd_settime(2), timerfd_gettime(2).
//!
//! # Model
//! The ipc server has the timer, and counts from the present; which clock a time is of stands with the descriptor.
//! No clock is ever set, so TFD_TIMER_CANCEL_ON_SET never has to cancel.

use super::table::{OpenFile, Target};
use super::{Wait, glue, names};
use crate::layout::time::{Itimerspec, Timespec};
use crate::machine::Machine;
use crate::syscall::{Call, Next, SysResult};
use abi::Errno;
use abi::linux::general::{
    CLOCK_BOOTTIME, CLOCK_MONOTONIC, CLOCK_REALTIME, O_CLOEXEC, O_NONBLOCK, TFD_TIMER_ABSTIME,
    TFD_TIMER_CANCEL_ON_SET,
};
use fs_api::name::{FileKind, TimerClock};
use ipc_api::timer::{TimerCreate, TimerGet, TimerMade, TimerSet, TimerValue};
use mem_api::{Access, Prepare};
use runtime::{NodeReply, Wire};

/// Bytes of `struct itimerspec`.
const VALUE_BYTES: u64 = size_of::<Itimerspec>() as u64;

/// timerfd_create(2). TFD_CLOEXEC and TFD_NONBLOCK are the O_ flags of these names.
pub fn create<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [clock, flags, ..] = call.args;
    let flags = flags as u32;
    let clock = match clock as u32 {
        CLOCK_REALTIME => TimerClock::Wall,
        CLOCK_MONOTONIC | CLOCK_BOOTTIME => TimerClock::Monotonic,
        _ => return Err(Errno::EINVAL.into()),
    };
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let op = TimerCreate { flags: flags & O_NONBLOCK };
    Ok(call.ask(&op, glue::wait(Wait::TimerMade(clock, flags & O_CLOEXEC))))
}

/// The timer is there.
pub fn made<M: Machine>(
    call: &mut Call<'_, '_, M>,
    clock: TimerClock,
    flags: u32,
    reply: &NodeReply,
) -> SysResult {
    let file = TimerMade::get(&reply.msg)?.file;
    names::install(call, OpenFile { file, kind: FileKind::Timer(clock) }, flags)
}

fn timer<M: Machine>(call: &Call<'_, '_, M>, fd: u64) -> Result<(OpenFile, TimerClock), Errno> {
    match &call.process().own.files.get(fd)?.target {
        Target::File(file) => match file.kind {
            FileKind::Timer(clock) => Ok((*file, clock)),
            _ => Err(Errno::EINVAL),
        },
        Target::Local(_) => Err(Errno::EINVAL),
    }
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

/// timerfd_settime(2).
pub fn set<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, flags, new, old, ..] = call.args;
    let flags = flags as u32;
    let wanted: Itimerspec = call.read(new)?;
    let (value_ns, interval_ns) = (wanted.value.to_ns()?, wanted.interval.to_ns()?);
    if flags & !(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (file, clock) = timer(call, fd)?;
    let present_ns = match clock {
        TimerClock::Wall => call.core.wall_ns(call.cx),
        TimerClock::Monotonic => call.monotonic_ns(),
    };
    // What it was is written when it is no more.
    prepare(call, old)?;
    let base_ns = if flags & TFD_TIMER_ABSTIME != 0 { signed(present_ns) } else { 0 };
    let first_ns = (value_ns > 0).then(|| signed(value_ns).saturating_sub(base_ns));
    let op = TimerSet { file: file.file, first_ns, interval_ns };
    Ok(call.ask(&op, glue::wait(Wait::TimerValue(old))))
}

/// timerfd_gettime(2).
pub fn get<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, into, ..] = call.args;
    let (file, _) = timer(call, fd)?;
    let op = TimerGet { file: file.file };
    let into = if into == 0 { u64::MAX } else { into };
    Ok(call.ask(&op, glue::wait(Wait::TimerValue(into))))
}

fn prepare<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64) -> Result<(), Errno> {
    if addr == 0 {
        return Ok(());
    }
    let space = call.space()?;
    call.cx.leaf(&Prepare { space, addr, len: VALUE_BYTES, access: Access::Write })
}

/// What the timer was, or is; it goes to `addr`, if that is not 0.
pub fn value_came<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    reply: &NodeReply,
) -> SysResult {
    put(call, addr, TimerValue::get(&reply.msg)?)
}

/// Writes a value. The timer has been set: if the page is away it is fetched, and the call does not run again.
pub fn put<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64, it: TimerValue) -> SysResult {
    if addr == 0 {
        return Ok(Next::Done(0));
    }
    let value = Timespec::from_ns(it.left_ns);
    let interval = Timespec::from_ns(it.interval_ns);
    match call.write(addr, &Itimerspec { interval, value }) {
        Ok(()) => Ok(Next::Done(0)),
        Err(Errno::ERESTART) => call.fetch_then(glue::wait(Wait::TimerPut(addr, it))),
        Err(errno) => Err(errno.into()),
    }
}
