// SPDX-License-Identifier: MIT OR Apache-2.0
//! lseek(2), getdents64(2), ftruncate(2), and what keeps a file's data safe.

use super::table::Target;
use super::{Wait, glue};
use crate::machine::Machine;
use crate::syscall::{Call, Next, SysResult};
use abi::Errno;
use abi::linux::general::{
    FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, SEEK_CUR, SEEK_DATA, SEEK_END,
    SEEK_HOLE, SEEK_SET,
};
use fs_api::file::{Allocate, Fsync, ListDirectory, Moved, Position, Resize, Seek, SyncAll};
use fs_api::name::FileKind;
use runtime::{NodeReply, Wire};

/// Longest answer of getdents64(2): a window.
const LISTING_BYTES_MAX: u64 = abi::limits::WINDOW_BYTES as u64;

/// lseek(2).
pub fn lseek<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, offset, whence, ..] = call.args;
    let (offset, whence) = (offset.cast_signed(), whence as u32);
    match &mut call.process_mut().own.files.get_mut(fd)?.target {
        Target::Local(local) => Ok(Next::Done(local.seek(offset, whence)?)),
        Target::File(file) => match file.kind {
            FileKind::Pipe
            | FileKind::Terminal
            | FileKind::Counter
            | FileKind::Socket(_)
            | FileKind::Epoll
            | FileKind::Timer(_)
            | FileKind::Signals(_)
            | FileKind::Held => Err(Errno::ESPIPE.into()),
            FileKind::Regular | FileKind::Directory | FileKind::Device => {
                if ![SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE].contains(&whence) {
                    return Err(Errno::EINVAL.into());
                }
                let op = Seek { file: file.file, offset, whence };
                Ok(call.ask(&op, glue::wait(Wait::Seek)))
            }
        },
    }
}

/// The position has come.
pub fn answered(reply: &NodeReply) -> SysResult {
    Ok(Next::Done(Position::get(&reply.msg)?.offset))
}

/// getdents64(2).
pub fn getdents<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, addr, len, ..] = call.args;
    let len = u64::from(len as u32).min(LISTING_BYTES_MAX);
    let (records, position) = match &call.process().own.files.get(fd)?.target {
        Target::File(file) if file.kind == FileKind::Directory => {
            let space = call.space()?;
            let op = ListDirectory { file: file.file, space, addr, len };
            return Ok(call.ask(&op, glue::wait(Wait::Moved)));
        }
        Target::File(_) => return Err(Errno::ENOTDIR.into()),
        Target::Local(local) => local.list(len as usize)?,
    };
    call.copy_out(addr, &records)?;
    if let Target::Local(local) = &mut call.process_mut().own.files.get_mut(fd)?.target {
        local.offset = position;
    }
    Ok(Next::Done(records.len() as u64))
}

/// A count of bytes has come.
pub fn listed(reply: &NodeReply) -> SysResult {
    Ok(Next::Done(Moved::get(&reply.msg)?.bytes))
}

/// ftruncate(2).
pub fn ftruncate<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, len, ..] = call.args;
    if len.cast_signed() < 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = glue::file(call, fd, Errno::EINVAL)?;
    if file.kind != FileKind::Regular {
        return Err(Errno::EINVAL.into());
    }
    Ok(call.ask(&Resize { file: file.file, len }, glue::wait(Wait::Zero)))
}

/// fallocate(2).
pub fn fallocate<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, mode, offset, len, ..] = call.args;
    let mode = mode as u32;
    call.process().own.files.get(fd)?;
    if offset.cast_signed() < 0 || len.cast_signed() <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let known = match mode & !FALLOC_FL_KEEP_SIZE {
        0 | FALLOC_FL_ZERO_RANGE => true,
        FALLOC_FL_PUNCH_HOLE => mode & FALLOC_FL_KEEP_SIZE != 0,
        _ => false,
    };
    if !known {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let file = glue::file(call, fd, Errno::EBADF)?;
    match file.kind {
        FileKind::Regular | FileKind::Device => {}
        // It cannot be open for writing.
        FileKind::Directory => return Err(Errno::EBADF.into()),
        FileKind::Pipe => return Err(Errno::ESPIPE.into()),
        FileKind::Terminal
        | FileKind::Counter
        | FileKind::Socket(_)
        | FileKind::Epoll
        | FileKind::Timer(_)
        | FileKind::Signals(_)
        | FileKind::Held => {
            return Err(Errno::ENODEV.into());
        }
    }
    let op = Allocate { file: file.file, mode, offset, len };
    Ok(call.ask(&op, glue::wait(Wait::Zero)))
}

/// sync(2).
pub fn sync<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    Ok(call.ask(&SyncAll {}, glue::wait(Wait::Zero)))
}

/// syncfs(2): there is one file system.
pub fn syncfs<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    call.process().own.files.get(call.args[0])?;
    sync(call)
}

/// fsync(2), fdatasync(2): on the disks of two nodes, if there are two.
pub fn fsync<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    match &call.process().own.files.get(call.args[0])?.target {
        Target::File(file) if file.is_stream() => Err(Errno::EINVAL.into()),
        Target::File(file) if file.kind == FileKind::Regular => {
            let file = file.file;
            Ok(call.ask(&Fsync { file }, glue::wait(Wait::Zero)))
        }
        Target::File(_) | Target::Local(_) => Ok(Next::Done(0)),
    }
}
