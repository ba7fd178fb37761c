// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handing a space over to another node: description, import, giving, and what stays behind until it
//! is fetched. The model stands in `moving`.
//!
//! A description comes from another node: all of it is checked before it is believed.

use crate::MemCore;
use crate::areas::{Area, Source};
use crate::frames::Frames;
use crate::lifecycle::region;
use crate::limits::{
    AREAS_MAX, DESCRIPTION_BYTES_MAX, IMPORTS_MAX, OBJECT_PAGES_MAX, PAGE, PAGE_MIN, PAGE_TOP,
};
use crate::machine::{HardSpace, Machine};
use crate::moving::Moving;
use crate::object::{Role, Store, home, is_broken, is_home};
use crate::pages::Pages;
use crate::post::Note;
use crate::runs::Runs;
use crate::space::Space;
use abi::{Errno, NodeId, ObjectId, SpaceId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use mem_api::peer::{Forget, Given, Hold, Settled};
use mem_api::{
    Backing, Content, Count, Region, SpaceExport, SpaceGive, SpaceImport, SpaceImported,
};
use runtime::{Bulk, Cx};
use serde::{Deserialize, Serialize};

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
        let part = &rest[..rest.len().min(bulk.buf.len())];
        bulk.set(part)?;
        let (total, last) = (data.len() as u64, part.len() == rest.len());
        if last {
            self.spaces.get_mut(op.space)?.description = None;
        }
        Ok(Count { count: total })
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
        self.room_for_areas(cx, id, description.regions.len())?;
        let object = self.objects.create(cx, Store::Private(id), None)?;
        self.spaces.get_mut(id)?.moving =
            Some(Box::new(Moving::new(object, from, unrequested, left)));
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
            && areas.len() < AREAS_MAX
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
        if is_home(cx, object) {
            let gone = if is_broken(cx, object) { Errno::EIO } else { Errno::ESTALE };
            let target = self.objects.get(object).map_err(|_| gone)?;
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
            cx.call_home(object.slot(), &Hold { object }, Vec::new(), cookie);
        }
        Ok(object)
    }

    /// A home answered whether it counts this node for an object of a moved space.
    pub(crate) fn hold_answered(&mut self, cx: &mut Cx<'_>, cookie: u64, held: Result<(), Errno>) {
        let Some((space, object)) = self.holds.remove(&cookie) else { return };
        match (held, self.objects.get_mut(object)) {
            // This node has become the home meanwhile: its spaces count by themselves.
            (Ok(()), Ok(_)) if is_home(cx, object) => self.drop_ref(cx, object),
            (Ok(()), Ok(target)) => target.grants += 1,
            // The space went before the answer came.
            (Ok(()), Err(_)) => {
                let drop = mem_api::peer::Drop { object, holds: 1, of: cx.node() };
                self.post(cx, home(cx, object), Note::Drop(drop));
            }
            (Err(_), Ok(target)) => {
                let refused = target.role == Role::Holder && target.grants == 0;
                if let Store::Pages { len, .. } = &mut target.store
                    && refused
                {
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
    pub(crate) fn settle(&mut self, cx: &mut Cx<'_>, id: SpaceId) {
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
        self.kept.retain(|key, kept| {
            let mine = key.0 == op.object && kept.to == Some(from);
            if mine {
                self.frames.release(kept.frame);
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
}
