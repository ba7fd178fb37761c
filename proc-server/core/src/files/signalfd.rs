// SPDX-License-Identifier: MIT OR Apache-2.0
//! signalfd(2), signalfd4(2).
//!
//! # Model
//! What is read are the signals of the thread and process that read, as on Linux: so all is decided here, where they
//! are, wherever the process is. The ipc server has the description, for its flags and its holders.
//!
//! # Limits
//! The set of signals stands with each descriptor: a process that changes it changes its own, not those that other
//! processes have of the same description.

use super::table::{OpenFile, Target};
use super::transfer::Memory;
use super::{Wait, glue, names};
use crate::layout::Layout;
use crate::layout::signal::{SIGSET_BYTES, SignalfdInfo};
use crate::machine::Machine;
use crate::signal::{Info, SI_KERNEL, SI_TIMER, SignalSet, number};
use crate::syscall::{AskResult, Call, Fail, Next, SysResult};
use crate::thread::Restart;
use abi::Errno;
use abi::linux::general::{O_CLOEXEC, O_NONBLOCK};
use fs_api::file::{Flags, GetFlags};
use fs_api::name::FileKind;
use ipc_api::{SignalsCreate, SignalsMade};
use runtime::{NodeReply, Wire};

/// signalfd4(2); SFD_CLOEXEC and SFD_NONBLOCK are the O_ flags of these names.
pub fn create<M: Machine>(call: &mut Call<'_, '_, M>, flags: u32) -> SysResult {
    let [fd, set, bytes, ..] = call.args;
    if bytes != SIGSET_BYTES || flags & !(O_CLOEXEC | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let set = SignalSet::from_program(call.read::<u64>(set)?);
    if fd as i32 == -1 {
        let op = SignalsCreate { flags: flags & O_NONBLOCK };
        return Ok(call.ask(&op, glue::wait(Wait::SignalsMade(set, flags & O_CLOEXEC))));
    }
    let file = match &call.process().own.files.get(fd)?.target {
        Target::File(file) if matches!(file.kind, FileKind::Signals(_)) => file.file,
        Target::File(_) | Target::Local(_) => return Err(Errno::EINVAL.into()),
    };
    call.process_mut().own.files.set_kind(file, FileKind::Signals(set.0));
    Ok(Next::Done(u64::from(fd as u32)))
}

/// The description is there.
pub fn made<M: Machine>(
    call: &mut Call<'_, '_, M>,
    set: SignalSet,
    flags: u32,
    reply: &NodeReply,
) -> SysResult {
    let file = SignalsMade::get(&reply.msg)?.file;
    names::install(call, OpenFile { file, kind: FileKind::Signals(set.0) }, flags)
}

/// A read that is under way.
#[derive(Clone, Debug)]
pub struct Reading {
    file: OpenFile,
    set: SignalSet,
    memory: Memory,
    /// It is known that the call may wait.
    waits: bool,
}

impl Reading {
    /// The signals that it waits for.
    pub fn set(&self) -> SignalSet {
        self.set
    }
}

/// read(2), readv(2).
pub fn read<M: Machine>(
    call: &mut Call<'_, '_, M>,
    (file, set): (OpenFile, u64),
    memory: Memory,
) -> SysResult {
    if memory.total() < SignalfdInfo::BYTES as u64 {
        return Err(Errno::EINVAL.into());
    }
    step(call, Reading { file, set: SignalSet::from_program(set), memory, waits: false })
}

fn step<M: Machine>(call: &mut Call<'_, '_, M>, reading: Reading) -> SysResult {
    let (mut done, bytes) = (0, SignalfdInfo::BYTES as u64);
    while let Some(range) = reading.memory.rest(done) {
        if range.len < bytes {
            // There is no room for one more whole.
            return if done > 0 { Ok(Next::Done(done)) } else { Err(Errno::EINVAL.into()) };
        }
        let Some((info, to_thread)) = call.take_signal_of(reading.set) else { break };
        if let Err(errno) = call.write(range.base, &layout(&info)) {
            // Not lost: it waits again, where it did.
            call.put_signal_back(info, to_thread);
            return if done > 0 { Ok(Next::Done(done)) } else { Err(errno.into()) };
        }
        done += bytes;
    }
    if done > 0 {
        return Ok(Next::Done(done));
    }
    if reading.waits {
        return Ok(call.keep_waiting(glue::wait(Wait::SignalRead(reading))));
    }
    let (op, server) = (GetFlags { file: reading.file.file }, reading.file.server());
    Ok(call.ask_server(server, &op, 0, glue::wait(Wait::SignalFlags(reading))))
}

/// The flags have come: whether the read may wait.
pub fn flags_known<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut reading: Reading,
    reply: &NodeReply,
) -> SysResult {
    let flags = Flags::get(&reply.msg)?.flags;
    reading.waits = flags & O_NONBLOCK == 0 && call.interrupt.is_none();
    if !reading.waits && !call.has_signal_of(reading.set) {
        return Err(if flags & O_NONBLOCK != 0 {
            Errno::EAGAIN.into()
        } else {
            Fail::Interrupted(Restart::Call)
        });
    }
    step(call, reading)
}

/// A signal has come, one of these or another.
pub fn resume<M: Machine>(
    call: &mut Call<'_, '_, M>,
    reading: Reading,
    result: AskResult,
) -> SysResult {
    let _ = result;
    if call.has_signal_of(reading.set) {
        return step(call, reading);
    }
    Err(Fail::Interrupted(Restart::Call))
}

/// What `struct signalfd_siginfo` tells of a signal.
fn layout(info: &Info) -> SignalfdInfo {
    let mut out = SignalfdInfo { signal: info.signal, code: info.code, ..SignalfdInfo::default() };
    let [first, second, _] = info.words;
    let is_fault = [number::SEGV, number::BUS, number::ILL, number::FPE, number::TRAP];
    if info.code == SI_KERNEL {
        return out;
    }
    if info.code > 0 && is_fault.contains(&info.signal) {
        out.addr = first;
        return out;
    }
    if info.code == SI_TIMER {
        (out.tid, out.overrun) = (first as u32, (first >> u32::BITS) as u32);
        (out.int, out.ptr) = (second as i32, second);
        return out;
    }
    (out.pid, out.uid) = (first as u32, (first >> 32) as u32);
    if info.code > 0 {
        out.status = second as i32;
    } else if info.code < 0 {
        (out.int, out.ptr) = (second as i32, second);
    }
    out
}
