// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving a space to another node, post-copy.
//!
//! # Model
//! The source describes the space (areas, and which pages exist), the target builds it from that
//! without one page: all rest at the source, under a new private object whose home is the target. The
//! source then gives the space: its pages stay as they are, under that object's id, until they are
//! fetched. A fault at the target fetches a page over the same path as any other remote page;
//! beside that the target keeps a window of pages in flight, ascending from the last fault.
//!
//! # Failure
//! If the source dies while pages rest there, proc-server hears [`mem_api::EVENT_SPACE_LOST`]. A
//! space that was imported and never given is simply destroyed.

use crate::MemCore;
use crate::areas::{Area, Source};
use crate::fetch::{Fetch, Key};
use crate::frames::Frames;
use crate::lifecycle::region;
use crate::limits::{
    DESCRIPTION_BYTES_MAX, IMPORTS_MAX, OBJECT_PAGES_MAX, PAGE, PAGE_MIN, PAGE_TOP, PREFETCH_PAGES,
};
use crate::machine::{HardSpace, Machine};
use crate::object::{Store, home};
use crate::pages::Pages;
use crate::post::Note;
use crate::resolve::{Miss, Wanted};
use crate::runs::Runs;
use crate::space::Space;
use abi::{Errno, NodeId, ObjectId, ServerId, SpaceId, Ticket};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use hashbrown::HashMap;
use mem_api::peer::{Forget, Given, Hold, Settled};
use mem_api::{
    Access, Backing, Content, Count, EVENT_MOVE_DONE, EVENT_SPACE_LOST, MoveDone, MoveProgress,
    Region, SpaceExport, SpaceGive, SpaceImport, SpaceImported, SpaceLost,
};
use runtime::{Answer, Bulk, Client, Cx, Msg};
use serde::{Deserialize, Serialize};

/// A space whose pages rest elsewhere, at the target.
pub(crate) struct Moving {
    object: ObjectId,
    pub(crate) from: NodeId,
    /// Pages that nobody has asked for yet.
    unrequested: Runs,
    /// Pages that have not arrived.
    left: u64,
    in_flight: usize,
    on_demand: u64,
    prefetched: u64,
    /// Where prefetching goes on.
    cursor: u64,
    /// Holds on shared objects that are not acknowledged yet.
    holds_open: usize,
    /// The source has given the space: its pages may be fetched ahead.
    given: bool,
    /// The source died.
    lost: bool,
    /// Who waits for all pages.
    waiters: Vec<Ticket>,
}

impl Moving {
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

/// What a space that moved away leaves here until it is fetched.
pub(crate) struct Left {
    pub(crate) to: NodeId,
    pub(crate) hard: HardSpace,
    pub(crate) pages: Pages,
    /// Shared objects that this node holds until the target holds them itself.
    objects: Vec<ObjectId>,
}

impl Left {
    pub(crate) fn free<M: Machine>(mut self, frames: &mut Frames<M>) {
        let hard = self.hard;
        self.pages.for_each(0..PAGE_TOP, |page, entry| {
            if let Some(mapping) = entry.mapping.take() {
                frames.machine.unmap(hard, page * PAGE, mapping.handle);
            }
            if let Some((frame, _)) = entry.page.take() {
                frames.release(frame);
            }
        });
        frames.drop_space(hard);
    }
}

/// A space on its way between nodes.
#[derive(Serialize, Deserialize)]
struct Description {
    regions: Vec<Region>,
    /// What the objects hold that every node has.
    roots: Vec<(ObjectId, Content)>,
    /// First page and number of pages of each run that exists.
    pages: Vec<(u64, u64)>,
}

/// Parts of a description that have arrived.
pub(crate) struct Import {
    data: Vec<u8>,
    total: usize,
}

impl<M: Machine> MemCore<M> {
    pub(crate) fn space_export(
        &mut self,
        op: SpaceExport,
        bulk: &mut Bulk<'_>,
    ) -> Result<Count, Errno> {
        let space = self.spaces.get(op.space)?;
        if space.moving.is_some() {
            return Err(Errno::ERESTART);
        }
        let data = match &space.description {
            Some(data) if op.offset > 0 => data,
            Some(_) | None => {
                let data = self.describe(op.space)?;
                self.spaces.get_mut(op.space)?.description.insert(data)
            }
        };
        let at = usize::try_from(op.offset).map_err(|_| Errno::EINVAL)?;
        let rest = data.get(at..).ok_or(Errno::EINVAL)?;
        bulk.set(&rest[..rest.len().min(bulk.buf.len())])?;
        Ok(Count { count: data.len() as u64 })
    }

    fn describe(&self, id: SpaceId) -> Result<Vec<u8>, Errno> {
        let space = self.spaces.get(id)?;
        let mut roots = Vec::new();
        for object in space.areas.objects() {
            if let Store::Root { first, len } = self.objects.get(object)?.store {
                roots.push((object, Content::Root { offset: first * PAGE, len }));
            }
        }
        let mut pages: Vec<(u64, u64)> = Vec::new();
        for page in space.pages.held_pages() {
            match pages.last_mut() {
                Some((start, count)) if *start + *count == page => *count += 1,
                Some(_) | None => pages.push((page, 1)),
            }
        }
        let regions = space.areas.iter().map(|(start, area)| region(start, area)).collect();
        let data = postcard::to_allocvec(&Description { regions, roots, pages });
        data.ok().filter(|data| data.len() <= DESCRIPTION_BYTES_MAX).ok_or(Errno::E2BIG)
    }

    pub(crate) fn space_import(
        &mut self,
        cx: &mut Cx<'_>,
        op: SpaceImport,
        bulk: &Bulk<'_>,
    ) -> Result<SpaceImported, Errno> {
        let total = usize::try_from(op.total).map_err(|_| Errno::E2BIG)?;
        if total > DESCRIPTION_BYTES_MAX {
            return Err(Errno::E2BIG);
        }
        if !cx.view().contains(op.from) || op.from == cx.node() {
            return Err(Errno::EINVAL);
        }
        let key = (op.from, op.token);
        if op.offset == 0 {
            self.imports.remove(&key);
            if self.imports.len() >= IMPORTS_MAX {
                return Err(Errno::EAGAIN);
            }
            self.imports.insert(key, Import { data: Vec::new(), total });
        }
        let import = self.imports.get_mut(&key).ok_or(Errno::EINVAL)?;
        let fits = import.data.len() as u64 == op.offset
            && import.total == total
            && import.data.len() + bulk.data().len() <= total;
        if !fits {
            self.imports.remove(&key);
            return Err(Errno::EINVAL);
        }
        import.data.extend_from_slice(bulk.data());
        if import.data.len() < total {
            let none = ObjectId::from_raw(0);
            let space = SpaceId { index: u32::MAX, generation: 0 };
            return Ok(SpaceImported { space, object: none, complete: false });
        }
        let import = self.imports.remove(&key).ok_or(Errno::EINVAL)?;
        let description = postcard::from_bytes(&import.data).map_err(|_| Errno::EPROTO)?;
        let space = self.space_create()?.space;
        let built = self.build(cx, space, op.from, &description);
        if built.is_err() {
            self.space_destroy(cx, space)?;
        }
        Ok(SpaceImported { space, object: built?, complete: true })
    }

    /// Fills an empty space after a description, which another node wrote: all of it is checked.
    fn build(
        &mut self,
        cx: &mut Cx<'_>,
        id: SpaceId,
        from: NodeId,
        description: &Description,
    ) -> Result<ObjectId, Errno> {
        let (mut unrequested, mut left) = (Runs::default(), 0u64);
        for &(start, count) in &description.pages {
            let end = start.checked_add(count).filter(|end| *end <= PAGE_TOP);
            if !unrequested.append(start..end.ok_or(Errno::EPROTO)?) {
                return Err(Errno::EPROTO);
            }
            left += count;
        }
        let object = self.objects.create(cx, Store::Private(id))?;
        self.spaces.get_mut(id)?.moving = Some(Box::new(Moving {
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
        }));
        for region in &description.regions {
            let (start, area) = self.import_area(cx, id, region, &description.roots)?;
            self.add_area(id, start, area)?;
        }
        Ok(object)
    }

    fn import_area(
        &mut self,
        cx: &mut Cx<'_>,
        id: SpaceId,
        region: &Region,
        roots: &[(ObjectId, Content)],
    ) -> Result<(u64, Area), Errno> {
        let (start, end) = (region.start / PAGE, region.end / PAGE);
        let areas = &self.spaces.get(id)?.areas;
        let sane = start >= PAGE_MIN
            && start < end
            && end <= PAGE_TOP
            && areas.len() < crate::limits::AREAS_MAX
            && areas.is_free(&(start..end));
        if !sane {
            return Err(Errno::EPROTO);
        }
        let source = match region.backing {
            Backing::Anonymous if region.shared => return Err(Errno::EPROTO),
            Backing::Anonymous => Source::Anonymous,
            Backing::Object { object, offset } => {
                let last = (offset / PAGE).checked_add(end - start).ok_or(Errno::EPROTO)?;
                if last > OBJECT_PAGES_MAX {
                    return Err(Errno::EPROTO);
                }
                let object = self.import_object(cx, id, object, roots)?;
                Source::Object { object, first: offset / PAGE }
            }
        };
        let Region { protection, shared, grows_down, .. } = *region;
        Ok((start, Area { end, protection, source, shared, grows_down }))
    }

    /// The object here that the description names: a root file's own object of this node, or the
    /// same one, which is held at its home from now on.
    fn import_object(
        &mut self,
        cx: &mut Cx<'_>,
        id: SpaceId,
        object: ObjectId,
        roots: &[(ObjectId, Content)],
    ) -> Result<ObjectId, Errno> {
        match roots.iter().find(|(known, _)| *known == object) {
            Some((_, Content::Root { offset, len })) => {
                return self.root_object(cx, *offset, *len);
            }
            Some((_, Content::Zero)) => return Err(Errno::EPROTO),
            None => {}
        }
        let at = home(cx, object);
        if at == cx.node() {
            let target = self.objects.get(object)?;
            let sharable = matches!(target.store, Store::Pages { .. });
            return if sharable { Ok(object) } else { Err(Errno::EPROTO) };
        }
        let known = self.spaces.get(id)?.areas.uses(object);
        let target = self.remote_object(object)?;
        if !known && target.grants == 0 {
            self.next_cookie += 1;
            let cookie = self.next_cookie;
            self.holds.insert(cookie, (id, object));
            if let Some(moving) = &mut self.spaces.get_mut(id)?.moving {
                moving.holds_open += 1;
            }
            cx.call_node(at, &Hold { object }, Vec::new(), cookie);
        }
        Ok(object)
    }

    /// A home answered whether it counts this node for an object of a moved space.
    pub(crate) fn hold_answered(&mut self, cx: &mut Cx<'_>, cookie: u64, held: Result<(), Errno>) {
        let Some((space, object)) = self.holds.remove(&cookie) else { return };
        match (held, self.objects.get_mut(object)) {
            (Ok(()), Ok(target)) => target.grants += 1,
            // The space went before the answer came.
            (Ok(()), Err(_)) => {
                let drop = mem_api::peer::Drop { object, holds: 1 };
                self.post(cx, home(cx, object), Note::Drop(drop));
            }
            (Err(_), Ok(target)) => {
                if let Store::Pages { len, .. } = &mut target.store {
                    *len = 0;
                }
            }
            (Err(_), Err(_)) => {}
        }
        if let Ok(it) = self.spaces.get_mut(space)
            && let Some(moving) = &mut it.moving
        {
            moving.holds_open -= 1;
        }
        self.settle(cx, space);
        self.check_moved(cx, space);
        self.check_left(cx, object);
    }

    /// Tells the source once this node holds everything itself.
    fn settle(&mut self, cx: &mut Cx<'_>, id: SpaceId) {
        let Ok(space) = self.spaces.get(id) else { return };
        let Some(moving) = &space.moving else { return };
        if moving.given && moving.holds_open == 0 {
            let (from, object) = (moving.from, moving.object);
            self.post(cx, from, Note::Settled(Settled { object }));
        }
    }

    pub(crate) fn space_give(&mut self, cx: &mut Cx<'_>, op: SpaceGive) -> Result<(), Errno> {
        let space = self.spaces.get(op.space)?;
        if space.moving.is_some() {
            return Err(Errno::ERESTART);
        }
        let free = self.objects.get(op.object).is_err();
        if op.to == cx.node() || home(cx, op.object) != op.to || !free {
            return Err(Errno::EINVAL);
        }
        self.futexes.end_space(cx, op.space);
        let space = self.spaces.remove(op.space)?;
        let Space { hard, areas, mut pages, .. } = *space;
        pages.for_each(0..PAGE_TOP, |page, entry| {
            // What shows pages of other objects goes now, as nothing would find it later.
            if entry.page.is_none()
                && let Some(mapping) = entry.mapping.take()
            {
                self.frames.machine.unmap(hard, page * PAGE, mapping.handle);
            }
        });
        let objects: Vec<ObjectId> = areas.objects().collect();
        for &object in &objects {
            // The reference stays until the target has its own.
            if let Ok(target) = self.objects.get_mut(object) {
                target.users.remove(&op.space);
            }
        }
        let left = Left { to: op.to, hard, pages, objects };
        self.objects.adopt(op.object, Store::Left(Box::new(left)))?;
        self.post(cx, op.to, Note::Given(Given { object: op.object }));
        Ok(())
    }

    fn moved_space(&self, from: NodeId, object: ObjectId) -> Option<SpaceId> {
        let Store::Private(id) = self.objects.get(object).ok()?.store else { return None };
        let moving = self.spaces.get(id).ok()?.moving.as_ref()?;
        (moving.from == from).then_some(id)
    }

    /// Whether a node other than its source sends a page of a moved space.
    pub(crate) fn is_forged(&self, from: NodeId, object: ObjectId) -> bool {
        let private =
            self.objects.get(object).is_ok_and(|it| matches!(it.store, Store::Private(_)));
        private && self.moved_space(from, object).is_none()
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

    fn left_for(&mut self, from: NodeId, object: ObjectId) -> Option<&mut Left> {
        match &mut self.objects.get_mut(object).ok()?.store {
            Store::Left(left) if left.to == from => Some(left),
            Store::Left(_) | Store::Root { .. } | Store::Pages { .. } | Store::Private(_) => None,
        }
    }

    pub(crate) fn settled(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Settled) {
        let Some(left) = self.left_for(from, op.object) else { return };
        for object in core::mem::take(&mut left.objects) {
            self.drop_ref(cx, object);
        }
    }

    pub(crate) fn forgotten(&mut self, cx: &mut Cx<'_>, from: NodeId, op: Forget) {
        if self.left_for(from, op.object).is_some() {
            self.free_left(cx, op.object);
        }
        self.kept.retain(|key, (frame, to)| {
            let mine = key.0 == op.object && *to == from;
            if mine {
                self.frames.release(*frame);
            }
            !mine
        });
    }

    pub(crate) fn free_left(&mut self, cx: &mut Cx<'_>, object: ObjectId) {
        let Ok(target) = self.objects.get_mut(object) else { return };
        let Store::Left(left) = &mut target.store else { return };
        let held = core::mem::take(&mut left.objects);
        self.free_object(object);
        for object in held {
            self.drop_ref(cx, object);
        }
    }

    /// Bookkeeping of a request that leaves for a page of a moved space.
    pub(crate) fn note_requested(&mut self, wanted: Wanted, on_demand: bool) {
        let Ok(object) = self.objects.get(wanted.object) else { return };
        let Store::Private(id) = object.store else { return };
        let Ok(space) = self.spaces.get_mut(id) else { return };
        let Some(moving) = &mut space.moving else { return };
        moving.unrequested.remove(wanted.page..wanted.page + 1);
        moving.in_flight += 1;
        if on_demand {
            moving.on_demand += 1;
            moving.cursor = wanted.page + 1;
        } else {
            moving.prefetched += 1;
        }
    }

    pub(crate) fn note_arrived(&mut self, _cx: &mut Cx<'_>, id: SpaceId, dropped: bool) {
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
            if !moving.given || moving.lost || moving.in_flight >= PREFETCH_PAGES {
                return;
            }
            let next = moving.unrequested.next_from(moving.cursor);
            let Some(page) = next.or_else(|| moving.unrequested.next_from(0)) else { return };
            moving.cursor = page + 1;
            let wanted = moving.wanted(page);
            if let Err(errno) = self.fetch(cx, wanted, false) {
                // Out of frames: who waits for all pages must hear it; faults go on by themselves.
                return self.end_waiters(cx, id, Err(errno));
            }
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
        let progress = self.spaces.get(id)?.moving.as_ref().map(|moving| MoveProgress {
            left: moving.left,
            on_demand: moving.on_demand,
            prefetched: moving.prefetched,
        });
        Ok(progress.unwrap_or(MoveProgress { left: 0, on_demand: 0, prefetched: 0 }))
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
