// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys and ciphers of the links: who speaks, and that nobody else reads or changes it.
//!
//! # Model
//! Two nodes that know each other's public keys make a [`Session`] by a Noise handshake; a session
//! seals frames one way and opens them the other way. [`LinkKeys`] authenticates what is said before
//! there is a session. What is said, and when, is `crate::greeting` and `crate::link`.
//!
//! # Source
//! The Noise Protocol Framework, revision 34; ADR 0020 has the reasons.

mod keys;
mod noise;
mod random;
mod seal;
mod window;

pub(crate) use keys::{LinkKeys, MAC_BYTES};
pub use keys::{PublicKey, Secret};
pub(crate) use noise::{Initiator, Prologue, Side, respond};
pub(crate) use noise::{PROPOSAL_BYTES, RESPONSE_BYTES};
pub(crate) use random::Random;
pub(crate) use seal::{Opener, Sealer, TAG_BYTES};

/// What was received was not made with the right key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Forged;

/// One life of a link: keys for both directions, and the numbers by which each side names it.
#[derive(Debug)]
pub(crate) struct Session {
    /// How the peer names it in frames to this node.
    pub(crate) mine: u64,
    /// How this node names it in frames to the peer.
    pub(crate) theirs: u64,
    /// The format of its frames.
    pub(crate) version: u8,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
}

impl Session {
    /// How this node and the peer name it.
    pub(crate) fn names(&self) -> [u64; 2] {
        [self.mine, self.theirs]
    }
}
