// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which frame stands behind an address: the one decision that page faults and copies share.

use crate::MemCore;
use crate::areas::{Area, Source};
use crate::frames::Frames;
use crate::limits::{PAGE, PAGE_TOP};
use crate::machine::{FrameNo, Machine};
use crate::pages::{Entry, Hold, Mapping};
use crate::space::Space;
use abi::{Errno, ObjectId, SpaceId};
use mem_api::Access;

/// A page that rests on another node, and what it is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) object: ObjectId,
    pub(crate) page: u64,
    pub(crate) access: Access,
}

/// Why there is no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Miss {
    /// There will be none.
    Error(Errno),
    /// It must be fetched first.
    Away(Wanted),
}

impl From<Errno> for Miss {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

/// The frame behind an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    pub(crate) frame: FrameNo,
    /// A mapping of it may be writable now.
    pub(crate) writable: bool,
}

impl<M: Machine> MemCore<M> {
    /// The frame behind a page of a space for this access.
    ///
    /// # Errors
    /// EFAULT: not mapped, or not permitted. EIO: beyond the object's end. ENOMEM.
    pub(crate) fn resolve(
        &mut self,
        id: SpaceId,
        page: u64,
        access: Access,
    ) -> Result<Found, Miss> {
        if page >= PAGE_TOP {
            return Err(Miss::Error(Errno::EFAULT));
        }
        let Self { spaces, frames, objects, fetches, .. } = self;
        let space = spaces.get_mut(id)?;
        let (start, area) = space.areas.find_or_grow(page).ok_or(Errno::EFAULT)?;
        permit(&area, access)?;
        let entry = space.pages.get(page);
        if let Some((frame, _)) = entry.page {
            return own(frames, space, (page, entry), frame, &area, access);
        }
        if let Some(moving) = &space.moving
            && moving.rests_elsewhere(page, fetches)
        {
            return Err(moving.miss(page));
        }
        let Source::Object { object, first } = area.source else {
            return anonymous(frames, space, (page, entry), access);
        };
        let target = objects.get_mut(object)?;
        let number = first + (page - start);
        if area.shared {
            let wanted = Wanted { object, page: number, access };
            let (frame, writable) = target.page(frames, wanted)?;
            return Ok(Found { frame, writable: writable && area.protection.write });
        }
        let wanted = Wanted { object, page: number, access: Access::Read };
        let (frame, _) = target.page(frames, wanted)?;
        match access {
            Access::Read => Ok(Found { frame, writable: false }),
            Access::Write => privatise(frames, space, (page, entry), frame),
        }
    }

    /// Maps what [`Self::resolve`] found.
    pub(crate) fn install(&mut self, id: SpaceId, page: u64, found: Found) -> Result<(), Errno> {
        let Space { hard, pages, .. } = self.spaces.get_mut(id)?;
        let (hard, machine) = (*hard, &mut self.frames.machine);
        pages.change(page, |entry| {
            entry.mapping = Some(match entry.mapping {
                // Another thread was faster.
                Some(mapping) if mapping.writable || !found.writable => mapping,
                Some(mapping) => {
                    machine.protect(hard, page * PAGE, mapping.handle, true);
                    Mapping { writable: true, ..mapping }
                }
                None => {
                    let handle = machine.map(hard, page * PAGE, found.frame, found.writable)?;
                    Mapping { handle, writable: found.writable }
                }
            });
            Ok(())
        })
    }
}

fn permit(area: &Area, access: Access) -> Result<(), Errno> {
    let rights = area.protection;
    let may = match access {
        Access::Read => rights.read || rights.write || rights.execute,
        Access::Write => rights.write,
    };
    if may { Ok(()) } else { Err(Errno::EFAULT) }
}

/// A page that the space owns: copied first if another space shares its frame.
fn own<M: Machine>(
    frames: &mut Frames<M>,
    space: &mut Space,
    at: (u64, Entry),
    frame: FrameNo,
    area: &Area,
    access: Access,
) -> Result<Found, Miss> {
    if !frames.is_shared(frame) {
        return Ok(Found { frame, writable: area.protection.write });
    }
    match access {
        Access::Read => Ok(Found { frame, writable: false }),
        Access::Write => {
            let found = privatise(frames, space, at, frame)?;
            frames.release(frame);
            Ok(found)
        }
    }
}

fn anonymous<M: Machine>(
    frames: &mut Frames<M>,
    space: &mut Space,
    at: (u64, Entry),
    access: Access,
) -> Result<Found, Miss> {
    let zero = frames.zero();
    match access {
        Access::Read => Ok(Found { frame: zero, writable: false }),
        Access::Write => privatise(frames, space, at, zero),
    }
}

/// Gives the space a copy of `frame` as its own page; what was mapped there, as its entry says, is
/// unmapped.
fn privatise<M: Machine>(
    frames: &mut Frames<M>,
    space: &mut Space,
    (page, before): (u64, Entry),
    frame: FrameNo,
) -> Result<Found, Miss> {
    let copy = frames.duplicate(frame)?;
    if let Some(mapping) = before.mapping {
        frames.machine.unmap(space.hard, page * PAGE, mapping.handle);
    }
    space.pages.set(page, Entry { page: Some((copy, Hold::Only)), mapping: None });
    Ok(Found { frame: copy, writable: true })
}
