// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is executed: from the open file to its image, over scripts and to the interpreter.

use super::super::{AskResult, Next, SysResult, Wait};
use super::{C, ExecWait, Loaded, Stage, open, space};
use crate::elf::{HEAD_BYTES, Image};
use crate::files::OpenFile;
use crate::limits::SCRIPTS_MAX;
use crate::machine::Machine;
use abi::{Errno, ObjectId};
use alloc::boxed::Box;
use alloc::string::String;
use fs_api::file::{FileObject, FileStat, ObjectOf, Stat};
use fs_api::name::{Named, Opened};
use mem_api::{ObjectFetch, ObjectRead, ObjectRelease};
use runtime::{Bulk, Cx, Operation, Wire};

/// Bytes of the first line of a script that count, as on Linux.
const SCRIPT_LINE_BYTES: usize = 256;
const TYPE_MASK: u32 = 0o170_000;
const TYPE_REGULAR: u32 = 0o100_000;

pub(super) fn opened<M: Machine>(
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

pub(super) fn stat_known<M: Machine>(
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

pub(super) fn object_known<M: Machine>(
    call: C<'_, '_, '_, M>,
    exec: Box<ExecWait>,
    result: AskResult,
) -> SysResult {
    let found = FileObject::get(&result?.msg)?;
    head(call, exec, found.object, found.size)
}

/// Reads the beginning of the file and decides what it is.
pub(super) fn head<M: Machine>(
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

pub(super) fn read_object(
    cx: &mut Cx<'_>,
    object: ObjectId,
    offset: u64,
    bytes: &mut [u8],
) -> Result<(), Errno> {
    let len = bytes.len() as u64;
    cx.leaf_bulk(&ObjectRead { object, offset, len }, &mut Bulk::new(bytes))
}

pub(super) fn release_object<M: Machine>(call: C<'_, '_, '_, M>, object: ObjectId) {
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
    let argument = (!argument.is_empty()).then_some(argument.as_bytes());
    let front = [Some(interpreter.as_bytes()), argument, Some(exec.path.as_bytes())];
    exec.arguments.replace_first(front.into_iter().flatten());
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
        return space::build(call, exec, main, Some(loaded));
    }
    let Some(range) = loaded.image.interpreter.clone() else {
        return space::build(call, exec, loaded, None);
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

pub(super) fn release_both<M: Machine>(
    call: C<'_, '_, '_, M>,
    main: ObjectId,
    other: Option<ObjectId>,
) {
    release_object(call, main);
    if let Some(other) = other {
        release_object(call, other);
    }
}
