// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls on descriptors themselves: dup, close, fcntl, pipe, eventfd.

use super::table::{DESCRIPTORS_MAX, Descriptor, OpenFile, Target};
use super::{Wait, glue, locks, names};
use crate::machine::Machine;
use crate::syscall::{Call, Next, SysResult};
use abi::Errno;
use abi::linux::general::{
    EFD_SEMAPHORE, F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_GETFL, F_SETFD, F_SETFL, FD_CLOEXEC,
    O_ACCMODE, O_APPEND, O_CLOEXEC, O_NONBLOCK,
};
use fs_api::file::{Flags, GetFlags, SetFlags};
use fs_api::name::FileKind;
use ipc_api::{CounterCreate, CounterMade, PipeCreate, PipeEnds};
use runtime::{NodeReply, Wire};

/// Flags that F_SETFL can change.
const CHANGEABLE: u32 = O_APPEND | O_NONBLOCK;
/// CLOSE_RANGE_CLOEXEC.
const CLOSE_RANGE_CLOEXEC: u64 = 4;

/// close(2).
pub fn close<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let fd = call.args[0];
    let descriptor = call.process_mut().own.files.remove(fd)?;
    glue::close_of(call, descriptor);
    Ok(Next::Done(0))
}

/// close_range(2).
pub fn close_range<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [first, last, flags, ..] = call.args;
    let (first, last) = (u64::from(first as u32), u64::from(last as u32));
    if first > last || flags & !CLOSE_RANGE_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    for fd in first..=last.min(DESCRIPTORS_MAX as u64 - 1) {
        if flags & CLOSE_RANGE_CLOEXEC != 0 {
            if let Ok(descriptor) = call.process_mut().own.files.get_mut(fd) {
                descriptor.close_on_exec = true;
            }
        } else if let Ok(descriptor) = call.process_mut().own.files.remove(fd) {
            glue::close_of(call, descriptor);
        }
    }
    Ok(Next::Done(0))
}

/// A counted copy of a descriptor.
fn copy<M: Machine>(
    call: &mut Call<'_, '_, M>,
    fd: u64,
    close_on_exec: bool,
) -> Result<Descriptor, Errno> {
    let target = call.process().own.files.get(fd)?.target.clone();
    if let Target::File(file) = target {
        call.core.holders.add(file);
    }
    Ok(Descriptor { target, close_on_exec })
}

/// dup(2).
pub fn dup<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let copy = copy(call, call.args[0], false)?;
    glue::insert(call, copy, 0)
}

/// dup2(2).
pub fn dup2<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [from, to, ..] = call.args;
    if from as u32 == to as u32 {
        call.process().own.files.get(from)?;
        return Ok(Next::Done(u64::from(to as u32)));
    }
    replace(call, from, to, false)
}

/// dup3(2).
pub fn dup3<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [from, to, flags, ..] = call.args;
    let flags = flags as u32;
    if from as u32 == to as u32 || flags & !O_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    replace(call, from, to, flags & O_CLOEXEC != 0)
}

fn replace<M: Machine>(
    call: &mut Call<'_, '_, M>,
    from: u64,
    to: u64,
    close_on_exec: bool,
) -> SysResult {
    let limit = glue::descriptors_limit(call).min(DESCRIPTORS_MAX);
    let to = to as u32 as usize;
    if to >= limit {
        return Err(Errno::EBADF.into());
    }
    let copy = copy(call, from, close_on_exec)?;
    if let Some(before) = call.process_mut().own.files.replace(to, copy, limit)? {
        glue::close_of(call, before);
    }
    Ok(Next::Done(to as u64))
}

/// fcntl(2).
pub fn fcntl<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, command, arg, ..] = call.args;
    match command as u32 {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            call.process().own.files.get(fd)?;
            let least = arg as u32 as usize;
            if least >= glue::descriptors_limit(call).min(DESCRIPTORS_MAX) {
                return Err(Errno::EINVAL.into());
            }
            let copy = copy(call, fd, command as u32 == F_DUPFD_CLOEXEC)?;
            glue::insert(call, copy, least)
        }
        F_GETFD => {
            let close_on_exec = call.process().own.files.get(fd)?.close_on_exec;
            Ok(Next::Done(if close_on_exec { u64::from(FD_CLOEXEC) } else { 0 }))
        }
        F_SETFD => {
            let close_on_exec = arg as u32 & FD_CLOEXEC != 0;
            call.process_mut().own.files.get_mut(fd)?.close_on_exec = close_on_exec;
            Ok(Next::Done(0))
        }
        F_GETFL => get_flags(call, fd),
        F_SETFL => set_flags(call, fd, arg as u32),
        command => locks::fcntl(call, command).unwrap_or_else(|| {
            call.process().own.files.get(fd)?;
            Err(Errno::EINVAL.into())
        }),
    }
}

fn get_flags<M: Machine>(call: &mut Call<'_, '_, M>, fd: u64) -> SysResult {
    match &call.process().own.files.get(fd)?.target {
        Target::Local(local) => Ok(Next::Done(u64::from(local.flags & (O_ACCMODE | CHANGEABLE)))),
        Target::File(file) => {
            let file = *file;
            let op = GetFlags { file: file.file };
            Ok(call.ask_server(file.server(), &op, 0, glue::wait(Wait::GetFlags)))
        }
    }
}

/// The flags have come, F_GETFL.
pub fn flags_answered(reply: &NodeReply) -> SysResult {
    Ok(Next::Done(u64::from(Flags::get(&reply.msg)?.flags)))
}

/// Changes a description's flags: asks for the present ones first.
pub fn set_flags<M: Machine>(call: &mut Call<'_, '_, M>, fd: u64, flags: u32) -> SysResult {
    change_flags(call, fd, CHANGEABLE, flags)
}

/// Sets the flags in `mask` as in `flags`.
pub fn change_flags<M: Machine>(
    call: &mut Call<'_, '_, M>,
    fd: u64,
    mask: u32,
    flags: u32,
) -> SysResult {
    match &mut call.process_mut().own.files.get_mut(fd)?.target {
        Target::Local(local) => {
            local.flags = local.flags & !mask | flags & mask;
            Ok(Next::Done(0))
        }
        Target::File(file) => {
            let file = *file;
            let op = GetFlags { file: file.file };
            let wait = Wait::ChangeFlags { file, mask, flags: flags & mask };
            Ok(call.ask_server(file.server(), &op, 0, glue::wait(wait)))
        }
    }
}

/// The present flags have come: sets the new ones.
pub fn flags_to_change<M: Machine>(
    call: &mut Call<'_, '_, M>,
    file: OpenFile,
    mask: u32,
    flags: u32,
    reply: &NodeReply,
) -> SysResult {
    let present = Flags::get(&reply.msg)?.flags;
    let op = SetFlags { file: file.file, flags: present & !mask | flags };
    Ok(call.ask_server(file.server(), &op, 0, glue::wait(Wait::Zero)))
}

/// pipe(2), pipe2(2).
pub fn pipe<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64, flags: u32) -> SysResult {
    if flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let op = PipeCreate { flags: flags & O_NONBLOCK };
    Ok(call.ask(&op, glue::wait(Wait::Pipe { addr, flags })))
}

/// The pipe is there: gives both ends a descriptor and tells the program.
pub fn pipe_made<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    flags: u32,
    reply: &NodeReply,
) -> SysResult {
    let ends = PipeEnds::get(&reply.msg)?;
    let files = [ends.read, ends.write].map(|file| OpenFile { file, kind: FileKind::Pipe });
    install_two(call, files, addr, flags)
}

/// Gives two new files a descriptor each, and tells the program.
pub fn install_two<M: Machine>(
    call: &mut Call<'_, '_, M>,
    files: [OpenFile; 2],
    addr: u64,
    flags: u32,
) -> SysResult {
    let close_on_exec = flags & O_CLOEXEC != 0;
    for file in files {
        call.core.holders.add_held(file);
    }
    let [read, write] = files.map(|file| Descriptor { target: Target::File(file), close_on_exec });
    let limit = glue::descriptors_limit(call);
    let read = match call.process_mut().own.files.insert(read, 0, limit) {
        Ok(fd) => fd,
        Err((errno, read)) => {
            glue::close_all(call.core, call.cx, alloc::vec![read, write]);
            return Err(errno.into());
        }
    };
    let write = match call.process_mut().own.files.insert(write, 0, limit) {
        Ok(fd) => fd,
        Err((errno, write)) => {
            remove(call, read);
            glue::close(call.core, call.cx, write);
            return Err(errno.into());
        }
    };
    let mut numbers = [0; 8];
    numbers[..4].copy_from_slice(&(read as u32).to_le_bytes());
    numbers[4..].copy_from_slice(&(write as u32).to_le_bytes());
    // An absent page runs the call again from its start: what was made goes.
    if let Err(errno) = call.copy_out(addr, &numbers) {
        remove(call, read);
        remove(call, write);
        return Err(errno.into());
    }
    Ok(Next::Done(0))
}

/// eventfd(2), eventfd2(2). EFD_CLOEXEC and EFD_NONBLOCK are the O_ flags of these names.
pub fn eventfd<M: Machine>(call: &mut Call<'_, '_, M>, count: u64, flags: u32) -> SysResult {
    if flags & !(EFD_SEMAPHORE | O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let op = CounterCreate {
        count: u64::from(count as u32),
        semaphore: flags & EFD_SEMAPHORE != 0,
        flags: flags & O_NONBLOCK,
    };
    Ok(call.ask(&op, glue::wait(Wait::Counter(flags & O_CLOEXEC))))
}

/// The counter is there.
pub fn counter_made<M: Machine>(
    call: &mut Call<'_, '_, M>,
    flags: u32,
    reply: &NodeReply,
) -> SysResult {
    let file = CounterMade::get(&reply.msg)?.file;
    names::install(call, OpenFile { file, kind: FileKind::Counter }, flags)
}

fn remove<M: Machine>(call: &mut Call<'_, '_, M>, fd: usize) {
    if let Ok(descriptor) = call.process_mut().own.files.remove(fd as u64) {
        glue::close(call.core, call.cx, descriptor);
    }
}
