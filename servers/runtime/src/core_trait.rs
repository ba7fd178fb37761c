// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a server's core implements.

use crate::limits::SLOT_BYTES_MAX;
use crate::{Bulk, Cx, Msg, Wire};
use abi::{CoreId, Errno, NodeId, ServerId, SlotNo, Ticket};
use alloc::vec;
use alloc::vec::Vec;
use cluster::View;
use postcard::ser_flavors::Size;
use serde::Serialize;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Client {
    /// A server of this node.
    Server {
        /// Which one.
        id: ServerId,
        /// The core of its worker.
        core: CoreId,
    },
    /// The same server on another node. Its request is untrusted input.
    Node {
        /// Which node.
        node: NodeId,
        /// Its number for the call; 0 if it wants no answer.
        request: u64,
    },
}

/// How a core answers a request.
#[derive(Debug)]
pub enum Answer {
    /// Ended with this reply; bulk data stands in the request's `Bulk`.
    Done(Msg),
    /// Ends later: a ticket from [`Cx::open_ticket`].
    Pending(Ticket),
    /// Failed.
    Failed(Errno),
    /// It is about something in a slot that may be given away: it runs again once the next view is
    /// entered. Nothing has been done yet.
    NextView,
    /// It is about something in a slot of another home. Nothing has been done: the node that asks is
    /// sent there.
    Moved(SlotNo),
}

/// What a core gives away with a slot.
#[derive(Debug)]
pub enum Export {
    /// Nothing: nothing lives there.
    Nothing,
    /// All that lives there, at most [`SLOT_BYTES_MAX`], as [`Core::import`] reads it.
    State(Vec<u8>),
    /// The same, but for what [`Core::export_more`] brings.
    Head(Vec<u8>),
    /// Not at once: [`Cx::export_now`] follows.
    NotYet,
    /// It cannot: something lives there that cannot move.
    Stays,
}

/// How far a core is with what it exports; [`Cursor::default`] is the beginning. Only the core reads it.
pub type Cursor = [u64; 2];

/// More of what lives in a slot.
#[derive(Debug)]
pub struct Piece {
    /// At most [`NODE_BODY_BYTES`](crate::limits::NODE_BODY_BYTES); none if a long way had nothing in it.
    pub bytes: Vec<u8>,
    /// Where the next piece begins; `None` if this one is the last.
    pub next: Option<Cursor>,
}

/// The length of a slot's state or head when it is encoded; `None` if the slot has to stay, as it is longer
/// than [`SLOT_BYTES_MAX`]. Takes no buffer.
pub fn head_len<T: Serialize>(value: &T) -> Option<usize> {
    let len = postcard::serialize_with_flavor(value, Size::default()).ok()?;
    (len <= SLOT_BYTES_MAX).then_some(len)
}

/// Encodes a slot's state or head; `None` as [`head_len`]. A buffer that grows while it is written would
/// take three times as much of a small heap.
pub fn encode_head<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    let mut head = vec![0; head_len(value)?];
    postcard::to_slice(value, &mut head).ok()?;
    Some(head)
}

impl Answer {
    /// The answer with this reply.
    pub fn reply<T: Wire>(value: &T) -> Self {
        match Msg::of(value) {
            Ok(msg) => Self::Done(msg),
            Err(errno) => Self::Failed(errno),
        }
    }

    /// The answer of a handler that ends at once.
    pub fn from_result<T: Wire>(result: Result<T, Errno>) -> Self {
        match result {
            Ok(value) => Self::reply(&value),
            Err(errno) => Self::Failed(errno),
        }
    }
}

/// An answer from another node, or from an ask to a local server (then `bulk` is empty).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeReply {
    /// The reply.
    pub msg: Msg,
    /// Its bulk data.
    pub bulk: Vec<u8>,
}

/// What a core hears without having asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A server below raised an upcall: its number and message are in the server's api.
    Upcall {
        /// Who raised it.
        from: ServerId,
        /// The event's number.
        number: u16,
        /// Its content.
        msg: Msg,
    },
    /// A timer armed with this cookie has run out.
    Timer(u64),
    /// A node stopped answering: calls to it have already failed with EHOSTDOWN.
    NodeDown(NodeId),
    /// A node answers (again).
    NodeUp(NodeId),
    /// A server of this node died, for good: calls to it have already failed with EIO, and further
    /// ones fail at once. With net-server all nodes are down; without the timer server timers have
    /// run out early, and none can be armed any more.
    ServerDown(ServerId),
}

/// The decisions of a server: a state machine without I/O, clock, randomness or globals.
pub trait Core {
    /// Called once, before anything else, when the servers below can be asked.
    fn start(&mut self, _cx: &mut Cx<'_>) {}

    /// A request. `bulk` holds the client's data and takes the reply's.
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer;

    /// The answer to an earlier [`Cx::ask`], [`Cx::call_node`] or pending leaf call.
    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>);

    /// Something that nobody here asked for.
    fn event(&mut self, cx: &mut Cx<'_>, event: Event);

    /// What was noted in this step ([`Cx::note`]), once all else of it is done.
    fn noted(&mut self, _cx: &mut Cx<'_>, _what: u64) {}

    /// This node entered a view: `cx.view()`; `old` is the one before, and views in between may have
    /// been skipped. Who left has been reported down already, and who came will be reported up.
    fn entered(&mut self, _cx: &mut Cx<'_>, _old: &View) {}

    /// The node may act again: see [`Cx::may_act`].
    fn acting(&mut self, _cx: &mut Cx<'_>) {}

    /// Whether something lives here that has its home in this slot of this node.
    fn occupies(&self, _slot: SlotNo) -> bool {
        false
    }

    /// Whether something lives in this slot of this node that cannot move, as far as can be told at once.
    fn stays(&self, slot: SlotNo) -> bool {
        self.occupies(slot)
    }

    /// The slot, of this node, is to be given away: it is frozen, so that what is exported is what the
    /// other node takes into service if the next view says so. Here it all stays until then.
    fn export(&mut self, _cx: &mut Cx<'_>, slot: SlotNo) -> Export {
        if self.occupies(slot) { Export::Stays } else { Export::Nothing }
    }

    /// More of a slot whose head is at the other node, as is every piece before this one. It is frozen still.
    ///
    /// # Errors
    /// It cannot go on: then the slot stays.
    fn export_more(
        &mut self,
        _cx: &mut Cx<'_>,
        _slot: SlotNo,
        _at: Cursor,
    ) -> Result<Piece, Errno> {
        Err(Errno::ENOSYS)
    }

    /// Whether there is room for what another node exported, its state or the head of it: untrusted input.
    ///
    /// # Errors
    /// There is none, or it is not sound: then nothing of it is kept here, and the slot stays there.
    fn admits(&mut self, _cx: &mut Cx<'_>, _slot: SlotNo, _state: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }

    /// The same for a piece that follows the head, which was admitted. Untrusted input, in the order in
    /// which it was sent.
    ///
    /// # Errors
    /// As [`Self::admits`]; [`Self::abandon`] follows.
    fn admits_more(&mut self, _cx: &mut Cx<'_>, _slot: SlotNo, _piece: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }

    /// A slot of which something was admitted does not come: what was taken for it is given up.
    fn abandon(&mut self, _cx: &mut Cx<'_>, _slot: SlotNo) {}

    /// The view that is being entered moved the slot here, or made this node its backup, with what its former
    /// home exported and this node admitted: the state or head stands here again. Who left since `old` has been reported down
    /// already: what it held is held no more ([`View::keeps`]). [`Self::entered`] follows.
    fn import(&mut self, _cx: &mut Cx<'_>, _old: &View, _slot: SlotNo, _state: &[u8]) {}

    /// The view that is being entered moved the slot away, with what was exported, or its copy is not wanted
    /// here any more: it is forgotten. [`Self::entered`] follows.
    fn given(&mut self, _cx: &mut Cx<'_>, _slot: SlotNo) {}

    /// Whether what lives in slots has a copy at their backups. What has none is lost with the primary, or
    /// found out from the members.
    fn is_replicated(&self) -> bool {
        false
    }

    /// Whether calls and answers with bytes wait for room on their link, here. Otherwise they end with EAGAIN, and
    /// who asked asks again.
    fn waits_for_room(&self) -> bool {
        false
    }

    /// The end of a step: what it changed in slots with a backup is to be told with [`Cx::replicate`].
    fn changes(&mut self, _cx: &mut Cx<'_>) {}

    /// What the primary changed in a slot of which this node has a copy. Untrusted input.
    ///
    /// # Errors
    /// There is no room, or it cannot be: then this node's copy goes with the next view.
    fn apply(&mut self, _cx: &mut Cx<'_>, _slot: SlotNo, _change: &[u8]) -> Result<(), Errno> {
        Err(Errno::ENOSYS)
    }

    /// The view that is being entered makes this node, which has a copy, the slot's home, as the primary is
    /// gone. Who left since `old` has been reported down already. [`Self::entered`] follows.
    fn promoted(&mut self, _cx: &mut Cx<'_>, _old: &View, _slot: SlotNo) {}

    /// A client gave up on a ticket. The core ends it soon, with [`Cx::complete`]: with ECANCELED,
    /// or with its reply if the operation has taken effect.
    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket);
}
