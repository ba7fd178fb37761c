// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sockets: unix(7), and those of the loopback, ip(7).
//!
//! # Model
//! A socket is an open file description with a home, like a pipe's end. Both ends of a connection are in
//! the slot of the one that connected. A name is kept by the home of a slot that is derived from it, so
//! that every node finds it ([`between`](crate::between) has what homes say to each other about it). Names of the Internet
//! are [`Address`](crate::internet::Address).
//!
//! Calls that move bytes name ranges of the program's memory, as a message is one message however many
//! ranges it comes from.

use abi::{FileId, InodeId, NodeId, ServerId, SpaceId};
use alloc::vec::Vec;
use fs_api::file::Moved;
pub use fs_api::name::{IpVersion, SocketType};
use runtime::{cold, operations};
use serde::{Deserialize, Serialize};

/// Longest name, with the zero that begins an abstract one: `sun_path` of unix(7).
pub const NAME_BYTES: usize = 108;
/// Longest datagram and packet: what fits a message between nodes. EMSGSIZE beyond.
pub const PACKET_BYTES: u64 = 60 * 1024;
/// Most ranges of one [`Send`] or [`Receive`]: what fits a message between servers.
pub const RANGES_MAX: usize = 32;

/// Whose credentials the other end sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Owner {
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a socket is bound to. Without text it is unnamed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Name {
    /// The inode of a name in the file tree.
    pub inode: Option<InodeId>,
    /// What getsockname(2) tells: the path as it was given, or a zero and the abstract name. At most
    /// [`NAME_BYTES`].
    pub text: Vec<u8>,
}

/// Descriptors that are in flight with a message: proc-server of `node` holds their files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rights {
    /// The sender's node.
    pub node: NodeId,
    /// Its number for them.
    pub token: u64,
    /// How many.
    pub count: u32,
}

/// A range of the program's memory: address and bytes.
pub type Range = (u64, u64);

/// socket(2). The calling node holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SocketCreate {
    /// Its type.
    pub kind: SocketType,
    /// O_NONBLOCK.
    pub flags: u32,
    /// Who.
    pub owner: Owner,
}
/// A new socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SocketMade {
    /// It.
    pub file: FileId,
}
/// socketpair(2). The calling node holds both.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SocketPair {
    /// Their type.
    pub kind: SocketType,
    /// O_NONBLOCK.
    pub flags: u32,
    /// Who.
    pub owner: Owner,
}
/// Two connected sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SocketEnds {
    /// Both.
    pub ends: [FileId; 2],
}
/// bind(2). Without text the home chooses an abstract name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bind {
    /// The socket.
    pub file: FileId,
    /// Its name.
    pub name: Name,
}
/// listen(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listen {
    /// The socket.
    pub file: FileId,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// Who.
    pub owner: Owner,
}
/// connect(2). Without text a datagram socket is connected no more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Connect {
    /// The socket.
    pub file: FileId,
    /// Whom to.
    pub name: Name,
    /// Who.
    pub owner: Owner,
}
/// accept(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accept {
    /// The socket that listens.
    pub file: FileId,
    /// O_NONBLOCK for the new one.
    pub flags: u32,
}
/// An accepted connection. The calling node holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// It.
    pub file: FileId,
    /// The name of who connected.
    pub text: Vec<u8>,
}
/// send(2), sendto(2), sendmsg(2), write(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Send {
    /// The socket.
    pub file: FileId,
    /// The program's space.
    pub space: SpaceId,
    /// Where the bytes are, at most [`RANGES_MAX`].
    pub ranges: Vec<Range>,
    /// The rest.
    pub head: SendHead,
}
/// What a message has beside its bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SendHead {
    /// Whom to, if not whom the socket is connected to.
    pub to: Option<Name>,
    /// MSG_ flags.
    pub flags: u32,
    /// Who.
    pub owner: Owner,
    /// Descriptors.
    pub rights: Option<Rights>,
}
/// recv(2), recvfrom(2), recvmsg(2), read(2).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receive {
    /// The socket.
    pub file: FileId,
    /// The program's space.
    pub space: SpaceId,
    /// Where the bytes go, at most [`RANGES_MAX`].
    pub ranges: Vec<Range>,
    /// MSG_ flags.
    pub flags: u32,
}
/// What was received.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Received {
    /// Bytes that stand in the program's memory.
    pub bytes: u64,
    /// Bytes of the message: more, if it was cut.
    pub full: u64,
    /// The sender's name.
    pub text: Vec<u8>,
    /// The sender.
    pub owner: Owner,
    /// Whether the socket wants to know the sender, SO_PASSCRED.
    pub passes: bool,
    /// Descriptors.
    pub rights: Option<Rights>,
}
/// getsockname(2), getpeername(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GetName {
    /// The socket.
    pub file: FileId,
    /// The other end's.
    pub peer: bool,
}
/// shutdown(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shutdown {
    /// The socket.
    pub file: FileId,
    /// No more is received.
    pub receive: bool,
    /// No more is sent.
    pub send: bool,
}
/// getsockopt(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GetOption {
    /// The socket.
    pub file: FileId,
    /// SOL_ or IPPROTO_ number.
    pub level: u32,
    /// SO_ number.
    pub option: u32,
}
/// An option's value: one `int` or three, or the four of a `struct timeval`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OptionValue(pub Vec<u32>);
/// setsockopt(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetOption {
    /// The socket.
    pub file: FileId,
    /// SOL_ or IPPROTO_ number.
    pub level: u32,
    /// SO_ number.
    pub option: u32,
    /// Its value; microseconds, if it is a time; of SO_LINGER 0, or 1 more than the seconds.
    pub value: u64,
}

cold!(
    Name,
    SocketCreate,
    SocketMade,
    SocketPair,
    SocketEnds,
    Bind,
    Listen,
    Connect,
    Accept,
    Accepted,
    Send,
    Receive,
    Received,
    GetName,
    Shutdown,
    GetOption,
    OptionValue,
    SetOption
);

operations! {
    ServerId::Ipc;
    70, slow, once: SocketCreate => SocketMade;
    71, slow, once: SocketPair => SocketEnds;
    72, slow, once: Bind => ();
    73, slow, repeat: Listen => ();
    74, slow, once: Connect => ();
    75, slow, once: Accept => Accepted;
    76, slow, once: Send => Moved;
    77, slow, once: Receive => Received;
    78, slow, repeat: GetName => Name;
    79, slow, repeat: Shutdown => ();
    80, slow, once: GetOption => OptionValue;
    81, slow, repeat: SetOption => ();
}
