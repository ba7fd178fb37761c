// SPDX-License-Identifier: MIT OR Apache-2.0
//! Settling: what a thread does when its whole state is in hand.
//!
//! # Source
//! signal(7), sigaction(2); "Interruption of system calls and library functions by signal handlers".

use super::frame::{self, Frame};
use super::set::{DEFAULT, IGNORE};
use super::{Action, Default, Info, SignalSet, number};
use crate::ProcCore;
use crate::entry::thread_cookie;
use crate::machine::{Fpu, Machine};
use crate::process::{Phase, ProcessNo};
use crate::syscall::{Wait, wait_status_signal};
use crate::thread::{OpenAsk, Restart, Run, Thread, Waiting};
use abi::linux::general::{SA_NODEFER, SA_RESETHAND, SA_RESTART};
use abi::{Errno, ThreadId};
use core::task::Poll;
use mem_api::FetchAbsent;
use runtime::Cx;

/// What became of a thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    /// It is to run.
    Run,
    /// It is to stay where it is.
    Held,
    /// It has ended, or waits for a page of its stack and settles later.
    Gone,
}

impl<M: Machine> ProcCore<M> {
    /// Decides what a thread does now. Its run state is `Handling`.
    pub(crate) fn settle(&mut self, cx: &mut Cx<'_>, id: ThreadId) -> Settled {
        loop {
            let Some(thread) = self.threads.get(id) else { return Settled::Gone };
            let no = thread.process;
            let Some(process) = self.processes.get(no) else { return Settled::Gone };
            match process.phase {
                Phase::Live => {}
                Phase::Exec(by) if by == id => {}
                Phase::Exec(_) | Phase::Ending(_) | Phase::Zombie(_) => {
                    self.thread_ends(cx, id);
                    return Settled::Gone;
                }
                Phase::Moving(_) => return Settled::Held,
            }
            if process.is_stopped() || process.space.is_none() {
                return Settled::Held;
            }
            let Some(info) = self.next_signal(id) else {
                self.without_signal(id);
                return Settled::Run;
            };
            if let Some(settled) = self.deliver(cx, no, id, info) {
                return settled;
            }
        }
    }

    /// Takes the next signal that the thread does not block.
    fn next_signal(&mut self, id: ThreadId) -> Option<Info> {
        let thread = self.threads.get_mut(id)?;
        let process = self.processes.get_mut(thread.process)?;
        let own = thread.own.pending.set().minus(thread.own.mask);
        let shared = process.own.pending.set().minus(thread.own.mask);
        let signal = own.union(shared).first()?;
        let pending =
            if own.has(signal) { &mut thread.own.pending } else { &mut process.own.pending };
        pending.take(signal).inspect(|info| process.own.timers.taken(info))
    }

    /// Whether a thread that waits has a reason to stop waiting.
    pub(crate) fn wants_attention(&self, id: ThreadId) -> bool {
        let Some(thread) = self.threads.get(id) else { return false };
        let Some(process) = self.processes.get(thread.process) else { return false };
        let calm = match process.phase {
            Phase::Live => true,
            Phase::Exec(by) => by == id,
            Phase::Moving(_) | Phase::Ending(_) | Phase::Zombie(_) => false,
        };
        let pending = thread.own.pending.set().union(process.own.pending.set());
        !calm || process.is_stopped() || !pending.minus(thread.own.mask).is_empty()
    }

    /// No signal is left: an interrupted call runs again.
    fn without_signal(&mut self, id: ThreadId) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        thread.attention = false;
        if let Some(mask) = thread.own.saved_mask.take() {
            thread.own.mask = mask;
            // What this mask lets through comes at the next settling.
            thread.attention = true;
        }
        if thread.own.restart.take().is_some() {
            thread.own.registers.rewind();
        }
    }

    fn deliver(
        &mut self,
        cx: &mut Cx<'_>,
        no: ProcessNo,
        id: ThreadId,
        info: Info,
    ) -> Option<Settled> {
        let process = self.processes.get(no)?;
        let action = process.own.actions.get(info.signal);
        match action.handler {
            IGNORE if !SignalSet::UNSTOPPABLE.has(info.signal) => {}
            DEFAULT | IGNORE => match Default::of(info.signal) {
                Default::Ignore | Default::Continue => {}
                Default::Stop => {
                    let spared = info.signal != number::STOP && self.is_orphaned(no);
                    if !spared {
                        self.stop_process(cx, no, info.signal);
                    }
                }
                Default::End { core } => {
                    self.end_process(cx, no, wait_status_signal(info.signal, core));
                }
            },
            _ => return self.run_handler(cx, no, id, info, action),
        }
        None
    }

    fn run_handler(
        &mut self,
        cx: &mut Cx<'_>,
        no: ProcessNo,
        id: ThreadId,
        info: Info,
        action: Action,
    ) -> Option<Settled> {
        let space = self.processes.get(no)?.space?;
        let thread = self.threads.get(id)?;
        let slot = thread.slot?;
        let fpu = self.machine.read_fpu(slot);
        let mut registers = thread.own.registers;
        let restarts = match thread.own.restart {
            None => false,
            Some(Restart::Always) => true,
            Some(Restart::Call) => action.flags & u64::from(SA_RESTART) != 0,
            Some(Restart::NoHandler) => false,
        };
        if restarts {
            registers.rewind();
        } else if thread.own.restart.is_some() {
            registers.rax = Errno::EINTR.as_return_value();
        }
        let frame = Frame {
            registers,
            mask: thread.own.saved_mask.unwrap_or(thread.own.mask),
            alt_stack: thread.own.alt_stack,
            info,
            action,
            fpu: &fpu,
        };
        match frame::push(cx, space, &frame) {
            Ok(started) => {
                self.machine.write_fpu(slot, &Fpu::INITIAL);
                let thread = self.threads.get_mut(id)?;
                enter_handler(thread, started, info.signal, action, restarts);
                if action.flags & u64::from(SA_RESETHAND) != 0 {
                    self.processes.get_mut(no)?.own.actions.set(info.signal, Action::default());
                }
                None
            }
            Err(Errno::ERESTART) => self.settle_later(cx, no, id, info),
            Err(errno) => {
                self.end_process(cx, no, wait_status_signal(signal_of(errno), true));
                None
            }
        }
    }

    /// The handler's stack rests elsewhere: the page is fetched, and the thread settles again.
    fn settle_later(
        &mut self,
        cx: &mut Cx<'_>,
        no: ProcessNo,
        id: ThreadId,
        info: Info,
    ) -> Option<Settled> {
        let space = self.processes.get(no)?.space?;
        let thread = self.threads.get_mut(id)?;
        // It was taken from there or from the process, where it would have gone to any thread.
        let _ = thread.own.pending.add(info);
        thread.sequence = thread.sequence.wrapping_add(1);
        let cookie = thread_cookie(id, thread.sequence);
        match cx.leaf_or_wait(&FetchAbsent { space }, cookie) {
            Ok(Poll::Ready(())) => None,
            Ok(Poll::Pending) => {
                let asks = alloc::vec![OpenAsk { cookie, tag: 0 }];
                let wait = Wait::Settle;
                thread.run = Run::Waiting(Waiting { wait, asks, timer: None, interrupt: None });
                Some(Settled::Gone)
            }
            Err(_) => {
                self.end_process(cx, no, wait_status_signal(number::KILL, false));
                None
            }
        }
    }

    /// A fault of the thread itself: it is delivered even where it is blocked or ignored.
    pub(crate) fn force(&mut self, id: ThreadId, info: Info) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        let Some(process) = self.processes.get_mut(thread.process) else { return };
        let blocked = thread.own.mask.has(info.signal);
        if blocked || process.own.actions.get(info.signal).handler == IGNORE {
            process.own.actions.set(info.signal, Action::default());
        }
        thread.own.mask = thread.own.mask.without(info.signal);
        thread.attention = true;
        // Standard signals are always taken.
        let _ = thread.own.pending.add(info);
    }

    pub(crate) fn raise_memory_fault(&mut self, id: ThreadId, addr: u64, errno: Errno) {
        const SEGV_MAPERR: i32 = 1;
        const SEGV_ACCERR: i32 = 2;
        const BUS_ADRERR: i32 = 2;
        let info = match errno {
            Errno::EFAULT => Info::fault(number::SEGV, SEGV_MAPERR, addr),
            Errno::EACCES => Info::fault(number::SEGV, SEGV_ACCERR, addr),
            Errno::ENOMEM => {
                self.machine.log(format_args!("no memory is left: a process is killed"));
                return self.kill_by_system(id);
            }
            _ => Info::fault(number::BUS, BUS_ADRERR, addr),
        };
        self.force(id, info);
    }

    fn kill_by_system(&mut self, id: ThreadId) {
        if let Some(thread) = self.threads.get_mut(id) {
            thread.attention = true;
            let _ = thread.own.pending.add(Info::kernel(number::KILL));
        }
    }

    pub(crate) fn raise_exception(&mut self, id: ThreadId, vector: u64, _code: u64, rip: u64) {
        const FPE_INTDIV: i32 = 1;
        const FPE_FLTINV: i32 = 7;
        const ILL_ILLOPN: i32 = 2;
        const BUS_ADRALN: i32 = 1;
        let info = match vector {
            0 => Info::fault(number::FPE, FPE_INTDIV, rip),
            1 | 3 => Info::kernel(number::TRAP),
            6 => Info::fault(number::ILL, ILL_ILLOPN, rip),
            16 | 19 => Info::fault(number::FPE, FPE_FLTINV, rip),
            17 => Info::fault(number::BUS, BUS_ADRALN, 0),
            _ => Info::kernel(number::SEGV),
        };
        self.force(id, info);
    }
}

fn enter_handler(
    thread: &mut Thread,
    started: frame::Started,
    signal: u32,
    action: Action,
    restarts: bool,
) {
    let own = &mut thread.own;
    own.registers = started.registers;
    own.alt_stack = started.alt_stack;
    own.saved_mask = None;
    own.restart = None;
    if !restarts {
        own.progress = None;
    }
    own.mask = own.mask.union(action.mask);
    if action.flags & u64::from(SA_NODEFER) == 0 {
        own.mask = own.mask.with(signal);
    }
    own.mask = SignalSet::from_program(own.mask.0);
    thread.attention = true;
}

/// What a thread gets whose stack cannot be read or written: the same as if it had done so itself. A page that
/// was lost with a node is no mistake of the program.
pub(crate) fn signal_of(errno: Errno) -> u32 {
    match errno {
        Errno::EFAULT | Errno::EACCES => number::SEGV,
        Errno::ENOMEM => number::KILL,
        _ => number::BUS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_that_was_lost_is_no_mistake_of_the_program() {
        let signals = [Errno::EFAULT, Errno::EACCES, Errno::EIO, Errno::ENOMEM].map(signal_of);
        assert_eq!(signals, [number::SEGV, number::SEGV, number::BUS, number::KILL]);
    }
}
