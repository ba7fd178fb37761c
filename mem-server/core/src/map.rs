// SPDX-License-Identifier: MIT OR Apache-2.0
//! mmap, munmap, mprotect, mremap.

use crate::MemCore;
use crate::areas::{Area, Source};
use crate::frames::Frames;
use crate::limits::{
    AREA_BYTES, AREAS_MAX, HEAP_RESERVE_BYTES, OBJECT_PAGES_MAX, PAGE, PAGE_MIN, PAGE_TOP,
};
use crate::machine::Machine;
use crate::object::Store;
use crate::pages::Pages;
use crate::space::Space;
use abi::{Errno, ObjectId, SpaceId};
use alloc::vec::Vec;
use core::ops::Range;
use mem_api::{Backing, Map, Mapped, Protect, Protection, Remap, Unmap};
use runtime::Cx;

/// The pages of a byte range whose start must be aligned; EINVAL, ENOMEM.
fn page_range(addr: u64, len: u64) -> Result<Range<u64>, Errno> {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let end = addr.checked_add(len).ok_or(Errno::ENOMEM)?.div_ceil(PAGE);
    if end > PAGE_TOP { Err(Errno::ENOMEM) } else { Ok(addr / PAGE..end) }
}

/// Unmaps and frees everything in the range of a space's pages.
pub(crate) fn clear<M: Machine>(frames: &mut Frames<M>, space: &mut Space, range: Range<u64>) {
    let hard = space.hard;
    space.pages.for_each(range, |page, entry| {
        if let Some(mapping) = entry.mapping.take() {
            frames.machine.unmap(hard, page * PAGE, mapping.handle);
        }
        if let Some((frame, _)) = entry.page.take() {
            frames.release(frame);
        }
    });
}

impl<M: Machine> MemCore<M> {
    pub(crate) fn map(&mut self, cx: &mut Cx<'_>, op: Map) -> Result<Mapped, Errno> {
        if op.len == 0 {
            return Err(Errno::EINVAL);
        }
        // A mapping in the middle of another splits it.
        self.room_for_areas(cx, op.space, 2)?;
        let range = self.place(&op)?;
        let source = self.source(cx, &op, range.end - range.start)?;
        let Map { protection, shared, grows_down, .. } = op;
        let area = Area { end: range.end, protection, source, shared, grows_down };
        // What is replaced may hold the last other reference to the object.
        if let Some(object) = area.object() {
            self.objects.get_mut(object)?.refs += 1;
        }
        if op.fixed {
            self.unmap_pages(cx, op.space, range.clone())?;
        }
        self.add_area(op.space, range.start, area)?;
        if let Some(object) = area.object() {
            self.drop_ref(cx, object);
        }
        Ok(Mapped { addr: range.start * PAGE })
    }

    /// ENOMEM where a space has no room for so many areas more, or the heap none for any.
    pub(crate) fn room_for_areas(
        &self,
        cx: &Cx<'_>,
        space: SpaceId,
        more: usize,
    ) -> Result<(), Errno> {
        let full = self.spaces.get(space)?.areas.len() + more > AREAS_MAX;
        let left = cx.heap_left().saturating_sub(more * AREA_BYTES);
        if full || left < HEAP_RESERVE_BYTES { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Where the mapping goes. Nothing is changed yet.
    fn place(&self, op: &Map) -> Result<Range<u64>, Errno> {
        let areas = &self.spaces.get(op.space)?.areas;
        if op.fixed || op.no_replace {
            let range = page_range(op.addr, op.len)?;
            if range.start < PAGE_MIN {
                return Err(Errno::EPERM);
            }
            if op.no_replace && !areas.is_free(&range) {
                return Err(Errno::EEXIST);
            }
            return Ok(range);
        }
        let hint = page_range(op.addr / PAGE * PAGE, op.len);
        if let Ok(range) = hint
            && range.start >= PAGE_MIN
            && areas.is_free(&range)
        {
            return Ok(range);
        }
        let pages = op.len.div_ceil(PAGE);
        if pages > PAGE_TOP {
            return Err(Errno::ENOMEM);
        }
        areas.place(pages).ok_or(Errno::ENOMEM)
    }

    fn source(&mut self, cx: &mut Cx<'_>, op: &Map, pages: u64) -> Result<Source, Errno> {
        match op.backing {
            Backing::Anonymous if !op.shared => Ok(Source::Anonymous),
            Backing::Anonymous => {
                let store = Store::Pages { pages: Pages::default(), len: pages * PAGE };
                let object = self.objects.create(cx, store, None)?;
                Ok(Source::Object { object, first: 0 })
            }
            Backing::Object { object, offset } => {
                let first = offset / PAGE;
                let end = first.checked_add(pages).ok_or(Errno::EOVERFLOW)?;
                if !offset.is_multiple_of(PAGE) {
                    return Err(Errno::EINVAL);
                }
                if end > OBJECT_PAGES_MAX {
                    return Err(Errno::EOVERFLOW);
                }
                let target = self.objects.get(object)?;
                match target.store {
                    Store::Root { .. } if op.shared && op.protection.write => Err(Errno::EACCES),
                    Store::Root { .. } | Store::Pages { .. } => {
                        Ok(Source::Object { object, first })
                    }
                    Store::Private(_) | Store::Left(_) => Err(Errno::ESTALE),
                }
            }
        }
    }

    /// Adds an area; the space refers to its object from now on.
    pub(crate) fn add_area(&mut self, id: SpaceId, start: u64, area: Area) -> Result<(), Errno> {
        let space = self.spaces.get_mut(id)?;
        space.areas.insert(start, area);
        if let Some(object) = area.object() {
            self.add_user(id, object)?;
        }
        Ok(())
    }

    pub(crate) fn add_user(&mut self, id: SpaceId, object: ObjectId) -> Result<(), Errno> {
        let target = self.objects.get_mut(object)?;
        if target.users.insert(id) {
            target.refs += 1;
        }
        Ok(())
    }

    pub(crate) fn unmap(&mut self, cx: &mut Cx<'_>, op: Unmap) -> Result<(), Errno> {
        let range = page_range(op.addr, op.len).map_err(|_| Errno::EINVAL)?;
        if op.len == 0 {
            return Err(Errno::EINVAL);
        }
        // A hole in the middle of an area makes two of it. What only gets shorter or goes needs no room.
        let areas = &self.spaces.get(op.space)?.areas;
        let before = range.start.checked_sub(1).and_then(|page| areas.find(page));
        if before.is_some_and(|(_, area)| area.end > range.end) {
            self.room_for_areas(cx, op.space, 1)?;
        }
        self.unmap_pages(cx, op.space, range)
    }

    /// Removes the areas, pages and mappings of a range.
    pub(crate) fn unmap_pages(
        &mut self,
        cx: &mut Cx<'_>,
        id: SpaceId,
        range: Range<u64>,
    ) -> Result<(), Errno> {
        let mut left = range;
        while !left.is_empty() {
            let space = self.spaces.get_mut(id)?;
            let part = space.areas.part(&left);
            left.start = part.end;
            let removed = space.areas.cut(&part);
            clear(&mut self.frames, space, part.clone());
            if let Some(moving) = &mut space.moving {
                moving.forget(part, &mut self.fetches);
            }
            self.drop_unused(cx, id, &removed);
        }
        self.check_moved(cx, id);
        Ok(())
    }

    /// Drops the space's references to objects that it maps no more.
    fn drop_unused(&mut self, cx: &mut Cx<'_>, id: SpaceId, removed: &[(u64, Area)]) {
        let mut gone: Vec<ObjectId> =
            removed.iter().filter_map(|(_, area)| area.object()).collect();
        gone.sort_unstable();
        gone.dedup();
        for object in gone {
            let used = self.spaces.get(id).is_ok_and(|space| space.areas.uses(object));
            if !used {
                self.drop_user(cx, id, object);
            }
        }
    }

    pub(crate) fn protect(&mut self, cx: &Cx<'_>, op: Protect) -> Result<(), Errno> {
        let range = page_range(op.addr, op.len)?;
        if range.is_empty() {
            return self.spaces.get(op.space).map(|_| ());
        }
        self.room_for_areas(cx, op.space, 2)?;
        let space = self.spaces.get_mut(op.space)?;
        if !space.areas.covers(&range) {
            return Err(Errno::ENOMEM);
        }
        if op.protection.write {
            for (_, area) in space.areas.overlapping(&range).filter(|(_, area)| area.shared) {
                let object = area.object().ok_or(Errno::EACCES)?;
                if matches!(self.objects.get(object)?.store, Store::Root { .. }) {
                    return Err(Errno::EACCES);
                }
            }
        }
        let mut left = range.clone();
        while !left.is_empty() {
            let part = space.areas.part(&left);
            left.start = part.end;
            for (start, area) in space.areas.cut(&part) {
                space.areas.insert(start, Area { protection: op.protection, ..area });
            }
        }
        restrict(&mut self.frames, space, range, op.protection);
        Ok(())
    }

    pub(crate) fn remap(&mut self, cx: &mut Cx<'_>, op: Remap) -> Result<Mapped, Errno> {
        let old = page_range(op.addr, op.len).map_err(|_| Errno::EINVAL)?;
        let new_pages = op.new_len.div_ceil(PAGE);
        if old.is_empty() || new_pages == 0 || new_pages > PAGE_TOP {
            return Err(Errno::EINVAL);
        }
        let old_pages = old.end - old.start;
        let areas = &self.spaces.get(op.space)?.areas;
        if !areas.covers(&old) {
            return Err(Errno::EFAULT);
        }
        if op.fixed.is_some() || new_pages > old_pages {
            self.room_for_areas(cx, op.space, 2)?;
        }
        let areas = &self.spaces.get(op.space)?.areas;
        if let Some(addr) = op.fixed {
            let new = page_range(addr, op.new_len).map_err(|_| Errno::EINVAL)?;
            let overlap = new.start < old.end && old.start < new.end;
            if !op.may_move || overlap || new.start < PAGE_MIN {
                return Err(Errno::EINVAL);
            }
            self.relocate(cx, op.space, old, new.clone())?;
            return Ok(Mapped { addr });
        }
        if new_pages <= old_pages {
            self.unmap_pages(cx, op.space, old.start + new_pages..old.end)?;
            return Ok(Mapped { addr: op.addr });
        }
        let (start, area) = single(areas.find(old.start), &old)?;
        let wanted = old.end..old.start + new_pages;
        if area.end == old.end && wanted.end <= PAGE_TOP && areas.is_free(&wanted) {
            let rest = area.part(start, &wanted);
            self.add_area(op.space, wanted.start, rest)?;
            return Ok(Mapped { addr: op.addr });
        }
        if !op.may_move {
            return Err(Errno::ENOMEM);
        }
        let new = areas.place(new_pages).ok_or(Errno::ENOMEM)?;
        self.relocate(cx, op.space, old, new.clone())?;
        Ok(Mapped { addr: new.start * PAGE })
    }

    /// Moves one area's range with its pages to another place, which may be longer or shorter.
    fn relocate(
        &mut self,
        cx: &mut Cx<'_>,
        id: SpaceId,
        old: Range<u64>,
        new: Range<u64>,
    ) -> Result<(), Errno> {
        let space = self.spaces.get_mut(id)?;
        let (start, area) = single(space.areas.find(old.start), &old)?;
        if space.areas.len() + 4 > AREAS_MAX {
            return Err(Errno::ENOMEM);
        }
        if let Some(moving) = &space.moving
            && let Some(page) = moving.first_elsewhere(&old, &self.fetches)
        {
            let miss = moving.miss(page);
            return Err(self.note_absent(id, miss));
        }
        self.unmap_pages(cx, id, new.clone())?;
        let kept = old.start..old.end.min(old.start + (new.end - new.start));
        let space = self.spaces.get_mut(id)?;
        let (hard, mut taken) = (space.hard, Vec::new());
        space.pages.for_each(kept, |page, entry| {
            if let Some(mapping) = entry.mapping.take() {
                self.frames.machine.unmap(hard, page * PAGE, mapping.handle);
            }
            taken.extend(entry.page.take().map(|held| (page - old.start, held)));
        });
        for (at, held) in taken {
            let entry = crate::pages::Entry { page: Some(held), mapping: None };
            space.pages.set(new.start + at, entry);
        }
        let moved = area.part(start, &(old.start..old.start + (new.end - new.start)));
        self.add_area(id, new.start, Area { end: new.end, ..moved })?;
        self.unmap_pages(cx, id, old)
    }
}

/// mremap(2) works on one mapping.
fn single(found: Option<(u64, Area)>, range: &Range<u64>) -> Result<(u64, Area), Errno> {
    found.filter(|(_, area)| range.end <= area.end).ok_or(Errno::EFAULT)
}

/// Takes from the hardware mappings what the new protection forbids; what it allows comes with the
/// next fault.
fn restrict<M: Machine>(
    frames: &mut Frames<M>,
    space: &mut Space,
    range: Range<u64>,
    protection: Protection,
) {
    let hard = space.hard;
    let none = !(protection.read || protection.write || protection.execute);
    if protection.write {
        return;
    }
    space.pages.for_each(range, |page, entry| {
        let Some(mapping) = &mut entry.mapping else { return };
        if none {
            frames.machine.unmap(hard, page * PAGE, mapping.handle);
            entry.mapping = None;
        } else if mapping.writable {
            frames.machine.protect(hard, page * PAGE, mapping.handle, false);
            mapping.writable = false;
        }
    });
}
