// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of a disk, each with one owner.

use abi::ServerId;
use core::fmt;
use runtime::Word;
use serde::{Deserialize, Serialize};

/// A part of the disk. The number is its row in the superblock, and never used again for another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Region {
    /// The views server's journal.
    Journal = 0,
    /// The node's private key.
    Keys = 1,
    /// What `disks --check` writes and reads back.
    Check = 2,
    /// The rest: fs-server's store.
    Files = 3,
}

impl Region {
    /// All of them, by number.
    pub const ALL: [Self; 4] = [Self::Journal, Self::Keys, Self::Check, Self::Files];

    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Keys => "keys",
            Self::Check => "check",
            Self::Files => "files",
        }
    }

    /// The one server that may read and write it. Being an owner takes the right to call as well, which
    /// root gives.
    pub const fn owner(self) -> Option<ServerId> {
        match self {
            Self::Journal => Some(ServerId::Views),
            Self::Keys => Some(ServerId::Shell),
            Self::Check => Some(ServerId::Shell),
            Self::Files => Some(ServerId::Fs),
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Word for Region {
    fn to_word(&self) -> u64 {
        *self as u64
    }

    fn from_word(word: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(word).ok()?).copied()
    }
}

/// Consecutive sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Extent {
    /// The first one.
    pub first: u64,
    /// How many.
    pub sectors: u64,
}

impl Extent {
    /// The sector behind the last one; `None` if there is no such number.
    pub fn end(self) -> Option<u64> {
        self.first.checked_add(self.sectors)
    }

    /// Whether they have a sector in common.
    pub fn overlaps(self, other: Self) -> bool {
        let before = |a: Self, b: Self| a.end().is_some_and(|end| end <= b.first);
        !before(self, other) && !before(other, self)
    }

    /// `sectors` of them from the one numbered `sector` on; `None` if they are not all inside.
    pub fn part(self, sector: u64, sectors: u64) -> Option<Self> {
        let end = sector.checked_add(sectors)?;
        (end <= self.sectors).then_some(Self { first: self.first.checked_add(sector)?, sectors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_stand_at_their_numbers() {
        for (index, region) in Region::ALL.into_iter().enumerate() {
            assert_eq!(region as usize, index);
            assert_eq!(Region::from_word(index as u64), Some(region));
        }
        assert_eq!(Region::from_word(4), None);
        assert_eq!(Region::from_word(u64::MAX), None);
    }

    #[test]
    fn extent_parts_lie_inside() {
        let extent = Extent { first: 10, sectors: 5 };
        assert_eq!(extent.part(3, 2), Some(Extent { first: 13, sectors: 2 }));
        assert_eq!(extent.part(4, 2), None);
        assert_eq!(extent.part(u64::MAX, 2), None);
        assert!(extent.overlaps(Extent { first: 14, sectors: 1 }));
        assert!(!extent.overlaps(Extent { first: 15, sectors: 1 }));
        assert!(!extent.overlaps(Extent { first: 5, sectors: 5 }));
    }
}
