// SPDX-License-Identifier: MIT OR Apache-2.0
//! The new program takes the place of the old one, when all other threads have ended.

use super::super::{Call, Fail, Next, SysResult, Wait};
use super::{Built, C, ExecWait, Stage};
use crate::ProcCore;
use crate::files;
use crate::machine::Machine;
use crate::process::{Phase, ProcessOwn};
use crate::thread::{AltStack, Interrupt, Restart, Run};
use abi::{SpaceId, ThreadId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use mem_api::{SpaceDestroy, ThreadRelease};
use proc_api::Spawned;
use runtime::{Cx, NodeReply};

pub(super) fn alone<M: Machine>(
    call: C<'_, '_, '_, M>,
    exec: Box<ExecWait>,
    built: Built,
) -> SysResult {
    let me = call.thread;
    if call.process().phase != Phase::Exec(me) {
        // The process ends meanwhile.
        discard(call, &built);
        return Err(Fail::Interrupted(Restart::Always));
    }
    if call.process().threads.len() > 1 {
        let exec = Box::new(ExecWait { stage: Stage::Alone(built), ..*exec });
        return Ok(call.keep_waiting(Wait::Exec(exec)));
    }
    swap(call, exec, built)
}

fn discard<M: Machine>(call: C<'_, '_, '_, M>, built: &Built) {
    if let Err(errno) = call.cx.leaf(&ThreadRelease { slot: built.slot }) {
        call.core.machine.log(format_args!("a thread's objects are lost: {errno}"));
    }
    destroy(call.core, call.cx, built.space);
}

pub(super) fn destroy<M: Machine>(core: &mut ProcCore<M>, cx: &mut Cx<'_>, space: SpaceId) {
    if let Err(errno) = cx.leaf(&SpaceDestroy { space }) {
        core.machine.log(format_args!("a space is lost: {errno}"));
    }
}

/// The thread runs the new program from here on.
pub(super) fn swap<M: Machine>(
    call: C<'_, '_, '_, M>,
    exec: Box<ExecWait>,
    built: Built,
) -> SysResult {
    let core = call.thread().core;
    if let Err(errno) = call.core.machine.configure(call.thread, built.slot, core) {
        call.process_mut().phase = Phase::Live;
        discard(call, &built);
        return Err(errno.into());
    }
    let old_slot = call.thread_mut().slot.replace(built.slot);
    call.core.release_kernel_thread(call.cx, old_slot);
    call.core.end_timers(call.cx, call.process);
    let process = call.process_mut();
    process.phase = Phase::Live;
    let old_space = process.space.replace(built.space);
    let vfork = process.vfork_parent.take();
    let spawn = process.spawn.take();
    new_program(&mut process.own, &exec, &built);
    let name = if exec.program == exec.path { &exec.given } else { &exec.path };
    process.set_name(name);
    let pid = process.own.pid;
    let closing = process.own.files.remove_close_on_exec();
    for descriptor in &closing {
        files::locks::closing(call.core, call.cx, call.process, descriptor);
    }
    files::close_all(call.core, call.cx, closing);
    if let Some(space) = old_space {
        destroy(call.core, call.cx, space);
    }
    let thread = call.thread_mut();
    let old_tid = core::mem::replace(&mut thread.own.tid, pid);
    thread.own.registers = built.registers;
    thread.own.alt_stack = AltStack::default();
    thread.own.clear_tid = 0;
    thread.own.robust_list = 0;
    if old_tid != pid {
        call.core.pids.clear(old_tid);
        call.core.free_pid(call.cx, old_tid);
    }
    if let Some(parent) = vfork {
        call.core.vfork_done(call.cx, parent);
    }
    if let Some(ticket) = spawn {
        call.cx.complete(ticket, Ok(Spawned { pid }));
    }
    Ok(Next::Resume)
}

fn new_program(own: &mut ProcessOwn, exec: &ExecWait, built: &Built) {
    own.actions.reset_for_exec();
    own.heap = (built.heap, built.heap);
    own.arguments = built.arguments;
    own.environment = built.environment;
    own.program.clone_from(&exec.program);
    own.executed = true;
}

impl<M: Machine> Call<'_, '_, M> {
    pub(super) fn interrupt_all(&mut self, threads: &[ThreadId]) {
        for id in threads {
            self.core.poke(self.cx, *id, Interrupt::Signal);
        }
    }
}

impl<M: Machine> ProcCore<M> {
    /// The other threads of a process have ended: its exec goes on. If it is not waiting yet it
    /// looks for itself.
    pub(crate) fn exec_is_alone(&mut self, cx: &mut Cx<'_>, by: ThreadId) {
        let waits = self.threads.get(by).is_some_and(|t| matches!(t.run, Run::Waiting(_)));
        if waits {
            let empty = NodeReply { msg: runtime::Msg::default(), bulk: Vec::new() };
            self.go_on(cx, by, 0, Ok(empty));
        }
    }
}
