// SPDX-License-Identifier: MIT OR Apache-2.0
//! epoll_create(2), epoll_ctl(2), epoll_wait(2), epoll_pwait(2), epoll_pwait2(2).
//!
//! # Model
//! ```text
//! EpollWait --events--> written to the program ---> done
//!    |  time is over          | they cannot be, or the program is to move: EpollAgain, they are told again
//!    v                        v
//! cancelled: its end       EFAULT, or the call runs again
//! ```
//! What is told of an edge is told once: so the memory is prepared before events are asked for, the end of a cancelled
//! call is waited for, and what does not reach the program goes back.

use super::table::{OpenFile, Target};
use super::{Wait, glue, names, poll};
use crate::layout::io::EpollEvent;
use crate::layout::time::Timespec;
use crate::layout::{IntoBytes, Layout};
use crate::machine::Machine;
use crate::syscall::{AskResult, Call, Fail, Next, SysResult, TAG_TIMER};
use crate::thread::{Progress, Restart};
use abi::Errno;
use abi::linux::general::{EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, O_CLOEXEC};
use alloc::boxed::Box;
use alloc::vec::Vec;
use fs_api::name::FileKind;
use ipc_api::epoll::{
    Change, EVENTS_MAX, EpollAgain, EpollControl, EpollCreate, EpollEvents, EpollMade, EpollWait,
};
use mem_api::{Access, Prepare};
use runtime::{NodeReply, Wire};

/// Most events that epoll_wait(2) may be asked for, as on Linux.
const ASKED_MAX: i32 = i32::MAX / EpollEvent::BYTES as i32;

/// A wait that is under way.
#[derive(Clone, Debug)]
pub struct Waiting {
    file: OpenFile,
    /// Where events go.
    addr: u64,
    max: u32,
    /// When to give up, nanoseconds since boot; `None`: never.
    deadline_ns: Option<u64>,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// For events.
    Asked { timed_out: bool },
    /// For the page that these need.
    Put(Vec<(u32, u32, u64)>),
    /// For the home to take events back; then the call fails so.
    Returned(Fail),
}

/// epoll_create(2).
pub fn create<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    if call.args[0] as i32 <= 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(call.ask(&EpollCreate {}, glue::wait(Wait::EpollMade(0))))
}

/// epoll_create1(2).
pub fn create1<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let flags = call.args[0] as u32;
    if flags & !EPOLL_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(call.ask(&EpollCreate {}, glue::wait(Wait::EpollMade(flags & O_CLOEXEC))))
}

/// The instance is there.
pub fn made<M: Machine>(call: &mut Call<'_, '_, M>, flags: u32, reply: &NodeReply) -> SysResult {
    let file = EpollMade::get(&reply.msg)?.file;
    names::install(call, OpenFile { file, kind: FileKind::Epoll }, flags)
}

/// epoll_ctl(2).
pub fn control<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [epoll, op, fd, addr, ..] = call.args;
    let change = match op as u32 {
        EPOLL_CTL_ADD => Some(Change::Add),
        EPOLL_CTL_MOD => Some(Change::Modify),
        EPOLL_CTL_DEL => Some(Change::Remove),
        _ => None,
    };
    let event: EpollEvent = match change {
        Some(Change::Remove) => EpollEvent::default(),
        Some(Change::Add | Change::Modify) | None => call.read(addr)?,
    };
    let (of, watched) = (target(call, epoll)?, target(call, fd)?);
    let watched = watched.filter(|file| {
        !matches!(
            file.kind,
            FileKind::Regular | FileKind::Directory | FileKind::Device | FileKind::Signals(_)
        )
    });
    let watched = watched.ok_or(Errno::EPERM)?;
    let of = of.filter(|file| file.kind == FileKind::Epoll && file.file != watched.file);
    let of = of.ok_or(Errno::EINVAL)?;
    let op = EpollControl {
        epoll: of.file,
        change: change.ok_or(Errno::EINVAL)?,
        fd: fd as u32,
        file: watched.file,
        nests: watched.kind == FileKind::Epoll,
        events: event.events,
        data: event.data(),
    };
    Ok(call.ask(&op, glue::wait(Wait::Zero)))
}

/// What a descriptor names; `None`: a file of proc-server.
fn target<M: Machine>(call: &Call<'_, '_, M>, fd: u64) -> Result<Option<OpenFile>, Errno> {
    match &call.process().own.files.get(fd)?.target {
        Target::File(file) => Ok(Some(*file)),
        Target::Local(_) => Ok(None),
    }
}

/// epoll_wait(2).
pub fn wait<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let timeout_ms = call.args[3] as i32;
    begin(call, u64::try_from(timeout_ms).ok().map(|ms| ms * 1_000_000), (0, 0))
}

/// epoll_pwait(2).
pub fn pwait<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [_, _, _, timeout, mask, bytes] = call.args;
    let timeout_ms = timeout as i32;
    begin(call, u64::try_from(timeout_ms).ok().map(|ms| ms * 1_000_000), (mask, bytes))
}

/// epoll_pwait2(2).
pub fn pwait2<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [_, _, _, timeout, mask, bytes] = call.args;
    let wait_ns = match timeout {
        0 => None,
        addr => Some(call.read::<Timespec>(addr)?.to_ns()?),
    };
    begin(call, wait_ns, (mask, bytes))
}

fn begin<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait_ns: Option<u64>,
    (mask, mask_bytes): (u64, u64),
) -> SysResult {
    let [fd, addr, max, ..] = call.args;
    let mask = poll::read_mask(call, mask, mask_bytes)?;
    if !(1..=ASKED_MAX).contains(&(max as i32)) {
        return Err(Errno::EINVAL.into());
    }
    let file = target(call, fd)?.filter(|file| file.kind == FileKind::Epoll);
    let file = file.ok_or(Errno::EINVAL)?;
    let max = (max as u32).min(EVENTS_MAX as u32);
    let (space, len) = (call.space()?, u64::from(max) * EpollEvent::BYTES as u64);
    call.cx.leaf(&Prepare { space, addr, len, access: Access::Write })?;
    let deadline_ns = Progress::deadline(call.progress())
        .or_else(|| wait_ns.map(|ns| call.cx.now_ns().saturating_add(ns)));
    poll::set_mask(call, mask);
    let stage = Stage::Asked { timed_out: false };
    ask(call, Box::new(Waiting { file, addr, max, deadline_ns, stage }))
}

fn ask<M: Machine>(call: &mut Call<'_, '_, M>, waiting: Box<Waiting>) -> SysResult {
    let over = |at: u64| at <= call.cx.now_ns();
    let now = waiting.deadline_ns.is_some_and(over);
    let op = EpollWait { file: waiting.file.file, max: waiting.max, now };
    let deadline_ns = waiting.deadline_ns.filter(|_| !now);
    // Before it is asked: without room for a timer the call fails, and what it took would be lost.
    if let Some(deadline_ns) = deadline_ns
        && let Err(errno) = call.timeout_at(deadline_ns)
    {
        return Err(failed(call, &waiting, errno));
    }
    Ok(call.ask(&op, glue::wait(Wait::Epoll(waiting))))
}

fn go_on(mut waiting: Box<Waiting>, stage: Stage) -> crate::syscall::Wait {
    waiting.stage = stage;
    glue::wait(Wait::Epoll(waiting))
}

/// Events have come, or the time is over, or what was waited for since.
pub fn resume<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut waiting: Box<Waiting>,
    tag: u32,
    result: AskResult,
) -> SysResult {
    let timed_out = match core::mem::replace(&mut waiting.stage, Stage::Put(Vec::new())) {
        Stage::Asked { timed_out } => timed_out,
        Stage::Put(events) if result.is_ok() && call.interrupt.is_none() => {
            return put(call, waiting, events);
        }
        Stage::Put(events) => return give_back(call, waiting, &events, Errno::ECANCELED),
        Stage::Returned(fail) => return Err(fail),
    };
    match result.and_then(|reply| EpollEvents::get(&reply.msg)) {
        Ok(EpollEvents(events)) if !events.is_empty() => put(call, waiting, events),
        Ok(_) if timed_out || waiting.deadline_ns.is_some_and(|at| at <= call.cx.now_ns()) => {
            Ok(finish(call, 0))
        }
        Ok(_) => {
            waiting.stage = Stage::Asked { timed_out };
            ask(call, waiting)
        }
        Err(Errno::ETIMEDOUT) if tag == TAG_TIMER => {
            for ask in call.asks.clone() {
                call.cx.cancel(ask.cookie);
            }
            let wait = go_on(waiting, Stage::Asked { timed_out: true });
            Ok(call.keep_waiting(wait))
        }
        Err(Errno::ECANCELED) if timed_out && call.interrupt.is_none() => Ok(finish(call, 0)),
        Err(errno) => Err(failed(call, &waiting, errno)),
    }
}

/// A call that is to run again keeps its deadline.
fn failed<M: Machine>(call: &mut Call<'_, '_, M>, waiting: &Waiting, errno: Errno) -> Fail {
    if matches!(errno, Errno::ECANCELED | Errno::ERESTART) {
        call.thread_mut().own.progress = waiting.deadline_ns.map(Progress::Deadline);
    }
    match errno {
        Errno::ECANCELED => Fail::Interrupted(Restart::NoHandler),
        errno => {
            if errno != Errno::ERESTART {
                poll::restore_mask(call);
            }
            errno.into()
        }
    }
}

/// Writes events to the program.
fn put<M: Machine>(
    call: &mut Call<'_, '_, M>,
    waiting: Box<Waiting>,
    events: Vec<(u32, u32, u64)>,
) -> SysResult {
    let mut bytes = Vec::with_capacity(events.len() * EpollEvent::BYTES);
    for (_, events, data) in &events {
        bytes.extend_from_slice(EpollEvent::new(*events, *data).as_bytes());
    }
    match call.copy_out(waiting.addr, &bytes) {
        Ok(()) => Ok(finish(call, events.len() as u64)),
        Err(Errno::ERESTART) => {
            let wait = go_on(waiting, Stage::Put(events));
            call.fetch_then(wait)
        }
        Err(errno) => give_back(call, waiting, &events, errno),
    }
}

/// Events did not reach the program: they are told again.
fn give_back<M: Machine>(
    call: &mut Call<'_, '_, M>,
    waiting: Box<Waiting>,
    events: &[(u32, u32, u64)],
    errno: Errno,
) -> SysResult {
    let fail = failed(call, &waiting, errno);
    let op =
        EpollAgain { file: waiting.file.file, fds: events.iter().map(|(fd, ..)| *fd).collect() };
    let wait = go_on(waiting, Stage::Returned(fail));
    Ok(call.ask(&op, wait))
}

fn finish<M: Machine>(call: &mut Call<'_, '_, M>, count: u64) -> Next {
    poll::restore_mask(call);
    Next::Done(count)
}
