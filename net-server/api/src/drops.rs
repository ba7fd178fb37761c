// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why frames were dropped, and how many.

use serde::{Deserialize, Serialize};

/// Why a frame was dropped. A dropped frame changes nothing but its count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Cause {
    /// Another protocol's, or addressed to another node.
    NotForMe,
    /// It claims to come from a node that is no member, or whose key is not known.
    UnknownNode,
    /// Its format's version is not the link's.
    BadVersion,
    /// It ends early.
    Truncated,
    /// It is longer than it says, or than a frame may be.
    Oversized,
    /// It was not made with the right key, or was changed on its way.
    Unauthentic,
    /// It was received before, or is an answer to what was not asked just now.
    Replayed,
    /// It belongs to an earlier life of the link.
    Stale,
    /// It says what a correct node never says.
    Malformed,
    /// Its content had arrived already, or is outside of the lane's window.
    Duplicate,
}

impl Cause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::NotForMe,
        Self::UnknownNode,
        Self::BadVersion,
        Self::Truncated,
        Self::Oversized,
        Self::Unauthentic,
        Self::Replayed,
        Self::Stale,
        Self::Malformed,
        Self::Duplicate,
    ];

    /// Its name on the console.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotForMe => "not-for-me",
            Self::UnknownNode => "unknown-node",
            Self::BadVersion => "bad-version",
            Self::Truncated => "truncated",
            Self::Oversized => "oversized",
            Self::Unauthentic => "unauthentic",
            Self::Replayed => "replayed",
            Self::Stale => "stale",
            Self::Malformed => "malformed",
            Self::Duplicate => "duplicate",
        }
    }
}

/// Dropped frames since boot, by cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Drops([u64; Cause::ALL.len()]);

impl Drops {
    /// Counts one.
    pub fn count(&mut self, cause: Cause) {
        self.0[cause as usize] += 1;
    }

    /// How many had this cause.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0[cause as usize]
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_at_their_numbers() {
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index);
        }
    }
}
