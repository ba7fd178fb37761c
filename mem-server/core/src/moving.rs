// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving a space to another node, post-copy.
//!
//! # Model
//! The source describes the space (areas, and which pages exist), the target builds it from that
//! without one page: all rest at the source, under a new private object whose home is the target. The
//! source then gives the space: its pages stay as they are, under that object's id, until they are
//! fetched. A fault at the target fetches a page as it does any other remote page; beside that the target keeps a
//! window of pages in flight, in runs that ascend from the last fault ([`pull`](crate::pull)).
//!
//! # Failure
//! If the source dies while pages rest there, proc-server hears [`mem_api::EVENT_SPACE_LOST`]. A
//! space that was imported and never given is simply destroyed.

use crate::MemCore;
use crate::fetch::{Fetch, Key};
use crate::limits::PREFETCH_PAGES;
use crate::machine::Machine;
use crate::object::Store;
use crate::post::Note;
use crate::resolve::{Miss, Wanted};
use crate::runs::Runs;
use abi::{Errno, NodeId, ObjectId, ServerId, SpaceId, Ticket};
use alloc::vec::Vec;
use core::ops::Range;
use mem_api::peer::{Forget, Given, PULL_PAGES_MAX};
use mem_api::{Access, EVENT_MOVE_DONE, EVENT_SPACE_LOST, MoveDone, MoveProgress, SpaceLost};
use runtime::collections::HashMap;
use runtime::{Answer, Client, Cx, Msg};

/// A space whose pages rest elsewhere, at the target.
pub(crate) struct Moving {
    pub(crate) object: ObjectId,
    pub(crate) from: NodeId,
    /// Pages that nobody has asked for yet.
    unrequested: Runs,
    /// Pages that have not arrived.
    left: u64,
    in_flight: u64,
    on_demand: u64,
    prefetched: u64,
    /// Where prefetching goes on.
    cursor: u64,
    /// Holds on shared objects that are not acknowledged yet.
    pub(crate) holds_open: usize,
    /// The source has given the space: its pages may be fetched ahead.
    pub(crate) given: bool,
    /// The source died.
    lost: bool,
    /// Who waits for all pages.
    waiters: Vec<Ticket>,
}

impl Moving {
    /// All of `unrequested`, which are `left` pages, rest at `from`.
    pub(crate) fn new(object: ObjectId, from: NodeId, unrequested: Runs, left: u64) -> Self {
        Self {
            object,
            from,
            unrequested,
            left,
            in_flight: 0,
            on_demand: 0,
            prefetched: 0,
            cursor: 0,
            holds_open: 0,
            given: false,
            lost: false,
            waiters: Vec::new(),
        }
    }

    /// Whether a page is still at the source or on its way. Of a lost space, whatever is not here
    /// counts as lost: better an error than a page of zeroes.
    pub(crate) fn rests_elsewhere(&self, page: u64, fetches: &HashMap<Key, Fetch>) -> bool {
        self.lost
            || self.unrequested.contains(page)
            || fetches.get(&(self.object, page)).is_some_and(|fetch| !fetch.dropped)
    }

    pub(crate) fn first_elsewhere(
        &self,
        range: &Range<u64>,
        fetches: &HashMap<Key, Fetch>,
    ) -> Option<u64> {
        let waiting = self.unrequested.next_from(range.start).filter(|page| range.contains(page));
        let on_the_way = fetches.iter().filter(|(key, fetch)| {
            key.0 == self.object && range.contains(&key.1) && !fetch.dropped
        });
        on_the_way.map(|(key, _)| key.1).chain(waiting).min()
    }

    /// Why a page that rests elsewhere is not here: it can be fetched, or it is lost.
    pub(crate) fn miss(&self, page: u64) -> Miss {
        if self.lost { Miss::Error(Errno::EIO) } else { Miss::Away(self.wanted(page)) }
    }

    pub(crate) fn wanted(&self, page: u64) -> Wanted {
        Wanted { object: self.object, page, access: Access::Write }
    }

    /// A range was unmapped: its pages are wanted no more.
    pub(crate) fn forget(&mut self, range: Range<u64>, fetches: &mut HashMap<Key, Fetch>) {
        self.left -= self.unrequested.remove(range.clone());
        for (key, fetch) in fetches.iter_mut() {
            if key.0 == self.object && range.contains(&key.1) && !fetch.dropped {
                fetch.dropped = true;
                self.left -= 1;
            }
        }
    }
}

impl<M: Machine> MemCore<M> {
    /// The space whose pages are to come from this node under this object.
    pub(crate) fn moved_space(&self, from: NodeId, object: ObjectId) -> Option<SpaceId> {
        let Store::Private(id) = self.objects.get(object).ok()?.store else { return None };
        let moving = self.spaces.get(id).ok()?.moving.as_ref()?;
        (moving.from == from).then_some(id)
    }

    /// The source says that it has no such page: the space cannot go on. False: no moved space.
    pub(crate) fn lose_moved(&mut self, cx: &mut Cx<'_>, from: NodeId, object: ObjectId) -> bool {
        let Ok(Store::Private(id)) = self.objects.get(object).map(|it| &it.store) else {
            return false;
        };
        let id = *id;
        // This node, as the home, may speak for the source.
        if from == cx.node() || self.moved_space(from, object).is_some() {
            self.lose(cx, id);
        }
        true
    }

    pub(crate) fn given(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Given) {
        let Some(id) = self.moved_space(from, op.object) else {
            return self.post(cx, from, Note::Forget(Forget { object: op.object }));
        };
        if let Ok(space) = self.spaces.get_mut(id)
            && let Some(moving) = &mut space.moving
        {
            moving.given = true;
        }
        self.settle(cx, id);
        self.fetch_ahead(cx, id);
        self.check_moved(cx, id);
    }

    /// A fault needs a page of a moved space.
    pub(crate) fn pull_on_demand(
        &mut self,
        cx: &mut Cx<'_>,
        id: SpaceId,
        wanted: Wanted,
    ) -> Result<(), Errno> {
        let run = wanted.page..wanted.page + 1;
        let pages = self.pull(cx, wanted.object, run.clone())?;
        let moving = self.spaces.get_mut(id)?.moving.as_mut().ok_or(Errno::ESTALE)?;
        moving.unrequested.remove(run.clone());
        moving.in_flight += pages;
        moving.on_demand += pages;
        moving.cursor = run.end;
        Ok(())
    }

    pub(crate) fn note_arrived(&mut self, id: SpaceId, dropped: bool) {
        let Ok(space) = self.spaces.get_mut(id) else { return };
        let Some(moving) = &mut space.moving else { return };
        moving.in_flight -= 1;
        moving.left -= u64::from(!dropped);
    }

    /// Keeps the window of pages in flight full.
    pub(crate) fn fetch_ahead(&mut self, cx: &mut Cx<'_>, id: SpaceId) {
        loop {
            let Ok(space) = self.spaces.get_mut(id) else { return };
            let Some(moving) = &mut space.moving else { return };
            // What is short of a whole run waits for more room, or runs would get ever shorter.
            let full = moving.in_flight + PULL_PAGES_MAX > PREFETCH_PAGES;
            if !moving.given || moving.lost || full {
                return;
            }
            let next = moving.unrequested.next_run(moving.cursor);
            let Some(run) = next.or_else(|| moving.unrequested.next_run(0)) else { return };
            let run = run.start..run.end.min(run.start + PULL_PAGES_MAX);
            let object = moving.object;
            let pulled = self.pull(cx, object, run.clone());
            let Ok(Some(moving)) = self.spaces.get_mut(id).map(|space| &mut space.moving) else {
                return;
            };
            let pages = match pulled {
                Ok(pages) => pages,
                // Out of frames: who waits for all pages must hear it; faults go on by themselves.
                Err(errno) => return self.end_waiters(cx, id, Err(errno)),
            };
            moving.cursor = run.start + pages;
            moving.unrequested.remove(run.start..moving.cursor);
            moving.in_flight += pages;
            moving.prefetched += pages;
        }
    }

    fn end_waiters(&mut self, cx: &mut Cx<'_>, id: SpaceId, result: Result<(), Errno>) {
        let Ok(space) = self.spaces.get_mut(id) else { return };
        let Some(moving) = &mut space.moving else { return };
        for ticket in core::mem::take(&mut moving.waiters) {
            cx.complete(ticket, result);
        }
    }

    /// Ends the move when nothing is left elsewhere.
    pub(crate) fn check_moved(&mut self, cx: &mut Cx<'_>, id: SpaceId) {
        let Ok(space) = self.spaces.get(id) else { return };
        let Some(moving) = &space.moving else { return };
        if moving.left > 0 || !moving.given || moving.holds_open > 0 {
            return;
        }
        let Moving { on_demand, prefetched, .. } = **moving;
        self.end_move(cx, id, Ok(()));
        if let Ok(space) = self.spaces.get_mut(id) {
            space.moved = MoveProgress { left: 0, on_demand, prefetched };
        }
        let event = MoveDone { space: id, on_demand, prefetched };
        cx.raise(ServerId::Proc, EVENT_MOVE_DONE, &event);
    }

    /// The space is whole, or going: nothing is wanted from the source any more.
    fn end_move(&mut self, cx: &mut Cx<'_>, id: SpaceId, result: Result<(), Errno>) {
        self.end_waiters(cx, id, result);
        let Ok(space) = self.spaces.get_mut(id) else { return };
        let Some(moving) = space.moving.take() else { return };
        let Moving { object, from, .. } = *moving;
        self.fail_fetches(cx, object, Errno::ECANCELED);
        self.objects.map.remove(&object);
        self.post(cx, from, Note::Forget(Forget { object }));
    }

    pub(crate) fn abandon_move(&mut self, cx: &mut Cx<'_>, id: SpaceId) {
        self.end_move(cx, id, Err(Errno::ECANCELED));
    }

    pub(crate) fn fetch_all(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        id: SpaceId,
    ) -> Result<Answer, Errno> {
        let Some(moving) = &self.spaces.get(id)?.moving else {
            return Ok(Answer::Done(Msg::default()));
        };
        if moving.lost {
            return Err(Errno::EIO);
        }
        let ticket = cx.open_ticket(from)?;
        if let Some(moving) = &mut self.spaces.get_mut(id)?.moving {
            moving.waiters.push(ticket);
        }
        self.fetch_ahead(cx, id);
        Ok(Answer::Pending(ticket))
    }

    /// False: no wait for a whole space has this ticket.
    pub(crate) fn cancel_fetch_all(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        for space in self.spaces.iter_mut() {
            let Some(moving) = &mut space.moving else { continue };
            if let Some(at) = moving.waiters.iter().position(|it| *it == ticket) {
                moving.waiters.swap_remove(at);
                cx.complete::<()>(ticket, Err(Errno::ECANCELED));
                return true;
            }
        }
        false
    }

    pub(crate) fn move_state(&self, id: SpaceId) -> Result<MoveProgress, Errno> {
        let space = self.spaces.get(id)?;
        Ok(space.moving.as_ref().map_or(space.moved, |moving| MoveProgress {
            left: moving.left,
            on_demand: moving.on_demand,
            prefetched: moving.prefetched,
        }))
    }

    /// A node died: spaces whose pages rest there are lost.
    pub(crate) fn moves_node_down(&mut self, cx: &mut Cx<'_>, dead: NodeId) {
        self.imports.retain(|(from, _), _| *from != dead);
        let lost: Vec<(SpaceId, u64)> = self
            .spaces
            .iter_mut_with_id()
            .filter_map(|(id, space)| {
                let moving = space.moving.as_mut().filter(|moving| moving.from == dead)?;
                moving.lost = true;
                // Nothing more will come from there, and nothing is owed to it.
                moving.given = true;
                Some((id, moving.left))
            })
            .collect();
        for (space, left) in lost {
            if left > 0 {
                self.lose(cx, space);
            }
            self.check_moved(cx, space);
        }
    }

    /// Pages of a space are gone: who waits fails, and proc-server hears it.
    fn lose(&mut self, cx: &mut Cx<'_>, id: SpaceId) {
        let Ok(space) = self.spaces.get_mut(id) else { return };
        let Some(moving) = &mut space.moving else { return };
        moving.lost = true;
        let (object, node) = (moving.object, moving.from);
        self.fail_fetches(cx, object, Errno::EIO);
        self.end_waiters(cx, id, Err(Errno::EIO));
        cx.raise(ServerId::Proc, EVENT_SPACE_LOST, &SpaceLost { space: id, node });
    }
}
