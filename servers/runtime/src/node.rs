// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages between the same server on two nodes, and the part of net-server's interface that every
//! host uses: sending and taking them.
//!
//! The header is untrusted input at the receiver: lengths and kinds are checked, a wrong version or
//! epoch is refused.

use crate::limits::NODE_BODY_BYTES;
use crate::{Bulk, Msg};
use abi::limits::MESSAGE_BYTES;
use abi::{Errno, NodeId, ServerId};
use alloc::vec::Vec;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of this format.
pub const VERSION: u8 = 4;

/// net-server: send a message to a node; words: [`send_words`]; the message is the bulk data. A leaf.
/// Fails with EHOSTDOWN or, where the queue is full and the message not [`Urge::Owed`], EAGAIN.
pub const NET_SEND: u16 = 1;
/// net-server: take the next message for the calling server into the bulk data; answers words: what
/// (a [`Taken`] number), node, more. A leaf.
pub const NET_TAKE: u16 = 2;

/// Which queue of a link a message travels in: pages never delay control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Lane {
    /// Short messages.
    Control = 0,
    /// Messages with bulk data.
    Pages = 1,
}

/// What happens to a message whose queue is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Urge {
    /// It is refused with EAGAIN: whoever asks can ask again.
    New = 0,
    /// It is queued beyond the bound for others: an answer, a cancel, a fact that nobody tells again.
    /// Where even that room ends, the link goes down, which both ends notice.
    Owed = 1,
}

/// What [`NET_TAKE`] brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Taken {
    /// Nothing waits.
    Nothing = 0,
    /// A message from the node, in the bulk data.
    Message = 1,
    /// The node stopped answering.
    Down = 2,
    /// The node answers.
    Up = 3,
}

/// What a message between nodes is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A request that wants an answer.
    Call = 1,
    /// The answer.
    Reply = 2,
    /// A request without an answer.
    Tell = 3,
    /// The caller gave up on a request.
    Cancel = 4,
    /// The server that sends on the other node died; its net-server says so in its name.
    Gone = 5,
}

/// The header of every message between nodes, 76 bytes, little-endian.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    version: u8,
    kind: u8,
    server: u8,
    again: u8,
    op: U16,
    status: U16,
    epoch: U64,
    request: U64,
    floor: U64,
    life: U32,
    words: [U64; 4],
    bytes_len: U32,
    bulk_len: U32,
}
static_assertions::const_assert_eq!(size_of::<Header>(), 76);

/// A message between nodes, decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeMessage {
    /// What it is.
    pub kind: Kind,
    /// The server that it is for.
    pub server: ServerId,
    /// Operation.
    pub op: u16,
    /// Of a reply: 0, the error's number, or [`MOVED`].
    pub status: u16,
    /// The sender's epoch.
    pub epoch: u64,
    /// The caller's number for the call.
    pub request: u64,
    /// Of a call: the caller knows the answers to all its calls below this number.
    pub floor: u64,
    /// Of a call: it may have been sent before, here or to another home of its slot.
    pub again: bool,
    /// The life of the receiver that it is for: its incarnation in the sender's view; 0 if it is for any.
    pub life: u32,
    /// Words and bytes.
    pub msg: Msg,
    /// Bulk data.
    pub bulk: Vec<u8>,
}

impl NodeMessage {
    /// What net-server sends to the other nodes when `server` died here. It is of no epoch.
    pub fn gone(server: ServerId) -> Self {
        let (msg, bulk) = (Msg::default(), Vec::new());
        let (kind, op, status, epoch, request) = (Kind::Gone, 0, 0, 0, 0);
        let (floor, again, life) = (0, false, 0);
        Self { kind, server, op, status, epoch, request, floor, again, life, msg, bulk }
    }

    /// The bytes that travel.
    ///
    /// # Errors
    /// EMSGSIZE: the bulk data is too long.
    pub fn encode(&self) -> Result<Vec<u8>, Errno> {
        if self.bulk.len() > NODE_BODY_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        let header = Header {
            version: VERSION,
            kind: self.kind as u8,
            server: self.server as u8,
            again: self.again.into(),
            op: self.op.into(),
            status: self.status.into(),
            epoch: self.epoch.into(),
            request: self.request.into(),
            floor: self.floor.into(),
            life: self.life.into(),
            words: self.msg.words.map(U64::new),
            bytes_len: U32::new(self.msg.bytes.len() as u32),
            bulk_len: U32::new(self.bulk.len() as u32),
        };
        let mut out =
            Vec::with_capacity(size_of::<Header>() + self.msg.bytes.len() + self.bulk.len());
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&self.msg.bytes);
        out.extend_from_slice(&self.bulk);
        Ok(out)
    }

    /// Reads a message that came off the wire.
    ///
    /// # Errors
    /// EPROTO: not a well-formed message of this version.
    pub fn decode(data: &[u8]) -> Result<Self, Errno> {
        let (header, rest) = Header::read_from_prefix(data).map_err(|_| Errno::EPROTO)?;
        let kind = match header.kind {
            1 => Kind::Call,
            2 => Kind::Reply,
            3 => Kind::Tell,
            4 => Kind::Cancel,
            5 => Kind::Gone,
            _ => return Err(Errno::EPROTO),
        };
        let server = ServerId::from_number(header.server).ok_or(Errno::EPROTO)?;
        let bytes_len = header.bytes_len.get() as usize;
        let bulk_len = header.bulk_len.get() as usize;
        let sizes_fit = bytes_len <= MESSAGE_BYTES
            && bulk_len <= NODE_BODY_BYTES
            && rest.len() == bytes_len + bulk_len;
        if header.version != VERSION || header.again > 1 || !sizes_fit {
            return Err(Errno::EPROTO);
        }
        let (bytes, bulk) = rest.split_at(bytes_len);
        let msg = Msg { words: header.words.map(U64::get), bytes: bytes.to_vec() };
        Ok(Self {
            kind,
            server,
            op: header.op.get(),
            status: header.status.get(),
            epoch: header.epoch.get(),
            request: header.request.get(),
            floor: header.floor.get(),
            life: header.life.get(),
            again: header.again == 1,
            msg,
            bulk: bulk.to_vec(),
        })
    }

    /// The lane of a message with this bulk data.
    pub(crate) fn lane_of(bulk: &[u8]) -> Lane {
        if bulk.is_empty() { Lane::Control } else { Lane::Pages }
    }
}

/// Status of a reply: nothing was done, what was asked for is at the home of the slot in word 0.
pub const MOVED: u16 = 0xffff;

/// Shift of the [`Urge`] in the word that has the lane.
const URGE_SHIFT: u32 = 8;

/// The request of [`NET_SEND`]: node, lane and urge, destination server, length.
pub fn send_words(
    node: NodeId,
    (lane, urge): (Lane, Urge),
    server: ServerId,
    len: usize,
) -> [u64; 4] {
    let how = lane as u64 | (urge as u64) << URGE_SHIFT;
    [u64::from(node.get()), how, server as u64, len as u64]
}

/// Reads the request of [`NET_SEND`].
///
/// # Errors
/// EINVAL: no such node, lane or urge exists.
pub fn read_send_words(words: [u64; 4]) -> Result<(NodeId, Lane, Urge), Errno> {
    let node = u16::try_from(words[0]).ok().and_then(NodeId::new).ok_or(Errno::EINVAL)?;
    let lane = match words[1] & ((1 << URGE_SHIFT) - 1) {
        0 => Lane::Control,
        1 => Lane::Pages,
        _ => return Err(Errno::EINVAL),
    };
    let urge = match words[1] >> URGE_SHIFT {
        0 => Urge::New,
        1 => Urge::Owed,
        _ => return Err(Errno::EINVAL),
    };
    Ok((node, lane, urge))
}

/// Reads the answer of [`NET_TAKE`].
///
/// # Errors
/// EPROTO: no such answer exists.
pub fn taken(msg: &Msg, bulk: &Bulk<'_>) -> Result<(Taken, Option<NodeId>), Errno> {
    let node = u16::try_from(msg.words[1]).ok().and_then(NodeId::new);
    let what = match msg.words[0] {
        0 => Taken::Nothing,
        1 if bulk.len <= bulk.buf.len() => Taken::Message,
        2 => Taken::Down,
        3 => Taken::Up,
        _ => return Err(Errno::EPROTO),
    };
    Ok((what, node))
}

/// timer: wake the calling server at this time (word 0, nanoseconds since boot) or earlier. A leaf;
/// a later call with an earlier time replaces the former.
pub const TIMER_ARM: u16 = 1;
