// SPDX-License-Identifier: MIT OR Apache-2.0
//! What homes of sockets and of their names say to each other. All of it is untrusted input at the
//! receiver.
//!
//! # Model
//! ```text
//! bind:     home of the socket --Register--> home of the name
//! connect:  home of the client --Lookup----> home of the name
//!                              --Enqueue---> home of the listener
//! accept:   home of the listener --Claim---> home of the client, which has both ends
//! sendto:   home of the sender --Lookup----> home of the name
//!                              --Deliver---> home of the receiver
//! ```

use crate::socket::{Name, Owner, Received, Rights, SendHead, SocketType};
use abi::{FileId, NodeId, ServerId};
use alloc::vec::Vec;
use fs_api::file::Moved;
use runtime::{cold, operations};
use serde::{Deserialize, Serialize};

/// [`crate::socket::Send`] of another node's program; the bytes are the bulk data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SendFrom {
    /// The socket.
    pub file: FileId,
    /// The rest.
    pub head: SendHead,
}
/// [`crate::socket::Receive`] of another node's program; the bytes are the answer's bulk data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReceiveFor {
    /// The socket.
    pub file: FileId,
    /// Bytes that the program takes.
    pub len: u64,
    /// MSG_ flags.
    pub flags: u32,
}
/// Gives back what a [`ReceiveFor`] brought and that could not be delivered (bytes as bulk data): it is the
/// next to be received.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Return {
    /// The socket.
    pub file: FileId,
    /// What was received.
    pub received: Received,
}
/// A socket of the asking node gets a name. EADDRINUSE: another has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Register {
    /// The name.
    pub name: Name,
    /// The socket.
    pub file: FileId,
    /// Its type.
    pub kind: SocketType,
    /// Of names of the Internet: [`SHARES`], [`ONLY_V6`], [`LISTENS`].
    pub marks: u8,
}
/// Who else says so may have the name too: SO_REUSEADDR of who does not listen.
pub const SHARES: u8 = 1;
/// The name is none of IPv4: IPV6_V6ONLY.
pub const ONLY_V6: u8 = 2;
/// Connections may come.
pub const LISTENS: u8 = 4;
/// A socket has its name no more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unregister {
    /// The name.
    pub name: Name,
    /// The socket.
    pub file: FileId,
    /// Its type.
    pub kind: SocketType,
}
/// Who has this name? ECONNREFUSED: nobody. EPROTOTYPE: a path that a socket of another type has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lookup {
    /// The name.
    pub name: Name,
    /// The type that is asked for.
    pub kind: SocketType,
}
/// The socket of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Found {
    /// It.
    pub file: FileId,
    /// Its type.
    pub kind: SocketType,
}
/// A connection waits to be accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Enqueue {
    /// The socket that listens.
    pub listener: FileId,
    /// The end that is to be accepted, of the asking node.
    pub end: FileId,
    /// The type of both.
    pub kind: SocketType,
    /// The name of who connects.
    pub text: Vec<u8>,
    /// Whether the call waits for room.
    pub waits: bool,
}
/// Who listens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// Its name.
    pub name: Name,
    /// Whoever called listen(2).
    pub owner: Owner,
}
/// The end that waited belongs to a node now. From the listener's home only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The end.
    pub end: FileId,
    /// The socket that listened.
    pub listener: FileId,
    /// Who accepted.
    pub node: NodeId,
    /// O_NONBLOCK.
    pub flags: u32,
}
/// Nobody will accept the end. From the listener's home only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refuse {
    /// The end.
    pub end: FileId,
    /// The socket that listened.
    pub listener: FileId,
}
/// A datagram, its bytes as bulk data. ECONNREFUSED: there is no such socket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deliver {
    /// Whom to.
    pub to: FileId,
    /// Who sends, of the asking node.
    pub from: FileId,
    /// The sender's name.
    pub text: Vec<u8>,
    /// Who.
    pub owner: Owner,
    /// Whether the call waits for room.
    pub waits: bool,
    /// Descriptors.
    pub rights: Option<Rights>,
}

cold!(
    SendFrom, ReceiveFor, Return, Register, Unregister, Lookup, Found, Enqueue, Joined, Claim,
    Refuse, Deliver
);

operations! {
    ServerId::Ipc;
    0x103, slow, once: SendFrom => Moved;
    0x104, slow, once: ReceiveFor => Received;
    0x105, slow, once: Return => ();
    0x106, slow, repeat: Register => ();
    0x107, slow, repeat: Unregister => ();
    0x108, slow, repeat: Lookup => Found;
    0x109, slow, once: Enqueue => Joined;
    0x10a, slow, once: Claim => ();
    0x10b, slow, repeat: Refuse => ();
    0x10c, slow, once: Deliver => Moved;
}
