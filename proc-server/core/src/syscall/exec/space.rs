// SPDX-License-Identifier: MIT OR Apache-2.0
//! The new program's space, with everything in it.

use super::super::{Next, SysResult, Wait, copy_out};
use super::file::{read_object, release_both};
use super::swap::{alone, destroy, swap};
use super::{Built, C, ExecWait, Loaded, Stage};
use crate::elf::{INTERPRETER_BASE, LoadPlan, PIE_BASE};
use crate::limits::STACK_BYTES;
use crate::machine::{Machine, Registers};
use crate::process::Phase;
use crate::stack::{InitialStack, Start};
use abi::limits::{PAGE_BYTES, USER_TOP};
use abi::{Errno, ObjectId, SpaceId, ThreadId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use mem_api::{Backing, Map, ObjectFetch, Protection, SpaceCreate, ThreadCreate};
use runtime::Cx;

/// Highest address of the stack: a page stays free above it.
const STACK_TOP: u64 = USER_TOP - PAGE_BYTES as u64;

/// Builds the new space with everything in it.
pub(super) fn build<M: Machine>(
    call: C<'_, '_, '_, M>,
    exec: Box<ExecWait>,
    main: Loaded,
    interpreter: Option<Loaded>,
) -> SysResult {
    let held = interpreter.as_ref().map(|other| other.object);
    match absent_tail(call.cx, &main, interpreter.as_ref()) {
        Ok(None) => {}
        Ok(Some(fetch)) => return fetch_tail(call, exec, &fetch, main, interpreter),
        Err(errno) => {
            release_both(call, main.object, held);
            return Err(errno.into());
        }
    }
    let built = build_space(call, &exec, &main, interpreter.as_ref());
    release_both(call, main.object, held);
    let built = built?;
    let me = call.thread;
    let process = call.process_mut();
    process.phase = Phase::Exec(me);
    let others: Vec<ThreadId> =
        process.threads.iter().copied().filter(|other| *other != me).collect();
    if others.is_empty() {
        return swap(call, exec, built);
    }
    call.interrupt_all(&others);
    // Those that could be stopped at once are gone already.
    alone(call, exec, built)
}

/// A page that [`map_plan`] will write into, and that rests on another node: how to fetch it.
fn absent_tail(
    cx: &mut Cx<'_>,
    main: &Loaded,
    interpreter: Option<&Loaded>,
) -> Result<Option<ObjectFetch>, Errno> {
    for (loaded, base) in
        [(Some(main), PIE_BASE), (interpreter, INTERPRETER_BASE)].into_iter().filter_map(|it| {
            let (loaded, base) = it;
            Some((loaded?, base))
        })
    {
        let object = loaded.object;
        for segment in &loaded.image.plan(base)?.segments {
            let (Some((range, first)), Some(zero)) = (&segment.file, &segment.zero) else {
                continue;
            };
            let offset = first + (zero.start - range.start);
            match read_object(cx, object, offset, &mut [0]) {
                Ok(()) => {}
                Err(Errno::ERESTART) => {
                    let access = mem_api::Access::Read;
                    return Ok(Some(ObjectFetch { object, offset, access }));
                }
                Err(errno) => return Err(errno),
            }
        }
    }
    Ok(None)
}

fn fetch_tail<M: Machine>(
    call: C<'_, '_, '_, M>,
    mut exec: Box<ExecWait>,
    fetch: &ObjectFetch,
    main: Loaded,
    interpreter: Option<Loaded>,
) -> SysResult {
    let (object, other) = (main.object, interpreter.as_ref().map(|other| other.object));
    exec.stage = Stage::Tail { main, interpreter };
    let errno = match call.leaf_or_wait(fetch, Wait::Exec(exec)) {
        Ok(None) => return Ok(Next::Wait),
        // It came and went again: the program may try once more.
        Ok(Some(())) => Errno::EAGAIN,
        Err(errno) => errno,
    };
    release_both(call, object, other);
    Err(errno.into())
}

fn build_space<M: Machine>(
    call: C<'_, '_, '_, M>,
    exec: &ExecWait,
    main: &Loaded,
    interpreter: Option<&Loaded>,
) -> Result<Built, Errno> {
    let plan = main.image.plan(PIE_BASE)?;
    let under = interpreter.map(|other| other.image.plan(INTERPRETER_BASE)).transpose()?;
    let mut random = [0; 16];
    call.core.machine.random(&mut random);
    let ids = call.process().own.ids;
    let start = Start {
        top: STACK_TOP,
        arguments: &exec.arguments,
        environment: &exec.environment,
        path: exec.given.as_bytes(),
        program: &plan,
        interpreter_base: under.as_ref().map_or(0, |_| INTERPRETER_BASE),
        uid: ids.uid,
        gid: ids.gid,
        hardware: call.core.machine.cpu_features(),
        random,
    };
    let stack = start.build()?;
    let space = call.cx.leaf(&SpaceCreate {})?.space;
    let filled = fill(call.cx, space, main, &plan, interpreter, under.as_ref(), &stack);
    match filled.and_then(|()| call.cx.leaf(&ThreadCreate { space })) {
        Ok(created) => {
            let entry = under.as_ref().map_or(plan.entry, |under| under.entry);
            let (arguments, environment) = argument_ranges(&stack, exec);
            Ok(Built {
                space,
                slot: created.slot,
                registers: Registers {
                    rip: entry,
                    rsp: stack.rsp,
                    rflags: 0x202,
                    ..Registers::default()
                },
                heap: plan.end,
                arguments,
                environment,
            })
        }
        Err(errno) => {
            destroy(call.core, call.cx, space);
            Err(errno)
        }
    }
}

fn fill(
    cx: &mut Cx<'_>,
    space: SpaceId,
    main: &Loaded,
    plan: &LoadPlan,
    interpreter: Option<&Loaded>,
    under: Option<&LoadPlan>,
    stack: &InitialStack,
) -> Result<(), Errno> {
    map_plan(cx, space, main.object, plan)?;
    if let (Some(interpreter), Some(under)) = (interpreter, under) {
        map_plan(cx, space, interpreter.object, under)?;
    }
    let execute = main.image.stack_execute;
    cx.leaf(&Map {
        space,
        addr: STACK_TOP - STACK_BYTES,
        len: STACK_BYTES,
        protection: Protection { read: true, write: true, execute },
        backing: Backing::Anonymous,
        shared: false,
        fixed: true,
        no_replace: false,
        grows_down: true,
    })?;
    copy_out(cx, space, stack.rsp, &stack.bytes)
}

fn map_plan(
    cx: &mut Cx<'_>,
    space: SpaceId,
    object: ObjectId,
    plan: &LoadPlan,
) -> Result<(), Errno> {
    for segment in &plan.segments {
        let map = |addr, len, backing| Map {
            space,
            addr,
            len,
            protection: segment.protection,
            backing,
            shared: false,
            fixed: true,
            no_replace: false,
            grows_down: false,
        };
        if let Some((range, offset)) = &segment.file {
            let backing = Backing::Object { object, offset: *offset };
            cx.leaf(&map(range.start, range.end - range.start, backing))?;
        }
        if let Some(range) = &segment.anonymous {
            cx.leaf(&map(range.start, range.end - range.start, Backing::Anonymous))?;
        }
        if let Some(range) = &segment.zero {
            let zeroes = alloc::vec![0; (range.end - range.start) as usize];
            copy_out(cx, space, range.start, &zeroes)?;
        }
    }
    Ok(())
}

/// Where the strings of arguments and environment stand: the stack ends with them, the path and
/// eight zeroes.
fn argument_ranges(stack: &InitialStack, exec: &ExecWait) -> ((u64, u64), (u64, u64)) {
    const TOP_BYTES: u64 = 8;
    let bytes = |strings: &crate::strings::Strings| strings.bytes() as u64;
    let end = stack.rsp + stack.bytes.len() as u64 - TOP_BYTES;
    let environment_end = end - (exec.given.len() as u64 + 1);
    let environment_start = environment_end - bytes(&exec.environment);
    let arguments_start = environment_start - bytes(&exec.arguments);
    ((arguments_start, environment_start), (environment_start, environment_end))
}
