// SPDX-License-Identifier: MIT OR Apache-2.0
//! execve(2).
//!
//! # Model
//! ```text
//! arguments --> Open --> Stat --> Object --> head of the file:
//!     "#!": the interpreter and its argument in front; Open again (at most SCRIPTS_MAX times)
//!     ELF with PT_INTERP: keep the program, Open its interpreter
//!     ELF: a new space with everything in it --> Alone (all other threads end) --> swap
//! ```
//! Until the swap nothing of the old program is touched, so every failure is an error of the call.

use super::{AskResult, Call, Fail, Next, SysResult, Wait, copy_out};
use crate::ProcCore;
use crate::elf::{HEAD_BYTES, INTERPRETER_BASE, Image, LoadPlan, PIE_BASE};
use crate::files::{self, Directory, OpenFile};
use crate::limits::{SCRIPTS_MAX, STACK_BYTES};
use crate::machine::{Machine, Registers};
use crate::process::{Phase, ProcessOwn};
use crate::stack::{ARGUMENT_BYTES_MAX, InitialStack, Start};
use crate::thread::{AltStack, Interrupt, Restart, Run};
use abi::limits::{PAGE_BYTES, USER_TOP};
use abi::linux::general::{O_CLOEXEC, O_RDONLY};
use abi::{Errno, InodeId, ObjectId, SpaceId, ThreadId};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::file::{FileObject, FileStat, ObjectOf, Stat};
use fs_api::name::{At, Enter, Named, Open, Opened, PathOf, Text};
use mem_api::{
    Backing, Map, ObjectFetch, ObjectRead, ObjectRelease, Protection, SpaceCreate, SpaceDestroy,
    ThreadCreate, ThreadRelease,
};
use proc_api::Spawned;
use runtime::{Bulk, Cx, NodeReply, Operation, Wire};

/// Highest address of the stack: a page stays free above it.
const STACK_TOP: u64 = USER_TOP - PAGE_BYTES as u64;
/// Bytes of the first line of a script that count, as on Linux.
const SCRIPT_LINE_BYTES: usize = 256;
/// Bytes of one argument, as on Linux.
const ARGUMENT_MAX: usize = 32 * PAGE_BYTES;
const TYPE_MASK: u32 = 0o170_000;
const TYPE_REGULAR: u32 = 0o100_000;

/// A file to execute, its object held.
#[derive(Debug)]
struct Loaded {
    object: ObjectId,
    image: Image,
}

/// What the next answer is.
#[derive(Debug)]
enum Stage {
    /// The directory of a new session.
    Enter,
    /// The absolute path of the working directory.
    Directory,
    /// The open file.
    Open,
    /// Its mode.
    Stat(OpenFile),
    /// The object behind it.
    Object(OpenFile),
    /// A page of the object is here now.
    Head { object: ObjectId, size: u64 },
    /// A page of a file, of which a part must be zeroed, is here now.
    Tail { main: Loaded, interpreter: Option<Loaded> },
    /// All other threads have ended.
    Alone(Built),
}

/// The new program, complete.
#[derive(Debug)]
struct Built {
    space: SpaceId,
    slot: u64,
    registers: Registers,
    heap: u64,
    arguments: (u64, u64),
    environment: (u64, u64),
}

/// An execve(2) under way.
#[derive(Debug)]
pub struct ExecWait {
    stage: Stage,
    /// The file that is being opened.
    path: String,
    /// The path as it was given: AT_EXECFN.
    given: String,
    /// The absolute path of the program: /proc/PID/exe.
    program: String,
    arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
    scripts: u32,
    /// The program, while its interpreter is being opened.
    main: Option<Loaded>,
}

type C<'a, 'b, 'c, M> = &'a mut Call<'b, 'c, M>;

/// execve(2).
pub fn execve<M: Machine>(call: C<'_, '_, '_, M>) -> SysResult {
    let [path, arguments, environment, ..] = call.args;
    let path = call.string(path)?;
    if path.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let mut left = ARGUMENT_BYTES_MAX;
    let arguments = strings(call, arguments, &mut left)?;
    let environment = strings(call, environment, &mut left)?;
    start(call, path, arguments, environment)
}

/// The first program of a new session, in its directory.
pub(crate) fn first_exec<M: Machine>(
    call: C<'_, '_, '_, M>,
    path: String,
    arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
    directory: String,
) -> SysResult {
    if directory == "/" || directory.is_empty() {
        let outcome = start(call, path, arguments, environment);
        return ended(call, outcome);
    }
    let at = At { dir: None, path: directory, who: call.credentials() };
    let exec = Box::new(ExecWait {
        stage: Stage::Enter,
        given: path.clone(),
        program: path.clone(),
        path,
        arguments,
        environment,
        scripts: 0,
        main: None,
    });
    Ok(call.ask(&Enter { at }, Wait::Exec(exec)))
}

/// Begins to execute `path`.
pub(crate) fn start<M: Machine>(
    call: C<'_, '_, '_, M>,
    path: String,
    mut arguments: Vec<Vec<u8>>,
    environment: Vec<Vec<u8>>,
) -> SysResult {
    if call.process().phase != Phase::Live {
        // Another thread executes something: this one ends soon.
        return Err(Fail::Interrupted(Restart::Always));
    }
    if arguments.is_empty() {
        // As Linux does since 5.18.
        arguments.push(Vec::new());
    }
    let exec = Box::new(ExecWait {
        stage: Stage::Open,
        given: path.clone(),
        program: path.clone(),
        path,
        arguments,
        environment,
        scripts: 0,
        main: None,
    });
    if exec.path.starts_with('/') {
        return open(call, exec);
    }
    match call.process().own.directory.clone() {
        Directory::Elsewhere(base) => {
            let program = files::absolute(&base, &exec.path);
            open(call, Box::new(ExecWait { program, ..*exec }))
        }
        Directory::Tree(None) => {
            let program = files::absolute("/", &exec.path);
            open(call, Box::new(ExecWait { program, ..*exec }))
        }
        Directory::Tree(Some(inode)) => {
            let exec = Box::new(ExecWait { stage: Stage::Directory, ..*exec });
            Ok(call.ask(&PathOf { inode }, Wait::Exec(exec)))
        }
    }
}

/// The strings that an array of pointers names.
fn strings<M: Machine>(
    call: C<'_, '_, '_, M>,
    mut at: u64,
    left: &mut usize,
) -> Result<Vec<Vec<u8>>, Errno> {
    let mut out = Vec::new();
    if at == 0 {
        return Ok(out);
    }
    loop {
        let pointer = call.read::<u64>(at)?;
        if pointer == 0 {
            return Ok(out);
        }
        let string = call
            .zero_ended(pointer, (*left).min(ARGUMENT_MAX))
            .map_err(|errno| if errno == Errno::ENAMETOOLONG { Errno::E2BIG } else { errno })?;
        *left = left.checked_sub(string.len() + 1 + 8).ok_or(Errno::E2BIG)?;
        out.push(string);
        at = at.checked_add(8).ok_or(Errno::EFAULT)?;
    }
}

fn open<M: Machine>(call: C<'_, '_, '_, M>, mut exec: Box<ExecWait>) -> SysResult {
    let (dir, path) = call.process().own.directory.start(&exec.path);
    let at = At { dir, path, who: call.credentials() };
    exec.stage = Stage::Open;
    Ok(call.ask(&Open { at, flags: O_RDONLY | O_CLOEXEC, mode: 0 }, Wait::Exec(exec)))
}

/// Goes on with execve(2). A failure of the shell server's first exec ends the new process.
pub(crate) fn exec_resume<M: Machine>(
    call: C<'_, '_, '_, M>,
    mut exec: Box<ExecWait>,
    result: AskResult,
) -> SysResult {
    let stage = core::mem::replace(&mut exec.stage, Stage::Open);
    let mut held = exec.main.as_ref().map(|main| main.object);
    let outcome = match stage {
        Stage::Alone(built) => return alone(call, exec, built),
        Stage::Enter => entered(call, exec, result),
        Stage::Directory => directory_known(call, exec, result),
        Stage::Open => opened(call, exec, result),
        Stage::Stat(file) => stat_known(call, exec, file, result),
        Stage::Object(file) => {
            call.core.release(call.cx, file.file, file.server());
            object_known(call, exec, result)
        }
        Stage::Tail { main, interpreter } => match result {
            Ok(_) => build(call, exec, main, interpreter),
            Err(errno) => {
                release_both(call, main.object, interpreter.map(|other| other.object));
                Err(errno.into())
            }
        },
        Stage::Head { object, size } => match result {
            Ok(_) => head(call, exec, object, size),
            Err(errno) => {
                release_object(call, object);
                Err(errno.into())
            }
        },
    };
    if outcome.is_err()
        && let Some(object) = held.take()
    {
        release_object(call, object);
    }
    ended(call, outcome)
}

/// What an outcome means: interrupted, it starts again; failed at the first exec of a process, that
/// process is no more.
pub(crate) fn ended<M: Machine>(call: C<'_, '_, '_, M>, outcome: SysResult) -> SysResult {
    let errno = match outcome {
        Ok(next) => return Ok(next),
        Err(Fail::Errno(errno)) => errno,
        Err(Fail::Interrupted(_)) if call.process().space.is_some() => {
            return Err(Fail::Interrupted(Restart::Always));
        }
        Err(Fail::Absent) if call.process().space.is_some() => return Err(Fail::Absent),
        Err(Fail::Interrupted(_) | Fail::Absent) => Errno::EINTR,
    };
    if call.process().space.is_some() {
        return Err(errno.into());
    }
    if let Some(ticket) = call.process_mut().spawn.take() {
        call.cx.complete::<Spawned>(ticket, Err(errno));
    }
    call.process_mut().own.watcher = 0;
    let pid = call.process().own.pid.get();
    call.core.watched.remove(&pid);
    call.core.end_process(call.cx, call.process, super::wait_status_exit(127));
    Ok(Next::Resume)
}

fn entered<M: Machine>(
    call: C<'_, '_, '_, M>,
    exec: Box<ExecWait>,
    result: AskResult,
) -> SysResult {
    if let Named::Here(inode) = <Named<InodeId> as Wire>::get(&result?.msg)? {
        call.process_mut().own.directory = Directory::Tree(Some(inode));
    }
    let ExecWait { path, arguments, environment, .. } = *exec;
    start(call, path, arguments, environment)
}

fn directory_known<M: Machine>(
    call: C<'_, '_, '_, M>,
    mut exec: Box<ExecWait>,
    result: AskResult,
) -> SysResult {
    let base = Text::get(&result?.msg)?.0;
    exec.program = files::absolute(&base, &exec.path);
    open(call, exec)
}

fn opened<M: Machine>(
    call: C<'_, '_, '_, M>,
    mut exec: Box<ExecWait>,
    result: AskResult,
) -> SysResult {
    match <Named<Opened> as Wire>::get(&result?.msg)? {
        Named::Here(Opened { file, kind }) => {
            let file = OpenFile { file, kind };
            exec.stage = Stage::Stat(file);
            Ok(ask_file(call, file, &FileStat { file: file.file }, exec))
        }
        Named::Elsewhere(path) => {
            // The one executable name of ours is the link to a process's program.
            let program = program_link(call, &path)?;
            if exec.program == exec.path {
                exec.program = program.clone();
            }
            exec.path = program;
            exec.scripts += 1;
            if exec.scripts > SCRIPTS_MAX {
                return Err(Errno::ELOOP.into());
            }
            open(call, exec)
        }
    }
}

fn program_link<M: Machine>(call: C<'_, '_, '_, M>, path: &str) -> Result<String, Errno> {
    let rest = path.strip_prefix("/proc/").ok_or(Errno::EACCES)?;
    let pid = rest.strip_suffix("/exe").ok_or(Errno::EACCES)?;
    if pid == "self" || pid == "thread-self" {
        return Ok(call.process().own.program.clone());
    }
    let pid: u32 = pid.parse().map_err(|_| Errno::EACCES)?;
    let no = call.core.pids.process(pid).ok_or(Errno::ENOENT)?;
    Ok(call.core.processes.get(no).ok_or(Errno::ENOENT)?.own.program.clone())
}

fn ask_file<M: Machine, O: Operation>(
    call: C<'_, '_, '_, M>,
    file: OpenFile,
    op: &O,
    exec: Box<ExecWait>,
) -> Next {
    call.ask_server(file.server(), op, 0, Wait::Exec(exec))
}

fn stat_known<M: Machine>(
    call: C<'_, '_, '_, M>,
    mut exec: Box<ExecWait>,
    file: OpenFile,
    result: AskResult,
) -> SysResult {
    let stat = result.and_then(|reply| Stat::get(&reply.msg));
    match stat {
        Ok(stat) if stat.mode & TYPE_MASK == TYPE_REGULAR && stat.mode & 0o111 != 0 => {
            exec.stage = Stage::Object(file);
            Ok(ask_file(call, file, &ObjectOf { file: file.file }, exec))
        }
        Ok(_) => {
            call.core.release(call.cx, file.file, file.server());
            Err(Errno::EACCES.into())
        }
        Err(errno) => {
            call.core.release(call.cx, file.file, file.server());
            Err(errno.into())
        }
    }
}

fn object_known<M: Machine>(
    call: C<'_, '_, '_, M>,
    exec: Box<ExecWait>,
    result: AskResult,
) -> SysResult {
    let found = FileObject::get(&result?.msg)?;
    head(call, exec, found.object, found.size)
}

/// Reads the beginning of the file and decides what it is.
fn head<M: Machine>(
    call: C<'_, '_, '_, M>,
    mut exec: Box<ExecWait>,
    object: ObjectId,
    size: u64,
) -> SysResult {
    let mut bytes = alloc::vec![0; HEAD_BYTES.min(size as usize)];
    match read_object(call.cx, object, 0, &mut bytes) {
        Ok(()) => {}
        Err(Errno::ERESTART) => {
            let fetch = ObjectFetch { object, offset: 0, access: mem_api::Access::Read };
            exec.stage = Stage::Head { object, size };
            return match call.leaf_or_wait(&fetch, Wait::Exec(exec)) {
                Ok(None) => Ok(Next::Wait),
                // It came and went again: the program may try once more.
                Ok(Some(())) => {
                    release_object(call, object);
                    Err(Errno::EAGAIN.into())
                }
                Err(errno) => {
                    release_object(call, object);
                    Err(errno.into())
                }
            };
        }
        Err(errno) => {
            release_object(call, object);
            return Err(errno.into());
        }
    }
    if bytes.starts_with(b"#!") {
        release_object(call, object);
        return script(call, exec, &bytes);
    }
    let image = match Image::parse(&bytes, size) {
        Ok(image) => image,
        Err(errno) => {
            release_object(call, object);
            return Err(errno.into());
        }
    };
    program(call, exec, Loaded { object, image })
}

fn read_object(
    cx: &mut Cx<'_>,
    object: ObjectId,
    offset: u64,
    bytes: &mut [u8],
) -> Result<(), Errno> {
    let len = bytes.len() as u64;
    cx.leaf_bulk(&ObjectRead { object, offset, len }, &mut Bulk::new(bytes))
}

fn release_object<M: Machine>(call: C<'_, '_, '_, M>, object: ObjectId) {
    if let Err(errno) = call.cx.leaf(&ObjectRelease { object }) {
        call.core.machine.log(format_args!("object {object} is not released: {errno}"));
    }
}

fn script<M: Machine>(call: C<'_, '_, '_, M>, mut exec: Box<ExecWait>, head: &[u8]) -> SysResult {
    exec.scripts += 1;
    if exec.scripts > SCRIPTS_MAX || exec.main.is_some() {
        return Err(Errno::ELOOP.into());
    }
    let line = &head[2..head.len().min(SCRIPT_LINE_BYTES)];
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or(line);
    let line = core::str::from_utf8(line).map_err(|_| Errno::ENOEXEC)?.trim();
    let (interpreter, argument) = match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, argument.trim()),
        None => (line, ""),
    };
    if interpreter.is_empty() {
        return Err(Errno::ENOEXEC.into());
    }
    let mut front = alloc::vec![interpreter.as_bytes().to_vec()];
    if !argument.is_empty() {
        front.push(argument.as_bytes().to_vec());
    }
    front.push(exec.path.as_bytes().to_vec());
    exec.arguments.splice(..1, front);
    exec.program = String::from(interpreter);
    exec.path = String::from(interpreter);
    open(call, exec)
}

fn program<M: Machine>(
    call: C<'_, '_, '_, M>,
    mut exec: Box<ExecWait>,
    loaded: Loaded,
) -> SysResult {
    if let Some(main) = exec.main.take() {
        return build(call, exec, main, Some(loaded));
    }
    let Some(range) = loaded.image.interpreter.clone() else {
        return build(call, exec, loaded, None);
    };
    let mut path = alloc::vec![0; (range.end - range.start) as usize];
    let read = read_object(call.cx, loaded.object, range.start, &mut path);
    let path = read.and_then(|()| String::from_utf8(path).map_err(|_| Errno::ENOEXEC));
    match path {
        Ok(path) => {
            exec.path = path;
            exec.main = Some(loaded);
            open(call, exec)
        }
        Err(errno) => {
            release_object(call, loaded.object);
            Err(errno.into())
        }
    }
}

/// Builds the new space with everything in it.
fn build<M: Machine>(
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
    call.cx_poke(&others);
    // Those that could be stopped at once are gone already.
    alone(call, exec, built)
}

fn release_both<M: Machine>(call: C<'_, '_, '_, M>, main: ObjectId, other: Option<ObjectId>) {
    release_object(call, main);
    if let Some(other) = other {
        release_object(call, other);
    }
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
    let bytes = |strings: &[Vec<u8>]| strings.iter().map(|s| s.len() as u64 + 1).sum::<u64>();
    let end = stack.rsp + stack.bytes.len() as u64 - TOP_BYTES;
    let environment_end = end - (exec.given.len() as u64 + 1);
    let environment_start = environment_end - bytes(&exec.environment);
    let arguments_start = environment_start - bytes(&exec.arguments);
    ((arguments_start, environment_start), (environment_start, environment_end))
}

fn alone<M: Machine>(call: C<'_, '_, '_, M>, exec: Box<ExecWait>, built: Built) -> SysResult {
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

fn destroy<M: Machine>(core: &mut ProcCore<M>, cx: &mut Cx<'_>, space: SpaceId) {
    if let Err(errno) = cx.leaf(&SpaceDestroy { space }) {
        core.machine.log(format_args!("a space is lost: {errno}"));
    }
}

/// The thread runs the new program from here on.
fn swap<M: Machine>(call: C<'_, '_, '_, M>, exec: Box<ExecWait>, built: Built) -> SysResult {
    let core = call.thread().core;
    if let Err(errno) = call.core.machine.configure(call.thread, built.slot, core) {
        call.process_mut().phase = Phase::Live;
        discard(call, &built);
        return Err(errno.into());
    }
    let old_slot = call.thread_mut().slot.replace(built.slot);
    call.core.release_kernel_thread(call.cx, old_slot);
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
    fn cx_poke(&mut self, threads: &[ThreadId]) {
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
