// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways into the core that concern threads: faults, kicks, answers and timers; and the ways back
//! to user mode.

use crate::machine::{FaultAnswer, Found, Machine, Registers, UserFault};
use crate::signal::Settled;
use crate::syscall::{AskResult, Call, Fail, Next, SysResult, TAG_TIMER, Wait};
use crate::thread::{Interrupt, Progress, Restart, Run, Unhandled, Waiting};
use crate::{ProcCore, files, migrate, syscall};
use abi::{CoreId, Errno, SpaceId, ThreadId};
use alloc::vec::Vec;
use core::task::Poll;
use mem_api::{Access, FetchAbsent};
use runtime::Cx;

/// What a cookie's number belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CookieClass {
    /// A thread's ask, page or timer.
    Thread(ThreadId),
    /// Nobody waits for it.
    Forgotten,
    /// A process's alarm.
    Alarm(u32),
    /// A process's POSIX timers.
    Timers(u32),
    /// A migration's step.
    Move(u64),
    /// A request of another server or node.
    Job(u64),
}

const CLASS_SHIFT: u32 = 60;
const BADGE_BITS: u32 = 27;

/// The cookie of a thread's ask.
pub(crate) fn thread_cookie(thread: ThreadId, sequence: u32) -> u64 {
    u64::from(sequence) << BADGE_BITS | thread.to_badge()
}

/// The cookie of a process's alarm.
pub(crate) fn alarm_cookie(pid: u32) -> u64 {
    2 << CLASS_SHIFT | u64::from(pid)
}

/// The cookie of a process's POSIX timers.
pub(crate) fn timers_cookie(pid: u32) -> u64 {
    5 << CLASS_SHIFT | u64::from(pid)
}

/// The cookie of a request that was passed on.
pub(crate) fn job_cookie(job: u64) -> u64 {
    4 << CLASS_SHIFT | job
}

/// The cookie of a step of a move.
pub(crate) fn move_cookie(number: u64) -> u64 {
    3 << CLASS_SHIFT | number
}

impl CookieClass {
    pub(crate) fn of(cookie: u64) -> Self {
        let number = cookie & ((1 << CLASS_SHIFT) - 1);
        match cookie >> CLASS_SHIFT {
            0 => Self::Thread(ThreadId::from_badge(cookie & ((1 << BADGE_BITS) - 1))),
            2 => Self::Alarm(number as u32),
            3 => Self::Move(number),
            4 => Self::Job(number),
            5 => Self::Timers(number as u32),
            _ => Self::Forgotten,
        }
    }
}

impl<M: Machine> ProcCore<M> {
    /// A Linux thread of the calling worker's core has faulted. The worker does with it what the
    /// answer says, before it runs another step for that thread.
    pub fn fault(&mut self, cx: &mut Cx<'_>, id: ThreadId, fault: UserFault<'_>) -> FaultAnswer {
        self.set_answering(cx.core(), None);
        let Some(thread) = self.threads.get_mut(id) else { return FaultAnswer::Silent };
        if !matches!(thread.run, Run::User) {
            return FaultAnswer::Silent;
        }
        let fault = match fault {
            UserFault::SystemCall(registers) => {
                let fs_base = thread.own.registers.fs_base;
                thread.own.registers = Registers { fs_base, ..*registers };
                thread.reruns = 0;
                Unhandled::SystemCall
            }
            UserFault::Page { addr, access } => Unhandled::Page { addr, access },
            UserFault::Exception { number, code } => Unhandled::Exception { number, code },
        };
        if !cx.may_act() {
            thread.run = Run::Fenced(fault);
            return FaultAnswer::Silent;
        }
        thread.run = Run::Handling;
        let answer = self.handle(cx, id, fault);
        if answer != FaultAnswer::Silent {
            self.set_answering(cx.core(), Some(id));
        }
        answer
    }

    /// Handles a fault of a thread whose run state is `Handling`.
    pub(crate) fn handle(
        &mut self,
        cx: &mut Cx<'_>,
        id: ThreadId,
        fault: Unhandled,
    ) -> FaultAnswer {
        match fault {
            Unhandled::SystemCall => self.system_call(cx, id),
            Unhandled::Page { addr, access } => self.page_fault(cx, id, addr, access),
            Unhandled::Exception { number, code } => self.exception(cx, id, number, code),
        }
    }

    /// Called by the worker of a core after [`Machine::kick`], between two faults.
    pub fn kicked(&mut self, cx: &mut Cx<'_>) {
        let core = cx.core();
        self.set_answering(core, None);
        while let Some(id) = self.kicks.get_mut(usize::from(core.0)).and_then(|k| k.pop_front()) {
            if let Some(thread) = self.threads.get_mut(id) {
                thread.kicked = false;
                self.poke(cx, id, Interrupt::Signal);
            }
        }
    }

    fn set_answering(&mut self, core: CoreId, thread: Option<ThreadId>) {
        if let Some(row) = self.answering.get_mut(usize::from(core.0)) {
            *row = thread;
        }
    }

    /// Makes a thread look at what waits for it, as soon as it can be stopped.
    pub(crate) fn poke(&mut self, cx: &mut Cx<'_>, id: ThreadId, why: Interrupt) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        thread.attention = true;
        match &mut thread.run {
            // It will settle when its step ends, or the fence.
            Run::Handling | Run::Fenced(_) => {}
            Run::User => self.stop_and_settle(cx, id),
            Run::Waiting(waiting) => {
                waiting.interrupt = Some(why);
                if waiting.asks.is_empty() {
                    self.go_on(cx, id, TAG_TIMER, Err(Errno::ECANCELED));
                } else {
                    let cookies: Vec<u64> = waiting.asks.iter().map(|ask| ask.cookie).collect();
                    for cookie in cookies {
                        cx.cancel(cookie);
                    }
                }
            }
            Run::Faulting { cookie } => {
                // The page may come; the thread faults again and finds it.
                cx.cancel(*cookie);
                self.stop_and_settle(cx, id);
            }
            Run::Held => {
                thread.run = Run::Handling;
                self.settle_and_resume(cx, id);
            }
        }
    }

    fn stop_and_settle(&mut self, cx: &mut Cx<'_>, id: ThreadId) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        let core = usize::from(thread.core.0);
        let may_run = matches!(thread.run, Run::User);
        if may_run && (thread.core != cx.core() || self.answering[core] == Some(id)) {
            if !thread.kicked {
                thread.kicked = true;
                self.kicks[core].push_back(id);
                self.machine.kick(thread.core);
            }
            return;
        }
        let slot = thread.slot.expect("a thread that runs has kernel objects");
        let stopped = self.machine.stop(slot);
        thread.own.registers = stopped.registers;
        thread.own.restart = match stopped.found {
            Found::User => None,
            Found::SystemCall => Some(Restart::Always),
        };
        thread.run = Run::Handling;
        self.settle_and_resume(cx, id);
    }

    /// Runs the system call that the thread's registers hold.
    fn system_call(&mut self, cx: &mut Cx<'_>, id: ThreadId) -> FaultAnswer {
        loop {
            let Some(thread) = self.threads.get(id) else { return FaultAnswer::Silent };
            let number = thread.own.registers.rax;
            let args = thread.own.registers.arguments();
            let mut call = Call {
                process: thread.process,
                core: self,
                cx,
                thread: id,
                args,
                interrupt: None,
                wait: None,
                asks: Vec::new(),
                timer: None,
            };
            let result = syscall::dispatch(&mut call, number);
            match call.finish(result) {
                Finished::Again => {}
                Finished::Waits => {
                    self.interrupt_if_pending(cx, id);
                    return FaultAnswer::Silent;
                }
                Finished::Gone => return FaultAnswer::Silent,
                Finished::Rax => return self.leave(cx, id, true),
                Finished::Registers => return self.leave(cx, id, false),
            }
        }
    }

    /// Back to user mode, or to wherever the thread must go. `only_rax`: the other registers are as
    /// they were in the fault that is being answered.
    fn leave(&mut self, cx: &mut Cx<'_>, id: ThreadId, only_rax: bool) -> FaultAnswer {
        let Some(thread) = self.threads.get_mut(id) else { return FaultAnswer::Silent };
        if only_rax && !thread.attention && thread.own.restart.is_none() {
            thread.run = Run::User;
            return FaultAnswer::Return(thread.own.registers.rax);
        }
        self.settle_and_resume(cx, id);
        FaultAnswer::Silent
    }

    /// Settles a thread, and resumes it if that is the outcome.
    pub(crate) fn settle_and_resume(&mut self, cx: &mut Cx<'_>, id: ThreadId) {
        match self.settle(cx, id) {
            Settled::Run => {
                let Some(thread) = self.threads.get_mut(id) else { return };
                let Some(slot) = thread.slot else { return };
                thread.run = Run::User;
                self.machine.resume(slot, &thread.own.registers);
            }
            Settled::Held => {
                if let Some(thread) = self.threads.get_mut(id) {
                    thread.run = Run::Held;
                    let process = thread.process;
                    self.thread_held(cx, process);
                }
            }
            Settled::Gone => {}
        }
    }

    /// A signal that came while the call was being handled, or that the call's own mask lets
    /// through, interrupts it now.
    fn interrupt_if_pending(&mut self, cx: &mut Cx<'_>, id: ThreadId) {
        let Some(thread) = self.threads.get(id) else { return };
        let Run::Waiting(waiting) = &thread.run else { return };
        if thread.attention && waiting.interrupt.is_none() && self.wants_attention(id) {
            self.poke(cx, id, Interrupt::Signal);
        }
    }

    fn page_fault(
        &mut self,
        cx: &mut Cx<'_>,
        id: ThreadId,
        addr: u64,
        access: Access,
    ) -> FaultAnswer {
        let Some(space) = self.space_of(id) else { return FaultAnswer::Silent };
        let Some(thread) = self.threads.get_mut(id) else { return FaultAnswer::Silent };
        thread.sequence = thread.sequence.wrapping_add(1);
        let cookie = thread_cookie(id, thread.sequence);
        match cx.leaf_or_wait(&mem_api::Fault { space, addr, access }, cookie) {
            Ok(Poll::Ready(())) => {
                thread.run = Run::User;
                FaultAnswer::Retry
            }
            Ok(Poll::Pending) => {
                thread.run = Run::Faulting { cookie };
                FaultAnswer::Silent
            }
            Err(errno) => self.bad_memory(cx, id, addr, errno),
        }
    }

    /// The page at `addr` cannot be had: a signal.
    fn bad_memory(
        &mut self,
        cx: &mut Cx<'_>,
        id: ThreadId,
        addr: u64,
        errno: Errno,
    ) -> FaultAnswer {
        let Some(registers) = self.stopped_registers(id) else { return FaultAnswer::Silent };
        self.raise_memory_fault(id, addr, errno);
        if let Some(thread) = self.threads.get_mut(id) {
            thread.own.registers = registers;
        }
        self.settle_and_resume(cx, id);
        FaultAnswer::Silent
    }

    fn exception(&mut self, cx: &mut Cx<'_>, id: ThreadId, number: u64, code: u64) -> FaultAnswer {
        let Some(registers) = self.stopped_registers(id) else { return FaultAnswer::Silent };
        if let Some(thread) = self.threads.get_mut(id) {
            thread.own.registers = registers;
        }
        self.raise_exception(id, number, code, registers.rip);
        self.settle_and_resume(cx, id);
        FaultAnswer::Silent
    }

    /// The registers of a thread whose fault is in hand.
    pub(crate) fn stopped_registers(&mut self, id: ThreadId) -> Option<Registers> {
        let slot = self.threads.get(id)?.slot?;
        Some(self.machine.stop(slot).registers)
    }

    /// The space that a thread runs in.
    pub(crate) fn space_of(&self, id: ThreadId) -> Option<SpaceId> {
        self.processes.get(self.threads.get(id)?.process)?.space
    }

    /// The answer to something that a thread waits for.
    pub(crate) fn thread_completion(
        &mut self,
        cx: &mut Cx<'_>,
        id: ThreadId,
        cookie: u64,
        result: AskResult,
    ) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        match &mut thread.run {
            Run::Faulting { cookie: wanted } if *wanted == cookie => {
                thread.run = Run::Handling;
                self.page_came(cx, id, result);
            }
            Run::Waiting(waiting) => {
                let Some(at) = waiting.asks.iter().position(|ask| ask.cookie == cookie) else {
                    return;
                };
                let ask = waiting.asks.swap_remove(at);
                self.go_on(cx, id, ask.tag, result);
            }
            Run::User | Run::Handling | Run::Held | Run::Fenced(_) | Run::Faulting { .. } => {}
        }
    }

    fn page_came(&mut self, cx: &mut Cx<'_>, id: ThreadId, result: AskResult) {
        let Some(slot) = self.threads.get(id).and_then(|thread| thread.slot) else { return };
        match result {
            Ok(_) | Err(Errno::ECANCELED) => {
                if let Some(thread) = self.threads.get_mut(id) {
                    thread.run = Run::User;
                }
                self.machine.retry(slot);
            }
            Err(errno) => {
                // Where it faulted is in the answer to the fault only: without it, rip must do.
                let rip = self.machine.stop(slot).registers.rip;
                self.bad_memory(cx, id, rip, errno);
            }
        }
    }

    /// A thread's timer has run out.
    pub(crate) fn thread_timer(&mut self, cx: &mut Cx<'_>, id: ThreadId, cookie: u64) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        let Run::Waiting(waiting) = &mut thread.run else { return };
        if waiting.timer.is_some_and(|(_, timer)| timer == cookie) {
            waiting.timer = None;
            self.go_on(cx, id, TAG_TIMER, Err(Errno::ETIMEDOUT));
        }
    }

    /// Wakes a thread that waits for an event of proc-server's own: its call runs again from its
    /// start.
    pub(crate) fn wake_rerun(&mut self, cx: &mut Cx<'_>, id: ThreadId) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        if matches!(thread.run, Run::Waiting(_)) {
            thread.run = Run::Handling;
            self.rerun(cx, id);
        }
    }

    fn rerun(&mut self, cx: &mut Cx<'_>, id: ThreadId) {
        if let FaultAnswer::Return(_) = self.system_call(cx, id) {
            self.resume_with_rax(id);
        }
    }

    pub(crate) fn resume_with_rax(&mut self, id: ThreadId) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        let Some(slot) = thread.slot else { return };
        self.machine.resume(slot, &thread.own.registers);
    }

    /// Runs a step for a thread that is not in user mode, and what follows from it.
    pub(crate) fn run_step(
        &mut self,
        cx: &mut Cx<'_>,
        id: ThreadId,
        process: crate::process::ProcessNo,
        step: impl FnOnce(&mut Call<'_, '_, M>) -> SysResult,
    ) {
        let mut call = Call {
            process,
            core: self,
            cx,
            thread: id,
            args: [0; 6],
            interrupt: None,
            wait: None,
            asks: Vec::new(),
            timer: None,
        };
        let result = step(&mut call);
        let finished = call.finish(result);
        self.after(cx, id, finished);
    }

    /// Goes on with the call of a waiting thread.
    pub(crate) fn go_on(&mut self, cx: &mut Cx<'_>, id: ThreadId, tag: u32, result: AskResult) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        let run = core::mem::replace(&mut thread.run, Run::Handling);
        let Run::Waiting(Waiting { wait, asks, timer, interrupt }) = run else {
            thread.run = run;
            return;
        };
        let args = thread.own.registers.arguments();
        let mut call = Call {
            process: thread.process,
            core: self,
            cx,
            thread: id,
            args,
            interrupt,
            wait: None,
            asks,
            timer,
        };
        let result = resume_wait(&mut call, wait, tag, result);
        let finished = call.finish(result);
        self.after(cx, id, finished);
    }

    fn after(&mut self, cx: &mut Cx<'_>, id: ThreadId, finished: Finished) {
        match finished {
            Finished::Again => self.rerun(cx, id),
            Finished::Waits => self.interrupt_if_pending(cx, id),
            Finished::Gone => {}
            Finished::Rax | Finished::Registers => self.settle_and_resume(cx, id),
        }
    }
}

/// How a step of a call left its thread.
enum Finished {
    /// The call is to run again from its start.
    Again,
    /// It waits.
    Waits,
    /// The thread is gone.
    Gone,
    /// Its result is in rax; all else is as it was.
    Rax,
    /// Its registers are new.
    Registers,
}

impl<M: Machine> Call<'_, '_, M> {
    /// Takes a step's result to the thread.
    fn finish(mut self, result: SysResult) -> Finished {
        if matches!(result, Ok(Next::Wait)) {
            return self.park();
        }
        self.drop_waits();
        let value = match result {
            Ok(Next::Wait) => return Finished::Waits,
            Ok(Next::Gone) => return Finished::Gone,
            Ok(Next::Resume) => return Finished::Registers,
            Ok(Next::Done(value)) => value,
            Err(Fail::Errno(errno)) => errno.as_return_value(),
            Err(Fail::Interrupted(restart)) => {
                let thread = self.thread_mut();
                thread.own.restart = Some(restart);
                thread.attention = true;
                return Finished::Registers;
            }
            Err(Fail::Absent) => match self.fetch_and_rerun() {
                Ok(finished) => return finished,
                Err(errno) => errno.as_return_value(),
            },
        };
        let own = &mut self.thread_mut().own;
        own.registers.rax = value;
        own.progress = None;
        Finished::Rax
    }

    fn park(mut self) -> Finished {
        let wait = self.wait.take().expect("a step that waits says for what");
        let asks = core::mem::take(&mut self.asks);
        let timer = self.timer.take();
        let interrupt = self.interrupt;
        let cancel = if interrupt.is_some() { asks.clone() } else { Vec::new() };
        self.thread_mut().run = Run::Waiting(Waiting { wait, asks, timer, interrupt });
        for ask in cancel {
            self.cx.cancel(ask.cookie);
        }
        Finished::Waits
    }

    fn drop_waits(&mut self) {
        for ask in core::mem::take(&mut self.asks) {
            self.cx.cancel(ask.cookie);
        }
        if let Some((deadline_ns, cookie)) = self.timer.take() {
            self.cx.disarm(deadline_ns, cookie);
        }
    }

    fn fetch_and_rerun(&mut self) -> Result<Finished, Errno> {
        let thread = self.thread_mut();
        thread.reruns += 1;
        if thread.reruns > crate::limits::RERUNS_MAX {
            return Err(Errno::EAGAIN);
        }
        let space = self.space()?;
        if self.leaf_or_wait(&FetchAbsent { space }, Wait::Rerun)?.is_some() {
            return Ok(Finished::Again);
        }
        let wait = self.wait.take().expect("a leaf that waits says for what");
        let asks = core::mem::take(&mut self.asks);
        let run = Run::Waiting(Waiting { wait, asks, timer: None, interrupt: None });
        self.thread_mut().run = run;
        Ok(Finished::Waits)
    }
}

/// Goes on with a call that waited.
pub(crate) fn resume_wait<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: Wait,
    tag: u32,
    result: AskResult,
) -> SysResult {
    match wait {
        Wait::Rerun => match result {
            Err(Errno::ECANCELED) => Err(Fail::Interrupted(Restart::Always)),
            Ok(_) if call.interrupt.is_some() => Err(Fail::Interrupted(Restart::Always)),
            Ok(_) => rerun_now(call),
            Err(errno) => Err(Fail::Errno(errno)),
        },
        Wait::Settle => Ok(Next::Resume),
        Wait::Fetched(wait) => resume_wait(call, *wait, tag, result),
        Wait::Files(wait) => files::resume(call, wait, tag, result),
        Wait::Exec(wait) => syscall::exec_resume(call, wait, result),
        Wait::Child => Err(Fail::Interrupted(Restart::Call)),
        Wait::Settled => Err(Fail::Interrupted(Restart::Always)),
        Wait::Signal => Err(Fail::Interrupted(Restart::NoHandler)),
        Wait::SignalOf(set) => crate::signal::wait_resume(call, set, result),
        Wait::Sleep(wait) => syscall::sleep_resume(call, wait, result),
        Wait::Futex { deadline_ns, timed_out } => {
            syscall::futex_resume(call, deadline_ns, timed_out, tag, result)
        }
        Wait::Sysv(wait) => syscall::sysv_resume(call, wait, tag, result),
        Wait::Woken => syscall::woken_resume(result),
        Wait::Vfork(pid) => syscall::vfork_resume(call, pid),
        Wait::MapFile(wait) => syscall::map_resume(call, wait, result),
        Wait::Peer(wait) => crate::cluster::peer_resume(call, wait, result),
        Wait::Move(bytes) => migrate::move_resume(call, bytes, result),
    }
}

/// Runs the call again from its start.
pub(crate) fn rerun_now<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let registers = call.thread().own.registers;
    call.args = registers.arguments();
    syscall::dispatch(call, registers.rax)
}

impl Progress {
    /// The deadline that an interrupted call keeps.
    pub(crate) fn deadline(progress: Option<Self>) -> Option<u64> {
        match progress {
            Some(Self::Deadline(deadline_ns)) => Some(deadline_ns),
            Some(Self::Bytes(_)) | None => None,
        }
    }
}
