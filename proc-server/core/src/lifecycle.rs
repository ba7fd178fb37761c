// SPDX-License-Identifier: MIT OR Apache-2.0
//! How threads and processes end, and how parents hear of it.
//!
//! # Model
//! A process ends when its last thread does. Its status goes to its parent, wherever that is; the
//! process stays as a zombie until the parent has waited for it. A process without a parent (its
//! parent ended, or the shell server made it) is reaped by proc-server at once.

use crate::ProcCore;
use crate::cluster::Fact;
use crate::entry::alarm_cookie;
use crate::files;
use crate::machine::Machine;
use crate::process::{ChildState, Phase, ProcessNo};
use crate::signal::{Info, number};
use crate::syscall::Wait;
use crate::thread::{Interrupt, Run};
use abi::linux::general::{
    CLD_CONTINUED, CLD_DUMPED, CLD_EXITED, CLD_KILLED, CLD_STOPPED, SA_NOCLDSTOP, SA_NOCLDWAIT,
};
use abi::{Errno, FileId, NodeId, Pid, ServerId, ThreadId};
use alloc::vec::Vec;
use fs_api::file::{Hold, Release};
use mem_api::{SpaceDestroy, ThreadRelease};
use proc_api::{EVENT_EXITED, Exited, Spawned};
use runtime::Cx;

/// A cookie that nobody waits for.
const FORGOTTEN: u64 = 1 << 60;

impl<M: Machine> ProcCore<M> {
    /// Releases a file at its server; nobody waits for the answer.
    pub fn release(&mut self, cx: &mut Cx<'_>, file: FileId, server: ServerId) {
        let cookie = self.forgotten_cookie();
        cx.ask_server(server, &Release { file }, cookie);
    }

    /// Tells the server of an open file that this node holds it once more.
    pub(crate) fn hold(&mut self, cx: &mut Cx<'_>, file: files::OpenFile) {
        let (cookie, node) = (self.forgotten_cookie(), self.node);
        cx.ask_server(file.server(), &Hold { file: file.file, node }, cookie);
    }

    /// A cookie for an ask whose answer nobody needs.
    pub(crate) fn forgotten_cookie(&mut self) -> u64 {
        self.cluster.forgotten += 1;
        FORGOTTEN | (self.cluster.forgotten & ((1 << 59) - 1))
    }

    /// Ends a process with this wait status: all its threads end as soon as they can.
    pub(crate) fn end_process(&mut self, cx: &mut Cx<'_>, no: ProcessNo, status: u32) {
        let Some(process) = self.processes.get_mut(no) else { return };
        match process.phase {
            Phase::Live | Phase::Exec(_) => {}
            Phase::Moving(number) => {
                process.phase = Phase::Ending(status);
                self.move_killed(cx, number);
            }
            Phase::Ending(_) | Phase::Zombie(_) => return,
        }
        let Some(process) = self.processes.get_mut(no) else { return };
        process.phase = Phase::Ending(status);
        process.own.stopped_by = 0;
        let threads = process.threads.clone();
        if threads.is_empty() {
            return self.process_gone(cx, no);
        }
        for id in threads {
            self.poke(cx, id, Interrupt::Signal);
        }
    }

    /// The end of a thread that settles.
    pub(crate) fn thread_ends(&mut self, cx: &mut Cx<'_>, id: ThreadId) {
        let Some(thread) = self.threads.remove(id) else { return };
        self.release_kernel_thread(cx, thread.slot);
        let no = thread.process;
        let Some(process) = self.processes.get_mut(no) else { return };
        process.threads.retain(|other| *other != id);
        if thread.own.tid != process.own.pid {
            self.pids.clear(thread.own.tid);
            self.free_pid(cx, thread.own.tid);
        }
        let Some(process) = self.processes.get_mut(no) else { return };
        match (process.threads.len(), &process.phase) {
            (0, _) => self.process_gone(cx, no),
            (1, Phase::Exec(by)) => {
                let by = *by;
                self.exec_is_alone(cx, by);
            }
            _ => {}
        }
    }

    /// Stops a thread's kernel objects and gives them back.
    pub(crate) fn release_kernel_thread(&mut self, cx: &mut Cx<'_>, slot: Option<u64>) {
        let Some(slot) = slot else { return };
        self.machine.stop(slot);
        if let Err(errno) = cx.leaf(&ThreadRelease { slot }) {
            self.machine.log(format_args!("a thread's objects at slot {slot} are lost: {errno}"));
        }
    }

    /// The last thread is gone.
    fn process_gone(&mut self, cx: &mut Cx<'_>, no: ProcessNo) {
        let Some(process) = self.processes.get_mut(no) else { return };
        let status = match process.phase {
            Phase::Ending(status) => status,
            Phase::Live | Phase::Exec(_) | Phase::Moving(_) => 0,
            Phase::Zombie(_) => return,
        };
        process.phase = Phase::Zombie(status);
        files::locks::end_all(self, cx, no);
        self.end_timers(cx, no);
        let Some(process) = self.processes.get_mut(no) else { return };
        let descriptors = process.own.files.remove_all();
        let space = process.space.take();
        let alarm = core::mem::take(&mut process.own.alarm);
        let vfork = process.vfork_parent.take();
        let spawn = process.spawn.take();
        let children = core::mem::take(&mut process.own.children);
        let (pid, watcher) = (process.own.pid, process.own.watcher);
        files::close_all(self, cx, descriptors);
        if let Some(space) = space
            && let Err(errno) = cx.leaf(&SpaceDestroy { space })
        {
            self.machine.log(format_args!("the memory of process {pid} is lost: {errno}"));
        }
        if alarm.deadline_ns != 0 {
            cx.disarm(alarm.deadline_ns, alarm_cookie(pid.get()));
        }
        if let Some(parent) = vfork {
            self.vfork_done(cx, parent);
        }
        if let Some(ticket) = spawn {
            cx.complete::<Spawned>(ticket, Err(Errno::ENOEXEC));
        }
        for (child, entry) in children {
            self.orphan(cx, child, entry.node, entry.state);
        }
        if watcher == cx.node().get() {
            self.watched_ended(cx, pid, status);
        } else if watcher != 0 {
            self.tell(cx, NodeId::new(watcher), &Fact::Watched { pid: pid.get(), status });
        }
        self.tell_parent(cx, no, ChildState::Ended(status));
    }

    /// A child whose parent has ended.
    fn orphan(&mut self, cx: &mut Cx<'_>, child: u32, node: NodeId, state: ChildState) {
        let fact = match state {
            ChildState::Ended(_) => Fact::Reaped { pid: child },
            ChildState::Running | ChildState::Stopped { .. } | ChildState::Continued => {
                Fact::Orphaned { pid: child }
            }
        };
        if node == cx.node() && self.pids.process(child).is_some() {
            self.learn(cx, fact);
        } else if matches!(fact, Fact::Reaped { .. }) {
            // A zombie does not move.
            self.tell(cx, Some(node), &fact);
        } else {
            self.tell_pid(cx, child, &fact);
        }
    }

    /// The parent of a process of this node has ended.
    pub(crate) fn orphaned(&mut self, cx: &mut Cx<'_>, pid: u32) {
        let Some(no) = self.pids.process(pid) else { return };
        let Some(process) = self.processes.get_mut(no) else { return };
        process.own.parent = 0;
        if matches!(process.phase, Phase::Zombie(_)) {
            return self.reap(cx, no);
        }
        let signal = process.own.parent_death_signal;
        if signal != 0 {
            self.signal_process(cx, no, Info::kernel(signal));
        }
        // A stopped group that nobody is left to continue.
        let stopped = self.processes.get(no).is_some_and(|process| process.is_stopped());
        if stopped && self.is_orphaned(no) {
            self.signal_process(cx, no, Info::kernel(number::HUP));
            self.signal_process(cx, no, Info::kernel(number::CONT));
        }
    }

    /// Tells the parent of a process how it stands.
    pub(crate) fn tell_parent(&mut self, cx: &mut Cx<'_>, no: ProcessNo, state: ChildState) {
        let Some(process) = self.processes.get(no) else { return };
        let own = &process.own;
        let fact = Fact::Child {
            parent: own.parent,
            pid: own.pid.get(),
            group: own.group,
            uid: own.ids.uid,
            state,
        };
        if own.parent == 0 {
            if matches!(state, ChildState::Ended(_)) {
                self.reap(cx, no);
            }
        } else if self.pids.process(own.parent).is_some() {
            self.learn(cx, fact);
        } else {
            self.tell_pid(cx, own.parent, &fact);
        }
    }

    /// A child of a process of this node changed its state.
    pub(crate) fn child_changed(
        &mut self,
        cx: &mut Cx<'_>,
        parent: ProcessNo,
        pid: u32,
        from: NodeId,
        state: ChildState,
    ) {
        let Some(process) = self.processes.get_mut(parent) else { return };
        let chld = process.own.actions.get(number::CHLD);
        let ignores = chld.handler == crate::signal::IGNORE;
        let Some(child) = process.own.children.get_mut(&pid) else { return };
        let Some(state) = news(child.state, state) else {
            if !matches!(child.state, ChildState::Ended(_)) {
                child.node = from;
            }
            return;
        };
        child.state = state;
        child.node = from;
        let (code, status, exit_signal) = describe(state, child.exit_signal);
        let info = Info::child(exit_signal, code, pid, child.uid, status);
        let ended = matches!(state, ChildState::Ended(_));
        let flags = chld.flags;
        let no_wait = ignores || flags & u64::from(SA_NOCLDWAIT) != 0;
        if ended && no_wait && exit_signal == number::CHLD {
            process.own.children.remove(&pid);
            self.orphan(cx, pid, from, state);
        }
        let quiet = !ended && flags & u64::from(SA_NOCLDSTOP) != 0;
        // Those that wait are not interrupted by what they wait for, but have the signal's handler behind
        // them when they return.
        let signals = exit_signal != 0 && !quiet;
        let given = signals && self.signal_waiter(parent, info);
        self.wake_waiters(cx, parent);
        if signals && !given {
            self.signal_process(cx, parent, info);
        }
    }

    fn waiters(&self, no: ProcessNo) -> Vec<ThreadId> {
        let Some(process) = self.processes.get(no) else { return Vec::new() };
        let waits = |id: &ThreadId| {
            let run = self.threads.get(*id).map(|thread| &thread.run);
            matches!(run, Some(Run::Waiting(waiting)) if matches!(waiting.wait, Wait::Child))
        };
        process.threads.iter().copied().filter(waits).collect()
    }

    /// Gives a signal to a thread that waits for a child and is about to be woken: it settles when its
    /// call ends or waits again. False: no such thread takes it.
    fn signal_waiter(&mut self, no: ProcessNo, info: Info) -> bool {
        let takes = |id: &ThreadId| {
            self.threads.get(*id).is_some_and(|thread| !thread.own.mask.has(info.signal))
        };
        let Some(id) = self.waiters(no).into_iter().find(takes) else { return false };
        let Some(process) = self.processes.get_mut(no) else { return false };
        let live = matches!(process.phase, Phase::Live);
        if info.signal != number::CHLD || !live || process.own.actions.ignores(info.signal) {
            return false;
        }
        // One that is pending already is enough.
        let _ = process.own.pending.add(info);
        if let Some(thread) = self.threads.get_mut(id) {
            thread.attention = true;
        }
        true
    }

    fn wake_waiters(&mut self, cx: &mut Cx<'_>, no: ProcessNo) {
        for id in self.waiters(no) {
            self.wake_rerun(cx, id);
        }
    }

    /// Forgets a zombie and frees its id.
    pub(crate) fn reap(&mut self, cx: &mut Cx<'_>, no: ProcessNo) {
        let zombie = |process: &crate::process::Process| matches!(process.phase, Phase::Zombie(_));
        if !self.processes.get(no).is_some_and(zombie) {
            return;
        }
        if let Some(process) = self.processes.remove(no) {
            self.pids.clear(process.own.pid);
            self.free_pid(cx, process.own.pid);
        }
    }

    /// Gives an id back to the home of its slot.
    pub(crate) fn free_pid(&mut self, cx: &mut Cx<'_>, pid: Pid) {
        let home = cx.view().home(pid.slot());
        if home == cx.node() {
            self.home.ended(pid);
        } else {
            self.tell(cx, Some(home), &Fact::Freed { pid: pid.get() });
        }
        self.arrival_ended(cx, pid);
    }

    /// A process has ended of which the shell server of this node wants to hear.
    pub(crate) fn watched_ended(&mut self, cx: &mut Cx<'_>, pid: Pid, status: u32) {
        if self.watched.remove(&pid.get()) {
            cx.raise(ServerId::Shell, EVENT_EXITED, &Exited { pid, status });
        }
    }
}

/// What a parent that knows `known` learns from `told`: how a child stands is told again when it may have
/// been lost on its way.
fn news(known: ChildState, told: ChildState) -> Option<ChildState> {
    use ChildState::{Continued, Ended, Running, Stopped};
    match (known, told) {
        (Ended(_), _) | (Running | Continued, Running | Continued) => None,
        (Stopped { signal, .. }, Stopped { signal: again, .. }) if signal == again => None,
        (Stopped { .. }, Running) => Some(Continued),
        (Running | Continued | Stopped { .. }, told) => Some(told),
    }
}

/// si_code, si_status and the signal of a child's new state.
fn describe(state: ChildState, exit_signal: u32) -> (i32, i32, u32) {
    let (code, status, signal) = match state {
        ChildState::Ended(status) if status & 0x7f == 0 => {
            (CLD_EXITED, status >> 8 & 0xff, exit_signal)
        }
        ChildState::Ended(status) if status & 0x80 != 0 => (CLD_DUMPED, status & 0x7f, exit_signal),
        ChildState::Ended(status) => (CLD_KILLED, status & 0x7f, exit_signal),
        ChildState::Stopped { signal, .. } => (CLD_STOPPED, signal, number::CHLD),
        ChildState::Continued | ChildState::Running => (CLD_CONTINUED, number::CONT, number::CHLD),
    };
    (code.cast_signed(), status.cast_signed(), signal)
}
