// SPDX-License-Identifier: MIT OR Apache-2.0
//! shmat(2), shmdt(2).
//!
//! # Limits
//! What munmap(2) takes away of an attachment stays one until shmdt(2), execve(2) or the end.

use super::{SysvWait, by, id, wait};
use crate::files::{self, OpenFile};
use crate::machine::Machine;
use crate::syscall::{Call, Next, SysResult};
use abi::Errno;
use abi::limits::PAGE_BYTES;
use fs_api::name::FileKind;
use ipc_api::sysv::{Attach, Attached};
use mem_api::{Backing, Map, ObjectRelease, Protection, Unmap};
use runtime::Wire;

/// SHM_RDONLY.
const READ_ONLY: u32 = 0o10_000;
/// SHM_RND: the address is rounded down.
const ROUND: u32 = 0o20_000;
/// SHM_REMAP: what is there is replaced.
const REMAP: u32 = 0o40_000;
/// SHM_EXEC.
const EXECUTE: u32 = 0o100_000;
const PAGE: u64 = PAGE_BYTES as u64;

/// shmat(2).
pub(super) fn attach<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [memory, addr, flags, ..] = call.args;
    let (id, flags) = (id(memory)?, flags as u32);
    let addr = if flags & ROUND != 0 { addr & !(PAGE - 1) } else { addr };
    if addr % PAGE != 0 || addr == 0 && flags & REMAP != 0 {
        return Err(Errno::EINVAL.into());
    }
    let op = Attach { id, write: flags & READ_ONLY == 0, by: by(call) };
    Ok(call.ask(&op, wait(SysvWait::Attach(addr, flags))))
}

/// Goes on with shmat(2): it is held, and is mapped now.
pub(super) fn attached<M: Machine>(
    call: &mut Call<'_, '_, M>,
    (addr, flags): (u64, u32),
    reply: &runtime::NodeReply,
) -> SysResult {
    let Attached { file, object, bytes } = Attached::get(&reply.msg)?;
    let held = OpenFile { file, kind: FileKind::Held };
    call.core.holders.add_held(held);
    let mapped = map(call, (addr, flags), Backing::Object { object, offset: 0 }, bytes);
    // The mapping holds a reference of its own.
    call.cx.leaf(&ObjectRelease { object })?;
    let noted = mapped.and_then(|addr| {
        let attachment = files::Attachment { file, addr, bytes };
        let noted = call.process_mut().own.files.attach(attachment);
        noted.map(|()| addr).inspect_err(|_| unmap(call, addr, bytes))
    });
    if noted.is_err() {
        files::close_all(call.core, call.cx, alloc::vec![held.into()]);
    }
    Ok(Next::Done(noted?))
}

fn map<M: Machine>(
    call: &mut Call<'_, '_, M>,
    (addr, flags): (u64, u32),
    backing: Backing,
    len: u64,
) -> Result<u64, Errno> {
    let write = flags & READ_ONLY == 0;
    let map = Map {
        space: call.space()?,
        addr,
        len,
        protection: Protection { read: true, write, execute: flags & EXECUTE != 0 },
        backing,
        shared: true,
        fixed: flags & REMAP != 0,
        no_replace: addr != 0 && flags & REMAP == 0,
        grows_down: false,
    };
    match call.cx.leaf(&map) {
        // Something is there.
        Err(Errno::EEXIST) => Err(Errno::EINVAL),
        mapped => Ok(mapped?.addr),
    }
}

fn unmap<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64, len: u64) {
    if let Ok(space) = call.space() {
        // What was mapped a moment ago can be unmapped.
        let _ = call.cx.leaf(&Unmap { space, addr, len });
    }
}

/// shmdt(2).
pub(super) fn detach<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let addr = call.args[0];
    let found = call.process_mut().own.files.detach(addr).ok_or(Errno::EINVAL)?;
    let (files::Attachment { bytes, .. }, held) = found;
    let space = call.space()?;
    call.cx.leaf(&Unmap { space, addr, len: bytes })?;
    files::close_all(call.core, call.cx, alloc::vec![held]);
    Ok(Next::Done(0))
}
