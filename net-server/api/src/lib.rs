// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of net-server. Sending and taking are [`runtime::node::NET_SEND`] and
//! [`runtime::node::NET_TAKE`], which every server's host uses.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use abi::{NodeId, ServerId};
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

/// Figures of one link since boot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LinkFigures {
    /// Whether the node answers.
    pub up: bool,
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
    /// Frames received.
    pub frames_received: u64,
    /// Frames sent again.
    pub frames_repeated: u64,
    /// Frames dropped: not well-formed, wrong version or checksum.
    pub dropped_malformed: u64,
    /// Frames dropped: duplicate, or outside the window.
    pub dropped_duplicate: u64,
    /// Messages dropped because the receiving server's queue was full; the link is then broken.
    pub dropped_full: u64,
}

cold!(LinkFigures, PingFigures);

operations! {
    ServerId::Net;
    3, leaf, repeat: LinkUse => LinkFigures;
    4, leaf, once: PingStart => ();
    5, leaf, repeat: PingUse => PingFigures;
}
