// SPDX-License-Identifier: MIT OR Apache-2.0
//! Frames: what travels between two nodes.
//!
//! # Model
//! ```text
//! Ethernet header (14 bytes, type 0x88B5) | Header (80 bytes, little-endian) | payload | padding
//! ```
//! Every frame names both ends of the link by node and session and acknowledges both lanes. A data
//! frame carries one piece of one message.
//!
//! # Failure
//! What comes off the wire is untrusted: every field is checked, and a frame that is not exactly
//! well-formed is dropped. The checksum finds damage, not forgery: a node on the same Ethernet is
//! trusted until links are authenticated and encrypted, which belongs between this module and the
//! driver.

use crate::crc::crc32c;
use crate::limits::{MESSAGE_BYTES, MTU_MAX};
use abi::{NodeId, ServerId};
use alloc::vec::Vec;
use runtime::node::Lane;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_BYTES: usize = 14;
/// IEEE 802's first type for local experiments.
const ETHER_TYPE: [u8; 2] = [0x88, 0xb5];
const VERSION: u8 = 1;
const HELLO: u8 = 1;
const ACK: u8 = 2;
const DATA: u8 = 3;
/// Lanes of a link.
pub(crate) const LANES: usize = 2;
/// Bytes of the header behind Ethernet's.
pub(crate) const HEADER_BYTES: usize = 80;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Header {
    /// CRC-32C of the header behind this field and of the payload.
    checksum: U32,
    version: u8,
    kind: u8,
    lane: u8,
    server: u8,
    from: U16,
    to: U16,
    session: U64,
    peer_session: U64,
    next: [U64; LANES],
    early: [U64; LANES],
    seq: U64,
    message_len: U32,
    offset: U32,
    payload_len: U16,
    held_us: U16,
}
static_assertions::const_assert_eq!(size_of::<Header>(), HEADER_BYTES);

/// What has arrived in one lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ack {
    /// All frames before this number.
    pub(crate) next: u64,
    /// Bit i: frame `next + i` too.
    pub(crate) early: u64,
}

/// A piece of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece<'a> {
    pub(crate) lane: Lane,
    pub(crate) server: ServerId,
    /// Number of the frame in its lane.
    pub(crate) seq: u64,
    pub(crate) message_len: u32,
    /// Where in the message the payload stands.
    pub(crate) offset: u32,
    pub(crate) payload: &'a [u8],
}

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body<'a> {
    /// Opens a link.
    Hello,
    /// Acknowledges, or says that the node lives.
    Ack,
    /// Brings a piece of a message.
    Data(Piece<'a>),
}

/// A frame without Ethernet's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) session: u64,
    pub(crate) peer_session: u64,
    pub(crate) acks: [Ack; LANES],
    /// Microseconds between the arrival of the last data frame and this frame, for the sender to
    /// leave out of its round-trip time; 0 if none arrived since the last frame.
    pub(crate) held_us: u16,
    pub(crate) body: Body<'a>,
}

impl Frame<'_> {
    /// Writes the whole Ethernet frame into `out`.
    pub(crate) fn encode(&self, source: Mac, destination: Mac, out: &mut Vec<u8>) {
        let (kind, piece) = match &self.body {
            Body::Hello => (HELLO, None),
            Body::Ack => (ACK, None),
            Body::Data(piece) => (DATA, Some(piece)),
        };
        let payload = piece.map_or(&[][..], |piece| piece.payload);
        let header = Header {
            checksum: U32::ZERO,
            version: VERSION,
            kind,
            lane: piece.map_or(0, |piece| piece.lane as u8),
            server: piece.map_or(0, |piece| piece.server as u8),
            from: self.from.get().into(),
            to: self.to.get().into(),
            session: self.session.into(),
            peer_session: self.peer_session.into(),
            next: self.acks.map(|ack| ack.next.into()),
            early: self.acks.map(|ack| ack.early.into()),
            seq: piece.map_or(0, |piece| piece.seq).into(),
            message_len: piece.map_or(0, |piece| piece.message_len).into(),
            offset: piece.map_or(0, |piece| piece.offset).into(),
            payload_len: (payload.len() as u16).into(),
            held_us: self.held_us.into(),
        };
        out.clear();
        out.extend_from_slice(&destination);
        out.extend_from_slice(&source);
        out.extend_from_slice(&ETHER_TYPE);
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(payload);
        let checksum = crc32c(&out[ETHERNET_BYTES + 4..]);
        out[ETHERNET_BYTES..ETHERNET_BYTES + 4].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Reads an Ethernet frame; `None` if it is not a well-formed one of ours.
pub(crate) fn decode(data: &[u8]) -> Option<Frame<'_>> {
    if data.len() > ETHERNET_BYTES + usize::from(MTU_MAX) || data.get(12..14)? != ETHER_TYPE {
        return None;
    }
    let data = data.get(ETHERNET_BYTES..)?;
    let (header, rest) = Header::read_from_prefix(data).ok()?;
    let payload = rest.get(..usize::from(header.payload_len.get()))?;
    let checked = data.get(4..HEADER_BYTES + payload.len())?;
    if header.checksum.get() != crc32c(checked) || header.version != VERSION {
        return None;
    }
    let lane = match header.lane {
        0 => Lane::Control,
        1 => Lane::Pages,
        _ => return None,
    };
    let body = match header.kind {
        HELLO | ACK if !payload.is_empty() => return None,
        HELLO => Body::Hello,
        ACK => Body::Ack,
        DATA => Body::Data(Piece {
            lane,
            server: ServerId::from_number(header.server)?,
            seq: header.seq.get(),
            message_len: header.message_len.get(),
            offset: header.offset.get(),
            payload,
        }),
        _ => return None,
    };
    if let Body::Data(piece) = &body {
        check_piece(piece)?;
    }
    let acks =
        [0, 1].map(|i: usize| Ack { next: header.next[i].get(), early: header.early[i].get() });
    Some(Frame {
        from: NodeId::new(header.from.get())?,
        to: NodeId::new(header.to.get())?,
        session: header.session.get(),
        peer_session: header.peer_session.get(),
        acks,
        held_us: header.held_us.get(),
        body,
    })
}

/// A piece is not empty and lies inside of its message.
fn check_piece(piece: &Piece<'_>) -> Option<()> {
    let end = piece.offset.checked_add(piece.payload.len() as u32)?;
    let fits = end <= piece.message_len && piece.message_len as usize <= MESSAGE_BYTES;
    (fits && !piece.payload.is_empty()).then_some(())
}
