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

mod file;
mod space;
mod swap;

use super::{AskResult, Call, Fail, Next, SysResult, Wait};
use crate::elf::Image;
use crate::files::{self, Directory, OpenFile};
use crate::machine::{Machine, Registers};
use crate::process::Phase;
use crate::stack::ARGUMENT_BYTES_MAX;
use crate::strings::{ExecClaim, Strings};
use crate::thread::Restart;
use abi::limits::PAGE_BYTES;
use abi::linux::general::{O_CLOEXEC, O_RDONLY};
use abi::{Errno, InodeId, ObjectId, SpaceId};
use alloc::boxed::Box;
use alloc::string::String;
use fs_api::name::{At, Enter, Named, Open, PathOf, Text};
use proc_api::Spawned;
use runtime::Wire;

/// Bytes of one argument, as on Linux.
const ARGUMENT_MAX: usize = 32 * PAGE_BYTES;

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
    arguments: Strings,
    environment: Strings,
    /// Room for them.
    _claim: ExecClaim,
    scripts: u32,
    /// The program, while its interpreter is being opened.
    main: Option<Loaded>,
}

impl ExecWait {
    fn new(
        stage: Stage,
        path: String,
        (arguments, environment): (Strings, Strings),
        claim: ExecClaim,
    ) -> Box<Self> {
        Box::new(Self {
            stage,
            given: path.clone(),
            program: path.clone(),
            path,
            arguments,
            environment,
            _claim: claim,
            scripts: 0,
            main: None,
        })
    }
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
    arguments: Strings,
    environment: Strings,
    directory: String,
) -> SysResult {
    if directory == "/" || directory.is_empty() {
        let outcome = start(call, path, arguments, environment);
        return ended(call, outcome);
    }
    let at = At { dir: None, path: directory, who: call.credentials() };
    let claim = claim(call, &arguments, &environment)?;
    let exec = ExecWait::new(Stage::Enter, path, (arguments, environment), claim);
    Ok(call.ask(&Enter { at }, Wait::Exec(exec)))
}

/// Begins to execute `path`.
pub(crate) fn start<M: Machine>(
    call: C<'_, '_, '_, M>,
    path: String,
    mut arguments: Strings,
    environment: Strings,
) -> SysResult {
    if call.process().phase != Phase::Live {
        // Another thread executes something: this one ends soon.
        return Err(Fail::Interrupted(Restart::Always));
    }
    if arguments.is_empty() {
        // As Linux does since 5.18.
        arguments.push(b"");
    }
    let claim = claim(call, &arguments, &environment)?;
    let exec = ExecWait::new(Stage::Open, path, (arguments, environment), claim);
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

/// Room for what the call will hold until it ends.
fn claim<M: Machine>(
    call: C<'_, '_, '_, M>,
    arguments: &Strings,
    environment: &Strings,
) -> Result<ExecClaim, Errno> {
    call.core.exec_room.claim(arguments.bytes() + environment.bytes())
}

/// The strings that an array of pointers names.
fn strings<M: Machine>(
    call: C<'_, '_, '_, M>,
    mut at: u64,
    left: &mut usize,
) -> Result<Strings, Errno> {
    let mut out = Strings::default();
    if at == 0 {
        return Ok(out);
    }
    loop {
        let pointer = call.read::<u64>(at)?;
        if pointer == 0 {
            out.shrink();
            return Ok(out);
        }
        let string = call
            .zero_ended(pointer, (*left).min(ARGUMENT_MAX))
            .map_err(|errno| if errno == Errno::ENAMETOOLONG { Errno::E2BIG } else { errno })?;
        *left = left.checked_sub(string.len() + 1 + 8).ok_or(Errno::E2BIG)?;
        out.push(&string);
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
        Stage::Alone(built) => return swap::alone(call, exec, built),
        Stage::Enter => entered(call, exec, result),
        Stage::Directory => directory_known(call, exec, result),
        Stage::Open => file::opened(call, exec, result),
        Stage::Stat(file) => file::stat_known(call, exec, file, result),
        Stage::Object(file) => {
            call.core.release(call.cx, file.file, file.server());
            file::object_known(call, exec, result)
        }
        Stage::Tail { main, interpreter } => match result {
            Ok(_) => space::build(call, exec, main, interpreter),
            Err(errno) => {
                file::release_both(call, main.object, interpreter.map(|other| other.object));
                Err(errno.into())
            }
        },
        Stage::Head { object, size } => match result {
            Ok(_) => file::head(call, exec, object, size),
            Err(errno) => {
                file::release_object(call, object);
                Err(errno.into())
            }
        },
    };
    if outcome.is_err()
        && let Some(object) = held.take()
    {
        file::release_object(call, object);
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
