// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who takes part: members and voters, and the numbers that tell one life of a node from the next.

use abi::NodeId;
use core::fmt;

/// One life of a member, or of a disk: numbers are given in the order of admission and never again,
/// for the whole cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Incarnation(u32);

impl Incarnation {
    /// `None` if the number is 0.
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number, at least 1.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A node that belongs to the view.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// A number that the node drew when it asked to be admitted: by it a node knows that an
    /// admission is its own, and asking twice admits once; and whether it [`keeps`](Self::keeps).
    pub boot: u64,
    /// Names what the node's disk remembers: the incarnation for which it was first written.
    pub disk: Incarnation,
    /// The node wishes to leave: slots are moved away from it, and none to it.
    pub draining: bool,
}

/// The bit of a boot's number that says that the node's disk keeps what lives in its slots.
const KEEPS: u64 = 1 << 63;

impl Member {
    /// Whether what lives in its slots is on its disk as well.
    pub const fn keeps(&self) -> bool {
        self.boot & KEEPS != 0
    }

    /// The number of a boot, from one that was drawn: not 0, which is that of no boot.
    pub const fn boot(drawn: u64, keeps: bool) -> u64 {
        drawn & !KEEPS | 1 | if keeps { KEEPS } else { 0 }
    }
}

/// A node that votes. Its vote lives on its disk: with another disk it is another voter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Voter {
    /// The node.
    pub node: NodeId,
    /// Its disk.
    pub disk: Incarnation,
}
