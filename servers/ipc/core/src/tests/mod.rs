// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ipc server as its clients see it.

mod counters;
mod epoll;
mod epoll_apart;
mod epoll_nested;
mod fifos;
mod internet;
mod memory;
mod moves;
mod pipes;
mod remote;
mod sockets;
mod sockets_apart;
mod sysv;
mod terminal;
mod timers;
mod views;

use crate::testing::{Later, Node, Now, SPACE};
use abi::{Errno, FileId, Ticket};
use ipc_api::file::{Moved, Read, Write};
use ipc_api::{PipeCreate, PipeEnds};
use runtime::{Msg, Wire};

pub(crate) fn pipe(node: &mut Node) -> PipeEnds {
    match node.call(&PipeCreate { flags: 0 }) {
        Now::Done(ends) => ends,
        other => panic!("no pipe: {other:?}"),
    }
}

pub(crate) fn write(node: &mut Node, file: FileId, data: &[u8]) -> Now<Moved> {
    node.world.memory[..data.len()].copy_from_slice(data);
    node.call(&Write { file, space: SPACE, addr: 0, len: data.len() as u64 })
}

pub(crate) fn read(node: &mut Node, file: FileId, addr: u64, len: u64) -> Now<Moved> {
    node.call(&Read { file, space: SPACE, addr, len })
}

pub(crate) fn moved(bytes: u64) -> Now<Moved> {
    Now::Done(Moved { bytes })
}

pub(crate) fn pending<T: core::fmt::Debug>(now: Now<T>) -> Ticket {
    match now {
        Now::Pending(ticket) => ticket,
        other => panic!("not pending: {other:?}"),
    }
}

pub(crate) fn ended(ticket: Ticket, bytes: u64) -> Later {
    Later::Ended(ticket, Ok(Msg::of(&Moved { bytes }).expect("a message")))
}

pub(crate) fn failed(ticket: Ticket, errno: Errno) -> Later {
    Later::Ended(ticket, Err(errno))
}

pub(crate) fn event<T: Wire>(number: u16, value: &T) -> Later {
    Later::Event(number, Msg::of(value).expect("a message"))
}
