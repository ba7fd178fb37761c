// SPDX-License-Identifier: MIT OR Apache-2.0
//! clone(2), fork(2), vfork(2).
//!
//! vfork's child gets a copy-on-write copy of the memory, not the memory itself: its parent waits
//! for its exec or end all the same. A program that passes results through the shared memory is not
//! served by this; posix_spawn and the shells do not need it.

use super::call::copy_out;
use super::{Call, Next, SysResult, Wait};
use crate::ProcCore;
use crate::limits::THREADS_PER_PROCESS_MAX;
use crate::machine::{Machine, Registers};
use crate::pids::PidRow;
use crate::process::{Alarm, Child, ChildState, Phase, Process, ProcessNo, ProcessOwn};
use crate::signal::{Pending, number};
use crate::thread::{Run, ThreadOwn};
use crate::timers::Timers;
use abi::linux::general::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_PARENT_SETTID, CLONE_SETTLS, CLONE_SIGHAND,
    CLONE_THREAD, CLONE_VFORK, CLONE_VM,
};
use abi::{Errno, Pid, SpaceId, ThreadId};
use alloc::collections::BTreeMap;
use mem_api::{SpaceDestroy, SpaceFork, ThreadCreate};
use runtime::Cx;

/// What clone(2) was asked for.
struct Wanted {
    flags: u32,
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    tls: u64,
}

impl Wanted {
    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    fn exit_signal(&self) -> u32 {
        self.flags & 0xff
    }
}

/// fork(2).
pub fn fork<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let flags = number::CHLD;
    fork_process(call, &Wanted { flags, stack: 0, parent_tid: 0, child_tid: 0, tls: 0 })
}

/// vfork(2).
pub fn vfork<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let flags = number::CHLD | CLONE_VFORK | CLONE_VM;
    fork_process(call, &Wanted { flags, stack: 0, parent_tid: 0, child_tid: 0, tls: 0 })
}

/// clone(2).
pub fn clone<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [flags, stack, parent_tid, child_tid, tls, _] = call.args;
    let wanted = Wanted { flags: flags as u32, stack, parent_tid, child_tid, tls };
    if wanted.exit_signal() > number::MAX {
        return Err(Errno::EINVAL.into());
    }
    if wanted.has(CLONE_THREAD) {
        if !wanted.has(CLONE_VM) || !wanted.has(CLONE_SIGHAND) {
            return Err(Errno::EINVAL.into());
        }
        return new_thread(call, &wanted);
    }
    if wanted.has(CLONE_VM) && !wanted.has(CLONE_VFORK) {
        // Processes that share memory for good do not exist here.
        return Err(Errno::ENOSYS.into());
    }
    fork_process(call, &wanted)
}

fn child_registers(parent: &Registers, wanted: &Wanted) -> Registers {
    let mut registers = Registers { rax: 0, ..*parent };
    if wanted.stack != 0 {
        registers.rsp = wanted.stack;
    }
    if wanted.has(CLONE_SETTLS) {
        registers.fs_base = wanted.tls;
    }
    registers
}

fn new_thread<M: Machine>(call: &mut Call<'_, '_, M>, wanted: &Wanted) -> SysResult {
    if call.process().threads.len() >= THREADS_PER_PROCESS_MAX {
        return Err(Errno::EAGAIN.into());
    }
    let space = call.space()?;
    let Some(tid) = call.core.new_pid(call.cx)? else { return Ok(call.wait_settled()) };
    let made = make_thread(call, wanted, tid, space);
    if made.is_err() {
        call.core.home.put_back(tid);
    }
    let id = made?;
    call.core.pids.set(tid, PidRow::Thread(id));
    call.process_mut().threads.push(id);
    call.core.start(id);
    Ok(Next::Done(tid.get().into()))
}

fn make_thread<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wanted: &Wanted,
    tid: Pid,
    space: SpaceId,
) -> Result<ThreadId, Errno> {
    if wanted.has(CLONE_PARENT_SETTID) {
        call.write(wanted.parent_tid, &tid.get())?;
    }
    if wanted.has(CLONE_CHILD_SETTID) {
        call.write(wanted.child_tid, &tid.get())?;
    }
    let parent = &call.thread().own;
    let registers = child_registers(&parent.registers, wanted);
    let mut own = ThreadOwn::new(tid, registers, parent.mask);
    if wanted.has(CLONE_CHILD_CLEARTID) {
        own.clear_tid = wanted.child_tid;
    }
    let from = call.thread().slot;
    call.core.add_thread(call.cx, call.process, space, own, from)
}

fn fork_process<M: Machine>(call: &mut Call<'_, '_, M>, wanted: &Wanted) -> SysResult {
    let parent_space = call.space()?;
    let Some(pid) = call.core.new_pid(call.cx)? else { return Ok(call.wait_settled()) };
    match fork_with_pid(call, wanted, parent_space, pid) {
        Ok(Some(child)) => Ok(forked(call, wanted, pid, child)),
        Ok(None) => {
            call.core.home.put_back(pid);
            Ok(Next::Wait)
        }
        Err(errno) => {
            call.core.home.put_back(pid);
            Err(errno.into())
        }
    }
}

/// The child, complete but not started; `None`: the space cannot be copied yet, and the call waits.
fn fork_with_pid<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wanted: &Wanted,
    parent_space: SpaceId,
    pid: Pid,
) -> Result<Option<ThreadId>, Errno> {
    if wanted.has(CLONE_PARENT_SETTID) {
        call.write(wanted.parent_tid, &pid.get())?;
    }
    let fork = SpaceFork { space: parent_space };
    let Some(created) = call.leaf_or_wait(&fork, Wait::Rerun)? else { return Ok(None) };
    let made = make_child(call, wanted, created.space, pid);
    if made.is_err() {
        destroy(call.core, call.cx, created.space);
    }
    made.map(Some)
}

fn make_child<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wanted: &Wanted,
    space: SpaceId,
    pid: Pid,
) -> Result<ThreadId, Errno> {
    if wanted.has(CLONE_CHILD_SETTID) {
        copy_out(call.cx, space, wanted.child_tid, &pid.get().to_le_bytes())?;
    }
    let started_ns = call.core.wall_ns(call.cx);
    let own = child_own(call.process(), pid, wanted.exit_signal(), started_ns);
    let parent = &call.thread().own;
    let mut thread = ThreadOwn::new(pid, child_registers(&parent.registers, wanted), parent.mask);
    thread.alt_stack = parent.alt_stack;
    if wanted.has(CLONE_CHILD_CLEARTID) {
        thread.clear_tid = wanted.child_tid;
    }
    let from = call.thread().slot;
    let no = call.core.processes.add(own)?;
    match call.core.add_thread(call.cx, no, space, thread, from) {
        Ok(id) => {
            if let Some(process) = call.core.processes.get_mut(no) {
                process.space = Some(space);
                process.threads.push(id);
            }
            Ok(id)
        }
        Err(errno) => {
            call.core.processes.remove(no);
            Err(errno)
        }
    }
}

/// What a child gets from its parent.
fn child_own(parent: &Process, pid: Pid, exit_signal: u32, started_ns: u64) -> ProcessOwn {
    let mut files = parent.own.files.clone();
    files.forget_undos();
    ProcessOwn {
        files,
        pid,
        parent: parent.own.pid.get(),
        pending: Pending::default(),
        children: BTreeMap::new(),
        exit_signal,
        alarm: Alarm::default(),
        timers: Timers::default(),
        executed: false,
        started_ns,
        parent_death_signal: 0,
        watcher: 0,
        stopped_by: 0,
        moves: 0,
        has_locks: false,
        ..parent.own.clone()
    }
}

fn forked<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wanted: &Wanted,
    pid: Pid,
    child: ThreadId,
) -> Next {
    let node = call.core.node;
    let process = call.process_mut();
    let entry = Child {
        group: process.own.group,
        state: ChildState::Running,
        node,
        exit_signal: wanted.exit_signal(),
        uid: process.own.ids.uid,
    };
    process.own.children.insert(pid.get(), entry);
    let core = &mut *call.core;
    core.forks += 1;
    let no = core.threads.get(child).map(|thread| thread.process);
    if let Some(process) = no.and_then(|no| core.processes.get_mut(no)) {
        core.pids.set(pid, PidRow::Process(process.no));
        let held = core.holders.add_table(&process.own.files);
        if wanted.has(CLONE_VFORK) {
            process.vfork_parent = Some(call.thread);
        }
        for file in held {
            core.hold(call.cx, file);
        }
    }
    core.start(child);
    if wanted.has(CLONE_VFORK) {
        return call.keep_waiting(Wait::Vfork(pid.get()));
    }
    Next::Done(pid.get().into())
}

fn destroy<M: Machine>(core: &mut ProcCore<M>, cx: &mut Cx<'_>, space: SpaceId) {
    if let Err(errno) = cx.leaf(&SpaceDestroy { space }) {
        core.machine.log(format_args!("a space is lost: {errno}"));
    }
}

/// Goes on with vfork(2): only an end of the waiting brings it here, nothing interrupts it but the
/// parent's own end, which settles it.
pub(crate) fn vfork_resume<M: Machine>(call: &mut Call<'_, '_, M>, pid: u32) -> SysResult {
    let waits = call.core.pids.process(pid).and_then(|no| call.core.processes.get(no));
    let me = call.thread;
    let ends = !matches!(call.process().phase, Phase::Live);
    if waits.is_some_and(|child| child.vfork_parent == Some(me)) && !ends {
        return Ok(call.keep_waiting(Wait::Vfork(pid)));
    }
    Ok(Next::Done(pid.into()))
}

impl<M: Machine> ProcCore<M> {
    /// Makes a thread with kernel objects in `space` and the FPU state of the thread at `from`.
    ///
    /// # Errors
    /// EAGAIN, ENOMEM.
    pub(crate) fn add_thread(
        &mut self,
        cx: &mut Cx<'_>,
        process: ProcessNo,
        space: SpaceId,
        own: ThreadOwn,
        from: Option<u64>,
    ) -> Result<ThreadId, Errno> {
        let core = self.choose_core();
        let slot = cx.leaf(&ThreadCreate { space })?.slot;
        let id = match self.threads.add(process, core, own) {
            Ok(id) => id,
            Err(errno) => {
                self.release_kernel_thread(cx, Some(slot));
                return Err(errno);
            }
        };
        if let Err(errno) = self.machine.configure(id, slot, core) {
            self.threads.remove(id);
            self.release_kernel_thread(cx, Some(slot));
            return Err(errno);
        }
        if let Some(from) = from {
            let fpu = self.machine.read_fpu(from);
            self.machine.write_fpu(slot, &fpu);
        }
        if let Some(thread) = self.threads.get_mut(id) {
            thread.slot = Some(slot);
        }
        Ok(id)
    }

    /// Lets a new thread run.
    pub(crate) fn start(&mut self, id: ThreadId) {
        let Some(thread) = self.threads.get_mut(id) else { return };
        let Some(slot) = thread.slot else { return };
        thread.run = Run::User;
        self.machine.resume(slot, &thread.own.registers);
    }

    /// The child of a vfork(2) has made its exec, or has ended.
    pub(crate) fn vfork_done(&mut self, cx: &mut Cx<'_>, parent: ThreadId) {
        let empty = runtime::NodeReply { msg: runtime::Msg::default(), bulk: alloc::vec![] };
        self.go_on(cx, parent, 0, Ok(empty));
    }
}
