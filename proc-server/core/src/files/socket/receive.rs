// SPDX-License-Identifier: MIT OR Apache-2.0
//! Receiving.

use super::super::transfer::Memory;
use super::address::{self, Place};
use super::{Wait, control, lost, ranges};
use crate::files::table::OpenFile;
use crate::files::{self, flight, glue};
use crate::layout::socket::Msghdr;
use crate::machine::Machine;
use crate::syscall::{AskResult, Call, Next, SysResult};
use abi::Errno;
use abi::linux::net::{MSG_CTRUNC, MSG_PEEK, MSG_TRUNC, MSG_WAITALL};
use alloc::boxed::Box;
use alloc::vec::Vec;
use fs_api::name::SocketType;
use ipc_api::socket::{PACKET_BYTES, Receive, Received};
use proc_api::peer::TakeRights;
use runtime::Wire;

/// What is told beside the bytes, and where.
#[derive(Clone, Copy, Debug)]
pub enum Tells {
    /// Nothing.
    Nothing,
    /// The sender's name, recvfrom(2).
    Name(Place),
    /// All that the header has room for, recvmsg(2): where it stands, and what it said.
    Header(u64, Msghdr),
}

/// What is being received.
#[derive(Clone, Debug)]
pub struct Receiving {
    /// The socket.
    pub file: OpenFile,
    /// Its type.
    pub kind: SocketType,
    /// Where the bytes go.
    pub memory: Memory,
    /// MSG_ flags.
    pub flags: u32,
    /// What else is told.
    pub tells: Tells,
    /// Bytes received so far.
    pub done: u64,
}

/// What has come, beside the bytes.
#[derive(Clone, Debug)]
pub struct Message {
    /// As the socket's home says.
    pub received: Received,
    /// Control messages.
    pub control: Vec<u8>,
    /// MSG_ flags of the answer.
    pub flags: u32,
}

/// Receives, or goes on with what was received before the program moved.
pub fn begin<M: Machine>(call: &mut Call<'_, '_, M>, mut receiving: Receiving) -> SysResult {
    receiving.done = call.bytes_done().min(receiving.memory.total());
    step(call, receiving)
}

fn wait(wait: Wait) -> crate::syscall::Wait {
    glue::wait(files::Wait::Socket(Box::new(wait)))
}

fn step<M: Machine>(call: &mut Call<'_, '_, M>, receiving: Receiving) -> SysResult {
    let space = call.space()?;
    let ranges = ranges(&receiving.memory, receiving.done, PACKET_BYTES);
    let (file, flags) = (receiving.file.file, receiving.flags);
    let op = Receive { file, space, ranges, flags };
    Ok(call.ask(&op, wait(Wait::Received(receiving))))
}

/// A step has ended.
pub fn received<M: Machine>(
    call: &mut Call<'_, '_, M>,
    mut receiving: Receiving,
    result: AskResult,
) -> SysResult {
    let received = match result.and_then(|reply| Received::get(&reply.msg)) {
        Ok(received) => received,
        Err(errno) => return failed(call, receiving, errno),
    };
    let left = receiving.memory.total() - receiving.done;
    receiving.done += received.bytes.min(left);
    let goes_on = receiving.kind.is_stream()
        && receiving.flags & (MSG_WAITALL | MSG_PEEK) == MSG_WAITALL
        && received.bytes > 0
        && received.rights.is_none()
        && receiving.done < receiving.memory.total();
    if goes_on {
        return step(call, receiving);
    }
    finish(call, receiving, received)
}

/// All bytes are there: so are the descriptors, or they are fetched from the sender's node.
fn finish<M: Machine>(
    call: &mut Call<'_, '_, M>,
    receiving: Receiving,
    received: Received,
) -> SysResult {
    let keep = receiving.flags & MSG_PEEK != 0;
    let files = match received.rights {
        None => Vec::new(),
        Some(rights) if rights.node == call.core.node => {
            flight::take_here(call.core, rights.token, keep)
        }
        Some(rights) => {
            let op = TakeRights { token: rights.token, keep };
            let wait = wait(Wait::Rights(receiving, received));
            return Ok(call.call_node(rights.node, &op, Vec::new(), wait));
        }
    };
    let message = control::message(call, &receiving, received, files);
    tell(call, receiving, message)
}

/// The sender's node has answered. Without it the message has no descriptors.
pub fn landed<M: Machine>(
    call: &mut Call<'_, '_, M>,
    receiving: Receiving,
    received: Received,
    result: AskResult,
) -> SysResult {
    let files = result.map(|reply| flight::taken(call.core, call.cx, &reply));
    let message = control::message(call, &receiving, received, files.unwrap_or_default());
    tell(call, receiving, message)
}

/// The page that the next step needs has come.
pub fn again<M: Machine>(
    call: &mut Call<'_, '_, M>,
    receiving: Receiving,
    result: AskResult,
) -> SysResult {
    match result {
        Ok(_) if call.interrupt.is_none() => step(call, receiving),
        Ok(_) => failed(call, receiving, Errno::ECANCELED),
        Err(errno) => failed(call, receiving, errno),
    }
}

fn failed<M: Machine>(call: &mut Call<'_, '_, M>, receiving: Receiving, errno: Errno) -> SysResult {
    let done = receiving.done;
    match lost(errno) {
        Errno::ERESTART if done > 0 => call.fetch_then(wait(Wait::ReceiveAgain(receiving))),
        Errno::ECANCELED if done > 0 => call.partial(done),
        _ if done > 0 => Ok(Next::Done(done)),
        errno => Err(errno.into()),
    }
}

/// What the call answers.
fn value(receiving: &Receiving, message: &Message) -> u64 {
    match receiving.kind {
        SocketType::Stream | SocketType::Tcp(_) => receiving.done,
        _ if receiving.flags & MSG_TRUNC != 0 => message.received.full,
        SocketType::Datagram | SocketType::Packet | SocketType::Udp(_) => receiving.done,
    }
}

/// Tells the program what there is beside the bytes, and ends the call.
fn tell<M: Machine>(
    call: &mut Call<'_, '_, M>,
    receiving: Receiving,
    message: Message,
) -> SysResult {
    let value = value(&receiving, &message);
    match receiving.tells {
        Tells::Nothing => Ok(Next::Done(value)),
        Tells::Name(place) => {
            let text = message.received.text;
            if text.is_empty() {
                put_no_name(call, value, place)
            } else {
                address::put(call, value, (receiving.kind, text), place)
            }
        }
        Tells::Header(addr, header) => {
            match put_header(call, (addr, receiving.kind), header, &message) {
                Ok(()) => Ok(Next::Done(value)),
                Err(Errno::ERESTART) => call.fetch_then(wait(Wait::Tell(receiving, message))),
                Err(errno) => Err(errno.into()),
            }
        }
    }
}

/// The page has come.
pub fn told<M: Machine>(
    call: &mut Call<'_, '_, M>,
    receiving: Receiving,
    message: Message,
    result: AskResult,
) -> SysResult {
    match result {
        Ok(_) if call.interrupt.is_none() => tell(call, receiving, message),
        // The program is to move, or to end: the bytes are there.
        Ok(_) | Err(_) => Ok(Next::Done(value(&receiving, &message))),
    }
}

/// Who sent has no name: its length is 0.
fn put_no_name<M: Machine>(call: &mut Call<'_, '_, M>, value: u64, place: Place) -> SysResult {
    if place.addr != 0
        && let Err(errno) = call.write(place.len, &0_u32)
        && errno != Errno::ERESTART
    {
        return Err(errno.into());
    }
    Ok(Next::Done(value))
}

/// Bytes that control messages may take.
pub fn control_room(header: &Msghdr) -> u64 {
    if header.control == 0 { 0 } else { header.control_len }
}

fn put_header<M: Machine>(
    call: &mut Call<'_, '_, M>,
    (addr, kind): (u64, SocketType),
    mut header: Msghdr,
    message: &Message,
) -> Result<(), Errno> {
    let mut flags = message.flags;
    let name = if message.received.text.is_empty() {
        Vec::new()
    } else {
        address::encode(kind, &message.received.text)
    };
    if header.name != 0 {
        let room = (header.name_len as usize).min(name.len());
        call.copy_out(header.name, &name[..room])?;
        header.name_len = name.len() as u32;
    }
    let room = control_room(&header);
    let control = control::fitting(&message.control, room);
    if control.len() < message.control.len() {
        flags |= MSG_CTRUNC;
    }
    if !control.is_empty() {
        call.copy_out(header.control, control)?;
    }
    header.control_len = control.len() as u64;
    header.flags = flags;
    call.write(addr, &header)
}
