// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a sealed frame says: acknowledgements of both lanes, and perhaps a piece of a message.
//!
//! # Model
//! ```text
//! Header (56 bytes, little-endian) | payload
//! ```
//!
//! # Failure
//! Only a member can have sealed it, but a member may lie: every field is checked, and a frame that is
//! not exactly well-formed is dropped.

use crate::limits::MESSAGE_BYTES;
use abi::ServerId;
use alloc::vec::Vec;
use runtime::node::Lane;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const ACK: u8 = 1;
const DATA: u8 = 2;
/// Lanes of a link.
pub(crate) const LANES: usize = 2;
/// Bytes of the header before the payload.
pub(crate) const HEADER_BYTES: usize = 56;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Header {
    kind: u8,
    lane: u8,
    server: u8,
    zero: u8,
    payload_len: U16,
    held_us: U16,
    next: [U64; LANES],
    early: [U64; LANES],
    seq: U64,
    message_len: U32,
    offset: U32,
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
    /// Acknowledges, or says that the node lives.
    Ack,
    /// Brings a piece of a message.
    Data(Piece<'a>),
}

/// The content of a sealed frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) acks: [Ack; LANES],
    /// Microseconds between the arrival of the last data frame and this frame, for the sender to
    /// leave out of its round-trip time; 0 if none arrived since the last frame.
    pub(crate) held_us: u16,
    pub(crate) body: Body<'a>,
}

impl Frame<'_> {
    /// Bytes that [`Self::encode`] appends.
    pub(crate) fn bytes(&self) -> usize {
        let payload = match &self.body {
            Body::Ack => 0,
            Body::Data(piece) => piece.payload.len(),
        };
        HEADER_BYTES + payload
    }

    /// Appends it to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, piece) = match &self.body {
            Body::Ack => (ACK, None),
            Body::Data(piece) => (DATA, Some(piece)),
        };
        let payload = piece.map_or(&[][..], |piece| piece.payload);
        let header = Header {
            kind,
            lane: piece.map_or(0, |piece| piece.lane as u8),
            server: piece.map_or(0, |piece| piece.server as u8),
            zero: 0,
            payload_len: (payload.len() as u16).into(),
            held_us: self.held_us.into(),
            next: self.acks.map(|ack| ack.next.into()),
            early: self.acks.map(|ack| ack.early.into()),
            seq: piece.map_or(0, |piece| piece.seq).into(),
            message_len: piece.map_or(0, |piece| piece.message_len).into(),
            offset: piece.map_or(0, |piece| piece.offset).into(),
        };
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(payload);
    }
}

/// Reads what was sealed; `None` if it is not well-formed.
pub(crate) fn decode(data: &[u8]) -> Option<Frame<'_>> {
    let (header, payload) = Header::read_from_prefix(data).ok()?;
    if header.zero != 0 || usize::from(header.payload_len.get()) != payload.len() {
        return None;
    }
    let lane = match header.lane {
        0 => Lane::Control,
        1 => Lane::Pages,
        _ => return None,
    };
    let piece = Piece {
        lane,
        server: ServerId::from_number(header.server)?,
        seq: header.seq.get(),
        message_len: header.message_len.get(),
        offset: header.offset.get(),
        payload,
    };
    let body = match header.kind {
        ACK if payload.is_empty() => Body::Ack,
        DATA => {
            check_piece(&piece)?;
            Body::Data(piece)
        }
        _ => return None,
    };
    let acks =
        [0, 1].map(|i: usize| Ack { next: header.next[i].get(), early: header.early[i].get() });
    Some(Frame { acks, held_us: header.held_us.get(), body })
}

/// A piece is not empty and lies inside of its message.
fn check_piece(piece: &Piece<'_>) -> Option<()> {
    let end = piece.offset.checked_add(piece.payload.len() as u32)?;
    let fits = end <= piece.message_len && piece.message_len as usize <= MESSAGE_BYTES;
    (fits && !piece.payload.is_empty()).then_some(())
}
