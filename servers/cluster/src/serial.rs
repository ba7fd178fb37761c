// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of things within a slot. None is given twice, whoever is the slot's home: a home counts by
//! itself, and the number says when it became the home.
//!
//! # Model
//! ```text
//! bit 53              52 .. 33                             32 .. 0
//! server's own use    low bits of the maker's `since`      the maker's count
//! ```
//! So an id tells whether what it names was made before its slot began anew.
//!
//! # Limits
//! 2^33 things for each home and server: ten days at 10,000 in a second; then the home makes nothing
//! more. Epochs are told apart within 2^19 of each other.

use crate::Slot;
use abi::id::OBJECT_SERIAL_BITS;

const COUNT_BITS: u32 = 33;
/// The largest count of a serial.
pub const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const EPOCH_BITS: u32 = 20;
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;
const _: () = assert!(COUNT_BITS + EPOCH_BITS < OBJECT_SERIAL_BITS);

impl Slot {
    /// The serial of the `count`th thing that the slot's present home makes in it; `None` if it has
    /// made too many.
    pub const fn serial(&self, count: u64) -> Option<u64> {
        if count >> COUNT_BITS != 0 {
            return None;
        }
        Some((self.since.0 & EPOCH_MASK) << COUNT_BITS | count)
    }

    /// Whether what has this serial was made before the slot began anew: it is gone.
    pub const fn has_lost(&self, serial: u64) -> bool {
        is_before(serial, self.lost.0)
    }

    /// The same for what has no copies: whether it was made before a primary was gone.
    pub const fn has_broken(&self, serial: u64) -> bool {
        is_before(serial, self.broken.0)
    }
}

/// Whether a serial was made before `epoch`, which is 0 if that never was.
const fn is_before(serial: u64, epoch: u64) -> bool {
    let made = serial >> COUNT_BITS;
    let since = epoch.wrapping_sub(made) & EPOCH_MASK;
    epoch != 0 && since != 0 && since <= EPOCH_MASK / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::{Epoch, NodeId};

    fn slot(since: u64, lost: u64) -> Slot {
        let node = NodeId::new(1).expect("a node number");
        let (since, lost) = (Epoch(since), Epoch(lost));
        Slot { since, lost, broken: lost, ..Slot::new(node) }
    }

    #[test]
    fn serial_of_another_home_never_comes_again() {
        let first = slot(1, 0).serial(7);
        assert_ne!(first, slot(2, 0).serial(7));
        assert_ne!(first, slot(1, 0).serial(8));
        assert_eq!(first.map(|serial| serial >> 53), Some(0));
    }

    #[test]
    fn serial_ends_where_the_count_does() {
        assert!(slot(1, 0).serial((1 << COUNT_BITS) - 1).is_some());
        assert_eq!(slot(1, 0).serial(1 << COUNT_BITS), None);
    }

    #[test]
    fn serial_made_before_its_slot_began_anew_is_lost() {
        let made = |since| slot(since, 0).serial(1).expect("it counts");
        assert!(!slot(9, 0).has_lost(made(1)));
        assert!(slot(9, 9).has_lost(made(8)));
        assert!(!slot(9, 9).has_lost(made(9)));
        // It moved on after it was lost.
        assert!(slot(12, 9).has_lost(made(8)));
        assert!(!slot(12, 9).has_lost(made(12)));
    }

    #[test]
    fn serial_tells_epochs_apart_where_their_low_bits_begin_again() {
        let end = 1 << EPOCH_BITS;
        let made = slot(end - 1, 0).serial(1).expect("it counts");
        assert!(slot(end + 1, end + 1).has_lost(made));
        let made = slot(end + 1, 0).serial(1).expect("it counts");
        assert!(!slot(end + 1, end - 1).has_lost(made));
    }
}
