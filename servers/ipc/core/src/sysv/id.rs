// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ids and where they lead.
//!
//! ```text
//! 31   30      24 23       10 9     0
//! 0    epoch      count       slot
//! ```
//! The epoch is the last bits of that in which the slot's home became it: a new home does not give the ids of
//! the one before again. As on Linux, an id comes again after many others.

use abi::id::SLOTS;
use abi::{Epoch, Errno, SlotNo};
use ipc_api::sysv::Kind;
use runtime::Cx;

const SLOT_BITS: u32 = 10;
const COUNT_BITS: u32 = 14;
const EPOCH_BITS: u32 = 7;
const _: () = assert!(SLOTS as u32 == 1 << SLOT_BITS);
const _: () = assert!(SLOT_BITS + COUNT_BITS + EPOCH_BITS == 31);
const EPOCH_MASK: u64 = (1 << EPOCH_BITS) - 1;

/// The slot that an id names.
pub(super) fn slot(id: u32) -> SlotNo {
    numbered(id & ((1 << SLOT_BITS) - 1))
}

/// The slot of a key's object.
pub(super) fn slot_of_key(kind: Kind, key: u32) -> SlotNo {
    // Keys are small numbers or what ftok(3) makes: any good mixing does.
    let mixed = (key ^ (kind as u32) << 30).wrapping_mul(0x9e37_79b1);
    numbered(mixed >> (u32::BITS - SLOT_BITS))
}

fn numbered(number: u32) -> SlotNo {
    SlotNo::new(number as u16).expect("as many bits as there are slots")
}

/// An id in a slot of this node.
pub(super) fn new(cx: &Cx<'_>, slot: SlotNo, count: u32) -> u32 {
    let epoch = (cx.view().slot(slot).since.0 & EPOCH_MASK) as u32;
    let count = count & ((1 << COUNT_BITS) - 1);
    epoch << (COUNT_BITS + SLOT_BITS) | count << SLOT_BITS | slot.index() as u32
}

/// Why there is no such object: EIDRM if it may have been lost with a home, else EINVAL.
pub(super) fn why_unknown(cx: &Cx<'_>, id: u32) -> Errno {
    let Epoch(broken) = cx.view().slot(slot(id)).broken;
    let made = u64::from(id >> (COUNT_BITS + SLOT_BITS));
    let since = broken.wrapping_sub(made) & EPOCH_MASK;
    let lost = broken != 0 && since != 0 && since <= EPOCH_MASK / 2;
    if lost { Errno::EIDRM } else { Errno::EINVAL }
}
