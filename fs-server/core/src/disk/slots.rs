// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which slots go on from the disk, which are forgotten, and which the disk has from now on.
//!
//! # Model
//! ```text
//! stale --kept here, and the disk has had it since then--> resumed     --it has not--> missing, and said so
//!       --kept here, another is its home--> stale                      --not kept here--> forgotten
//! ```

use super::PAGE;
use crate::FsCore;
use abi::{Epoch, Errno, SlotNo};
use alloc::vec::Vec;
use cluster::{SlotSet, View};
use fs_api::peer::Overlaid;
use runtime::Cx;

impl FsCore {
    /// A view was entered, or it is known what the disk has: which slots go on from it, and which it has from now on.
    pub(crate) fn settle_slots(&mut self, cx: &mut Cx<'_>) {
        let view = cx.view().clone();
        if view.epoch() == Epoch(0) || self.disk.is_opening() {
            return;
        }
        let of = (view.cluster(), self.disk.image);
        if self.disk.of.is_some_and(|(cluster, _)| cluster != of.0) {
            self.disk.stale.clear();
        }
        if self.disk.of != Some(of) {
            (self.disk.of, self.disk.unsaid.of) = (Some(of), Some(of));
        }
        self.disk.missing = SlotSet::default();
        let lived_in = self.tree.slots();
        for slot in View::slot_numbers() {
            let kept = view.slot(slot).kept.contains(&Some(cx.node()));
            let is_home = view.home(slot) == cx.node();
            if !is_home {
                self.disk.resumed.remove(&slot);
            }
            match (kept, is_home) {
                (true, true) if self.disk.resumed.contains(&slot) => {}
                (true, true) => self.resume_slot(cx, slot),
                (true, false) if self.disk.stale.contains(&slot) => {}
                (true | false, _) if self.disk.stale.remove(&slot) => self.drop_slot(slot),
                // No mark of it was found.
                (_, false) if lived_in.contains(&slot) && !self.has_slot(cx, slot) => {
                    self.drop_slot(slot);
                }
                (_, _) => {}
            }
            self.mark_slot(cx, slot);
        }
        self.release_freed(cx);
        if !self.disk.missing.is_empty() {
            cx.say_missing(&self.disk.missing.clone());
        }
        if self.disk.unsaid.any() || !self.disk.fresh.is_empty() {
            self.run_store(cx, |store, out| store.sync(out));
        }
    }

    /// Whether this node has all of a slot, and is to have it.
    fn has_slot(&self, cx: &Cx<'_>, slot: SlotNo) -> bool {
        let row = cx.view().slot(slot);
        let is_home = row.primary == cx.node() && !row.is_waiting() && !self.disk.missing.has(slot);
        is_home || row.backup == Some(cx.node()) && cx.has_copy(slot)
    }

    /// Says on the disk since when this node has had the slot, or that it has it no more.
    fn mark_slot(&mut self, cx: &Cx<'_>, slot: SlotNo) {
        if self.disk.store.is_none() || self.disk.stale.contains(&slot) {
            return;
        }
        let row = cx.view().slot(slot);
        let had = self.has_slot(cx, slot).then_some([row.held.0, row.backed.0]);
        if self.disk.marks.get(&slot).copied() != had {
            if let Some(had) = had {
                self.disk.marks.insert(slot, had);
                self.disk.fresh.insert(slot);
            } else {
                self.disk.marks.remove(&slot);
                self.disk.unsaid.slots.insert(slot);
            }
        }
    }

    /// The slot goes on from this node's disk, if that has all of it.
    fn resume_slot(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        let since = cx.view().slot(slot).had_by(cx.node()).map_or(0, |epoch| epoch.0);
        let was_stale = self.disk.stale.remove(&slot);
        let has_all = self.disk.marks.get(&slot).is_some_and(|had| had.contains(&since));
        if !was_stale || !has_all {
            self.drop_slot(slot);
            self.disk.missing.add(slot);
            return;
        }
        self.disk.resumed.insert(slot);
        self.tree.overlay_found(slot);
        self.tree.free_unused_in(slot);
        let announced = self.tree.announced_in(slot);
        for node in self.tree.others().collect::<Vec<_>>() {
            for (inode, place) in announced.iter().copied() {
                // A link that breaks brings another NodeUp, and all of it again.
                let _ = cx.inform_node(node, &Overlaid { inode, place }, Vec::new());
            }
        }
    }

    /// What this node's disk has of a slot that comes from another node gives way to that.
    ///
    /// # Errors
    /// EAGAIN: it is not known yet what the disk has.
    pub(crate) fn make_way(&mut self, slot: SlotNo) -> Result<(), Errno> {
        if self.disk.is_opening() {
            return Err(Errno::EAGAIN);
        }
        if self.disk.stale.remove(&slot) {
            self.drop_slot(slot);
        }
        Ok(())
    }

    /// What was found of a slot is nobody's.
    pub(crate) fn drop_slot(&mut self, slot: SlotNo) {
        self.forget_on_disk(slot);
        self.tree.forget_slot(slot);
        if self.disk.marks.remove(&slot).is_some() {
            self.disk.unsaid.slots.insert(slot);
        }
    }

    /// The inodes of a slot leave this node.
    pub(crate) fn forget_on_disk(&mut self, slot: SlotNo) {
        let Some(store) = &mut self.disk.store else { return };
        for id in self.tree.ids_in(slot) {
            store.gone(id.raw());
            self.disk.unsaid.inode(id);
            self.disk.loads.forget(id);
        }
    }

    /// The inodes of a slot have come.
    pub(crate) fn put_on_disk(&mut self, slot: SlotNo) {
        let Some(store) = &mut self.disk.store else { return };
        // In one go, whatever changes meanwhile.
        self.disk.unsaid.too_much = true;
        store.begin_anew();
        for id in self.tree.ids_in(slot) {
            let Ok(file) = self.tree.file(id) else { continue };
            for (start, end) in file.extents.ranges().filter(|_| file.object.is_some()) {
                let end = end.min(file.size.div_ceil(PAGE));
                store.dirty(id.raw(), start..end.max(start));
            }
        }
    }
}
