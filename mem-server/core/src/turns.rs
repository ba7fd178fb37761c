// SPDX-License-Identifier: MIT OR Apache-2.0
//! Slots that come and go with views, and what the objects in them become.
//!
//! # Model
//! ```text
//! given away: Home --export: head--> (frozen) --given--> Holder: pages stay until somebody wants them
//! comes:      import: Asking, knows what there is --all members report--> Home
//! former home died:   Holder or unknown --all members report--> Home, and what nobody has is lost
//! ```
//! No page travels with a slot: the new home asks who has which ([`rebuild`](crate::rebuild)). The head names
//! the objects, their lengths, who refers to them, and which of their pages are lost. The former home keeps
//! one reference to each, for its pages; it gives it back once nobody there uses the object and the home has
//! pulled them. Where the former home is to leave the cluster, a slot in which nothing lives stays with it until
//! its pages are elsewhere. An object that one client of the former home alone uses does not move: whoever keeps
//! something in it gives it up, or renames it.
//!
//! # Limits
//! A slot stays while a space's pages are on their way to this node ([`moving`](crate::moving)), while it is not
//! settled, if its head is longer than the runtime carries, or if its objects have more pages here or elsewhere
//! than [`REBUILT_PAGES_MAX`].

use crate::MemCore;
use crate::directory::{Directory, Place, State};
use crate::limits::{OBJECT_PAGES_MAX, OBJECTS_MAX, REBUILT_PAGES_MAX};
use crate::machine::Machine;
use crate::object::{Object, Role, Store, is_home};
use crate::pages::Pages;
use crate::slots::SlotSet;
use abi::{Epoch, Errno, NodeId, ObjectId, SlotNo};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use cluster::View;
use runtime::{Cx, Export, encode_head, head_len};
use serde::{Deserialize, Serialize};

/// An object on its way to another home.
#[derive(Serialize, Deserialize)]
struct Moved {
    object: u64,
    /// Bytes.
    len: u64,
    /// References that the home counts for each node that may have pages, its own one included.
    hosts: Vec<(NodeId, u64)>,
    /// Pages that are lost, as runs: the first, and how many.
    lost: Vec<(u64, u64)>,
    /// So are all that are nowhere.
    broken: bool,
}

/// What keeps a node that leaves a member until its pages are elsewhere.
#[derive(Clone, Copy, Default)]
pub(crate) enum Anchor {
    /// Nothing: it does not wish to leave.
    #[default]
    None,
    /// This slot, in which nothing lives.
    Slot(SlotNo),
    /// There is none such: the slots in which something lives stay.
    Missing,
}

impl<M: Machine> MemCore<M> {
    /// Objects of the slot that other nodes, or programs of this one, have to do with.
    fn shared_in(&self, slot: SlotNo) -> Vec<(ObjectId, &Object)> {
        let is_shared = |id: ObjectId, it: &Object| {
            id.slot() == slot
                && it.role != Role::Holder
                && !it.orphan
                && matches!(it.store, Store::Pages { .. })
                && !self.is_alone(id, it)
        };
        let mut shared: Vec<(ObjectId, &Object)> =
            self.objects.map.iter().map(|(id, it)| (*id, it)).collect();
        shared.retain(|(id, it)| is_shared(*id, it));
        shared.sort_unstable_by_key(|(id, _)| *id);
        shared
    }

    /// Whether objects live here whose home is the slot's. One that shows the root file system does
    /// not count: every node has its own, and nobody else asks for it.
    pub(crate) fn any_object_in(&self, slot: SlotNo) -> bool {
        self.objects.map.iter().any(|(id, it)| {
            let here = match it.store {
                Store::Pages { .. } => !it.orphan,
                Store::Private(_) => true,
                Store::Root { .. } | Store::Left(_) => false,
            };
            id.slot() == slot && here
        })
    }

    /// What the new home of the slot has to know. `None`: it cannot move now.
    fn head(&self, me: NodeId, slot: SlotNo) -> Option<Vec<Moved>> {
        let spaces = self
            .objects
            .map
            .iter()
            .any(|(id, it)| id.slot() == slot && matches!(it.store, Store::Private(_)));
        if spaces || self.rebuild.slots.has(slot) {
            return None;
        }
        let shared = self.shared_in(slot);
        let pages = shared.iter().map(|(_, it)| match &it.store {
            Store::Pages { pages, .. } => pages.held() as usize + it.directory.places.len(),
            Store::Root { .. } | Store::Private(_) | Store::Left(_) => 0,
        });
        if pages.sum::<usize>() > REBUILT_PAGES_MAX {
            return None;
        }
        Some(shared.iter().map(|(id, it)| moved(me, *id, it)).collect())
    }

    /// Whether a node that leaves has pages that others may want, and that are to be pulled first.
    fn has_to_move(&self) -> bool {
        let moves = |(id, it): (&ObjectId, &Object)| match &it.store {
            Store::Pages { .. } if it.orphan => false,
            Store::Pages { pages, .. } if it.role == Role::Holder => pages.held() > 0,
            Store::Pages { .. } => !self.is_alone(*id, it),
            Store::Root { .. } | Store::Private(_) | Store::Left(_) => false,
        };
        !self.kept.is_empty() || self.objects.map.iter().any(moves)
    }

    /// While this node wishes to leave and has pages to move, one slot in which nothing lives stays: a node
    /// counts as drained when it has no slots.
    fn anchors(&self, slot: SlotNo) -> bool {
        match self.anchor {
            Anchor::None => false,
            Anchor::Slot(anchor) => anchor == slot && self.has_to_move(),
            Anchor::Missing => !self.shared_in(slot).is_empty(),
        }
    }

    fn set_anchor(&mut self, cx: &Cx<'_>) {
        let leaves = cx.view().member(cx.node()).is_some_and(|member| member.draining);
        let mut used = SlotSet::default();
        self.objects.map.keys().for_each(|id| used.insert(id.slot()));
        let empty = cx.view().slots_of(cx.node()).filter(|slot| !used.has(*slot)).last();
        self.anchor = match empty {
            _ if !leaves => Anchor::None,
            Some(slot) => Anchor::Slot(slot),
            None => Anchor::Missing,
        };
    }

    /// Whether the slot cannot be given away now.
    pub(crate) fn slot_stays(&self, slot: SlotNo) -> bool {
        if self.anchors(slot) {
            return true;
        }
        // Who looks does not matter for the length.
        let Some(me) = NodeId::new(1) else { return true };
        self.head(me, slot).is_none_or(|head| head_len(&head).is_none())
    }

    pub(crate) fn export_slot(&mut self, cx: &Cx<'_>, slot: SlotNo) -> Export {
        if self.anchors(slot) {
            return Export::Stays;
        }
        let Some(head) = self.head(cx.node(), slot) else { return Export::Stays };
        if head.is_empty() {
            return Export::Nothing;
        }
        self.exported.extend(head.iter().map(|it| ObjectId::from_raw(it.object)));
        encode_head(&head).map_or(Export::Stays, Export::State)
    }

    /// Checks what another node says lives in the slot. Nothing is taken yet.
    pub(crate) fn admits_slot(&self, slot: SlotNo, state: &[u8]) -> Result<(), Errno> {
        let head: Vec<Moved> = postcard::from_bytes(state).map_err(|_| Errno::EPROTO)?;
        if self.objects.map.len() + head.len() > OBJECTS_MAX {
            return Err(Errno::ENOSPC);
        }
        let mut last = None;
        let mut pages = 0u64;
        for it in &head {
            let ascends = last < Some(it.object);
            last = Some(it.object);
            let refs = it
                .hosts
                .iter()
                .try_fold(0u32, |sum, (_, refs)| sum.checked_add(u32::try_from(*refs).ok()?));
            for (first, count) in &it.lost {
                let end = first.checked_add(*count).filter(|end| *end <= OBJECT_PAGES_MAX);
                pages = pages.saturating_add(end.ok_or(Errno::EPROTO)? - first);
            }
            let sane = ascends
                && ObjectId::from_raw(it.object).slot() == slot
                && refs.is_some()
                && pages <= REBUILT_PAGES_MAX as u64;
            if !sane {
                return Err(Errno::EPROTO);
            }
        }
        Ok(())
    }

    /// The slot is this node's now.
    pub(crate) fn import_slot(&mut self, cx: &Cx<'_>, old: &View, slot: SlotNo, state: &[u8]) {
        // It was read when it was admitted.
        let Ok(head) = postcard::from_bytes::<Vec<Moved>>(state) else { return };
        self.imported.insert(slot);
        for it in head {
            self.import_object_of_slot(cx, old, (old.home(slot), it));
        }
    }

    fn import_object_of_slot(&mut self, cx: &Cx<'_>, old: &View, (giver, it): (NodeId, Moved)) {
        let Moved { object, len, hosts, lost, broken } = it;
        let (id, me) = (ObjectId::from_raw(object), cx.node());
        let mut hosts: BTreeMap<NodeId, u64> = hosts.into_iter().collect();
        let own = hosts.remove(&me).unwrap_or(0);
        let before = hosts.len();
        hosts.retain(|node, _| old.keeps(cx.view(), *node));
        let store = Store::Pages { pages: Pages::default(), len };
        let target = self.objects.map.entry(id).or_insert_with(|| Object::new(store, Role::Holder));
        let Store::Pages { len: known, .. } = &mut target.store else { return };
        *known = len;
        let awaited = own.saturating_sub(target.grants);
        target.refs += hosts.values().sum::<u64>() + awaited;
        let lost = lost.into_iter().flat_map(|(first, count)| first..first + count);
        let place = |page| (page, Place { state: State::Lost, ..Place::new(me) });
        // Who is gone may have had what nobody reports.
        let broken = broken || hosts.len() < before;
        let places = lost.map(place).collect();
        target.directory =
            Directory { hosts, places, broken, partial: true, awaited, giver: Some(giver) };
        (target.grants, target.leaving, target.role) = (0, false, Role::Asking);
    }

    /// This node is not the home of an object any more.
    fn demote(&mut self, cx: &mut Cx<'_>, id: ObjectId) {
        let exported = self.exported.contains(&id);
        let Ok(target) = self.objects.get(id) else { return };
        let alone = !exported && self.is_alone(id, target);
        let Ok(target) = self.objects.get_mut(id) else { return };
        if !matches!(target.store, Store::Pages { .. }) || target.orphan {
            return;
        }
        target.role = Role::Holder;
        if alone {
            (target.given, target.orphan) = (true, true);
            return;
        }
        let directory = core::mem::take(&mut target.directory);
        target.refs -= directory.hosts.values().sum::<u64>() + directory.awaited;
        target.grants = 1;
        if let Store::Pages { len, .. } = &mut target.store {
            // The home checks it.
            *len = u64::MAX / 2;
        }
        let unused = target.refs == 0;
        self.futexes.end_object(cx, id);
        if unused && !is_home(cx, id) {
            self.leave_object(cx, id);
        }
    }

    /// The slot has moved away.
    pub(crate) fn slot_given(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        let mine = self.objects.map.iter().filter(|(id, it)| {
            id.slot() == slot && it.role != Role::Holder && matches!(it.store, Store::Pages { .. })
        });
        for id in mine.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.demote(cx, id);
        }
    }

    /// A view was entered: asks all members about the slots that came, and those with objects that somebody
    /// who left had to do with.
    pub(crate) fn slots_entered(&mut self, cx: &mut Cx<'_>, old: &View) {
        let from = old.epoch();
        let imported = core::mem::take(&mut self.imported);
        let founded = |slot: SlotNo| from.0 == 0 && cx.view().slot(slot).since.0 <= 1;
        let is_new = |slot: SlotNo| {
            let row = cx.view().slot(slot);
            row.primary == cx.node() && row.since > from && !founded(slot)
        };
        let mut slots = SlotSet::default();
        View::slot_numbers().filter(|slot| is_new(*slot)).for_each(|slot| slots.insert(slot));
        slots
            .iter()
            .filter(|slot| !imported.has(*slot))
            .for_each(|slot| self.rebuild.fresh.insert(slot));
        // Slots that this node lost without giving them, or lost and has again.
        let lost = View::slot_numbers().filter(|slot| {
            let here = cx.view().home(*slot) == cx.node() && !slots.has(*slot);
            !here && !imported.has(*slot) && old.home(*slot) == cx.node() && from.0 != 0
        });
        for slot in lost.collect::<Vec<_>>() {
            self.slot_given(cx, slot);
        }
        self.exported.clear();
        self.close_moved(cx, from);
        let gone = old.members().iter().copied();
        let gone = gone.filter(|node| *node != cx.node() && !old.keeps(cx.view(), *node));
        for node in gone.collect::<Vec<_>>() {
            let with = self.slots_with(node);
            with.iter().for_each(|slot| slots.insert(slot));
            self.forget_node(cx, node);
        }
        self.move_holds(cx);
        self.set_anchor(cx);
        if !slots.is_empty() || !self.rebuild.slots.is_empty() {
            self.ask_members(cx, slots);
        }
    }

    /// Nothing is asked for, and nothing leaves, in slots of new homes before they open them. Who has just
    /// joined holds nothing, and may not have been asked.
    fn close_moved(&mut self, cx: &Cx<'_>, from: Epoch) {
        let moved = View::slot_numbers().filter(|slot| {
            let row = cx.view().slot(*slot);
            from.0 != 0 && row.since > from && row.primary != cx.node()
        });
        for slot in moved {
            self.rounds.entry(slot).or_default().close();
        }
    }

    /// A node is gone: what it referred to, and what was on its way there.
    fn forget_node(&mut self, cx: &Cx<'_>, gone: NodeId) {
        for kept in self.kept.values_mut().filter(|kept| kept.to == Some(gone)) {
            kept.to = None;
        }
        let mine = self.objects.map.iter_mut().filter(|(id, it)| {
            is_home(cx, **id) && it.role != Role::Holder && matches!(it.store, Store::Pages { .. })
        });
        for (_, it) in mine {
            // Where that was the last reference, the object goes when all members have been asked.
            let refs = it.directory.hosts.remove(&gone);
            it.refs -= refs.unwrap_or(0);
            it.directory.broken |= it.directory.partial && refs.is_some();
            it.directory.places.values_mut().for_each(|place| place.node_left(gone));
        }
    }

    /// mem-server of a node died, or the link to it is down: moves to and from there end.
    pub(crate) fn objects_node_down(&mut self, cx: &mut Cx<'_>, dead: NodeId) {
        let left = self
            .objects
            .map
            .iter()
            .filter(|(_, it)| matches!(&it.store, Store::Left(left) if left.to == dead));
        for id in left.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.free_left(cx, id);
            let kept = self.kept.extract_if(|key, _| key.0 == id);
            kept.for_each(|(_, kept)| self.frames.release(kept.frame));
        }
        if !cx.is_peer_dead(dead) {
            return;
        }
        let its = self.objects.map.iter().filter(|(id, it)| {
            cx.view().home(id.slot()) == dead && !it.orphan && it.role == Role::Holder
        });
        for id in its.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.home_died(cx, id);
        }
        let slots = self.slots_with(dead);
        self.forget_node(cx, dead);
        self.ask_members(cx, slots);
    }
}

/// What another home has to know of an object.
fn moved(me: NodeId, id: ObjectId, it: &Object) -> Moved {
    let mut hosts: Vec<(NodeId, u64)> =
        it.directory.hosts.iter().map(|(node, refs)| (*node, *refs)).collect();
    hosts.extend(it.directory.others_with_pages().into_iter().map(|node| (node, 0)));
    hosts.retain(|(node, _)| *node != me);
    hosts.push((me, 1 + it.directory.awaited));
    let mut lost: Vec<(u64, u64)> = Vec::new();
    let places = it.directory.places.iter();
    for (&page, _) in places.filter(|(_, place)| place.state == State::Lost) {
        match lost.last_mut() {
            Some((first, count)) if *first + *count == page => *count += 1,
            Some(_) | None => lost.push((page, 1)),
        }
    }
    Moved { object: id.raw(), len: it.len(), hosts, lost, broken: it.directory.broken }
}
