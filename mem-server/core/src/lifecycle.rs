// SPDX-License-Identifier: MIT OR Apache-2.0
//! Spaces, objects and threads come and go.

use crate::MemCore;
use crate::frames::Frames;
use crate::limits::{AREA_BYTES, HEAP_RESERVE_BYTES, PAGE};
use crate::limits::{OBJECT_PAGES_MAX, PAGE_TOP};
use crate::machine::Machine;
use crate::map::clear;
use crate::object::{Object, Role, Store, is_home};
use crate::pages::{Entry, Hold, Pages};
use crate::space::Space;
use abi::{Errno, ObjectId, ServerId, SpaceId};
use alloc::vec::Vec;
use mem_api::{
    Backing, Content, MemoryFigures, ObjectCreate, ObjectCreated, ObjectPunch, ObjectRename,
    ObjectResize, ObjectUsers, Region, RegionList, Regions, SpaceCreated, SpaceSizes, ThreadCreate,
    ThreadCreated,
};
use runtime::{Answer, Client, Cx, Msg};

/// Regions in one answer: each takes at most 46 bytes there.
const REGIONS_IN_ANSWER: usize = 16;
/// Pages that one page table maps.
const TABLE_PAGES: u64 = 512;
/// Writable mappings of a table from which on protecting the whole of it costs less.
const PROTECT_TABLE_FROM: u32 = 4;

impl<M: Machine> MemCore<M> {
    pub(crate) fn space_create(&mut self) -> Result<SpaceCreated, Errno> {
        self.spaces.has_room()?;
        let hard = self.frames.machine.create_space()?;
        Ok(SpaceCreated { space: self.spaces.add(Space::new(hard))? })
    }

    pub(crate) fn space_fork(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        id: SpaceId,
    ) -> Result<Answer, Errno> {
        if self.spaces.get(id)?.moving.is_some() {
            return self.fetch_all(cx, from, id);
        }
        self.spaces.has_room()?;
        let copied = self.spaces.get(id)?.areas.len();
        if cx.heap_left().saturating_sub(copied * AREA_BYTES) < HEAP_RESERVE_BYTES {
            return Err(Errno::ENOMEM);
        }
        let mut child = Space::new(self.frames.machine.create_space()?);
        let parent = self.spaces.get_mut(id)?;
        child.areas = parent.areas.clone();
        share(&mut self.frames, parent, &mut child);
        let objects: Vec<ObjectId> = child.areas.objects().collect();
        let space = self.spaces.add(child)?;
        for object in objects {
            self.add_user(space, object)?;
        }
        Ok(Answer::Done(Msg::of(&SpaceCreated { space })?))
    }

    pub(crate) fn space_destroy(&mut self, cx: &mut Cx<'_>, id: SpaceId) -> Result<(), Errno> {
        self.spaces.get(id)?;
        self.futexes.end_space(cx, id);
        self.abandon_move(cx, id);
        let mut space = self.spaces.remove(id)?;
        clear(&mut self.frames, &mut space, 0..PAGE_TOP);
        self.frames.drop_space(space.hard);
        for object in space.areas.objects() {
            self.drop_user(cx, id, object);
        }
        Ok(())
    }

    pub(crate) fn space_size(&self, id: SpaceId) -> Result<SpaceSizes, Errno> {
        let space = self.spaces.get(id)?;
        let mut sizes = SpaceSizes { mapped: 0, resident: 0, stack: 0, text: 0 };
        for (start, area) in space.areas.iter() {
            let bytes = (area.end - start) * PAGE;
            sizes.mapped += bytes;
            if area.grows_down {
                sizes.stack += bytes;
            }
            if area.protection.execute && area.object().is_some() {
                sizes.text += bytes;
            }
        }
        sizes.resident = space.pages.held().max(space.pages.mapped()) * PAGE;
        Ok(sizes)
    }

    pub(crate) fn regions(&self, op: Regions) -> Result<RegionList, Errno> {
        let space = self.spaces.get(op.space)?;
        let after = op.after.div_ceil(PAGE);
        let from = space.areas.from(after).take(REGIONS_IN_ANSWER);
        Ok(RegionList(from.map(|(start, area)| region(start, area)).collect()))
    }

    pub(crate) fn object_create(
        &mut self,
        cx: &Cx<'_>,
        op: ObjectCreate,
    ) -> Result<ObjectCreated, Errno> {
        let object = match op.content {
            Content::Zero => {
                let store = Store::Pages { pages: Pages::default(), len: 0 };
                self.objects.create(cx, store, op.slot)?
            }
            Content::Root { offset, len } => self.root_object(cx, offset, len)?,
        };
        self.objects.get_mut(object)?.refs += 1;
        Ok(ObjectCreated { object })
    }

    /// The object for a file of the root file system; one per file.
    pub(crate) fn root_object(
        &mut self,
        cx: &Cx<'_>,
        offset: u64,
        len: u64,
    ) -> Result<ObjectId, Errno> {
        let first = offset / PAGE;
        let last = first.checked_add(len.div_ceil(PAGE)).ok_or(Errno::EINVAL)?;
        let outside = last > first && self.frames.machine.root_frame(last - 1).is_none();
        if !offset.is_multiple_of(PAGE) || outside {
            return Err(Errno::EINVAL);
        }
        if let Some(&object) = self.objects.roots.get(&first)
            && self.objects.get(object).is_ok_and(|known| known.len() == len)
        {
            return Ok(object);
        }
        let object = self.objects.create(cx, Store::Root { first, len }, None)?;
        self.objects.roots.insert(first, object);
        Ok(object)
    }

    pub(crate) fn object_resize(&mut self, op: ObjectResize) -> Result<(), Errno> {
        let target = self.objects.get(op.object)?;
        let role = target.role;
        let pages = op.len.div_ceil(PAGE);
        if pages > OBJECT_PAGES_MAX {
            return Err(Errno::EFBIG);
        }
        match &target.store {
            Store::Root { .. } => return Err(Errno::EACCES),
            Store::Private(_) | Store::Left(_) => return Err(Errno::ESTALE),
            Store::Pages { len, .. } if op.len < *len => {
                // Cutting off pages that other nodes hold needs a message that does not exist yet.
                if !target.directory.is_local(pages) {
                    return Err(Errno::ENOSYS);
                }
                // The page that keeps a part must be here alone, to be zeroed.
                if !op.len.is_multiple_of(PAGE) && !target.directory.is_local(pages - 1) {
                    return Err(Errno::EAGAIN);
                }
            }
            Store::Pages { .. } => {}
        }
        match role {
            Role::Home => {}
            // Which pages others hold is being found out.
            Role::Asking => return Err(Errno::EAGAIN),
            Role::Holder => return Err(Errno::ENOSYS),
        }
        self.unmap_object(op.object, pages..OBJECT_PAGES_MAX);
        let target = self.objects.get_mut(op.object)?;
        let Store::Pages { pages: table, len } = &mut target.store else { return Ok(()) };
        table.for_each(pages..OBJECT_PAGES_MAX, |_, entry| {
            if let Some((frame, _)) = entry.page.take() {
                self.frames.release(frame);
            }
        });
        let rest = (op.len % PAGE) as usize;
        if op.len < *len
            && rest != 0
            && let Some((frame, _)) = table.get(op.len / PAGE).page
        {
            self.frames.machine.bytes_mut(frame)[rest..].fill(0);
        }
        *len = op.len;
        Ok(())
    }

    pub(crate) fn object_punch(&mut self, op: ObjectPunch) -> Result<(), Errno> {
        let target = self.objects.get(op.object)?;
        let end = op.first.checked_add(op.pages).ok_or(Errno::EINVAL)?.min(OBJECT_PAGES_MAX);
        match (&target.store, target.role) {
            (Store::Root { .. }, _) => return Err(Errno::EACCES),
            (Store::Private(_) | Store::Left(_), _) => return Err(Errno::ESTALE),
            (Store::Pages { .. }, Role::Asking) => return Err(Errno::EAGAIN),
            (Store::Pages { .. }, Role::Holder) => return Err(Errno::ENOSYS),
            // Pages that other nodes hold cannot be told to go yet, as in a resize.
            (Store::Pages { .. }, Role::Home) if target.directory.is_shared() => {
                return Err(Errno::ENOSYS);
            }
            (Store::Pages { .. }, Role::Home) => {}
        }
        self.unmap_object(op.object, op.first..end);
        let target = self.objects.get_mut(op.object)?;
        let Store::Pages { pages: table, .. } = &mut target.store else { return Ok(()) };
        table.for_each(op.first..end, |_, entry| {
            if let Some((frame, _)) = entry.page.take() {
                self.frames.release(frame);
            }
        });
        Ok(())
    }

    pub(crate) fn object_use(&self, object: ObjectId) -> Result<ObjectUsers, Errno> {
        let target = self.objects.get(object)?;
        Ok(ObjectUsers { alone: target.role == Role::Home && self.is_alone(object, target) })
    }

    pub(crate) fn object_rename(
        &mut self,
        cx: &Cx<'_>,
        op: &ObjectRename,
    ) -> Result<ObjectCreated, Errno> {
        let target = self.objects.get(op.object)?;
        let whole = target.given || (target.role == Role::Home && !target.orphan);
        let is_pages = matches!(target.store, Store::Pages { .. });
        if !(whole && is_pages && self.is_alone(op.object, target)) {
            return Err(Errno::EBUSY);
        }
        let object = self.objects.rename(cx, op.object, op.slot)?;
        Ok(ObjectCreated { object })
    }

    /// Whether one client of this node refers to the object and nobody else has to do with it.
    pub(crate) fn is_alone(&self, id: ObjectId, it: &Object) -> bool {
        it.refs == 1
            && it.users.is_empty()
            && !it.directory.is_shared()
            && self.fetches.keys().all(|key| key.0 != id)
    }

    pub(crate) fn object_release(&mut self, cx: &mut Cx<'_>, id: ObjectId) -> Result<(), Errno> {
        let target = self.objects.get_mut(id)?;
        let others = target.users.len() as u64;
        if target.refs <= others {
            return Err(Errno::ESTALE);
        }
        self.drop_ref(cx, id);
        Ok(())
    }

    pub(crate) fn drop_user(&mut self, cx: &mut Cx<'_>, space: SpaceId, object: ObjectId) {
        let Ok(target) = self.objects.get_mut(object) else { return };
        if target.users.remove(&space) {
            self.drop_ref(cx, object);
        }
    }

    /// Drops one reference; the last one frees the object, or gives it back to its home.
    pub(crate) fn drop_ref(&mut self, cx: &mut Cx<'_>, id: ObjectId) {
        let Ok(target) = self.objects.get_mut(id) else { return };
        target.refs -= 1;
        if target.refs > 0 {
            return;
        }
        let shared = matches!(target.store, Store::Pages { .. }) && !target.orphan;
        if shared && target.role != Role::Home {
            // Whether others refer to it shows when all have reported.
            if !is_home(cx, id) {
                self.leave_object(cx, id);
            }
            return;
        }
        self.free_object(id);
    }

    /// Frees an object with its pages. Nothing maps it.
    pub(crate) fn free_object(&mut self, id: ObjectId) {
        let Some(object) = self.objects.map.remove(&id) else { return };
        match object.store {
            Store::Root { first, .. } => {
                if self.objects.roots.get(&first) == Some(&id) {
                    self.objects.roots.remove(&first);
                }
            }
            Store::Pages { mut pages, .. } => pages.for_each(0..OBJECT_PAGES_MAX, |_, entry| {
                if let Some((frame, _)) = entry.page.take() {
                    self.frames.release(frame);
                }
            }),
            Store::Private(_) => {}
            Store::Left(left) => left.free(&mut self.frames),
        }
    }

    pub(crate) fn thread_create(
        &mut self,
        client: ServerId,
        op: ThreadCreate,
    ) -> Result<ThreadCreated, Errno> {
        let hard = self.spaces.get(op.space)?.hard;
        let slot = self.frames.machine.create_thread(client, hard)?;
        self.frames.hold_space(hard);
        let before = self.threads.insert((client, slot), hard);
        assert!(before.is_none(), "the machine gives a slot out once");
        Ok(ThreadCreated { slot })
    }

    pub(crate) fn thread_release(&mut self, client: ServerId, slot: u64) -> Result<(), Errno> {
        let hard = self.threads.remove(&(client, slot)).ok_or(Errno::ESRCH)?;
        self.frames.machine.release_thread(client, slot);
        self.frames.drop_space(hard);
        Ok(())
    }

    pub(crate) fn figures(&self) -> MemoryFigures {
        let machine = self.frames.machine.figures();
        let cached: u64 = self.objects.map.values().map(object_pages).sum();
        MemoryFigures {
            total: machine.total_bytes,
            free: machine.free_bytes,
            cached: cached * PAGE,
            kernel: machine.kernel_bytes,
            pooled: machine.pooled_bytes,
            spaces: self.spaces.len() as u64,
            objects: self.objects.map.len() as u64,
            slots: machine.slots,
            threads: self.threads.len() as u64,
        }
    }
}

/// Gives the child all pages of the parent, and takes from both the right to write to them: whole
/// page tables at a time where that is cheaper.
fn share<M: Machine>(frames: &mut Frames<M>, parent: &mut Space, child: &mut Space) {
    let mut tables: Vec<(u64, u32)> = Vec::new();
    parent.pages.for_each(0..PAGE_TOP, |page, entry| {
        if entry.mapping.is_some_and(|mapping| mapping.writable) {
            match tables.last_mut() {
                Some((table, count)) if *table == page / TABLE_PAGES => *count += 1,
                Some(_) | None => tables.push((page / TABLE_PAGES, 1)),
            }
        }
        let Some((frame, _)) = entry.page else { return };
        frames.share(frame);
        child.pages.set(page, Entry { page: Some((frame, Hold::Only)), mapping: None });
    });
    let hard = parent.hard;
    for (table, count) in tables {
        let whole = count >= PROTECT_TABLE_FROM;
        if whole {
            frames.machine.protect_table(hard, table * TABLE_PAGES * PAGE);
        }
        parent.pages.for_each(table * TABLE_PAGES..(table + 1) * TABLE_PAGES, |page, entry| {
            let Some(mapping) = &mut entry.mapping else { return };
            // Shared memory stays writable, where its right was not taken with the table's.
            if !mapping.writable || !whole && entry.page.is_none() {
                return;
            }
            if !whole {
                frames.machine.protect(hard, page * PAGE, mapping.handle, false);
            }
            mapping.writable = false;
        });
    }
}

fn object_pages(object: &crate::object::Object) -> u64 {
    match &object.store {
        Store::Pages { pages, .. } => pages.held(),
        Store::Root { .. } | Store::Private(_) | Store::Left(_) => 0,
    }
}

/// An area as messages name it.
pub(crate) fn region(start: u64, area: &crate::areas::Area) -> Region {
    let backing = match area.source {
        crate::areas::Source::Anonymous => Backing::Anonymous,
        crate::areas::Source::Object { object, first } => {
            Backing::Object { object, offset: first * PAGE }
        }
    };
    Region {
        start: start * PAGE,
        end: area.end * PAGE,
        protection: area.protection,
        backing,
        shared: area.shared,
        grows_down: area.grows_down,
    }
}
