// SPDX-License-Identifier: MIT OR Apache-2.0
//! What every frame says in clear: between whom, in which session, and what for.
//!
//! # Model
//! ```text
//! Ethernet header (14 bytes, type 0x88B5) | Header (24 bytes, little-endian) | body
//! ```
//! The body of a sealed frame is encrypted, those of greetings are not; all of it, Ethernet's header
//! too, is authenticated. Every frame fills Ethernet's least length, so that nothing is padded and a
//! frame has the length that it says.
//!
//! # Failure
//! What comes off the wire is untrusted: a frame that is not exactly well-formed is dropped, and its
//! [`Cause`] says what was wrong.

use crate::limits::MTU_MAX;
use abi::NodeId;
use alloc::vec::Vec;
use net_api::Cause;
use zerocopy::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Bytes of an Ethernet header.
pub(crate) const ETHERNET_BYTES: usize = 14;
/// Shortest Ethernet frame: shorter ones are padded on the way.
pub(crate) const ETHERNET_MIN: usize = 60;
/// IEEE 802's first type for local experiments.
const ETHER_TYPE: [u8; 2] = [0x88, 0xb5];
/// Bytes of the header behind Ethernet's.
pub(crate) const HEADER_BYTES: usize = 24;
/// Where the body begins.
pub(crate) const BODY: usize = ETHERNET_BYTES + HEADER_BYTES;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Header {
    version: u8,
    kind: u8,
    /// Bytes of the body.
    len: U16,
    from: U16,
    to: U16,
    session: U64,
    number: U64,
}
static_assertions::const_assert_eq!(size_of::<Header>(), HEADER_BYTES);

/// What a frame is for. Numbers are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    /// "I want a session, and call it so."
    Hello = 1,
    /// "Prove that you ask just now": answers Hello.
    Challenge = 2,
    /// The handshake's first message: answers Challenge.
    Proposal = 3,
    /// The handshake's second message: answers Proposal.
    Response = 4,
    /// What the session carries.
    Sealed = 5,
}

impl Kind {
    const ALL: [Self; 5] =
        [Self::Hello, Self::Challenge, Self::Proposal, Self::Response, Self::Sealed];
}

/// The clear part of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Envelope {
    pub(crate) version: u8,
    pub(crate) kind: Kind,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    /// How the receiver names the session; of Hello 0, of Proposal the challenge.
    pub(crate) session: u64,
    /// The number of a sealed frame; else 0.
    pub(crate) number: u64,
}

impl Envelope {
    /// Begins a frame with a body of `len` bytes, which follow.
    pub(crate) fn begin(&self, source: Mac, destination: Mac, len: usize, out: &mut Vec<u8>) {
        assert!(BODY + len >= ETHERNET_MIN, "no frame is padded");
        out.clear();
        out.extend_from_slice(&destination);
        out.extend_from_slice(&source);
        out.extend_from_slice(&ETHER_TYPE);
        let header = Header {
            version: self.version,
            kind: self.kind as u8,
            len: (len as u16).into(),
            from: self.from.get().into(),
            to: self.to.get().into(),
            session: self.session.into(),
            number: self.number.into(),
        };
        out.extend_from_slice(header.as_bytes());
    }
}

/// Why a frame has no envelope, and from which node it claims to come if it says so much.
pub(crate) type Stray = (Option<NodeId>, Cause);

/// Reads the clear part of an Ethernet frame for the node with this address.
pub(crate) fn read(frame: &[u8], me: NodeId, mac: Mac) -> Result<Envelope, Stray> {
    let nobody = |cause| (None, cause);
    let ethernet = frame.get(..ETHERNET_BYTES).ok_or(nobody(Cause::Truncated))?;
    if ethernet[..6] != mac || ethernet[12..] != ETHER_TYPE {
        return Err(nobody(Cause::NotForMe));
    }
    if frame.len() > ETHERNET_BYTES + usize::from(MTU_MAX) {
        return Err(nobody(Cause::Oversized));
    }
    let read = Header::read_from_prefix(&frame[ETHERNET_BYTES..]);
    let (header, body) = read.map_err(|_| nobody(Cause::Truncated))?;
    if header.to.get() != me.get() {
        return Err(nobody(Cause::NotForMe));
    }
    let from = NodeId::new(header.from.get()).ok_or(nobody(Cause::UnknownNode))?;
    let wrong = |cause| (Some(from), cause);
    let len = usize::from(header.len.get());
    if body.len() < len {
        return Err(wrong(Cause::Truncated));
    }
    if body.len() > len {
        return Err(wrong(Cause::Oversized));
    }
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == header.kind);
    let kind = kind.ok_or(wrong(Cause::Malformed))?;
    Ok(Envelope {
        version: header.version,
        kind,
        from,
        to: me,
        session: header.session.get(),
        number: header.number.get(),
    })
}

/// Corrects the length that the header of a finished frame says, for tests of frames that lie.
#[cfg(test)]
pub(crate) fn set_len(frame: &mut [u8], len: usize) {
    let at = ETHERNET_BYTES + core::mem::offset_of!(Header, len);
    frame[at..at + 2].copy_from_slice(&(len as u16).to_le_bytes());
}
