// SPDX-License-Identifier: MIT OR Apache-2.0
//! Advisory locks: flock(2) and those of fcntl(2).
//!
//! # Model
//! fs-server keeps the locks at the home of the file. proc-server tells it who asks, when a process closes a
//! descriptor or ends, and where a process goes. It knows of no lock itself, only that a process may have any
//! with F_SETLK: others' descriptors close without a word.

use super::table::{Descriptor, OpenFile, Target};
use super::{Wait, glue};
use crate::ProcCore;
use crate::layout::io::Flock;
use crate::machine::Machine;
use crate::process::{ProcessNo, ProcessOwn};
use crate::syscall::{Call, Next, SysResult};
use abi::linux::general::{
    F_GETLK, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_RDLCK, F_SETLK, F_SETLKW, F_UNLCK, F_WRLCK,
    LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, SEEK_SET,
};
use abi::{Errno, NodeId};
use fs_api::file::{
    EndLocks, Lock, LockFound, LockInTheWay, LockMode, LockOwner, LockRange, MoveLocks, TestLock,
};
use fs_api::name::FileKind;
use runtime::{Cx, NodeReply, Wire};

/// The last byte that any file can have.
const LAST: u64 = i64::MAX as u64;

/// Whether fs-server keeps locks of it: pipes, terminals and what proc-server shows itself have none.
fn has_locks(file: OpenFile) -> bool {
    matches!(file.kind, FileKind::Regular | FileKind::Directory)
}

fn lockable<M: Machine>(call: &Call<'_, '_, M>, fd: u64) -> Result<OpenFile, crate::syscall::Fail> {
    let file = glue::file(call, fd, Errno::ENOLCK)?;
    if has_locks(file) { Ok(file) } else { Err(Errno::ENOLCK.into()) }
}

/// flock(2).
pub fn flock<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [fd, operation, ..] = call.args;
    let operation = operation as u32;
    let mode = match operation & !LOCK_NB {
        LOCK_SH => LockMode::Shared,
        LOCK_EX => LockMode::Exclusive,
        LOCK_UN => LockMode::Unlock,
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = lockable(call, fd)?.file;
    let (owner, range) = (LockOwner::Whole, LockRange::default());
    let op = Lock { file, owner, mode, range, wait: operation & LOCK_NB == 0 };
    Ok(call.ask(&op, glue::wait(Wait::Zero)))
}

/// F_GETLK, F_SETLK, F_SETLKW and their F_OFD_ kin; `None`: the command is another.
pub fn fcntl<M: Machine>(call: &mut Call<'_, '_, M>, command: u32) -> Option<SysResult> {
    let own = &call.process().own;
    let process = LockOwner::Process { pid: own.pid.get(), moves: own.moves };
    Some(match command {
        F_GETLK => test(call, process),
        F_OFD_GETLK => test(call, LockOwner::Description),
        F_SETLK | F_SETLKW => set(call, process, command == F_SETLKW),
        F_OFD_SETLK | F_OFD_SETLKW => set(call, LockOwner::Description, command == F_OFD_SETLKW),
        _ => return None,
    })
}

/// What the structure asks for.
fn asked<M: Machine>(
    call: &mut Call<'_, '_, M>,
    owner: LockOwner,
) -> Result<(OpenFile, LockMode, Flock), crate::syscall::Fail> {
    let [fd, _, addr, ..] = call.args;
    call.process().own.files.get(fd)?;
    let flock: Flock = call.read(addr)?;
    let mode = match u32::from(flock.kind.cast_unsigned()) {
        F_RDLCK => LockMode::Shared,
        F_WRLCK => LockMode::Exclusive,
        F_UNLCK => LockMode::Unlock,
        _ => return Err(Errno::EINVAL.into()),
    };
    if owner == LockOwner::Description && flock.pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok((lockable(call, fd)?, mode, flock))
}

fn range(flock: &Flock) -> LockRange {
    let whence = u32::from(flock.whence.cast_unsigned());
    LockRange { whence, start: flock.start, len: flock.len }
}

fn set<M: Machine>(call: &mut Call<'_, '_, M>, owner: LockOwner, wait: bool) -> SysResult {
    let (file, mode, flock) = asked(call, owner)?;
    if owner != LockOwner::Description && mode != LockMode::Unlock {
        call.process_mut().own.has_locks = true;
    }
    let op = Lock { file: file.file, owner, mode, range: range(&flock), wait };
    Ok(call.ask(&op, glue::wait(Wait::Zero)))
}

fn test<M: Machine>(call: &mut Call<'_, '_, M>, owner: LockOwner) -> SysResult {
    let (file, mode, flock) = asked(call, owner)?;
    if mode == LockMode::Unlock && owner != LockOwner::Description {
        return Err(Errno::EINVAL.into());
    }
    let op = TestLock { file: file.file, owner, mode, range: range(&flock) };
    Ok(call.ask(&op, glue::wait(Wait::TestLock(flock))))
}

/// What is in the way has come: the structure says so, or else only that nothing is.
pub fn tested<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut flock: Flock,
    reply: &NodeReply,
) -> SysResult {
    match LockFound::get(&reply.msg)?.lock {
        None => flock.kind = F_UNLCK as i16,
        Some(LockInTheWay { exclusive, first, last, pid }) => {
            let end = (last < LAST).then_some(last);
            flock.kind = if exclusive { F_WRLCK } else { F_RDLCK } as i16;
            flock.whence = SEEK_SET as i16;
            flock.start = first.cast_signed();
            flock.len = end.map_or(0, |last| (last - first).cast_signed() + 1);
            flock.pid = pid.map_or(-1, u32::cast_signed);
        }
    }
    let addr = call.args[2];
    call.write(addr, &flock)?;
    Ok(Next::Done(0))
}

/// The process loses a descriptor: with any of a file it loses all its locks of it.
pub fn closing<M: Machine>(
    core: &mut ProcCore<M>,
    cx: &mut Cx<'_>,
    process: ProcessNo,
    descriptor: &Descriptor,
) {
    let Target::File(file) = descriptor.target else { return };
    let Some(own) = core.processes.get(process).map(|process| &process.own) else { return };
    if own.has_locks && has_locks(file) {
        let pid = own.pid.get();
        end(core, cx, file, pid);
    }
}

/// The process ends, or is nowhere any more.
pub(crate) fn end_all<M: Machine>(core: &mut ProcCore<M>, cx: &mut Cx<'_>, process: ProcessNo) {
    for (file, pid, _) in files_with_locks(core, process) {
        end(core, cx, file, pid);
    }
}

fn end<M: Machine>(core: &mut ProcCore<M>, cx: &mut Cx<'_>, file: OpenFile, pid: u32) {
    let cookie = core.forgotten_cookie();
    cx.ask_server(file.server(), &EndLocks { file: file.file, pid }, cookie);
}

/// The process is not on this node any more, to which it had moved so often; it may be where it goes to.
pub(crate) fn left<M: Machine>(core: &mut ProcCore<M>, cx: &mut Cx<'_>, process: ProcessNo) {
    for (file, pid, moves) in files_with_locks(core, process) {
        tell(core, cx, (file, pid), (cx.node(), moves));
    }
}

/// The process does not go to `to` after all.
pub(crate) fn stays<M: Machine>(
    core: &mut ProcCore<M>,
    cx: &mut Cx<'_>,
    process: ProcessNo,
    to: NodeId,
) {
    for (file, pid, moves) in files_with_locks(core, process) {
        tell(core, cx, (file, pid), (to, moves + 1));
    }
}

fn tell<M: Machine>(
    core: &mut ProcCore<M>,
    cx: &mut Cx<'_>,
    (file, pid): (OpenFile, u32),
    left: (NodeId, u32),
) {
    let cookie = core.forgotten_cookie();
    let op = MoveLocks { file: file.file, pid, enters: None, leaves: Some(left) };
    cx.ask_server(file.server(), &op, cookie);
}

/// What the home of a file must hear before a process with locks moves to `to`; `None`: it has none.
pub(crate) fn moving(own: &ProcessOwn, file: OpenFile, to: NodeId) -> Option<MoveLocks> {
    let enters = Some((to, own.moves + 1));
    let op = MoveLocks { file: file.file, pid: own.pid.get(), enters, leaves: None };
    (own.has_locks && has_locks(file)).then_some(op)
}

fn files_with_locks<M: Machine>(
    core: &ProcCore<M>,
    process: ProcessNo,
) -> alloc::vec::Vec<(OpenFile, u32, u32)> {
    let own = core.processes.get(process).map(|process| &process.own);
    let Some(own) = own.filter(|own| own.has_locks) else { return alloc::vec![] };
    let mut files = crate::migrate::distinct(own);
    files.retain(|file| has_locks(*file));
    files.into_iter().map(|file| (file, own.pid.get(), own.moves)).collect()
}
