// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of the disk server, and how a disk is divided.
//!
//! # Model
//! A disk has [`Region`]s, and each region one server that may use it. Sectors are 512 bytes and count
//! from the region's first one.
//!
//! A server never waits for another, and what is answered later carries no bulk data. So a request that
//! takes the device's time has two steps:
//!
//! - *Reading*: [`Read`] is answered when the data is in a buffer of the disk server, and [`Fetch`],
//!   a leaf, brings it. What is not fetched keeps its buffer.
//! - *Writing*: [`Write`], a leaf, is answered as soon as the data is in a buffer. It is safe when a
//!   [`Flush`] that was asked for later is answered.
//!
//! Of one region's requests, those that have sectors in common take effect in the order in which they
//! came; all others in any order, until a flush.
//!
//! # Failure
//! ENODEV: the node has no disk that can be used; [`Info`] says why. EPERM: the region is another
//! server's. EINVAL: no such sectors, none at all, more than [`limits::REQUEST_SECTORS_MAX`], or data
//! that is no whole number of sectors. EROFS. EAGAIN: too many requests; [`EVENT_ROOM`] follows. EIO: the
//! device failed: as an answer to a read, and to a flush if it failed, a write before it, or the device's last
//! flush for whomever. What is then on the sectors that were written since the flush before is not known:
//! the old data, the new, or some of each. A device that
//! does not answer for [`limits::REQUEST_NS_MAX`] is taken out of service: all is answered with EIO.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod limits;
mod region;
mod state;
pub mod superblock;
#[cfg(feature = "testing")]
pub mod testing;

use abi::ServerId;
pub use region::{Extent, Region};
use runtime::{Word, cold, hot, operations};
pub use state::{Absence, DiskInfo, Figures, State};

hot! {
    /// What the disk is. Anybody may ask that may call at all.
    pub struct Info {}
}

hot! {
    /// Reads sectors into a buffer.
    pub struct Read { pub region: Region, pub sector: u64, pub sectors: u64 }
}
hot! {
    /// They can be fetched.
    pub struct Readable { pub id: ReadId }
}
hot! {
    /// Takes what was read; its bulk data. ESTALE: no such read of this client, or it was fetched
    /// already. EMSGSIZE: the window is too small; the data is kept.
    pub struct Fetch { pub id: ReadId }
}

hot! {
    /// Writes sectors: as many as the bulk data has.
    pub struct Write { pub region: Region, pub sector: u64 }
}
hot! {
    /// Answered when all that was written to the region before is safe from a power cut.
    pub struct Flush { pub region: Region }
}

cold!(DiskInfo);

operations! {
    ServerId::Disk;
    1, leaf, repeat: Info => DiskInfo;
    2, slow, repeat: Read => Readable;
    3, leaf, once: Fetch => ();
    4, leaf, repeat: Write => ();
    5, slow, repeat: Flush => ();
}

/// Upcall to a client that got EAGAIN: it may ask again. No content.
pub const EVENT_ROOM: u16 = 1;

/// Names data that waits to be fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadId {
    /// The buffer.
    pub index: u32,
    /// Grows each time the buffer is used again, so that a stale id is an error.
    pub generation: u32,
}

impl Word for ReadId {
    fn to_word(&self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    fn from_word(word: u64) -> Option<Self> {
        Some(Self { index: word as u32, generation: (word >> 32) as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{Msg, Wire};

    #[test]
    fn messages_stand_in_their_words() {
        let read = Read { region: Region::Check, sector: 7, sectors: 128 };
        assert_eq!(Msg::of(&read).expect("it fits").words, [2, 7, 128, 0]);
        let id = ReadId { index: 3, generation: 9 };
        assert_eq!(Msg::of(&Fetch { id }).expect("it fits").words, [9 << 32 | 3, 0, 0, 0]);
        let none = Msg { words: [4, 0, 0, 0], ..Msg::default() };
        assert!(Flush::get(&none).is_err(), "there are four regions");
    }

    #[test]
    fn info_fits_a_message() {
        let absence = Absence::Refused(superblock::Refusal::OtherCluster("c".repeat(32)));
        let (sectors, most) = (u64::MAX, u64::MAX);
        let figures =
            Figures { reads: most, writes: most, flushes: most, errors: most, strange: most };
        let extent = Extent { first: most, sectors };
        for state in
            [State::Absent(absence), State::Ready { sectors, writable: true, regions: [extent; 4] }]
        {
            let info = DiskInfo { state, figures };
            let msg = Msg::of(&info).expect("it fits");
            assert_eq!(DiskInfo::get(&msg), Ok(info));
        }
    }
}
