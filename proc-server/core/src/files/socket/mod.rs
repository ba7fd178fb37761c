// SPDX-License-Identifier: MIT OR Apache-2.0
//! System calls on sockets: unix(7), ip(7).
//!
//! # Model
//! The ipc server has the sockets. What a call needs beside its answer stands in [`Wait`]. Bytes move
//! between the program and the socket's home as for pipes ([`send`], [`receive`]); a message is taken from
//! its queue before its sender's name and its control messages are written, so that these are written
//! when their pages have come, whatever becomes of the call.
//!
//! # Limits
//! Streams and messages of the ipc server's sizes: a datagram or packet of more than
//! [`PACKET_BYTES`](ipc_api::socket::PACKET_BYTES), or from more ranges than
//! [`RANGES_MAX`](ipc_api::socket::RANGES_MAX), is EMSGSIZE.

pub mod address;
mod calls;
mod control;
pub mod interface;
mod internet;
pub mod receive;
pub mod send;

pub(super) use calls::{dispatch, named, receive_plain, send_plain};

use super::table::{OpenFile, Target};
use crate::layout::io::Iovec;
use crate::machine::Machine;
use crate::syscall::{AskResult, Call, Fail, SysResult};
use abi::Errno;
use alloc::vec::Vec;
use fs_api::name::{FileKind, SocketType};
use ipc_api::socket::{Owner, RANGES_MAX, Range};

use super::transfer::Memory;

/// What a call does with the inode of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Named {
    /// bind(2).
    Bind(OpenFile, Vec<u8>),
    /// connect(2).
    Connect(OpenFile, Vec<u8>),
    /// sendto(2), sendmsg(2).
    Send(send::Sending, Vec<u8>),
}

/// What a call on sockets waits for.
#[derive(Debug)]
pub enum Wait {
    /// A new socket: its type, and O_ flags.
    Made(SocketType, u32),
    /// Two of them: the same, and where the numbers go.
    Pair(SocketType, u32, u64),
    /// The name that a socket has, which is to get this path.
    Unbound(OpenFile, Vec<u8>),
    /// A connection.
    Accepted {
        /// Its type.
        kind: SocketType,
        /// O_ flags.
        flags: u32,
        /// Where the name goes.
        place: address::Place,
    },
    /// A name of a socket of this type, and where it goes.
    Name(SocketType, address::Place),
    /// The page for a name.
    PutName {
        /// What the call answers.
        value: u64,
        /// The socket's type.
        kind: SocketType,
        /// The name.
        text: Vec<u8>,
        /// Where it goes.
        place: address::Place,
    },
    /// An option's value: where it and its length go.
    Option {
        /// Value.
        addr: u64,
        /// Length.
        len: u64,
    },
    /// A step of sending: bytes asked for.
    Sent(send::Sending, u64),
    /// The page for the next step.
    SendAgain(send::Sending),
    /// A step of receiving.
    Received(receive::Receiving),
    /// The page for the next step.
    ReceiveAgain(receive::Receiving),
    /// The files of descriptors that came from another node.
    Rights(receive::Receiving, ipc_api::socket::Received),
    /// The page for what is told beside the bytes.
    Tell(receive::Receiving, receive::Message),
}

/// Goes on with a call that waited.
pub(super) fn resume<M: Machine>(
    call: &mut Call<'_, '_, M>,
    wait: Wait,
    result: AskResult,
) -> SysResult {
    match wait {
        Wait::Sent(sending, asked) => send::sent(call, sending, asked, result),
        Wait::SendAgain(sending) => send::again(call, sending, result),
        Wait::Received(receiving) => receive::received(call, receiving, result),
        Wait::ReceiveAgain(receiving) => receive::again(call, receiving, result),
        Wait::Rights(receiving, received) => receive::landed(call, receiving, received, result),
        Wait::Tell(receiving, message) => receive::told(call, receiving, message, result),
        Wait::PutName { value, kind, text, place } => {
            address::put_again(call, value, (kind, text), place, result)
        }
        wait => calls::answered(call, wait, &result.map_err(lost)?),
    }
}

/// A socket's descriptor.
fn socket<M: Machine>(call: &Call<'_, '_, M>, fd: u64) -> Result<(OpenFile, SocketType), Fail> {
    match &call.process().own.files.get(fd)?.target {
        Target::File(file) => match file.kind {
            FileKind::Socket(kind) => Ok((*file, kind)),
            _ => Err(Errno::ENOTSOCK.into()),
        },
        Target::Local(_) => Err(Errno::ENOTSOCK.into()),
    }
}

/// Whose credentials the other end sees.
fn owner<M: Machine>(call: &Call<'_, '_, M>) -> Owner {
    let own = &call.process().own;
    Owner { pid: own.pid.get(), uid: own.ids.uid, gid: own.ids.gid }
}

/// What is lost with a socket's home is a connection that was reset.
fn lost(errno: Errno) -> Errno {
    if errno == Errno::EIO { Errno::ECONNRESET } else { errno }
}

/// The ranges of one step: what lies `done` bytes from the start, at most so many bytes.
fn ranges(memory: &Memory, done: u64, most: u64) -> Vec<Range> {
    let (mut skip, mut left) = (done, most);
    let mut out = Vec::new();
    for Iovec { base, len } in memory.ranges() {
        let from = skip.min(*len);
        let part = (len - from).min(left);
        skip -= from;
        if part > 0 {
            if out.len() == RANGES_MAX {
                break;
            }
            out.push((base.wrapping_add(from), part));
            left -= part;
        }
    }
    out
}

/// The ranges of a message: all of them.
///
/// # Errors
/// EMSGSIZE: it is too long, or in too many pieces.
fn whole(memory: &Memory) -> Result<Vec<Range>, Errno> {
    let all = ranges(memory, 0, ipc_api::socket::PACKET_BYTES);
    let bytes: u64 = all.iter().map(|(_, len)| len).sum();
    if bytes < memory.total() { Err(Errno::EMSGSIZE) } else { Ok(all) }
}
