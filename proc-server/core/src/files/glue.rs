// SPDX-License-Identifier: MIT OR Apache-2.0
//! Small steps that many file calls share.

use super::Wait;
use super::holders::Holders;
use super::table::{Descriptor, FdTable, OpenFile, Target};
use crate::ProcCore;
use crate::machine::Machine;
use crate::signal::{Info, number};
use crate::syscall::{self, Call, Fail, Next, SysResult};
use abi::Errno;
use alloc::vec::Vec;
use runtime::Cx;

/// si_code of what a process sends.
const SI_USER: i32 = 0;

/// A wait of files among all waits.
pub fn wait(wait: Wait) -> syscall::Wait {
    syscall::Wait::Files(wait)
}

/// Bytes of the program's memory.
///
/// # Errors
/// EFAULT, ERESTART.
pub fn bytes<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    len: usize,
) -> Result<Vec<u8>, Errno> {
    let mut bytes = alloc::vec![0; len];
    call.copy_in(addr, &mut bytes)?;
    Ok(bytes)
}

/// Whether the path argument is empty; AT_EMPTY_PATH also takes a null pointer.
pub fn path_is_empty<M: Machine>(call: &mut Call<'_, '_, M>, addr: u64) -> Result<bool, Fail> {
    if addr == 0 {
        return Ok(true);
    }
    Ok(bytes(call, addr, 1)? == [0])
}

/// The limit of descriptors, RLIMIT_NOFILE.
pub fn descriptors_limit<M: Machine>(call: &Call<'_, '_, M>) -> usize {
    const NOFILE: usize = abi::linux::general::RLIMIT_NOFILE as usize;
    usize::try_from(call.process().own.limits[NOFILE].0).unwrap_or(usize::MAX)
}

/// Gives a counted descriptor the lowest free number from `least` on; without one it is closed.
pub fn insert<M: Machine>(
    call: &mut Call<'_, '_, M>,
    descriptor: Descriptor,
    least: usize,
) -> SysResult {
    let limit = descriptors_limit(call);
    match call.process_mut().own.files.insert(descriptor, least, limit) {
        Ok(fd) => Ok(Next::Done(fd as u64)),
        Err((errno, descriptor)) => {
            close(call.core, call.cx, descriptor);
            Err(errno.into())
        }
    }
}

/// The open file that a descriptor names.
///
/// # Errors
/// EBADF: no descriptor. The given error: it is a file of proc-server.
pub fn file<M: Machine>(
    call: &Call<'_, '_, M>,
    fd: u64,
    if_local: Errno,
) -> Result<OpenFile, Fail> {
    match &call.process().own.files.get(fd)?.target {
        Target::File(file) => Ok(*file),
        Target::Local(_) => Err(if_local.into()),
    }
}

/// A descriptor is gone: counts it down, and releases the file with the last one.
pub fn close<M: Machine>(core: &mut ProcCore<M>, cx: &mut Cx<'_>, descriptor: Descriptor) {
    match descriptor.target {
        Target::File(file) => {
            for _ in 0..core.holders.remove(file) {
                core.release(cx, file.file, file.server());
            }
        }
        Target::Local(local) => crate::procfs::closed(core, &local),
    }
}

/// The calling process has a descriptor less.
pub fn close_of<M: Machine>(call: &mut Call<'_, '_, M>, descriptor: Descriptor) {
    super::locks::closing(call.core, call.cx, call.process, &descriptor);
    close(call.core, call.cx, descriptor);
}

/// The same for several.
pub fn close_all<M: Machine>(
    core: &mut ProcCore<M>,
    cx: &mut Cx<'_>,
    descriptors: Vec<Descriptor>,
) {
    for descriptor in descriptors {
        close(core, cx, descriptor);
    }
}

/// Nobody reads what this thread writes: SIGPIPE.
pub fn broken_pipe<M: Machine>(call: &mut Call<'_, '_, M>) {
    let (process, uid) = (call.caller().pid, call.credentials().uid);
    let info = Info::sent(number::PIPE, SI_USER, process, uid);
    call.core.signal_thread(call.cx, call.thread, info);
}

/// A new session's descriptors 0, 1 and 2: its terminal, held once.
pub(crate) fn install_terminal(files: &mut FdTable, holders: &mut Holders, terminal: OpenFile) {
    holders.add_held(terminal);
    for fd in 0..3 {
        if fd > 0 {
            holders.add(terminal);
        }
        let descriptor = Descriptor { target: Target::File(terminal), close_on_exec: false };
        let before = files.replace(fd, descriptor, super::DESCRIPTORS_MAX);
        assert_eq!(before, Ok(None), "a new process has no descriptors");
    }
}
