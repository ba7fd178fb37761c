// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies of what lives in slots, at their backups: nothing is acknowledged before the backup has it.
//!
//! # Model
//! ```text
//! client --call--> primary: a step changes things, and would answer
//!                  changes and answers of the step --Changes--> backup: applies them
//!                  what the step told anybody waits <--Applied--/
//!        <--reply--/
//! ```
//! A step's changes travel in one package, with the answers to other nodes that it gives. So the next home
//! knows what it must not perform again: a client sends a call again when its slot has another home, or when
//! the link was down.
//! While anything has not been applied, all that this server tells other nodes leaves after it, in its order: a
//! later answer may show what an earlier step changed. Servers of the same node are answered at once if their
//! request changed nothing, or does not rely on it ([`Cx::answer_early`]): they end with the node.
//!
//! A backup is made as a slot is given ([`crate::giving`]): it imports the slot in the view that names it the
//! backup, and gets the changes of that view and later ones.
//!
//! # Invariants
//! A backup that takes over has applied the changes behind everything that was acknowledged, in order, and
//! none twice. An answer to a node is kept as long as that node may ask for it again.
//!
//! # Failure
//! A backup that has no room, or a step that changes more than is sent at once: the primary asks for a view
//! without that backup ([`EVENT_ALONE`]), and what it told waits for that view. A slot whose backup is gone
//! goes on alone until another has joined.

use crate::cx::transmit;
use crate::limits::{
    CHANGES_BYTES_MAX, NODE_BODY_BYTES, OUTPUTS_KEPT, RESULTS_BYTES_MAX, UNAPPLIED_BYTES_MAX,
};
use crate::membership::Turn;
use crate::node::{self, Kind, Lane, Urge};
use crate::tables::Completion;
use crate::{Core, Cx, Host, Msg, Mutant, system};
use abi::{CoreId, Epoch, Errno, NodeId, ServerId, SlotNo};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use cluster::{Slot, View};
use serde::{Deserialize, Serialize};

/// Upcall to the views server ([`Alone`]): a slot of this node needs a view without its backup, which has
/// not all of it.
pub const EVENT_ALONE: u16 = 0xff01;

crate::hot! {
    /// See [`EVENT_ALONE`].
    pub struct Alone {
        /// The slot's number.
        pub slot: u16,
        /// Who is the backup.
        pub backup: NodeId,
    }
}

/// A message that leaves.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) how: (Lane, Urge),
    pub(crate) to: NodeId,
    pub(crate) header: (Kind, u16, u16, u64),
    pub(crate) msg: Msg,
    pub(crate) bulk: Vec<u8>,
}

/// What a step tells others.
#[derive(Debug)]
pub(crate) enum Output {
    Message(Outbound),
    Completion { client: ServerId, core: CoreId, completion: Completion },
}

/// An answer that a node may ask for again.
#[derive(Clone, Serialize, Deserialize)]
struct Answered {
    status: u16,
    words: [u64; 4],
    bytes: Vec<u8>,
    bulk: Vec<u8>,
}

impl Answered {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.bulk.len()
    }
}

/// What one step changed, as it travels.
#[derive(Default, Serialize, Deserialize)]
struct Package {
    changes: Vec<(u16, Vec<u8>)>,
    /// Answers by node and its number for the call, and below which number each node knows its answers.
    answers: Vec<(NodeId, u64, Answered)>,
    floors: Vec<(NodeId, u64)>,
}

/// A package that a backup has not applied.
struct Unapplied {
    to: NodeId,
    /// Its number among those to this backup; 0: it never will be, and a view without the backup is awaited.
    number: u64,
    slots: BTreeSet<SlotNo>,
    bytes: Vec<u8>,
}

/// A package that comes in parts.
struct Coming {
    number: u64,
    bytes: Vec<u8>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Replication {
    /// Whether the core's state is replicated at all.
    pub(crate) on: bool,
    /// Of the step under way: what it changed in slots with a backup, and whether it changed any.
    changes: Vec<(SlotNo, Vec<u8>)>,
    changed: bool,
    /// Slots whose changes do not go to their backups.
    alone: BTreeSet<SlotNo>,
    /// Who asks on this node does not wait for the backups.
    early: bool,
    /// Something was changed since a request of this node began.
    told: bool,
    /// A call that waited could not be sent to the home that its slot had.
    pub(crate) stranded: bool,
    outputs: Vec<Output>,
    /// The last number of a package, over all backups.
    last: u64,
    unapplied: BTreeMap<u64, Unapplied>,
    unapplied_bytes: usize,
    /// The last number of a package to each backup.
    sent: BTreeMap<NodeId, u64>,
    /// What leaves when the package of that number, and all before it, are applied.
    held: VecDeque<(u64, Output)>,
    /// Kept answers, and their places in the order in which they came.
    answers: BTreeMap<(NodeId, u64), (u64, Answered)>,
    answer_bytes: usize,
    last_answer: u64,
    /// Up to which of these places a node has them.
    answers_sent: BTreeMap<NodeId, u64>,
    floors: BTreeMap<NodeId, u64>,
    /// The last package of each primary that was applied.
    applied: BTreeMap<NodeId, u64>,
    coming: BTreeMap<NodeId, Coming>,
    /// Slots of which this node has a copy, and since which epoch it is the backup.
    pub(crate) copies: BTreeMap<SlotNo, Epoch>,
    /// Copies to which a change could not be applied.
    failed: BTreeSet<SlotNo>,
}

impl Replication {
    /// See [`crate::Host::open`].
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn open(&self) -> Vec<alloc::string::String> {
        use alloc::format;
        let unapplied = self.unapplied.iter().map(|(key, it)| {
            format!("package {key}, {} to node {}, has not been applied", it.number, it.to)
        });
        let held = self.held.iter().map(|(key, _)| format!("something waits for package {key}"));
        unapplied.chain(held).collect()
    }

    /// A step tells somebody something.
    pub(crate) fn tell(&mut self, output: Output) {
        self.outputs.push(output);
    }

    /// The number after which what is told now must leave, if it must wait.
    fn wait_for(&self) -> Option<u64> {
        self.unapplied.last_key_value().map(|(number, _)| *number)
    }

    /// Whether the answer to a request of this node, whose step has ended, waits. One that changed nothing does
    /// not: who asked is gone with this node, if it goes.
    pub(crate) fn holds(&self) -> bool {
        self.told && !self.early && !self.unapplied.is_empty()
    }

    /// Whether requests must wait until backups have applied more.
    pub(crate) fn is_full(&self) -> bool {
        self.unapplied_bytes > UNAPPLIED_BYTES_MAX
    }

    /// Whether a change of this slot has not been applied.
    pub(crate) fn owes(&self, slot: SlotNo) -> bool {
        self.unapplied.values().any(|it| it.slots.contains(&slot))
    }

    /// A request of this node begins.
    pub(crate) fn begin(&mut self) {
        (self.told, self.early) = (false, false);
    }

    /// A node has the answers to all its calls below this number.
    fn forget_below(&mut self, node: NodeId, floor: u64) {
        let known = self.floors.entry(node).or_default();
        if floor <= *known {
            return;
        }
        *known = floor;
        while let Some((&key, _)) = self.answers.range((node, 0)..(node, floor)).next() {
            self.forget_answer(key);
        }
    }

    fn forget_answer(&mut self, key: (NodeId, u64)) {
        if let Some((_, gone)) = self.answers.remove(&key) {
            self.answer_bytes -= gone.weight();
        }
    }

    fn keep_answer(&mut self, node: NodeId, request: u64, answer: Answered) {
        let known = self.floors.get(&node).is_some_and(|floor| request < *floor);
        if known || Mutant::AnswersAreNotKept.is_on() {
            return;
        }
        self.forget_answer((node, request));
        self.answer_bytes += answer.weight();
        self.last_answer += 1;
        self.answers.insert((node, request), (self.last_answer, answer));
        // Who has so many open calls loses the oldest: its call may then be performed twice.
        while self.answer_bytes > RESULTS_BYTES_MAX {
            let of_it = self.answers.range((node, 0)..=(node, u64::MAX)).next();
            let Some((&key, _)) = of_it.or_else(|| self.answers.iter().next()) else { break };
            self.forget_answer(key);
        }
    }

    fn forget_node(&mut self, node: NodeId) {
        self.forget_below(node, u64::MAX);
        self.floors.remove(&node);
        self.applied.remove(&node);
        self.coming.remove(&node);
        self.sent.remove(&node);
        self.answers_sent.remove(&node);
    }

    /// A link is down: answers on their way there may be lost. No slot is on its way there any more.
    pub(crate) fn link_down(&mut self, node: NodeId) {
        self.answers_sent.remove(&node);
    }

    fn drop_unapplied(&mut self, gone: impl Fn(&Unapplied) -> bool) {
        let bytes = &mut self.unapplied_bytes;
        self.unapplied.retain(|_, it| {
            let goes = gone(it);
            if goes {
                *bytes -= it.bytes.len();
            }
            !goes
        });
    }
}

impl<C: Core> Host<C> {
    /// The end of a step: what it changed goes to the backups, and what it told leaves, or waits for them.
    #[inline(always)]
    pub(crate) fn end_step(core: &mut C, cx: &mut Cx<'_>) {
        while let Some(what) = cx.tables.notes.pop_front() {
            core.noted(cx, what);
        }
        // Most servers replicate nothing, and faults and system calls of programs are such steps.
        if cx.tables.replication.on {
            Self::end_replicated(core, cx);
        }
    }

    fn end_replicated(core: &mut C, cx: &mut Cx<'_>) {
        loop {
            core.changes(cx);
            let it = &mut cx.tables.replication;
            it.told |= it.changed;
            let changes = core::mem::take(&mut it.changes);
            let mut outputs = core::mem::take(&mut it.outputs);
            if core::mem::take(&mut it.changed) {
                for slot in core::mem::take(&mut it.alone) {
                    if let Some(backup) = backup_of(cx.view(), cx.node, slot) {
                        go_alone(cx, slot, backup);
                    }
                }
                ship(cx, changes, &outputs);
            }
            let awaited = !Mutant::BackupsAreNotAwaited.is_on();
            let after = cx.tables.replication.wait_for().filter(|_| awaited);
            for output in outputs.drain(..) {
                match after {
                    Some(number) => cx.tables.replication.held.push_back((number, output)),
                    None => tell_now(cx, output),
                }
            }
            if cx.tables.replication.outputs.is_empty() {
                // The next step uses the same memory.
                outputs.shrink_to(OUTPUTS_KEPT);
                cx.tables.replication.outputs = outputs;
            }
            if !core::mem::take(&mut cx.tables.replication.stranded) {
                return;
            }
            Self::follow_homes(core, cx, |_| false);
        }
    }

    /// What a call of another node says about its earlier calls; the answer to this one, if it was
    /// performed before. `None` also where it is under way: `Err` then.
    pub(crate) fn answered_before(
        cx: &mut Cx<'_>,
        (from, request): (NodeId, u64),
        (floor, again): (u64, bool),
    ) -> Result<bool, ()> {
        let it = &mut cx.tables.replication;
        if !it.on {
            return Ok(false);
        }
        it.forget_below(from, floor);
        if !again {
            return Ok(false);
        }
        if let Some((_, answer)) = it.answers.get(&(from, request)).cloned() {
            let msg = Msg { words: answer.words, bytes: answer.bytes };
            cx.reply_as(from, request, answer.status, msg, answer.bulk);
            return Ok(true);
        }
        let held = |(_, output): &(u64, Output)| {
            matches!(output, Output::Message(it) if it.to == from
                && it.header.0 == Kind::Reply && it.header.3 == request)
        };
        let under_way = it.held.iter().any(held);
        if under_way || cx.tables.tickets.find_node_call(from, request).is_some() {
            return Err(());
        }
        Ok(false)
    }

    /// A part of what a primary changed came.
    pub(crate) fn take_changes(
        core: &mut C,
        cx: &mut Cx<'_>,
        from: NodeId,
        msg: &Msg,
        part: &[u8],
    ) -> Result<(), Errno> {
        let [number, total, at, _] = msg.words;
        let it = &mut cx.tables.replication;
        let applied = it.applied.get(&from).copied().unwrap_or(0);
        if number != 0 && number <= applied {
            return acknowledge(cx, from, applied, None);
        }
        let fits = total as usize <= CHANGES_BYTES_MAX + RESULTS_BYTES_MAX;
        if !it.on || !fits || number != 0 && number != applied + 1 {
            return Err(Errno::EINVAL);
        }
        if at == 0 {
            it.coming.insert(from, Coming { number, bytes: Vec::new() });
        }
        let coming = it.coming.get_mut(&from).ok_or(Errno::EINVAL)?;
        let end = at as usize + part.len();
        if (coming.number, coming.bytes.len()) != (number, at as usize) || end > total as usize {
            return Err(Errno::EINVAL);
        }
        coming.bytes.extend_from_slice(part);
        if end < total as usize {
            return Ok(());
        }
        let bytes = it.coming.remove(&from).map_or_else(Vec::new, |coming| coming.bytes);
        let package: Package = postcard::from_bytes(&bytes).map_err(|_| Errno::EPROTO)?;
        let failed = apply(core, cx, from, package);
        if number == 0 {
            return Ok(());
        }
        cx.tables.replication.applied.insert(from, number);
        acknowledge(cx, from, number, failed)
    }

    /// A backup has applied packages up to a number, or could not apply a slot's change.
    pub(crate) fn changes_applied(cx: &mut Cx<'_>, from: NodeId, msg: &Msg) {
        let [number, failed, ..] = msg.words;
        let failed = failed.checked_sub(1).and_then(|slot| u16::try_from(slot).ok());
        let failed = failed.and_then(SlotNo::new);
        if let Some(slot) = failed.filter(|slot| backup_of(cx.view(), cx.node, *slot) == Some(from))
        {
            let asked = is_stuck(cx, slot);
            // What depends on a change that was not applied waits for the next view instead.
            for it in cx.tables.replication.unapplied.values_mut() {
                if it.to == from && it.number <= number && it.slots.contains(&slot) {
                    (it.number, it.slots) = (0, BTreeSet::from([slot]));
                }
            }
            if !asked && is_stuck(cx, slot) {
                say_alone(cx, slot, from);
            }
        }
        cx.tables
            .replication
            .drop_unapplied(|it| it.to == from && it.number != 0 && it.number <= number);
    }

    /// Backups have applied something, or a view says that they need not: what waited for that goes on.
    pub(crate) fn release_held(core: &mut C, cx: &mut Cx<'_>) {
        loop {
            let it = &mut cx.tables.replication;
            let first = it.unapplied.first_key_value().map_or(u64::MAX, |(number, _)| *number);
            if it.held.front().is_none_or(|(after, _)| *after >= first) {
                break;
            }
            let Some((_, output)) = it.held.pop_front() else { break };
            tell_now(cx, output);
        }
        crate::giving::changes_applied(cx);
        if !cx.tables.replication.is_full() && cx.tables.replication.on {
            Self::run_parked(core, cx);
        }
    }

    /// A link is up again: what was sent to the backup there may be lost.
    pub(crate) fn send_again(cx: &mut Cx<'_>, node: NodeId) {
        let open: Vec<u64> = cx.tables.replication.unapplied.keys().copied().collect();
        for key in open {
            send_package(cx, key, |it| it.to == node);
        }
    }

    /// A view is being entered: which copies count, and which changes are still owed.
    pub(crate) fn copies_turned(core: &mut C, cx: &mut Cx<'_>, turn: &Turn) {
        if !cx.tables.replication.on {
            return;
        }
        let (old, me) = (&turn.old, cx.node);
        let gone = old.members().iter().copied().filter(|node| !old.keeps(cx.view(), *node));
        for node in gone.collect::<Vec<_>>() {
            cx.tables.replication.forget_node(node);
        }
        let view = cx.view().clone();
        cx.tables.replication.drop_unapplied(|it| {
            let owed = |slot: &SlotNo| backup_of(&view, me, *slot) == Some(it.to);
            !it.slots.iter().any(owed) || !old.keeps(&view, it.to)
        });
        for slot in View::slot_numbers() {
            let row = *view.slot(slot);
            let copy = cx.tables.replication.copies.get(&slot).copied();
            let is_it = |since: Epoch| since == row.backed;
            // Nothing lives in a slot of the first view, and who gave a slot away and is its backup has it all.
            let gave = old.epoch() != Epoch(0) && old.home(slot) == me && row.backed > old.epoch();
            let begins = row.backed == Epoch(1) && old.epoch() == Epoch(0) || gave;
            if row.backup == Some(me) {
                if copy.is_some_and(is_it) {
                    continue;
                }
                let came = cx.tables.replication.copies.contains_key(&slot);
                if begins && !came {
                    cx.tables.replication.copies.insert(slot, row.backed);
                } else if came {
                    Self::forget_copy(core, cx, slot);
                }
            } else if copy.is_some() {
                // It took over, or was given what it had. Nobody who skips views comes to be home otherwise.
                if row.primary == me && row.lost <= old.epoch() {
                    cx.tables.replication.copies.remove(&slot);
                    cx.tables.replication.failed.remove(&slot);
                    core.promoted(cx, old, slot);
                } else {
                    Self::forget_copy(core, cx, slot);
                }
            }
        }
    }

    /// The server of a backup died: it applies nothing any more.
    pub(crate) fn backup_died(cx: &mut Cx<'_>, node: NodeId) {
        let mut slots = BTreeSet::new();
        for it in cx.tables.replication.unapplied.values_mut().filter(|it| it.to == node) {
            it.number = 0;
            slots.extend(it.slots.iter().copied());
        }
        for slot in slots {
            say_alone(cx, slot, node);
        }
    }

    /// A view was entered that does not do what it was asked for.
    pub(crate) fn ask_alone_again(cx: &mut Cx<'_>) {
        let stuck = cx.tables.replication.unapplied.values().filter(|it| it.number == 0);
        let slots: BTreeSet<(SlotNo, NodeId)> =
            stuck.flat_map(|it| it.slots.iter().map(|slot| (*slot, it.to))).collect();
        for (slot, backup) in slots {
            say_alone(cx, slot, backup);
        }
    }

    fn forget_copy(core: &mut C, cx: &mut Cx<'_>, slot: SlotNo) {
        cx.tables.replication.copies.remove(&slot);
        cx.tables.replication.failed.remove(&slot);
        core.given(cx, slot);
    }

    /// The slot was given to this node as its backup.
    pub(crate) fn copy_came(
        core: &mut C,
        cx: &mut Cx<'_>,
        (old, slot): (&View, SlotNo),
        head: &[u8],
    ) {
        let row = *cx.view().slot(slot);
        cx.tables.replication.copies.insert(slot, row.backed);
        // Nothing lived there.
        if !head.is_empty() && !Mutant::BackupsBeginEmpty.is_on() {
            core.import(cx, old, slot, head);
        }
    }
}

/// Whether a primary was the backup of one that is gone.
pub(crate) fn has_taken_over(row: &Slot) -> bool {
    row.broken == row.since && row.lost < row.since
}

/// The backup of a slot whose primary is this node.
fn backup_of(view: &View, me: NodeId, slot: SlotNo) -> Option<NodeId> {
    let row = view.slot(slot);
    if row.primary == me { row.backup } else { None }
}

impl Cx<'_> {
    /// Something has changed in a slot of this node; whether its backup wants to know what.
    pub fn changed(&mut self, slot: SlotNo) -> bool {
        self.tables.replication.changed = true;
        backup_of(self.view(), self.node, slot).is_some()
    }

    /// What changed in a slot of this node is more than goes to its backup: the slot does without, until
    /// another has joined.
    pub fn leave_alone(&mut self, slot: SlotNo) {
        self.tables.replication.changed = true;
        self.tables.replication.alone.insert(slot);
    }

    /// If a server of this node asks, it is answered before backups have what this step changes: it does not
    /// rely on that. Who asks with [`Self::sync`] does.
    pub fn answer_early(&mut self) {
        self.tables.replication.early = true;
    }

    /// The answer of this step waits until the backups have what was changed before.
    pub fn sync(&mut self) {
        self.tables.replication.changed = true;
    }

    /// Tells the backup of a slot of this node what has changed in it. [`Core::apply`] gets it there, once and
    /// in this order.
    pub fn replicate(&mut self, slot: SlotNo, change: Vec<u8>) {
        self.tables.replication.changed = true;
        self.tables.replication.changes.push((slot, change));
    }

    /// The answers that clients may ask for again, for the next home or backup of a slot: those that it has not got
    /// yet, as slots leave for it by the dozen.
    pub(crate) fn send_answers(&mut self, to: NodeId) {
        let it = &mut self.tables.replication;
        let had = it.answers_sent.insert(to, it.last_answer).unwrap_or(0);
        let new = it.answers.iter().filter(|(_, (place, _))| *place > had);
        let answers = new.map(|((node, request), (_, it))| (*node, *request, it.clone()));
        let answers: Vec<_> = answers.collect();
        if answers.is_empty() {
            return;
        }
        let floors = it.floors.iter().map(|(node, floor)| (*node, *floor)).collect();
        let package = Package { changes: Vec::new(), answers, floors };
        let Ok(bytes) = postcard::to_allocvec(&package) else { return };
        send_parts(self, to, 0, &bytes);
    }
}

/// Sends what a step changed to the backups, with its answers. These are kept also where there is no backup:
/// who calls may have heard of one that is gone, and ask again.
fn ship(cx: &mut Cx<'_>, changes: Vec<(SlotNo, Vec<u8>)>, outputs: &[Output]) {
    let me = cx.node;
    let mut packages: BTreeMap<NodeId, (Package, BTreeSet<SlotNo>, usize)> = BTreeMap::new();
    for (slot, change) in changes {
        let Some(backup) = backup_of(cx.view(), cx.node, slot) else { continue };
        let (package, slots, bytes) = packages.entry(backup).or_default();
        *bytes += change.len();
        slots.insert(slot);
        package.changes.push((slot.index() as u16, change));
    }
    let mut answers = Vec::new();
    for output in outputs {
        let Output::Message(it) = output else { continue };
        let (kind, _, status, request) = it.header;
        // Where something is, is no answer.
        if kind == Kind::Reply && it.to != me && status != node::MOVED {
            let Msg { words, ref bytes } = it.msg;
            let (bytes, bulk) = (bytes.clone(), it.bulk.clone());
            let answer = Answered { status, words, bytes, bulk };
            if !packages.is_empty() {
                answers.push((it.to, request, answer.clone()));
            }
            cx.tables.replication.keep_answer(it.to, request, answer);
        }
    }
    if packages.is_empty() {
        return;
    }
    let floor = |(node, ..): &(NodeId, u64, Answered)| {
        (*node, cx.tables.replication.floors.get(node).copied().unwrap_or(0))
    };
    let floors: Vec<(NodeId, u64)> = answers.iter().map(floor).collect();
    for (to, (package, slots, bytes)) in packages {
        let stuck = cx.is_peer_dead(to) || slots.iter().any(|slot| is_stuck(cx, *slot));
        if bytes > CHANGES_BYTES_MAX || stuck {
            for slot in slots {
                go_alone(cx, slot, to);
            }
            continue;
        }
        let package = Package { answers: answers.clone(), floors: floors.clone(), ..package };
        let Ok(bytes) = postcard::to_allocvec(&package) else { continue };
        let it = &mut cx.tables.replication;
        it.last += 1;
        let number = it.sent.entry(to).or_default();
        *number += 1;
        it.unapplied_bytes += bytes.len();
        it.unapplied.insert(it.last, Unapplied { to, number: *number, slots, bytes });
        let key = it.last;
        send_package(cx, key, |_| true);
    }
}

/// Whether a view without the slot's backup is awaited.
fn is_stuck(cx: &Cx<'_>, slot: SlotNo) -> bool {
    let stuck = |it: &Unapplied| it.number == 0 && it.slots.contains(&slot);
    cx.tables.replication.unapplied.values().any(stuck)
}

/// The backup cannot follow: what was told waits for a view in which it is none.
fn go_alone(cx: &mut Cx<'_>, slot: SlotNo, backup: NodeId) {
    let first = !is_stuck(cx, slot);
    let it = &mut cx.tables.replication;
    it.last += 1;
    let slots = BTreeSet::from([slot]);
    it.unapplied.insert(it.last, Unapplied { to: backup, number: 0, slots, bytes: Vec::new() });
    if first {
        say_alone(cx, slot, backup);
    }
}

fn say_alone(cx: &mut Cx<'_>, slot: SlotNo, backup: NodeId) {
    cx.raise_now(ServerId::Views, EVENT_ALONE, &Alone { slot: slot.index() as u16, backup });
}

fn send_package(cx: &mut Cx<'_>, key: u64, is_wanted: impl Fn(&Unapplied) -> bool) {
    let Some(it) = cx.tables.replication.unapplied.get_mut(&key) else { return };
    if it.number == 0 || !is_wanted(it) {
        return;
    }
    let (to, number, bytes) = (it.to, it.number, core::mem::take(&mut it.bytes));
    send_parts(cx, to, number, &bytes);
    if let Some(it) = cx.tables.replication.unapplied.get_mut(&key) {
        it.bytes = bytes;
    }
}

/// Sends a package. A link that is down brings it again when it is up.
fn send_parts(cx: &mut Cx<'_>, to: NodeId, number: u64, bytes: &[u8]) {
    for (at, part) in bytes.chunks(NODE_BODY_BYTES).enumerate() {
        let words = [number, bytes.len() as u64, (at * NODE_BODY_BYTES) as u64, 0];
        let msg = Msg { words, ..Msg::default() };
        let header = (Kind::Tell, system::CHANGES, 0, 0);
        let how = (Lane::Pages, Urge::Owed);
        let _ = transmit(cx, &mut Outbound { how, to, header, msg, bulk: part.to_vec() });
    }
}

fn acknowledge(
    cx: &mut Cx<'_>,
    to: NodeId,
    number: u64,
    failed: Option<SlotNo>,
) -> Result<(), Errno> {
    let failed = failed.map_or(0, |slot| slot.index() as u64 + 1);
    let msg = Msg { words: [number, failed, 0, 0], ..Msg::default() };
    let header = (Kind::Tell, system::APPLIED, 0, 0);
    let how = (Lane::Control, Urge::Owed);
    transmit(cx, &mut Outbound { how, to, header, msg, bulk: vec![] })
}

/// Takes in what a primary changed; a slot of which this node cannot keep a copy.
fn apply<C: Core>(core: &mut C, cx: &mut Cx<'_>, from: NodeId, package: Package) -> Option<SlotNo> {
    for (node, floor) in package.floors {
        cx.tables.replication.forget_below(node, floor);
    }
    for (node, request, answer) in package.answers {
        cx.tables.replication.keep_answer(node, request, answer);
    }
    let mut failed = None;
    for (slot, change) in package.changes {
        let Some(slot) = SlotNo::new(slot) else { continue };
        let row = cx.view().slot(slot);
        if row.primary != from || row.backup != Some(cx.node) {
            continue;
        }
        let copied = cx.tables.replication.copies.get(&slot) == Some(&row.backed);
        let fails = !copied || cx.tables.replication.failed.contains(&slot);
        if fails || core.apply(cx, slot, &change).is_err() {
            cx.tables.replication.failed.insert(slot);
            failed = Some(slot);
        }
    }
    failed
}

/// Tells what a step told.
fn tell_now(cx: &mut Cx<'_>, output: Output) {
    match output {
        Output::Message(it) => cx.transmit_or_end(it),
        Output::Completion { client, core, completion } => {
            cx.tables.queue(client, core, completion);
        }
    }
}
