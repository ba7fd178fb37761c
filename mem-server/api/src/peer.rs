// SPDX-License-Identifier: MIT OR Apache-2.0
//! What mem-servers of different nodes say to each other: the page protocol, and who holds what.
//!
//! Page messages are told, not called: the protocol's own acknowledgements end each transaction. A
//! receiver trusts none of them: it checks that the sender may say this about this object.
//!
//! # Rounds
//! The home of a slot rebuilds what it knows of the objects there by asking all members. Each time is a
//! *round* with a greater number; page messages bear the number of the round that they belong to, and one of
//! another round is void. Until the first there is round 0. Pages of a moved space know no rounds.

use crate::Access;
use abi::id::SLOTS;
use abi::limits::PAGE_BYTES;
use abi::{NodeId, ObjectId, ServerId};
use alloc::vec::Vec;
use runtime::limits::NODE_BODY_BYTES;
use runtime::{Word, cold, hot, operations};
use serde::{Deserialize, Serialize};

/// What moves with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transfer {
    /// A read copy.
    Read,
    /// The page itself, once this many others have acknowledged that they dropped their copies.
    Write {
        /// Acknowledgements to wait for.
        acks: u16,
    },
}

impl Transfer {
    /// The access that it serves.
    pub const fn access(self) -> Access {
        match self {
            Self::Read => Access::Read,
            Self::Write { .. } => Access::Write,
        }
    }
}

impl Word for Transfer {
    fn to_word(&self) -> u64 {
        match self {
            Self::Read => 0,
            Self::Write { acks } => u64::from(*acks) << 1 | 1,
        }
    }

    fn from_word(word: u64) -> Option<Self> {
        match word {
            0 => Some(Self::Read),
            _ if word & 1 == 0 => None,
            _ => Some(Self::Write { acks: u16::try_from(word >> 1).ok()? }),
        }
    }
}

/// What a requester wants a page for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// To read or to write it.
    pub access: Access,
    /// The requester holds a readable copy.
    pub have: bool,
    /// The requester's number of this request, of [`REQUEST_BITS`] bits: it tells for which of its requests a page
    /// was given up.
    pub number: u32,
}
/// Bits of a request's number: a node has far fewer open.
pub const REQUEST_BITS: u32 = 31;

impl Word for Want {
    fn to_word(&self) -> u64 {
        self.access.to_word() | u64::from(self.have) << 1 | u64::from(self.number) << 2
    }

    fn from_word(word: u64) -> Option<Self> {
        let access = Access::from_word(word & 1)?;
        let number = u32::try_from(word >> 2).ok().filter(|number| number >> REQUEST_BITS == 0)?;
        Some(Self { access, have: word & 2 != 0, number })
    }
}

/// What an owner is to send, and to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// The requester.
    pub to: NodeId,
    /// Its request ([`Want::number`]).
    pub number: u32,
    /// What moves.
    pub transfer: Transfer,
}
/// Bits of a [`Transfer`].
const TRANSFER_BITS: u32 = 17;

impl Word for Delivery {
    fn to_word(&self) -> u64 {
        let to = u64::from(self.to.get()) << (TRANSFER_BITS + REQUEST_BITS);
        to | u64::from(self.number) << TRANSFER_BITS | self.transfer.to_word()
    }

    fn from_word(word: u64) -> Option<Self> {
        let to =
            u16::try_from(word >> (TRANSFER_BITS + REQUEST_BITS)).ok().and_then(NodeId::new)?;
        let number = (word >> TRANSFER_BITS) as u32 & ((1 << REQUEST_BITS) - 1);
        Some(Self { to, number, transfer: Transfer::from_word(word & ((1 << TRANSFER_BITS) - 1))? })
    }
}

/// How a requester may use what it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Acknowledgements to wait for.
    pub acks: u16,
    /// The page was never touched: it is a page of zeroes.
    pub zero: bool,
}

impl Word for Terms {
    fn to_word(&self) -> u64 {
        u64::from(self.acks) << 1 | u64::from(self.zero)
    }

    fn from_word(word: u64) -> Option<Self> {
        Some(Self { acks: u16::try_from(word >> 1).ok()?, zero: word & 1 != 0 })
    }
}

/// Why a request cannot be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Number of the error.
    pub errno: u16,
    /// What was asked for.
    pub access: Access,
}

impl Word for Refusal {
    fn to_word(&self) -> u64 {
        u64::from(self.errno) << 1 | self.access.to_word()
    }

    fn from_word(word: u64) -> Option<Self> {
        Some(Self { errno: u16::try_from(word >> 1).ok()?, access: Access::from_word(word & 1)? })
    }
}

hot! {
    /// Requester to home.
    pub struct Req { pub object: ObjectId, pub page: u64, pub round: u64, pub want: Want }
}
hot! {
    /// Home to owner: send the page.
    pub struct Fwd { pub object: ObjectId, pub page: u64, pub round: u64, pub delivery: Delivery }
}
hot! {
    /// Home to a holder: drop the copy and acknowledge to `to`.
    pub struct Inv { pub object: ObjectId, pub page: u64, pub round: u64, pub to: NodeId }
}
hot! {
    /// Holder to requester: the sender holds the page no more.
    pub struct Ack { pub object: ObjectId, pub page: u64, pub round: u64 }
}
hot! {
    /// Owner to requester; the page's bytes are the bulk data.
    pub struct Data { pub object: ObjectId, pub page: u64, pub round: u64, pub transfer: Transfer }
}
hot! {
    /// Home to requester: use what you have, or a page of zeroes.
    pub struct Grant { pub object: ObjectId, pub page: u64, pub round: u64, pub terms: Terms }
}
hot! {
    /// Requester to the former owner: the page has arrived, let it go.
    pub struct Got { pub object: ObjectId, pub page: u64, pub round: u64 }
}
hot! {
    /// To the home: the transaction is over.
    pub struct Done { pub object: ObjectId, pub page: u64, pub round: u64 }
}
hot! {
    /// To the requester: the page cannot be had for this access.
    pub struct Lost { pub object: ObjectId, pub page: u64, pub round: u64, pub refusal: Refusal }
}
hot! {
    /// Owner to home: take this page back, the object is not used here any more.
    pub struct Leave { pub object: ObjectId, pub page: u64, pub round: u64 }
}
hot! {
    /// To the home: the caller's node refers to the object now. ESTALE; EIO: it is lost.
    pub struct Hold { pub object: ObjectId }
}
hot! {
    /// To the home: the node `of` gives this many references back. A former home of the slot may pass it on.
    pub struct Drop { pub object: ObjectId, pub holds: u64, pub of: NodeId }
}

hot! {
    /// To the home: a thread of the caller's node waits at a futex, a word at this offset of the object. Ends when it
    /// is woken. As soon as it counts the home says [`Asleep`] with the number.
    pub struct Sleep { pub object: ObjectId, pub offset: u64, pub bitset: u32, pub number: u32 }
}
hot! {
    /// Home to the waiter's node: from now on nobody wakes that futex without this waiter. It looks at the word.
    pub struct Asleep { pub number: u32 }
}
hot! {
    /// To the home: wakes at most `count` waiters at a futex whose bitset meets this one.
    pub struct Rouse { pub object: ObjectId, pub offset: u64, pub count: u32, pub bitset: u32 }
}

/// Slots: bit n of the whole is slot n.
pub type SlotBits = [u64; SLOTS as usize / 64];

/// Where a part of a report begins: an object, and a page of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    /// The object's id as a number.
    pub object: u64,
    /// The page.
    pub page: u64,
}

/// The home of these slots asks what the receiver holds of the objects in them, from `from` on. The first
/// part begins a round: what belongs to an earlier one is void for the receiver from then on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Query {
    /// The round; a later one has a greater number.
    pub round: u64,
    /// Where the part begins.
    pub from: Place,
    /// The slots.
    pub slots: SlotBits,
}

/// How a page is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Held {
    /// A read copy.
    Copy,
    /// Owned, read-only: others may hold copies.
    Owner,
    /// Owned, and writable: nobody else holds a copy.
    Only,
    /// Given up, and kept until who asked for it has it.
    Kept(Taker),
    /// Not here, but asked for in order to be written, with this number: it has not come.
    Awaited(u32),
}

impl Held {
    /// Whether anything of the page is there.
    #[must_use]
    pub const fn is_here(self) -> bool {
        !matches!(self, Self::Awaited(_))
    }

    /// How a page that many pages further on is held, where runs of pages were asked for in order.
    #[must_use]
    pub const fn further(self, pages: u64) -> Self {
        match self {
            Self::Copy | Self::Owner | Self::Only => self,
            Self::Kept(Taker { node, number }) => {
                Self::Kept(Taker { node, number: further(number, pages) })
            }
            Self::Awaited(number) => Self::Awaited(further(number, pages)),
        }
    }
}

/// The number of the request so many after that one.
const fn further(number: u32, by: u64) -> u32 {
    (number as u64 + by) as u32 & ((1 << REQUEST_BITS) - 1)
}

/// For whom a page is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taker {
    /// Who asked for it; 0: that node is gone.
    pub node: u16,
    /// In which request ([`Want::number`]).
    pub number: u32,
}

/// A line of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Row {
    /// The lines that follow are of this object, for which the home counts so many references of the reporter.
    Object {
        /// Its id as a number.
        object: u64,
        /// References.
        grants: u64,
    },
    /// Pages that are held alike.
    Run {
        /// The first.
        first: u64,
        /// How many.
        pages: u64,
        /// How the first is held; the others as [`Held::further`] says.
        held: Held,
    },
}

/// The answer to a [`Query`]: all that there is from its `from` up to `next`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Of the question.
    pub round: u64,
    /// Of the question.
    pub from: Place,
    /// Where the next part begins; `None`: this is the last.
    pub next: Option<Place>,
    /// In ascending order, at most [`REPORT_ROWS_MAX`].
    pub rows: Vec<Row>,
}
/// Rows of a [`Report`]: 30 bytes each at most, so that they fit a message.
pub const REPORT_ROWS_MAX: usize = 28;

/// What becomes of a page that was reported and does not stay as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// A copy or a page that was kept: the node owns it from now on.
    Own,
    /// It goes.
    Drop,
}

/// A page of [`Settle`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settling {
    /// The page.
    pub at: Place,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// The home says what becomes of pages that the receiver reported. Answered by [`Obeyed`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settle {
    /// The round.
    pub round: u64,
    /// Number of the part.
    pub part: u32,
    /// At most [`SETTLE_ROWS_MAX`].
    pub rows: Vec<Settling>,
}
/// Rows of a [`Settle`]: 21 bytes each at most.
pub const SETTLE_ROWS_MAX: usize = 32;

hot! {
    /// The answer to [`Settle`].
    pub struct Obeyed { pub round: u64, pub part: u32 }
}

/// The home of these slots serves them, in this round: who waits for pages asks again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// The round.
    pub round: u64,
    /// The slots.
    pub slots: SlotBits,
}

/// To the home of these slots: something on its way may be lost, as a link was down. Begins a new round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Doubt {
    /// The slots.
    pub slots: SlotBits,
}

cold!(Query, Report, Settle, Open, Doubt);

hot! {
    /// Source to target of a moved space: its pages wait here under this object.
    pub struct Given { pub object: ObjectId }
}
hot! {
    /// Target to source: send these pages, 1 to [`PULL_PAGES_MAX`], which nobody else can want. Answered by
    /// [`Pulled`], or by [`Lost`] if one of them is not there.
    pub struct Pull { pub object: ObjectId, pub first: u64, pub pages: u64 }
}
hot! {
    /// Source to target: the pages from `first` on, which the source has no more; their bytes are the bulk data.
    pub struct Pulled { pub object: ObjectId, pub first: u64 }
}
/// Pages that one [`Pull`] asks for: few enough that a wanted page does not wait long behind them.
pub const PULL_PAGES_MAX: u64 = 8;
static_assertions::const_assert!(PULL_PAGES_MAX as usize * PAGE_BYTES <= NODE_BODY_BYTES);

hot! {
    /// Target to source: the target refers to all shared objects of the space itself.
    pub struct Settled { pub object: ObjectId }
}
hot! {
    /// Target to source: nobody wants the pages that are still there.
    pub struct Forget { pub object: ObjectId }
}

operations! {
    ServerId::Mem;
    0x100, leaf, repeat: Req => ();
    0x101, leaf, repeat: Fwd => ();
    0x102, leaf, repeat: Inv => ();
    0x103, leaf, repeat: Ack => ();
    0x104, leaf, repeat: Data => ();
    0x105, leaf, repeat: Grant => ();
    0x106, leaf, repeat: Got => ();
    0x107, leaf, repeat: Done => ();
    0x108, leaf, repeat: Lost => ();
    0x109, leaf, repeat: Leave => ();
    0x110, leaf, once: Hold => ();
    0x111, leaf, once: Drop => ();
    0x112, leaf, repeat: Given => ();
    0x113, leaf, repeat: Settled => ();
    0x114, leaf, repeat: Forget => ();
    0x115, leaf, repeat: Pull => ();
    0x116, leaf, repeat: Pulled => ();
    0x118, leaf, once: Sleep => ();
    0x119, leaf, repeat: Asleep => ();
    0x11a, leaf, once: Rouse => crate::Count;
    0x120, leaf, repeat: Query => ();
    0x121, leaf, repeat: Report => ();
    0x122, leaf, repeat: Settle => ();
    0x123, leaf, repeat: Obeyed => ();
    0x124, leaf, repeat: Open => ();
    0x125, leaf, repeat: Doubt => ();
}
