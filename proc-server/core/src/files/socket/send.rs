// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sending.
//!
//! # Model
//! A message goes in one step, a stream in as many as it takes. Bytes that were sent are never sent again:
//! an error behind them ends the call with their count, an absent page is fetched and the rest goes on.

use super::super::transfer::Memory;
use super::{Wait, lost, ranges, whole};
use crate::files::table::OpenFile;
use crate::files::{self, flight, glue};
use crate::machine::Machine;
use crate::syscall::{AskResult, Call, Fail, Next, SysResult};
use abi::Errno;
use abi::linux::net::MSG_NOSIGNAL;
use alloc::boxed::Box;
use alloc::vec::Vec;
use fs_api::file::Moved;
use fs_api::name::SocketType;
use ipc_api::socket::{PACKET_BYTES, Send, SendHead};
use runtime::Wire;

/// What is being sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sending {
    /// The socket.
    pub file: OpenFile,
    /// Its type.
    pub kind: SocketType,
    /// The bytes.
    pub memory: Memory,
    /// What goes along.
    pub head: SendHead,
    /// Descriptors that are to fly with it.
    pub descriptors: Vec<u32>,
    /// Bytes sent so far.
    pub done: u64,
}

/// Sends, or goes on with what was sent before the program moved.
pub fn begin<M: Machine>(call: &mut Call<'_, '_, M>, mut sending: Sending) -> SysResult {
    sending.done = call.bytes_done().min(sending.memory.total());
    // Only Unix sockets carry descriptors; elsewhere they are left where they are.
    if sending.done == 0 && sending.kind.internet().is_none() {
        let socket = sending.file.file;
        sending.head.rights = flight::begin(call, socket, &sending.descriptors)?;
    }
    step(call, sending)
}

fn step<M: Machine>(call: &mut Call<'_, '_, M>, sending: Sending) -> SysResult {
    let space = call.space()?;
    let ranges = match sending.kind {
        SocketType::Stream | SocketType::Tcp(_) => {
            ranges(&sending.memory, sending.done, PACKET_BYTES)
        }
        SocketType::Datagram | SocketType::Packet | SocketType::Udp(_) => {
            match whole(&sending.memory) {
                Ok(ranges) => ranges,
                Err(errno) => return failed(call, sending, errno),
            }
        }
    };
    let asked = ranges.iter().map(|(_, len)| len).sum();
    let op = Send { file: sending.file.file, space, ranges, head: sending.head.clone() };
    Ok(call.ask(&op, wait(Wait::Sent(sending, asked))))
}

fn wait(wait: Wait) -> crate::syscall::Wait {
    glue::wait(files::Wait::Socket(Box::new(wait)))
}

/// A step has ended.
pub fn sent<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut sending: Sending,
    asked: u64,
    result: AskResult,
) -> SysResult {
    let moved = match result.and_then(|reply| Moved::get(&reply.msg)) {
        Ok(moved) => moved.bytes.min(asked),
        Err(errno) => return failed(call, sending, errno),
    };
    sending.done += moved;
    // They went with the first bytes.
    sending.head.rights = None;
    let rest = sending.memory.total() - sending.done;
    if !sending.kind.is_stream() || rest == 0 {
        return Ok(Next::Done(sending.done));
    }
    if call.interrupt.is_some() && sending.done > 0 {
        return call.partial(sending.done);
    }
    if moved < asked || asked == 0 {
        return Ok(Next::Done(sending.done));
    }
    step(call, sending)
}

/// The page that the next step needs has come.
pub fn again<M: Machine>(
    call: &mut Call<'_, '_, M>,
    sending: Sending,
    result: AskResult,
) -> SysResult {
    match result {
        Ok(_) if call.interrupt.is_none() => step(call, sending),
        Ok(_) => failed(call, sending, Errno::ECANCELED),
        Err(errno) => failed(call, sending, errno),
    }
}

fn failed<M: Machine>(call: &mut Call<'_, '_, M>, sending: Sending, errno: Errno) -> SysResult {
    let done = sending.done;
    // What has not left does not fly.
    if let Some(rights) = sending.head.rights.filter(|_| done == 0) {
        call.core.drop_rights(call.cx, rights);
    }
    let broken = match lost(errno) {
        Errno::ECONNRESET if matches!(sending.kind, SocketType::Stream | SocketType::Packet) => {
            Errno::EPIPE
        }
        errno => errno,
    };
    match broken {
        Errno::ERESTART if done > 0 => call.fetch_then(wait(Wait::SendAgain(sending))),
        Errno::ECANCELED if done > 0 => call.partial(done),
        Errno::ERESTART | Errno::ECANCELED => Err(broken.into()),
        _ if done > 0 => Ok(Next::Done(done)),
        Errno::EPIPE => {
            if sending.kind.is_stream() && sending.head.flags & MSG_NOSIGNAL == 0 {
                glue::broken_pipe(call);
            }
            Err(Fail::Errno(Errno::EPIPE))
        }
        errno => Err(errno.into()),
    }
}
