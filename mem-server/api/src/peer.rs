// SPDX-License-Identifier: MIT OR Apache-2.0
//! What mem-servers of different nodes say to each other: the page protocol, and who holds what.
//!
//! Page messages are told, not called: the protocol's own acknowledgements end each transaction. A
//! receiver trusts none of them: it checks that the sender may say this about this object.

use crate::Access;
use abi::{NodeId, ObjectId, ServerId};
use runtime::{Word, hot, operations};

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

hot! {
    /// Requester to home. `have`: the requester holds a readable copy.
    pub struct Req { pub object: ObjectId, pub page: u64, pub access: Access, pub have: bool }
}
hot! {
    /// Home to owner: send the page to `to`.
    pub struct Fwd { pub object: ObjectId, pub page: u64, pub to: NodeId, pub transfer: Transfer }
}
hot! {
    /// Home to a holder: drop the copy and acknowledge to `to`.
    pub struct Inv { pub object: ObjectId, pub page: u64, pub to: NodeId }
}
hot! {
    /// To the requester: node `of` holds the page no more. The home speaks for a node that died.
    pub struct Ack { pub object: ObjectId, pub page: u64, pub of: NodeId }
}
hot! {
    /// Owner to requester; the page's bytes are the bulk data.
    pub struct Data { pub object: ObjectId, pub page: u64, pub transfer: Transfer }
}
hot! {
    /// Home to requester: use what you have, or a page of zeroes.
    pub struct Grant { pub object: ObjectId, pub page: u64, pub acks: u16, pub zero: bool }
}
hot! {
    /// Requester to the former owner: the page has arrived, let it go.
    pub struct Got { pub object: ObjectId, pub page: u64 }
}
hot! {
    /// To the home: the transaction is over.
    pub struct Done { pub object: ObjectId, pub page: u64 }
}
hot! {
    /// To the requester: the page cannot be had for this access; `errno` says why.
    pub struct Lost { pub object: ObjectId, pub page: u64, pub errno: u16, pub access: Access }
}
hot! {
    /// Owner to home: take this page back, the object is not used here any more.
    pub struct Leave { pub object: ObjectId, pub page: u64 }
}
hot! {
    /// To the home: the caller's node refers to the object now. ESTALE.
    pub struct Hold { pub object: ObjectId }
}
hot! {
    /// To the home: the caller's node gives this many references back.
    pub struct Drop { pub object: ObjectId, pub holds: u64 }
}
hot! {
    /// Source to target of a moved space: its pages wait here under this object.
    pub struct Given { pub object: ObjectId }
}
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
}
