// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending signals to threads, processes and groups of this node; stopping and continuing.

use super::{Info, SignalSet, number};
use crate::ProcCore;
use crate::files::Wait as FileWait;
use crate::machine::Machine;
use crate::process::{ChildState, Phase, ProcessNo};
use crate::syscall::{Wait, wait_status_signal};
use crate::thread::{Interrupt, Run};
use abi::{Errno, ThreadId};
use alloc::vec::Vec;
pub(crate) use proc_api::peer::Target;
use runtime::Cx;

impl<M: Machine> ProcCore<M> {
    /// Sends a signal to what of the target is on this node; how many processes that is. Signal 0
    /// only counts.
    pub(crate) fn signal_here(&mut self, cx: &mut Cx<'_>, target: Target, info: Info) -> u32 {
        let is_member = |own: &crate::process::ProcessOwn| match target {
            Target::Process(pid) => own.pid.get() == pid,
            Target::Group(group) => own.group == group,
            Target::All(sender) => own.pid.get() != sender,
            Target::Thread(..) => false,
        };
        if let Target::Process(pid) = target {
            // The common case needs no search.
            let Some(no) = self.pids.process(pid) else { return 0 };
            self.signal_process(cx, no, info);
            return 1;
        }
        if let Target::Thread(tid, pid) = target {
            return u32::from(self.signal_thread_id(cx, tid, pid, info));
        }
        let members = self.processes.iter().filter(|process| is_member(&process.own));
        let members: Vec<ProcessNo> = members.map(|process| process.no).collect();
        for no in &members {
            self.signal_process(cx, *no, info);
        }
        members.len() as u32
    }

    /// Sends a signal to a process of this node.
    pub(crate) fn signal_process(&mut self, cx: &mut Cx<'_>, no: ProcessNo, info: Info) {
        let Some(process) = self.processes.get(no) else { return };
        if info.signal == 0 || matches!(process.phase, Phase::Ending(_) | Phase::Zombie(_)) {
            return;
        }
        if self.keep_signal(no, None, info) {
            return;
        }
        if info.signal == number::KILL {
            return self.end_process(cx, no, wait_status_signal(number::KILL, false));
        }
        self.before_signal(cx, no, info.signal);
        let Some(process) = self.processes.get(no) else { return };
        let threads = process.threads.clone();
        let ignored = process.own.actions.ignores(info.signal);
        let blocked = threads.iter().all(|id| self.blocks(*id, info.signal));
        if ignored && !blocked {
            return;
        }
        let Some(process) = self.processes.get_mut(no) else { return };
        // Full: a real-time signal that the program was told of by EAGAIN, or the system's own.
        let _ = process.own.pending.add(info);
        let moving = matches!(process.phase, Phase::Moving(_));
        if let Some(id) = threads.iter().copied().find(|id| self.takes(*id, info.signal))
            && !moving
        {
            self.poke(cx, id, Interrupt::Signal);
        }
    }

    /// Sends a signal to one thread.
    pub(crate) fn signal_thread(&mut self, cx: &mut Cx<'_>, id: ThreadId, info: Info) {
        let Some(thread) = self.threads.get(id) else { return };
        let (no, tid) = (thread.process, thread.own.tid.get());
        if info.signal == 0 || self.keep_signal(no, Some(tid), info) {
            return;
        }
        if info.signal == number::KILL {
            return self.end_process(cx, no, wait_status_signal(number::KILL, false));
        }
        self.before_signal(cx, no, info.signal);
        let ignored =
            self.processes.get(no).is_some_and(|process| process.own.actions.ignores(info.signal));
        let takes = self.takes(id, info.signal);
        let blocks = self.blocks(id, info.signal);
        let Some(thread) = self.threads.get_mut(id) else { return };
        if ignored && !blocks {
            return;
        }
        let _ = thread.own.pending.add(info);
        if takes {
            self.poke(cx, id, Interrupt::Signal);
        }
    }

    fn signal_thread_id(&mut self, cx: &mut Cx<'_>, tid: u32, pid: u32, info: Info) -> bool {
        let Some(id) = self.thread_by_tid(tid) else { return false };
        let of = self.threads.get(id).and_then(|thread| self.processes.get(thread.process));
        let Some(process) = of else { return false };
        if pid != 0 && process.own.pid.get() != pid {
            return false;
        }
        self.signal_thread(cx, id, info);
        true
    }

    /// The thread with this id, if it is here.
    pub(crate) fn thread_by_tid(&self, tid: u32) -> Option<ThreadId> {
        match self.pids.get(tid)? {
            crate::pids::PidRow::Thread(id) => Some(id),
            crate::pids::PidRow::Process(no) => self
                .processes
                .get(no)?
                .threads
                .iter()
                .copied()
                .find(|id| self.threads.get(*id).is_some_and(|t| t.own.tid.get() == tid)),
        }
    }

    fn blocks(&self, id: ThreadId, signal: u32) -> bool {
        self.threads.get(id).is_none_or(|thread| thread.own.mask.has(signal))
    }

    /// Whether a thread would look at this signal now.
    fn takes(&self, id: ThreadId, signal: u32) -> bool {
        let Some(thread) = self.threads.get(id) else { return false };
        let waits_for = match &thread.run {
            Run::Waiting(waiting) => match waiting.wait {
                Wait::SignalOf(set) => set.has(signal),
                Wait::Files(FileWait::SignalRead(ref reading)) => reading.set().has(signal),
                Wait::Files(FileWait::Poll(ref poll)) => poll.signals().has(signal),
                _ => false,
            },
            Run::User | Run::Handling | Run::Faulting { .. } | Run::Held | Run::Fenced(_) => false,
        };
        waits_for || !thread.own.mask.has(signal)
    }

    /// Stop signals and SIGCONT undo each other as soon as they are sent.
    fn before_signal(&mut self, cx: &mut Cx<'_>, no: ProcessNo, signal: u32) {
        let undone = if signal == number::CONT {
            SignalSet::STOPPING
        } else if SignalSet::STOPPING.has(signal) {
            SignalSet::of(&[number::CONT])
        } else {
            return;
        };
        let Some(process) = self.processes.get_mut(no) else { return };
        process.own.pending.remove(undone);
        for id in process.threads.clone() {
            if let Some(thread) = self.threads.get_mut(id) {
                thread.own.pending.remove(undone);
            }
        }
        if signal == number::CONT {
            self.continue_process(cx, no);
        }
    }

    /// Stops a process: job control.
    pub(crate) fn stop_process(&mut self, cx: &mut Cx<'_>, no: ProcessNo, signal: u32) {
        let Some(process) = self.processes.get_mut(no) else { return };
        if process.is_stopped() {
            return;
        }
        process.own.stopped_by = signal;
        for id in process.threads.clone() {
            self.poke(cx, id, Interrupt::Signal);
        }
        self.tell_parent(cx, no, ChildState::Stopped { signal, seen: false });
    }

    /// Continues a stopped process.
    pub(crate) fn continue_process(&mut self, cx: &mut Cx<'_>, no: ProcessNo) {
        let Some(process) = self.processes.get_mut(no) else { return };
        if !process.is_stopped() {
            return;
        }
        process.own.stopped_by = 0;
        let moving = matches!(process.phase, Phase::Moving(_));
        let threads = process.threads.clone();
        self.tell_parent(cx, no, ChildState::Continued);
        if !moving {
            for id in threads {
                self.poke(cx, id, Interrupt::Signal);
            }
        }
    }

    /// Whether no member of the process's group has a parent outside of the group and inside of its
    /// session: then nobody would continue it. Looks at this node only: a parent elsewhere counts as
    /// one that would.
    pub(crate) fn is_orphaned(&self, no: ProcessNo) -> bool {
        let Some(process) = self.processes.get(no) else { return true };
        let (group, session) = (process.own.group, process.own.session);
        let members = self.processes.iter().filter(|other| other.own.group == group);
        !members.into_iter().any(|member| match member.own.parent {
            0 => false,
            parent => self
                .pids
                .process(parent)
                .and_then(|no| self.processes.get(no))
                .is_none_or(|parent| parent.own.group != group && parent.own.session == session),
        })
    }

    /// Checks a signal's number: 0 to 64.
    pub(crate) fn check_signal(number: u64) -> Result<u32, Errno> {
        let signal = number as u32;
        if signal <= number::MAX { Ok(signal) } else { Err(Errno::EINVAL) }
    }
}
