// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading and writing files of proc-server itself.

use super::local::Content;
use super::table::Target;
use super::transfer::{Memory, Way};
use crate::machine::Machine;
use crate::procfs;
use crate::syscall::{Call, Next, SysResult};
use abi::Errno;
use abi::linux::general::{O_ACCMODE, O_RDONLY, O_WRONLY};

/// Bytes that one write to a file of proc-server takes: a command or a number.
pub const WRITE_BYTES_MAX: u64 = 512;

/// read(2), write(2) and their kin on a file of proc-server.
pub fn transfer<M: Machine>(
    call: &mut Call<'_, '_, M>,
    fd: u64,
    way: Way,
    memory: &Memory,
    offset: Option<u64>,
) -> SysResult {
    let Target::Local(local) = &call.process().own.files.get(fd)?.target else {
        return Err(Errno::EBADF.into());
    };
    let mode = local.flags & O_ACCMODE;
    match way {
        Way::Read if mode == O_WRONLY => Err(Errno::EBADF.into()),
        Way::Write if mode == O_RDONLY => Err(Errno::EBADF.into()),
        Way::Read => match local.content {
            Content::Admin { .. } => {
                let range = memory.rest(0).unwrap_or_default();
                procfs::admin_read(call, fd, range.base, range.len)
            }
            Content::Text(_) | Content::Node { .. } | Content::Directory(_) => {
                read(call, fd, memory, offset)
            }
        },
        Way::Write => match local.content {
            Content::Node { pid, .. } => {
                let text = written(call, memory)?;
                procfs::move_process(call, pid, &text)
            }
            Content::Admin { .. } => {
                let text = written(call, memory)?;
                procfs::admin_write(call, fd, &text)
            }
            Content::Text(_) | Content::Directory(_) => Err(Errno::EBADF.into()),
        },
    }
}

fn read<M: Machine>(
    call: &mut Call<'_, '_, M>,
    fd: u64,
    memory: &Memory,
    offset: Option<u64>,
) -> SysResult {
    let Target::Local(local) = &call.process().own.files.get(fd)?.target else {
        return Err(Errno::EBADF.into());
    };
    let start = offset.unwrap_or(local.offset);
    let bytes = local.read_at(start, memory.total())?.to_vec();
    let mut done = 0;
    while let Some(range) = memory.rest(done as u64)
        && done < bytes.len()
    {
        let end = bytes.len().min(done + range.len as usize);
        call.copy_out(range.base, &bytes[done..end])?;
        done = end;
    }
    if offset.is_none()
        && let Target::Local(local) = &mut call.process_mut().own.files.get_mut(fd)?.target
    {
        local.offset = start.saturating_add(done as u64);
    }
    Ok(Next::Done(done as u64))
}

/// What the program writes: the first range of it, at most [`WRITE_BYTES_MAX`].
fn written<M: Machine>(
    call: &mut Call<'_, '_, M>,
    memory: &Memory,
) -> Result<alloc::vec::Vec<u8>, Errno> {
    if memory.total() > WRITE_BYTES_MAX {
        return Err(Errno::EINVAL);
    }
    let mut out = alloc::vec::Vec::new();
    while let Some(range) = memory.rest(out.len() as u64) {
        let part = super::glue::bytes(call, range.base, range.len as usize)?;
        out.extend_from_slice(&part);
    }
    Ok(out)
}
