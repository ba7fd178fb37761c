// SPDX-License-Identifier: MIT OR Apache-2.0
//! poll(2), ppoll(2), select(2), pselect6(2).
//!
//! # Model
//! ```text
//! Looking: every pipe and terminal is asked what holds now
//!     | all have answered: something holds, or no time is left ---> done
//!     v
//! Waiting: every one is asked to say when something holds; the first answer, or the deadline,
//!          ends the call (the other asks are cancelled)
//! ```
//! Regular files, directories, devices and files of proc-server are always ready.

use super::table::Target;
use super::{Wait, glue};
use crate::layout::io::{Pollfd, SignalMaskArgument, fd_set_add, fd_set_bytes, fd_set_has};
use crate::layout::signal::SIGSET_BYTES;
use crate::layout::time::{Timespec, Timeval};
use crate::layout::{IntoBytes, Layout};
use crate::limits::HEAP_RESERVE_BYTES;
use crate::machine::Machine;
use crate::signal::SignalSet;
use crate::syscall::{AskResult, Call, Fail, Next, SysResult, TAG_TIMER};
use crate::thread::{Progress, Restart};
use abi::Errno;
use abi::linux::general::{
    POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI, POLLRDNORM, POLLWRNORM,
};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use fs_api::file::{Poll as PollNow, PollWait, Ready};
use fs_api::name::FileKind;
use mem_api::{Access, Prepare};
use runtime::Wire;

/// One descriptor that is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    fd: u32,
    wanted: u32,
    holds: u32,
}

/// Where the answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Out {
    /// An array of `struct pollfd`.
    Pollfds(u64),
    /// Three sets of `count` descriptors; 0 where there is none.
    Sets { addrs: [u64; 3], count: usize },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Answers about the present that have not come yet.
    Looking { open: usize },
    /// For the first that holds.
    Waiting,
}

/// A poll that is under way.
#[derive(Debug)]
pub struct Poll {
    rows: Vec<Row>,
    out: Out,
    stage: Stage,
    /// When to give up, nanoseconds since boot; `None`: never.
    deadline_ns: Option<u64>,
    /// Signals of which one would make a descriptor of signalfd(2) readable.
    signals: SignalSet,
}

impl Poll {
    /// Those signals.
    pub fn signals(&self) -> SignalSet {
        self.signals
    }
}

/// What always holds of files that are never waited for.
const ALWAYS: u32 = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
/// select(2): what makes a descriptor readable, writable, exceptional.
const SETS: [u32; 3] = [POLLIN | POLLHUP | POLLERR, POLLOUT | POLLERR, POLLPRI];

/// So many descriptors are looked at even where memory is short.
const FEW_ROWS: usize = 64;

/// poll(2).
pub fn poll<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, count, timeout_ms, ..] = call.args;
    let timeout_ms = timeout_ms as i32;
    let wait_ns = u64::try_from(timeout_ms).ok().map(|ms| ms * 1_000_000);
    pollfds(call, addr, count, wait_ns)
}

/// ppoll(2).
pub fn ppoll<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let [addr, count, timeout, mask, mask_bytes, ..] = call.args;
    let wait_ns = match timeout {
        0 => None,
        addr => Some(call.read::<Timespec>(addr)?.to_ns()?),
    };
    let mask = read_mask(call, mask, mask_bytes)?;
    let rows = read_pollfds(call, addr, count)?;
    set_mask(call, mask);
    begin(call, rows, Out::Pollfds(addr), wait_ns)
}

fn pollfds<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    count: u64,
    wait_ns: Option<u64>,
) -> SysResult {
    let rows = read_pollfds(call, addr, count)?;
    begin(call, rows, Out::Pollfds(addr), wait_ns)
}

fn read_pollfds<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    count: u64,
) -> Result<Vec<Row>, Fail> {
    if count > glue::descriptors_limit(call) as u64 {
        return Err(Errno::EINVAL.into());
    }
    let bytes = glue::bytes(call, addr, count as usize * Pollfd::BYTES)?;
    let rows = bytes.chunks_exact(Pollfd::BYTES).filter_map(Pollfd::from_slice);
    let row = |it: Pollfd| Row {
        fd: it.fd.cast_unsigned(),
        wanted: u32::from(it.events.cast_unsigned()),
        holds: 0,
    };
    Ok(rows.map(row).collect())
}

/// select(2).
pub fn select<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let wait_ns = match call.args[4] {
        0 => None,
        addr => Some(call.read::<Timeval>(addr)?.to_ns()?),
    };
    let (rows, out) = read_sets(call)?;
    begin(call, rows, out, wait_ns)
}

/// pselect6(2).
pub fn pselect<M: Machine>(call: &mut Call<'_, '_, M>) -> SysResult {
    let wait_ns = match call.args[4] {
        0 => None,
        addr => Some(call.read::<Timespec>(addr)?.to_ns()?),
    };
    let mask = match call.args[5] {
        0 => None,
        addr => {
            let argument: SignalMaskArgument = call.read(addr)?;
            read_mask(call, argument.mask, argument.bytes)?
        }
    };
    let (rows, out) = read_sets(call)?;
    set_mask(call, mask);
    begin(call, rows, out, wait_ns)
}

fn read_sets<M: Machine>(call: &mut Call<'_, '_, M>) -> Result<(Vec<Row>, Out), Fail> {
    let [count, addrs @ .., _, _] = call.args;
    let count = usize::try_from(count as i32).map_err(|_| Errno::EINVAL)?;
    let count = count.min(super::DESCRIPTORS_MAX);
    let bytes = fd_set_bytes(count);
    let mut sets = [const { Vec::new() }; 3];
    for (set, addr) in sets.iter_mut().zip(addrs) {
        if addr != 0 {
            *set = glue::bytes(call, addr, bytes)?;
        }
    }
    let mut rows = Vec::new();
    for fd in 0..count {
        let parts = sets.iter().zip(SETS).filter(|(set, _)| fd_set_has(set, fd));
        let wanted = parts.fold(0, |wanted, (_, part)| wanted | part);
        if wanted != 0 {
            call.process().own.files.get(fd as u64)?;
            rows.push(Row { fd: fd as u32, wanted, holds: 0 });
        }
    }
    Ok((rows, Out::Sets { addrs, count }))
}

pub(super) fn read_mask<M: Machine>(
    call: &mut Call<'_, '_, M>,
    addr: u64,
    bytes: u64,
) -> Result<Option<SignalSet>, Fail> {
    if addr == 0 {
        return Ok(None);
    }
    if bytes != SIGSET_BYTES {
        return Err(Errno::EINVAL.into());
    }
    let bits: u64 = call.read(addr)?;
    Ok(Some(SignalSet::from_program(bits)))
}

/// The call's own mask: the former one comes back when it ends, or in a handler's frame.
pub(super) fn set_mask<M: Machine>(call: &mut Call<'_, '_, M>, mask: Option<SignalSet>) {
    let Some(mask) = mask else { return };
    let own = &mut call.thread_mut().own;
    if own.saved_mask.is_none() {
        own.saved_mask = Some(own.mask);
    }
    own.mask = mask;
    call.thread_mut().attention = true;
}

fn begin<M: Machine>(
    call: &mut Call<'_, '_, M>,
    rows: Vec<Row>,
    out: Out,
    wait_ns: Option<u64>,
) -> SysResult {
    let deadline_ns = match call.progress() {
        // The call was interrupted without the program's knowledge: its time goes on.
        Some(Progress::Deadline(deadline_ns)) => Some(deadline_ns),
        Some(Progress::Bytes(_)) | None => wait_ns.map(|ns| call.cx.now_ns().saturating_add(ns)),
    };
    // Each descriptor that is waited for is asked after.
    if rows.len() > FEW_ROWS && call.cx.heap_left() < HEAP_RESERVE_BYTES {
        return Err(Errno::ENOMEM.into());
    }
    let stage = Stage::Looking { open: 0 };
    let signals = SignalSet::EMPTY;
    look(call, Box::new(Poll { rows, out, stage, deadline_ns, signals }))
}

/// Asks about the present.
fn look<M: Machine>(call: &mut Call<'_, '_, M>, mut poll: Box<Poll>) -> SysResult {
    let mut open = 0;
    for index in 0..poll.rows.len() {
        let row = poll.rows[index];
        match call.process().own.files.get(u64::from(row.fd)).map(|it| &it.target) {
            // poll(2): negative numbers are left out.
            Err(_) if row.fd.cast_signed() < 0 => {}
            Err(_) => poll.rows[index].holds = POLLNVAL,
            Ok(Target::Local(_)) => poll.rows[index].holds = row.wanted & ALWAYS,
            Ok(Target::File(file)) => match file.kind {
                FileKind::Regular | FileKind::Directory | FileKind::Device => {
                    poll.rows[index].holds = row.wanted & ALWAYS;
                }
                FileKind::Signals(set) => {
                    let set = SignalSet::from_program(set);
                    let holds = if call.has_signal_of(set) { POLLIN | POLLRDNORM } else { 0 };
                    poll.rows[index].holds = row.wanted & holds;
                    poll.signals = poll.signals.union(set);
                }
                FileKind::Pipe
                | FileKind::Terminal
                | FileKind::Counter
                | FileKind::Socket(_)
                | FileKind::Epoll
                | FileKind::Timer(_)
                | FileKind::Held => {
                    let file = *file;
                    let op = PollNow { file: file.file, events: row.wanted };
                    call.ask_server(file.server(), &op, index as u32, glue::wait(Wait::Zero));
                    open += 1;
                }
            },
        }
    }
    if open > 0 {
        poll.stage = Stage::Looking { open };
        return Ok(call.keep_waiting(glue::wait(Wait::Poll(poll))));
    }
    looked(call, poll)
}

/// The present is known.
fn looked<M: Machine>(call: &mut Call<'_, '_, M>, mut poll: Box<Poll>) -> SysResult {
    let holds = poll.rows.iter().any(|row| row.holds != 0);
    let over = poll.deadline_ns.is_some_and(|deadline_ns| deadline_ns <= call.cx.now_ns());
    if holds || over {
        return finish(call, &poll);
    }
    if let Some(deadline_ns) = poll.deadline_ns {
        call.timeout_at(deadline_ns)?;
    }
    for (index, row) in poll.rows.iter().enumerate() {
        let target = call.process().own.files.get(u64::from(row.fd)).map(|it| &it.target);
        if let Ok(Target::File(file)) = target
            && !matches!(file.kind, FileKind::Signals(_))
        {
            let file = *file;
            let op = PollWait { file: file.file, events: row.wanted };
            call.ask_server(file.server(), &op, index as u32, glue::wait(Wait::Zero));
        }
    }
    poll.stage = Stage::Waiting;
    Ok(call.keep_waiting(glue::wait(Wait::Poll(poll))))
}

/// A signal that a descriptor of signalfd(2) waits for has come: the call looks again, if nothing else interrupts it.
fn has_signal<M: Machine>(call: &Call<'_, '_, M>, poll: &Poll) -> bool {
    !poll.signals.is_empty() && call.has_signal_of(poll.signals)
}

/// What that makes readable.
fn signalled<M: Machine>(call: &mut Call<'_, '_, M>, mut poll: Box<Poll>) -> SysResult {
    for row in &mut poll.rows {
        let target = call.process().own.files.get(u64::from(row.fd)).map(|it| &it.target);
        if let Ok(Target::File(file)) = target
            && let FileKind::Signals(set) = file.kind
            && call.has_signal_of(SignalSet::from_program(set))
        {
            row.holds = row.wanted & (POLLIN | POLLRDNORM);
        }
    }
    finish(call, &poll)
}

/// An answer, or the deadline.
pub fn resume<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut poll: Box<Poll>,
    tag: u32,
    result: AskResult,
) -> SysResult {
    if tag == TAG_TIMER {
        return match result {
            Err(Errno::ECANCELED) if has_signal(call, &poll) => signalled(call, poll),
            Err(Errno::ECANCELED) => interrupted(call, &poll),
            Ok(_) | Err(_) => finish(call, &poll),
        };
    }
    let holds = match result.and_then(|reply| Ready::get(&reply.msg)) {
        Ok(ready) => ready.events,
        Err(Errno::ECANCELED) if has_signal(call, &poll) => return signalled(call, poll),
        Err(Errno::ECANCELED) => return interrupted(call, &poll),
        // The file's server does not know it any more, or its node is down.
        Err(_) => POLLERR,
    };
    if let Some(row) = poll.rows.get_mut(tag as usize) {
        row.holds = holds & (row.wanted | POLLERR | POLLHUP | POLLNVAL);
    }
    match &mut poll.stage {
        Stage::Looking { open } if *open > 1 => {
            *open -= 1;
            Ok(call.keep_waiting(glue::wait(Wait::Poll(poll))))
        }
        Stage::Looking { .. } => looked(call, poll),
        Stage::Waiting if poll.rows.iter().all(|row| row.holds == 0) => {
            // What was said to hold does not concern this call: look again.
            look(call, poll)
        }
        Stage::Waiting => finish(call, &poll),
    }
}

fn interrupted<M: Machine>(call: &mut Call<'_, '_, M>, poll: &Poll) -> SysResult {
    if let Some(deadline_ns) = poll.deadline_ns {
        call.thread_mut().own.progress = Some(Progress::Deadline(deadline_ns));
    }
    Err(Fail::Interrupted(Restart::NoHandler))
}

fn finish<M: Machine>(call: &mut Call<'_, '_, M>, poll: &Poll) -> SysResult {
    let count = match poll.out {
        Out::Pollfds(addr) => put_pollfds(call, &poll.rows, addr)?,
        Out::Sets { addrs, count } => put_sets(call, &poll.rows, addrs, count)?,
    };
    restore_mask(call);
    Ok(Next::Done(count))
}

/// The mask from before the call.
pub(super) fn restore_mask<M: Machine>(call: &mut Call<'_, '_, M>) {
    let own = &mut call.thread_mut().own;
    if let Some(mask) = own.saved_mask.take() {
        own.mask = mask;
    }
}

fn put_pollfds<M: Machine>(
    call: &mut Call<'_, '_, M>,
    rows: &[Row],
    addr: u64,
) -> Result<u64, Fail> {
    let mut bytes = Vec::with_capacity(rows.len() * Pollfd::BYTES);
    for row in rows {
        let fd = Pollfd {
            fd: row.fd.cast_signed(),
            events: (row.wanted as u16).cast_signed(),
            returned: (row.holds as u16).cast_signed(),
        };
        bytes.extend_from_slice(fd.as_bytes());
    }
    call.copy_out(addr, &bytes)?;
    Ok(rows.iter().filter(|row| row.holds != 0).count() as u64)
}

/// Writes the three sets. All are made sure of before the first is written: the call may run again
/// from its start, and reads them then.
fn put_sets<M: Machine>(
    call: &mut Call<'_, '_, M>,
    rows: &[Row],
    addrs: [u64; 3],
    count: usize,
) -> Result<u64, Fail> {
    let space = call.space()?;
    let len = fd_set_bytes(count) as u64;
    for addr in addrs.into_iter().filter(|addr| *addr != 0 && len > 0) {
        call.cx.leaf(&Prepare { space, addr, len, access: Access::Write })?;
    }
    let mut total = 0;
    for (addr, part) in addrs.into_iter().zip(SETS) {
        if addr == 0 {
            continue;
        }
        // POLLHUP and POLLERR count for those who wanted this part only.
        let wanted = part & (POLLIN | POLLOUT | POLLPRI);
        let mut set = vec![0; fd_set_bytes(count)];
        for row in rows.iter().filter(|row| row.wanted & wanted != 0 && row.holds & part != 0) {
            fd_set_add(&mut set, row.fd as usize);
            total += 1;
        }
        call.copy_out(addr, &set)?;
    }
    Ok(total)
}
