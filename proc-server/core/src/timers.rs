// SPDX-License-Identifier: MIT OR Apache-2.0
//! POSIX timers of processes: timer_create(2) and its kin, and what happens when one runs out.
//!
//! # Model
//! ```text
//! runtime's timer, one a process, for the earliest --rings--> each timer that is due: a signal, or one that waits
//!                                                           already counts one more overrun
//! ```
//! They travel with the process, as what is left of each.

use crate::ProcCore;
use crate::entry::timers_cookie;
use crate::limits::{COMMIT_RETRY_NS, PROCESS_TIMERS_MAX, TIMER_TICK_NS};
use crate::machine::Machine;
use crate::process::{Alarm, ProcessNo};
use crate::signal::{Info, Pending, SI_TIMER};
use abi::Errno;
use alloc::vec::Vec;
use runtime::Cx;
use serde::{Deserialize, Serialize};

/// The most overruns that are told: `DELAYTIMER_MAX`.
pub const OVERRUNS_MAX: u32 = i32::MAX as u32;

/// What a timer does when it runs out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notice {
    /// The signal; 0: nothing.
    pub signal: u32,
    /// The thread that gets it; 0: the process.
    pub tid: u32,
    /// What the signal says beside: `sigev_value`.
    pub value: u64,
}

/// One timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timer {
    /// Its number in the process.
    pub id: u32,
    /// Its clock is the wall's: CLOCK_REALTIME.
    pub wall: bool,
    /// What it does.
    pub notice: Notice,
    /// When, and how often.
    pub alarm: Alarm,
    /// Times that it ran out before its last signal was taken, beyond the first.
    pub overruns: u32,
}

/// The timers of a process, by number.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Timers(Vec<Timer>);

impl Timers {
    /// Adds one; its number.
    ///
    /// # Errors
    /// EAGAIN: there are too many.
    pub fn add(&mut self, wall: bool, notice: impl FnOnce(u32) -> Notice) -> Result<u32, Errno> {
        if self.0.len() >= PROCESS_TIMERS_MAX {
            return Err(Errno::EAGAIN);
        }
        let at = self.0.iter().zip(0..).position(|(timer, id)| timer.id != id);
        let at = at.unwrap_or(self.0.len());
        let id = at as u32;
        let alarm = Alarm::default();
        self.0.insert(at, Timer { id, wall, notice: notice(id), alarm, overruns: 0 });
        Ok(id)
    }

    /// One of them.
    ///
    /// # Errors
    /// EINVAL: there is none with this number.
    pub fn get(&mut self, id: u64) -> Result<&mut Timer, Errno> {
        self.0.iter_mut().find(|timer| u64::from(timer.id) == id).ok_or(Errno::EINVAL)
    }

    /// Deletes one; its signal that waits still comes.
    ///
    /// # Errors
    /// EINVAL: there is none with this number.
    pub fn remove(&mut self, id: u64) -> Result<(), Errno> {
        let before = self.0.len();
        self.0.retain(|timer| u64::from(timer.id) != id);
        if self.0.len() < before { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// When the first of them runs out.
    pub fn next_ns(&self) -> Option<u64> {
        let set = self.0.iter().filter(|timer| timer.alarm.deadline_ns != 0);
        set.map(|timer| timer.alarm.deadline_ns).min()
    }

    /// Each deadline that is set, changed.
    pub fn shift(&mut self, shift: impl Fn(u64) -> u64) {
        for timer in self.0.iter_mut().filter(|timer| timer.alarm.deadline_ns != 0) {
            timer.alarm.deadline_ns = shift(timer.alarm.deadline_ns);
        }
    }

    /// A signal of a timer was taken: what it says of overruns is the timer's now.
    pub fn taken(&mut self, info: &Info) {
        if info.code == SI_TIMER
            && let Ok(timer) = self.get(info.words[0] & u64::from(u32::MAX))
        {
            timer.overruns = (info.words[0] >> u32::BITS) as u32;
        }
    }

    /// Checks a value that came from another node.
    pub fn is_well_formed(&self) -> bool {
        self.0.len() <= PROCESS_TIMERS_MAX
            && self.0.is_sorted_by(|a, b| a.id < b.id)
            && self.0.iter().all(|it| it.notice.signal <= crate::signal::number::MAX)
    }
}

impl Alarm {
    /// It is due: how often it ran out until `now_ns`, and when it does next.
    fn run_out(&mut self, now_ns: u64) -> u32 {
        if self.interval_ns == 0 {
            self.deadline_ns = 0;
            return 1;
        }
        // One whose next times all pass within a tick does not ring for each of them: nobody would get to run.
        let short = self.interval_ns < TIMER_TICK_NS;
        let until_ns = if short { now_ns.saturating_add(TIMER_TICK_NS) } else { now_ns };
        let times = 1 + until_ns.saturating_sub(self.deadline_ns) / self.interval_ns;
        self.deadline_ns = self.deadline_ns.saturating_add(times.saturating_mul(self.interval_ns));
        u32::try_from(times).unwrap_or(u32::MAX)
    }
}

/// The signal of a timer that ran out `times` times.
fn info(timer: &Timer, times: u32) -> Info {
    let overruns = u64::from((times - 1).min(OVERRUNS_MAX));
    let words = [u64::from(timer.id) | overruns << u32::BITS, timer.notice.value, 0];
    Info { signal: timer.notice.signal, code: SI_TIMER, words }
}

impl Pending {
    /// A timer ran out whose signal may wait already: that one counts it. Whether there was one.
    fn overrun(&mut self, timer: &Timer, times: u32) -> bool {
        let its = |it: &&mut Info| {
            it.signal == timer.notice.signal
                && it.code == SI_TIMER
                && it.words[0] as u32 == timer.id
        };
        let Some(waiting) = self.queue_mut().find(its) else { return false };
        let overruns = ((waiting.words[0] >> u32::BITS) as u32).saturating_add(times);
        let overruns = u64::from(overruns.min(OVERRUNS_MAX));
        waiting.words[0] = u64::from(timer.id) | overruns << u32::BITS;
        true
    }
}

impl<M: Machine> ProcCore<M> {
    /// Changes a process's timers, and has the runtime ring for the earliest.
    ///
    /// # Errors
    /// EAGAIN: the node has too many timers. Then nothing rings.
    pub(crate) fn change_timers<R>(
        &mut self,
        cx: &mut Cx<'_>,
        no: ProcessNo,
        change: impl FnOnce(&mut Timers) -> R,
    ) -> Result<R, Errno> {
        let process = self.processes.get_mut(no).ok_or(Errno::ESRCH)?;
        let cookie = timers_cookie(process.own.pid.get());
        let before = process.own.timers.next_ns();
        let result = change(&mut process.own.timers);
        let now = process.own.timers.next_ns();
        if before != now {
            before.inspect(|deadline_ns| cx.disarm(*deadline_ns, cookie));
            now.map_or(Ok(()), |deadline_ns| cx.arm(deadline_ns, cookie))?;
        }
        Ok(result)
    }

    /// Ends all timers of a process: it replaces its program, ends, or is another node's now.
    pub(crate) fn end_timers(&mut self, cx: &mut Cx<'_>, no: ProcessNo) {
        // There is nothing to ring for.
        let _ = self.change_timers(cx, no, |timers| timers.0.clear());
    }

    /// A process's timers ring.
    pub(crate) fn timers_ring(&mut self, cx: &mut Cx<'_>, pid: u32) {
        let Some(no) = self.pids.process(pid) else { return };
        let now_ns = cx.now_ns();
        if self.is_on_its_way(pid) {
            // What is left of them travels with it. If it stays after all they ring here.
            let _ = cx.arm(now_ns + COMMIT_RETRY_NS, timers_cookie(pid));
            return;
        }
        let mut due = Vec::new();
        let rings = self.change_timers(cx, no, |timers| {
            for timer in &mut timers.0 {
                if (1..=now_ns).contains(&timer.alarm.deadline_ns) {
                    due.push((*timer, timer.alarm.run_out(now_ns)));
                }
            }
        });
        if rings.is_err() {
            self.machine.log(format_args!("the timers of process {pid} are lost: too many"));
        }
        for (timer, times) in due {
            self.timer_ran_out(cx, no, &timer, times);
        }
    }

    fn timer_ran_out(&mut self, cx: &mut Cx<'_>, no: ProcessNo, timer: &Timer, times: u32) {
        let Notice { signal, tid, .. } = timer.notice;
        if signal == 0 {
            return;
        }
        if tid == 0 {
            let Some(process) = self.processes.get_mut(no) else { return };
            if !process.own.pending.overrun(timer, times) {
                self.signal_process(cx, no, info(timer, times));
            }
            return;
        }
        // The thread may have ended.
        let Some(id) = self.thread_by_tid(tid) else { return };
        let Some(thread) = self.threads.get_mut(id).filter(|it| it.process == no) else { return };
        if !thread.own.pending.overrun(timer, times) {
            self.signal_thread(cx, id, info(timer, times));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(_: u32) -> Notice {
        Notice { signal: 0, tid: 0, value: 0 }
    }

    #[test]
    fn numbers_are_used_again_lowest_first() {
        let mut timers = Timers::default();
        for id in 0..3 {
            assert_eq!(timers.add(false, quiet), Ok(id));
        }
        assert_eq!((timers.remove(1), timers.remove(1)), (Ok(()), Err(Errno::EINVAL)));
        assert_eq!((timers.add(false, quiet), timers.add(false, quiet)), (Ok(1), Ok(3)));
        assert!(timers.is_well_formed());
    }

    #[test]
    fn timer_that_runs_out_late_keeps_its_beat() {
        let tick = TIMER_TICK_NS;
        let mut alarm = Alarm { deadline_ns: 10 * tick, interval_ns: tick };
        assert_eq!((alarm.run_out(10 * tick), alarm.deadline_ns), (1, 11 * tick));
        assert_eq!((alarm.run_out(13 * tick + 5), alarm.deadline_ns), (3, 14 * tick));
        let mut quick = Alarm { deadline_ns: 100, interval_ns: 1 };
        assert!(u64::from(quick.run_out(tick)) > tick && quick.deadline_ns > 2 * tick);
        let mut once = Alarm { deadline_ns: 5, interval_ns: 0 };
        assert_eq!((once.run_out(50), once.deadline_ns), (1, 0));
    }

    #[test]
    fn signal_that_waits_counts_what_it_misses() {
        let notice = Notice { signal: 10, tid: 0, value: 7 };
        let timer = Timer { id: 2, wall: false, notice, alarm: Alarm::default(), overruns: 0 };
        let mut pending = Pending::default();
        assert!(!pending.overrun(&timer, 1));
        pending.add(info(&timer, 3)).expect("room");
        assert!(pending.overrun(&timer, 4));
        let taken = pending.take(10).expect("it waits");
        assert_eq!(taken.words[..2], [2 | 6 << 32, 7]);
        let mut timers = Timers(alloc::vec![timer]);
        timers.taken(&taken);
        assert_eq!(timers.get(2).map(|it| it.overruns), Ok(6));
    }
}
