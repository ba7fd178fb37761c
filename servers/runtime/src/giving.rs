// SPDX-License-Identifier: MIT OR Apache-2.0
//! Giving a slot with all that lives in it to another node: how it travels. What it is, the core says
//! ([`Core::export`], [`Core::export_more`], [`Core::import`]).
//!
//! # Model
//! ```text
//! former home                                 joiner
//! Give: not really?            whether it can be given, as far as can be told at once
//! Give: frozen, export  --Part 0, 1 ..--> <--reply--   the head is collected, then admitted
//!       export_more     --Part ..-------> <--reply--   each piece is admitted as it comes
//!                       --last Part-----> <--reply--   complete
//! answers Give                                   |
//! enters the view: it moved --> given         import, before anything else of that view
//!                  it stays --> unfrozen      abandoned
//! ```
//! One part is on its way at a time, so that a slot takes no more of a link than its share, and of a heap
//! no more than the head and one piece. The core is asked for a piece when the one before it is there.
//!
//! # Invariants
//! What is taken into service was exported in the view before the one that makes the joiner the home, and
//! complete: in between nothing can have changed. Parts are numbered; one that is not the next is refused
//! and changes nothing.
//!
//! # Failure
//! A part that is refused or not answered ends the giving; the slot stays, until a view asks again. So
//! does the loss of any node: what it held here is let go, so the slot is not what its head says.

use crate::limits::{COMING_BYTES_MAX, LEAVING_BYTES_MAX, NODE_BODY_BYTES, SLOT_BYTES_MAX};
use crate::membership::Turn;
use crate::node::{Kind, Lane, Urge};
use crate::replication::has_taken_over;
use crate::{Client, Core, Cursor, Cx, Export, Give, Given, Host, Msg};
use crate::{Piece, Platform, Status, Wire, system};
use abi::{Epoch, Errno, NodeId, ServerId, SlotNo, Ticket};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use cluster::{Goal, View};

/// A slot that leaves.
pub(crate) struct Outgoing {
    to: NodeId,
    rest: Rest,
    /// Bytes of its head.
    head_len: usize,
    /// Parts that were sent.
    parts: u64,
    /// Our number for the one that is on its way.
    request: Option<u64>,
    /// Who asked for it.
    ticket: Ticket,
}

/// What of it is still to be sent.
enum Rest {
    /// All: the core makes it ready.
    All,
    /// The head from `sent` on, and pieces if there are `more`.
    Head { head: Vec<u8>, sent: usize, more: bool },
    /// The pieces from here on.
    Pieces(Cursor),
    /// Nothing: the last part is on its way.
    Nothing,
}

/// A slot that comes.
pub(crate) struct Incoming {
    from: NodeId,
    /// The view in which it was exported.
    epoch: Epoch,
    head_len: usize,
    head: Vec<u8>,
    /// Parts that have come.
    parts: u64,
    stage: Stage,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The head is collected.
    Head,
    /// The core has admitted the head, and pieces come.
    Pieces,
    /// The last part was admitted.
    Complete,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Gives {
    outgoing: BTreeMap<SlotNo, Outgoing>,
    incoming: BTreeMap<SlotNo, Incoming>,
}

impl Gives {
    /// The slot whose part has this number, at this node.
    pub(crate) fn part_of(&self, node: NodeId, request: u64) -> Option<SlotNo> {
        let is_it = |it: &Outgoing| it.to == node && it.request == Some(request);
        self.outgoing.iter().find(|(_, it)| is_it(it)).map(|(slot, _)| *slot)
    }

    /// See [`crate::Host::open`].
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn open(&self) -> Vec<alloc::string::String> {
        use alloc::format;
        let leaves = self.outgoing.iter().map(|(slot, it)| {
            let how = match it.rest {
                Rest::All => "waits to be exported",
                Rest::Head { .. } | Rest::Pieces(_) | Rest::Nothing => "is on its way",
            };
            format!("slot {} {how} to node {}, {} parts", slot.index(), it.to, it.parts)
        });
        let comes = self.incoming.iter().map(|(slot, it)| {
            format!("slot {} comes from node {}: {:?}", slot.index(), it.from, it.stage)
        });
        leaves.chain(comes).collect()
    }

    /// Bytes of the heads that are here to be sent.
    fn leaving_bytes(&self) -> usize {
        let head =
            |it: &Outgoing| if let Rest::Head { head, .. } = &it.rest { head.len() } else { 0 };
        self.outgoing.values().map(head).sum()
    }
}

impl<C: Core> Host<C> {
    pub(crate) fn answer_give(&self, platform: &mut dyn Platform, msg: &mut Msg) -> Status {
        let Ok(Give { slot, to, really }) = Give::get(msg) else {
            return Status::Failed(Errno::EINVAL);
        };
        let Some(slot) = SlotNo::new(slot) else { return Status::Failed(Errno::EINVAL) };
        let mut inner = self.inner.lock();
        let (core, tables, membership) = inner.parts();
        if membership.view.home(slot) != self.node || !membership.view.contains(to) {
            return Status::Failed(Errno::EINVAL);
        }
        // What a server does not replicate needs no backup.
        let goal = membership.view.slot(slot).joining.map(|joining| joining.goal);
        if goal == Some(Goal::Backup) && !core.is_replicated() {
            return answered(msg, true);
        }
        if !really {
            return answered(msg, !core.stays(slot));
        }
        if tables.gives.outgoing.contains_key(&slot) {
            return Status::Failed(Errno::EBUSY);
        }
        membership.freeze(slot);
        let cx = &mut self.cx(platform, tables, membership);
        let rest = match export(core, cx, slot) {
            Ok(rest) => rest,
            Err(given) => {
                if !given {
                    membership.thaw(slot);
                }
                return answered(msg, given);
            }
        };
        let client = Client::Server { id: ServerId::Views, core: cx.core };
        let ticket = match cx.open_ticket(client) {
            Ok(ticket) => ticket,
            Err(errno) => return Status::Failed(errno),
        };
        let it = Outgoing { to, rest: Rest::All, head_len: 0, parts: 0, request: None, ticket };
        cx.tables.gives.outgoing.insert(slot, it);
        begin(core, cx, slot, rest);
        Self::end_step(core, cx);
        Status::Pending(ticket)
    }

    /// The core has made a slot ready that it could not export at once.
    pub(crate) fn export_now(&self, platform: &mut dyn Platform, slot: SlotNo) {
        self.locked(platform, |core, cx| {
            let waits = |it: &Outgoing| matches!(it.rest, Rest::All);
            if !cx.tables.gives.outgoing.get(&slot).is_some_and(waits) {
                return;
            }
            match export(core, cx, slot) {
                Ok(rest) => begin(core, cx, slot, rest),
                Err(given) => end(cx, slot, given),
            }
        });
    }

    /// What was on its way before this view is void, but for slots that it moves.
    pub(crate) fn slots_turned(core: &mut C, cx: &mut Cx<'_>, turn: &Turn) {
        let gives = core::mem::take(&mut cx.tables.gives);
        for it in gives.outgoing.into_values() {
            cx.complete::<()>(it.ticket, Err(Errno::ECANCELED));
        }
        let (me, from) = (cx.node, turn.old.epoch());
        let was_mine = |slot: &SlotNo| from.0 != 0 && turn.old.home(*slot) == me;
        for slot in View::slot_numbers().filter(was_mine) {
            let row = *cx.view().slot(slot);
            // Who gave a slot away may be its backup now, and may have taken over again.
            let backs = row.backed > from
                && (row.backup == Some(me) || row.primary == me && has_taken_over(&row));
            // It may have come back in a view after the one that moved it.
            if row.since > from && row.lost <= from && !backs {
                core.given(cx, slot);
            }
        }
        for (slot, it) in gives.incoming {
            let row = *cx.view().slot(slot);
            let is_home = row.primary == me && row.since.0 == it.epoch.0 + 1;
            let is_backup = (row.backup == Some(me) || row.primary == me && has_taken_over(&row))
                && row.backed.0 == it.epoch.0 + 1;
            if it.stage == Stage::Complete && is_backup {
                Self::copy_came(core, cx, (&turn.old, slot), &it.head);
            // Its former home may have left with that view: then the slot begins anew here.
            } else if it.stage == Stage::Complete && is_home && row.lost <= it.epoch {
                // A backup has it all.
                if it.head_len > 0 {
                    core.import(cx, &turn.old, slot, &it.head);
                }
            } else if it.stage != Stage::Head && it.head_len > 0 {
                core.abandon(cx, slot);
            }
        }
    }

    /// A part of a slot came.
    pub(crate) fn take_part(
        core: &mut C,
        cx: &mut Cx<'_>,
        from: NodeId,
        (epoch, msg): (u64, &Msg),
        bytes: &[u8],
    ) -> Result<(), Errno> {
        let [slot, number, head_len, last] = msg.words;
        let slot = u16::try_from(slot).ok().and_then(SlotNo::new).ok_or(Errno::EINVAL)?;
        let (epoch, head_len) = (Epoch(epoch), head_len as usize);
        let row = cx.view().slot(slot);
        let joins = row.joining.is_some_and(|it| it.node == cx.node);
        let comes = row.primary == from && joins && epoch == cx.view().epoch();
        if !comes || head_len > SLOT_BYTES_MAX || last > 1 {
            return Err(Errno::EINVAL);
        }
        if number == 0 {
            forget(core, cx, slot);
            let incoming = &mut cx.tables.gives.incoming;
            let coming: usize = incoming.values().map(|it| it.head_len).sum();
            if coming + head_len > COMING_BYTES_MAX {
                return Err(Errno::ENOSPC);
            }
            let head = Vec::with_capacity(head_len);
            let it = Incoming { from, epoch, head_len, head, parts: 0, stage: Stage::Head };
            incoming.insert(slot, it);
        }
        let it = cx.tables.gives.incoming.get_mut(&slot).ok_or(Errno::EINVAL)?;
        if (it.head_len, it.parts) != (head_len, number) || it.stage == Stage::Complete {
            return Err(Errno::EINVAL);
        }
        it.parts += 1;
        let taken = add_part(core, cx, slot, (bytes, last == 1));
        if taken.is_err() {
            forget(core, cx, slot);
        }
        taken
    }
}

/// Takes in what is the next part of a slot.
fn add_part<C: Core>(
    core: &mut C,
    cx: &mut Cx<'_>,
    slot: SlotNo,
    (bytes, last): (&[u8], bool),
) -> Result<(), Errno> {
    let it = cx.tables.gives.incoming.get_mut(&slot).ok_or(Errno::EINVAL)?;
    if it.stage == Stage::Head {
        let missing = it.head_len - it.head.len();
        if bytes.len() > missing || last && bytes.len() < missing {
            return Err(Errno::EINVAL);
        }
        it.head.extend_from_slice(bytes);
        if bytes.len() < missing {
            return Ok(());
        }
        let head = core::mem::take(&mut it.head);
        if !head.is_empty() {
            core.admits(cx, slot, &head)?;
        }
        if let Some(it) = cx.tables.gives.incoming.get_mut(&slot) {
            (it.head, it.stage) = (head, Stage::Pieces);
        }
    } else {
        core.admits_more(cx, slot, bytes)?;
    }
    if last && let Some(it) = cx.tables.gives.incoming.get_mut(&slot) {
        it.stage = Stage::Complete;
    }
    Ok(())
}

/// A slot that was coming does not.
fn forget<C: Core>(core: &mut C, cx: &mut Cx<'_>, slot: SlotNo) {
    let gone = cx.tables.gives.incoming.remove(&slot);
    if gone.is_some_and(|it| it.stage != Stage::Head && it.head_len > 0) {
        core.abandon(cx, slot);
    }
}

/// The other node has a part, or refuses it.
pub(crate) fn part_answered<C: Core>(core: &mut C, cx: &mut Cx<'_>, slot: SlotNo, status: u16) {
    let Some(it) = cx.tables.gives.outgoing.get_mut(&slot) else { return };
    it.request = None;
    match it.rest {
        _ if status != 0 => end(cx, slot, false),
        Rest::Nothing => end(cx, slot, true),
        Rest::All | Rest::Head { .. } | Rest::Pieces(_) => send_part(core, cx, slot),
    }
}

/// A node is down: no slot can go on leaving, and of what was coming from there no more will. What is
/// complete may still be taken into service: a link can be down while both its ends stay.
pub(crate) fn gives_node_down<C: Core>(core: &mut C, cx: &mut Cx<'_>, node: NodeId) {
    let gives = &cx.tables.gives;
    let outgoing: Vec<SlotNo> = gives.outgoing.keys().copied().collect();
    let cut = |it: &Incoming| it.from == node && it.stage != Stage::Complete;
    let incoming = gives.incoming.iter().filter(|(_, it)| cut(it));
    let incoming: Vec<SlotNo> = incoming.map(|(slot, _)| *slot).collect();
    for slot in outgoing {
        end(cx, slot, false);
    }
    for slot in incoming {
        forget(core, cx, slot);
    }
}

/// What for the slot's joiner joins.
fn joins_as(cx: &Cx<'_>, slot: SlotNo) -> Option<Goal> {
    cx.view().slot(slot).joining.map(|joining| joining.goal)
}

/// Asks the core for a slot: what is to be sent then; or at once, whether it is given.
fn export<C: Core>(core: &mut C, cx: &mut Cx<'_>, slot: SlotNo) -> Result<Rest, bool> {
    // The backup stays, and must have what the joiner gets; or it is the joiner, and has it all. That it is in
    // this view, and so has what it was given before, its answer says.
    if cx.tables.replication.owes(slot) {
        return Ok(Rest::All);
    }
    let row = cx.view().slot(slot);
    if core.is_replicated() && row.joining.is_some_and(|it| row.backup == Some(it.node)) {
        return Ok(Rest::Head { head: Vec::new(), sent: 0, more: false });
    }
    let (head, more) = match core.export(cx, slot) {
        // A backup must know that it has all, also of nothing.
        Export::Nothing if joins_as(cx, slot) == Some(Goal::Backup) => (Vec::new(), false),
        Export::Nothing => return Err(true),
        Export::NotYet => return Ok(Rest::All),
        Export::State(head) => (head, false),
        Export::Head(head) => (head, true),
        Export::Stays => return Err(false),
    };
    let leaving = cx.tables.gives.leaving_bytes() + head.len();
    if head.len() > SLOT_BYTES_MAX || leaving > LEAVING_BYTES_MAX {
        return Err(false);
    }
    Ok(Rest::Head { head, sent: 0, more })
}

/// Backups have applied something: what could not be exported for want of that can be.
pub(crate) fn changes_applied(cx: &mut Cx<'_>) {
    let waits = |(_, it): &(&SlotNo, &Outgoing)| matches!(it.rest, Rest::All);
    let waiting = cx.tables.gives.outgoing.iter().filter(waits).map(|(slot, _)| *slot);
    for slot in waiting.collect::<Vec<_>>() {
        if !cx.tables.replication.owes(slot) {
            cx.export_now(slot);
        }
    }
}

/// The core was asked for the slot.
fn begin<C: Core>(core: &mut C, cx: &mut Cx<'_>, slot: SlotNo, rest: Rest) {
    if let (Some(it), false) = (cx.tables.gives.outgoing.get(&slot), matches!(rest, Rest::All)) {
        let to = it.to;
        cx.send_answers(to);
    }
    if let Some(it) = cx.tables.gives.outgoing.get_mut(&slot) {
        it.head_len = if let Rest::Head { head, .. } = &rest { head.len() } else { 0 };
        it.rest = rest;
    }
    send_part(core, cx, slot);
}

/// Sends the next part, unless the core still makes it ready.
fn send_part<C: Core>(core: &mut C, cx: &mut Cx<'_>, slot: SlotNo) {
    let Some(it) = cx.tables.gives.outgoing.get_mut(&slot) else { return };
    if matches!(it.rest, Rest::All) {
        return;
    }
    let (to, number, head_len) = (it.to, it.parts, it.head_len);
    let rest = core::mem::replace(&mut it.rest, Rest::Nothing);
    let Some((bytes, rest)) = next_part(core, cx, slot, rest) else {
        return end(cx, slot, false);
    };
    let last = u64::from(matches!(rest, Rest::Nothing));
    let request = cx.tables.next_request;
    cx.tables.next_request += 1;
    if let Some(it) = cx.tables.gives.outgoing.get_mut(&slot) {
        (it.rest, it.parts, it.request) = (rest, number + 1, Some(request));
    }
    let words = [slot.index() as u64, number, head_len as u64, last];
    let header = (Kind::Call, system::PART, 0, request);
    // Behind the answers to what was asked of the slot before.
    let how = (Lane::Pages, Urge::Owed);
    if cx.send_by(how, to, header, Msg { words, ..Msg::default() }, bytes).is_err() {
        end(cx, slot, false);
    }
}

/// The next part, and what remains after it; `None` if the core cannot go on.
fn next_part<C: Core>(
    core: &mut C,
    cx: &mut Cx<'_>,
    slot: SlotNo,
    rest: Rest,
) -> Option<(Vec<u8>, Rest)> {
    match rest {
        Rest::Head { head, sent, more } => {
            let upto = head.len().min(sent + NODE_BODY_BYTES);
            let bytes = head[sent..upto].to_vec();
            let rest = match (upto < head.len(), more) {
                (true, _) => Rest::Head { head, sent: upto, more },
                (false, true) => Rest::Pieces(Cursor::default()),
                (false, false) => Rest::Nothing,
            };
            Some((bytes, rest))
        }
        Rest::Pieces(at) => {
            let Piece { bytes, next } = core.export_more(cx, slot, at).ok()?;
            Some((bytes, next.map_or(Rest::Nothing, Rest::Pieces)))
        }
        Rest::All | Rest::Nothing => None,
    }
}

/// Answers who asked for the slot to be given.
fn end(cx: &mut Cx<'_>, slot: SlotNo, given: bool) {
    if let Some(it) = cx.tables.gives.outgoing.remove(&slot) {
        cx.complete(it.ticket, Ok(Given { given }));
    }
}

fn answered(msg: &mut Msg, given: bool) -> Status {
    *msg = Msg::default();
    match (Given { given }).put(msg) {
        Ok(()) => Status::Done,
        Err(errno) => Status::Failed(errno),
    }
}
