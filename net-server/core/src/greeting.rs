// SPDX-License-Identifier: MIT OR Apache-2.0
//! Greetings: the four kinds of frames that make a session. `crate::link` says when they are sent.
//!
//! # Model
//! Each ends with a code that only the two nodes can make, so that a stranger's costs one hash to
//! drop. Hello and Challenge have the same format for ever: they say which versions of all else a node
//! speaks. Proposal and Response have that of the version that was chosen.

use crate::envelope::{BODY, Envelope, Kind, Mac};
use crate::limits::Versions;
use crate::secure::{LinkKeys, MAC_BYTES, PROPOSAL_BYTES, RESPONSE_BYTES};
use alloc::vec::Vec;
use net_api::Cause;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The version that Hello and Challenge carry: theirs does not change.
pub(crate) const ETERNAL: u8 = 0;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
struct Opening {
    number: U64,
    oldest: u8,
    newest: u8,
    zero: [u8; 6],
}

/// A greeting's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Greeting {
    /// How the sender calls the session that it wants.
    Hello { session: u64, versions: Versions },
    /// What the proposal must name.
    Challenge { challenge: u64, versions: Versions },
    /// How the sender calls the session, and the handshake's first message.
    Proposal { session: u64, versions: Versions, noise: [u8; PROPOSAL_BYTES] },
    /// The handshake's second message.
    Response { noise: [u8; RESPONSE_BYTES] },
}

impl Greeting {
    fn kind(&self) -> Kind {
        match self {
            Self::Hello { .. } => Kind::Hello,
            Self::Challenge { .. } => Kind::Challenge,
            Self::Proposal { .. } => Kind::Proposal,
            Self::Response { .. } => Kind::Response,
        }
    }

    fn opening(number: u64, versions: Versions) -> Opening {
        let Versions { oldest, newest } = versions;
        Opening { number: number.into(), oldest, newest, zero: [0; 6] }
    }

    /// Writes the whole frame; the envelope's kind is the greeting's.
    pub(crate) fn encode(
        &self,
        mut envelope: Envelope,
        keys: &LinkKeys,
        (source, destination): (Mac, Mac),
        out: &mut Vec<u8>,
    ) {
        let (opening, noise) = match self {
            Self::Hello { session, versions } => (Some((*session, *versions)), &[][..]),
            Self::Challenge { challenge, versions } => (Some((*challenge, *versions)), &[][..]),
            Self::Proposal { session, versions, noise } => {
                (Some((*session, *versions)), &noise[..])
            }
            Self::Response { noise } => (None, &noise[..]),
        };
        let opening = opening.map(|(number, versions)| Self::opening(number, versions));
        let opening = opening.as_ref().map_or(&[][..], |opening| opening.as_bytes());
        envelope.kind = self.kind();
        envelope.begin(source, destination, opening.len() + noise.len() + MAC_BYTES, out);
        out.extend_from_slice(opening);
        out.extend_from_slice(noise);
        let mac = keys.mac(out);
        out.extend_from_slice(&mac);
    }
}

/// Reads the greeting of a frame whose envelope has been read.
///
/// # Errors
/// [`Cause::Unauthentic`] before all others: who has not the key learns nothing.
pub(crate) fn read(envelope: &Envelope, frame: &[u8], keys: &LinkKeys) -> Result<Greeting, Cause> {
    let end = frame.len().checked_sub(MAC_BYTES).filter(|end| *end >= BODY);
    let (said, mac) = frame.split_at(end.ok_or(Cause::Truncated)?);
    keys.check(said, mac).map_err(|_| Cause::Unauthentic)?;
    let (body, malformed) = (&said[BODY..], Cause::Malformed);
    let eternal = matches!(envelope.kind, Kind::Hello | Kind::Challenge);
    if eternal && envelope.version != ETERNAL {
        return Err(Cause::BadVersion);
    }
    if envelope.number != 0 {
        return Err(malformed);
    }
    if envelope.kind == Kind::Response {
        return Ok(Greeting::Response { noise: body.try_into().map_err(|_| malformed)? });
    }
    let (opening, noise) = Opening::read_from_prefix(body).map_err(|_| malformed)?;
    let versions = Versions { oldest: opening.oldest, newest: opening.newest };
    if opening.zero != [0; 6] || versions.oldest > versions.newest {
        return Err(malformed);
    }
    let number = opening.number.get();
    match envelope.kind {
        Kind::Hello if noise.is_empty() => Ok(Greeting::Hello { session: number, versions }),
        Kind::Challenge if noise.is_empty() => {
            Ok(Greeting::Challenge { challenge: number, versions })
        }
        Kind::Proposal => {
            let noise = noise.try_into().map_err(|_| malformed)?;
            Ok(Greeting::Proposal { session: number, versions, noise })
        }
        Kind::Hello | Kind::Challenge | Kind::Response | Kind::Sealed => Err(malformed),
    }
}
