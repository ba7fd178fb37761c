// SPDX-License-Identifier: MIT OR Apache-2.0
//! shmctl(2), semctl(2), msgctl(2).

use super::{SysvWait, by, id, wait};
use crate::files;
use crate::layout::Layout;
use crate::layout::sysv::{IpcPerm, Msginfo, MsqidDs, SemidDs, Seminfo, ShmInfo, ShmidDs, Shminfo};
use crate::machine::Machine;
use crate::syscall::{Call, Next, SysResult};
use abi::Errno;
use abi::limits::PAGE_BYTES;
use alloc::vec;
use alloc::vec::Vec;
use ipc_api::sysv::{
    About, GetStatus, Ids, Kind, List, MEMORY_BYTES_MAX, MESSAGE_BYTES_MAX, OBJECTS_MAX,
    QUEUE_BYTES, Remove, SEMAPHORE_MAX, SEMAPHORES_MAX, SEMOPS_MAX, SemRead, SemValues, SemWrite,
    SetStatus, Status,
};
use runtime::{NodeReply, Wire};

const IPC_RMID: u32 = 0;
const IPC_SET: u32 = 1;
const IPC_STAT: u32 = 2;
const IPC_INFO: u32 = 3;
const SHM_LOCK: u32 = 11;
const SHM_UNLOCK: u32 = 12;
const SHM_STAT: u32 = 13;
const SHM_INFO: u32 = 14;
const SHM_STAT_ANY: u32 = 15;
const GETPID: u32 = 11;
const GETVAL: u32 = 12;
const GETALL: u32 = 13;
const GETNCNT: u32 = 14;
const GETZCNT: u32 = 15;
const SETVAL: u32 = 16;
const SETALL: u32 = 17;
const SEM_STAT: u32 = 18;
const SEM_INFO: u32 = 19;
const SEM_STAT_ANY: u32 = 20;
const MSG_STAT: u32 = 11;
const MSG_INFO: u32 = 12;
const MSG_STAT_ANY: u32 = 13;

/// What the ids of all objects are wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    kind: Kind,
    for_what: For,
    /// Ids so far.
    count: u64,
}

#[derive(Clone, Copy, Debug)]
enum For {
    /// Limits, or what is in use, for this address: the answer is the highest index.
    Info { addr: u64, used: bool },
    /// The status of that with this index among them.
    Index { index: u64, addr: u64, any: bool },
}

/// shmctl(2).
pub(super) fn shmctl<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [memory, command, addr, ..] = call.args;
    let command = command as u32;
    match command {
        // Everything is in memory, all the time.
        SHM_LOCK | SHM_UNLOCK => {
            let op = GetStatus { kind: Kind::Memory, id: id(memory)?, any: true, by: by(call) };
            Ok(call.ask(&op, wait(SysvWait::End)))
        }
        SHM_INFO | IPC_INFO => info(call, Kind::Memory, addr, command == SHM_INFO),
        SHM_STAT | SHM_STAT_ANY => by_index(call, Kind::Memory, addr, command == SHM_STAT_ANY),
        _ => common(call, Kind::Memory, command, addr),
    }
}

/// semctl(2).
pub(super) fn semctl<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [set, number, command, arg, ..] = call.args;
    let command = command as u32;
    let number = || u16::try_from(number as u32).map_err(|_| Errno::EINVAL);
    match command {
        GETPID => sem_read(call, About::Pid(number()?), SysvWait::Value),
        GETVAL => sem_read(call, About::Value(number()?), SysvWait::Value),
        GETNCNT => sem_read(call, About::WaitForMore(number()?), SysvWait::Value),
        GETZCNT => sem_read(call, About::WaitForZero(number()?), SysvWait::Value),
        GETALL => sem_read(call, About::Values, SysvWait::Values(arg)),
        SETVAL => {
            let value = u16::try_from(arg as u32).map_err(|_| Errno::ERANGE)?;
            sem_write(call, id(set)?, Some(number()?), vec![value])
        }
        SETALL => {
            // How many there are is for its home to say.
            let op = GetStatus { kind: Kind::Semaphores, id: id(set)?, any: true, by: by(call) };
            Ok(call.ask(&op, wait(SysvWait::Status(Kind::Semaphores, arg, SET_ALL))))
        }
        SEM_INFO | IPC_INFO => info(call, Kind::Semaphores, arg, command == SEM_INFO),
        SEM_STAT | SEM_STAT_ANY => by_index(call, Kind::Semaphores, arg, command == SEM_STAT_ANY),
        _ => common(call, Kind::Semaphores, command, arg),
    }
}

/// Stands for SETALL where the answer to a status would: no call answers so much.
const SET_ALL: u64 = u64::MAX;

/// msgctl(2).
pub(super) fn msgctl<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [_, command, addr, ..] = call.args;
    let command = command as u32;
    match command {
        MSG_INFO | IPC_INFO => info(call, Kind::Messages, addr, command == MSG_INFO),
        MSG_STAT | MSG_STAT_ANY => by_index(call, Kind::Messages, addr, command == MSG_STAT_ANY),
        _ => common(call, Kind::Messages, command, addr),
    }
}

fn sem_read<M: Machine>(call: &mut Call<'_, '_, M>, about: About, then: SysvWait) -> SysResult {
    let op = SemRead { id: id(call.args[0])?, about, by: by(call) };
    Ok(call.ask(&op, wait(then)))
}

fn sem_write<M: Machine>(
    call: &mut Call<'_, '_, M>,
    id: u32,
    number: Option<u16>,
    values: Vec<u16>,
) -> SysResult {
    let op = SemWrite { id, number, values, by: by(call) };
    Ok(call.ask(&op, wait(SysvWait::End)))
}

fn common<M: Machine>(
    call: &mut Call<'_, '_, M>,
    kind: Kind,
    command: u32,
    addr: u64,
) -> SysResult {
    let id = id(call.args[0])?;
    match command {
        IPC_RMID => {
            let op = Remove { kind, id, by: by(call) };
            Ok(call.ask(&op, wait(SysvWait::Removed(kind, id))))
        }
        IPC_STAT => {
            let op = GetStatus { kind, id, any: false, by: by(call) };
            Ok(call.ask(&op, wait(SysvWait::Status(kind, addr, 0))))
        }
        IPC_SET => {
            let (permissions, size) = wanted_status(call, kind, addr)?;
            let IpcPerm { uid, gid, mode, .. } = permissions;
            let op = SetStatus { kind, id, uid, gid, mode, size, by: by(call) };
            Ok(call.ask(&op, wait(SysvWait::End)))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn wanted_status<M: Machine>(
    call: &mut Call<'_, '_, M>,
    kind: Kind,
    addr: u64,
) -> Result<(IpcPerm, u64), Errno> {
    Ok(match kind {
        Kind::Memory => (call.read::<ShmidDs>(addr)?.permissions, 0),
        Kind::Semaphores => (call.read::<SemidDs>(addr)?.permissions, 0),
        Kind::Messages => {
            let wanted = call.read::<MsqidDs>(addr)?;
            (wanted.permissions, wanted.room)
        }
    })
}

/// Goes on with IPC_RMID: there is nothing to undo any more.
pub(super) fn removed<M: Machine>(call: &mut Call<'_, '_, M>, kind: Kind, id: u32) -> SysResult {
    if kind == Kind::Semaphores
        && let Some(undo) = call.process_mut().own.files.drop_undo(id)
    {
        files::close_all(call.core, call.cx, vec![undo]);
    }
    Ok(Next::Done(0))
}

/// Goes on with IPC_STAT and what is like it.
pub(super) fn status_came<M: Machine>(
    call: &mut Call<'_, '_, M>,
    (kind, addr, answer): (Kind, u64, u64),
    reply: &NodeReply,
) -> SysResult {
    let it = Status::get(&reply.msg)?;
    if answer == SET_ALL {
        let count = usize::try_from(it.size).unwrap_or(0).min(SEMAPHORES_MAX);
        let mut bytes = vec![0; count * u16::BYTES];
        call.copy_in(addr, &mut bytes)?;
        let values = bytes.chunks_exact(u16::BYTES).filter_map(u16::from_slice).collect();
        let set = id(call.args[0])?;
        return sem_write(call, set, None, values);
    }
    let permissions = IpcPerm {
        key: it.key,
        uid: it.uid,
        gid: it.gid,
        cuid: it.cuid,
        cgid: it.cgid,
        mode: it.mode,
        ..IpcPerm::default()
    };
    let [first_s, second_s, changed_s] = it.times_s;
    match kind {
        Kind::Memory => call.write(
            addr,
            &ShmidDs {
                permissions,
                bytes: it.size,
                attached_s: first_s,
                detached_s: second_s,
                changed_s,
                made_by: it.pids[0],
                used_by: it.pids[1],
                attachments: it.count,
                ..ShmidDs::default()
            },
        )?,
        Kind::Semaphores => call.write(
            addr,
            &SemidDs {
                permissions,
                operated_s: first_s,
                changed_s,
                count: it.size,
                ..SemidDs::default()
            },
        )?,
        Kind::Messages => call.write(
            addr,
            &MsqidDs {
                permissions,
                sent_s: first_s,
                received_s: second_s,
                changed_s,
                bytes: it.bytes,
                messages: it.count,
                room: it.size,
                sent_by: it.pids[0],
                received_by: it.pids[1],
                ..MsqidDs::default()
            },
        )?,
    }
    Ok(Next::Done(answer))
}

/// Goes on with GETALL.
pub(super) fn values_came<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    reply: &NodeReply,
) -> SysResult {
    let SemValues(values) = SemValues::get(&reply.msg)?;
    let bytes: Vec<u8> = values.iter().flat_map(|it| (*it as u16).to_le_bytes()).collect();
    call.copy_out(addr, &bytes)?;
    Ok(Next::Done(0))
}

/// Goes on with GETVAL and its kin.
pub(super) fn value_came(reply: &NodeReply) -> SysResult {
    let SemValues(values) = SemValues::get(&reply.msg)?;
    Ok(Next::Done(values.first().copied().ok_or(Errno::EPROTO)?.into()))
}

fn info<M: Machine>(call: &mut Call<'_, '_, M>, kind: Kind, addr: u64, used: bool) -> SysResult {
    list(call, Listing { kind, for_what: For::Info { addr, used }, count: 0 }, 0)
}

fn by_index<M: Machine>(call: &mut Call<'_, '_, M>, kind: Kind, addr: u64, any: bool) -> SysResult {
    let index = id(call.args[0])?.into();
    list(call, Listing { kind, for_what: For::Index { index, addr, any }, count: 0 }, 0)
}

fn list<M: Machine>(call: &mut Call<'_, '_, M>, listing: Listing, after: u32) -> SysResult {
    Ok(call.ask(&List { kind: listing.kind, after }, wait(SysvWait::List(listing))))
}

/// Goes on with the ids of some objects.
pub(super) fn listed<M: Machine>(
    call: &mut Call<'_, '_, M>,
    listing: Listing,
    reply: &NodeReply,
) -> SysResult {
    let Ids(ids) = Ids::get(&reply.msg)?;
    let Listing { kind, for_what, count } = listing;
    if let For::Index { index, addr, any } = for_what
        && let Ok(at) = usize::try_from(index - count)
        && let Some(id) = ids.get(at)
    {
        let op = GetStatus { kind, id: *id, any, by: by(call) };
        return Ok(call.ask(&op, wait(SysvWait::Status(kind, addr, (*id).into()))));
    }
    if let Some(last) = ids.last() {
        let count = count + ids.len() as u64;
        return list(call, Listing { count, ..listing }, *last);
    }
    match for_what {
        For::Index { .. } => Err(Errno::EINVAL.into()),
        For::Info { addr, used } => {
            write_info(call, kind, addr, used.then_some(count as u32))?;
            Ok(Next::Done(count.saturating_sub(1)))
        }
    }
}

/// Writes limits, or how many objects are in use.
fn write_info<M: Machine>(
    call: &mut Call<'_, '_, M>,
    kind: Kind,
    addr: u64,
    used: Option<u32>,
) -> Result<(), Errno> {
    let objects = OBJECTS_MAX as u32;
    match (kind, used) {
        (Kind::Memory, Some(objects)) => {
            call.write(addr, &ShmInfo { objects, ..ShmInfo::default() })
        }
        (Kind::Memory, None) => call.write(
            addr,
            &Shminfo {
                max_bytes: MEMORY_BYTES_MAX,
                min_bytes: 1,
                objects: objects.into(),
                attachments: files::ATTACHMENTS_MAX as u64,
                pages: MEMORY_BYTES_MAX / PAGE_BYTES as u64,
                ..Shminfo::default()
            },
        ),
        (Kind::Semaphores, used) => call.write(
            addr,
            &Seminfo {
                sets: objects,
                semaphores: objects * SEMAPHORES_MAX as u32,
                per_set: SEMAPHORES_MAX as u32,
                per_call: SEMOPS_MAX as u32,
                undos: files::UNDOS_MAX as u32,
                undo_bytes: used.unwrap_or(0),
                max_value: SEMAPHORE_MAX as u32,
                max_undo: SEMAPHORE_MAX as u32,
                ..Seminfo::default()
            },
        ),
        (Kind::Messages, used) => call.write(
            addr,
            &Msginfo {
                pool: used.unwrap_or(0),
                max_bytes: MESSAGE_BYTES_MAX as u32,
                queue_bytes: QUEUE_BYTES as u32,
                queues: objects,
                ..Msginfo::default()
            },
        ),
    }
}
