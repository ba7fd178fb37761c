// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of net-server. Sending and taking are [`runtime::node::NET_SEND`] and
//! [`runtime::node::NET_TAKE`], which every server's host uses.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod drops;

use abi::{NodeId, ServerId};
use core::fmt;
pub use drops::{Cause, Drops};
use runtime::{cold, hot, operations};
use serde::{Deserialize, Serialize};

hot! {
    /// Figures of the link to a node.
    pub struct LinkUse { pub node: NodeId }
}

hot! {
    /// Begins a series of null requests to the net-server of a node: each is sent when the one before
    /// is answered. For the shell server only (EPERM). EINVAL: no other node of the cluster, or no
    /// sane `count`. EHOSTDOWN: the node does not answer. EBUSY: a series to it is running.
    pub struct PingStart { pub node: NodeId, pub count: u64 }
}
hot! {
    /// Figures of the last series of null requests to a node.
    pub struct PingUse { pub node: NodeId }
}

hot! {
    /// Begins to load the link to a node with so many bytes: sealed ones, as pages are, or raw ones, which the node
    /// counts and drops. For the shell server only (EPERM). EINVAL: no other node of the cluster, or no sane
    /// `bytes`. EHOSTDOWN: the node does not answer. EBUSY: it is loaded already.
    pub struct LoadStart { pub node: NodeId, pub bytes: u64, pub raw: bool }
}
hot! {
    /// Figures of the last load of the link to a node.
    pub struct LoadUse { pub node: NodeId }
}

/// Figures of a load.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LoadFigures {
    /// Whether it is not over.
    pub running: bool,
    /// Bytes sent.
    pub bytes: u64,
    /// From the first byte until all was acknowledged, or, raw, had left, in nanoseconds; 0: the link went down.
    pub took_ns: u64,
}

/// Figures of a series of null requests, those of the answered ones in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PingFigures {
    /// Whether the series is not over.
    pub running: bool,
    /// Requests sent.
    pub sent: u64,
    /// Requests answered.
    pub answered: u64,
    /// The shortest round trip.
    pub least_ns: u64,
    /// The longest.
    pub most_ns: u64,
    /// All of them together.
    pub sum_ns: u64,
}

hot! {
    /// Frames that came from no member.
    pub struct StrayUse {}
}

/// Gives the node another private key. Only the shell server may, for the console. EEXIST: it has that one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// The key.
    pub key: [u8; abi::image::KEY_BYTES],
}

impl fmt::Debug for Enrol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Enrol { .. }")
    }
}

/// What became of [`Enrol`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Enrolled {
    /// The key's public half.
    pub public: [u8; abi::image::KEY_BYTES],
    /// Whether the cluster has that for this node's key, as far as this node knows.
    pub counts: bool,
}

/// What the agreed view says of a node's key, instead of the image. Only the views server may say it. EINVAL: the
/// image does not name the node, and the address is none that it may have. EEXIST: the image names it at another
/// address; that one stays, and the key is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerKey {
    /// The node; this one, too.
    pub node: NodeId,
    /// Its public key; none if it was revoked.
    pub key: Option<[u8; abi::image::KEY_BYTES]>,
    /// Its Ethernet address, if images need not name it.
    pub address: Option<[u8; 6]>,
}

/// What a link that is not up is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Phase {
    /// This node has no key of its own, or none of the other's.
    NoKey,
    /// The other node does not answer.
    #[default]
    Silent,
    /// It answers; the handshake is not over.
    Opening,
    /// It speaks no version that this node speaks.
    Refused,
}

/// Figures of one link since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LinkFigures {
    /// Whether the node answers.
    pub up: bool,
    /// What the link does if it is not up.
    pub phase: Phase,
    /// How often it came up since boot.
    pub lives: u64,
    /// Version of the format of its frames, if it is up.
    pub version: u8,
    /// Smoothed round-trip time in nanoseconds; 0 if none was measured.
    pub rtt_ns: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Bytes of messages sent.
    pub bytes_sent: u64,
    /// Bytes of messages received.
    pub bytes_received: u64,
    /// Frames sent, repeated ones too.
    pub frames_sent: u64,
    /// Frames received, dropped ones too.
    pub frames_received: u64,
    /// Frames sent again.
    pub frames_repeated: u64,
    /// Frames that claimed to come from the node and were dropped.
    pub drops: Drops,
}

impl LinkFigures {
    /// The link's state in a word.
    pub fn state(&self) -> &'static str {
        match (self.up, self.phase) {
            (true, _) => "up",
            (false, Phase::NoKey) => "no-key",
            (false, Phase::Silent) => "down",
            (false, Phase::Opening) => "open",
            (false, Phase::Refused) => "refused",
        }
    }
}

cold!(Enrol, Enrolled, PeerKey, LinkFigures, Drops, PingFigures, LoadFigures);

operations! {
    ServerId::Net;
    3, leaf, repeat: LinkUse => LinkFigures;
    4, leaf, once: PingStart => ();
    5, leaf, repeat: PingUse => PingFigures;
    6, leaf, once: LoadStart => ();
    7, leaf, repeat: LoadUse => LoadFigures;
    8, leaf, repeat: StrayUse => Drops;
    9, leaf, once: Enrol => Enrolled;
    10, leaf, repeat: PeerKey => ();
}
