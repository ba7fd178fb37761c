// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address spaces, and the table of them.
//!
//! # Model
//! A space is its areas (what is mapped where), its pages (the private object, whose page numbers are
//! the space's own, together with the hardware mappings) and, while pages of it rest on another node,
//! the state of its move.

use crate::areas::Areas;
use crate::limits::SPACES_MAX;
use crate::machine::HardSpace;
use crate::moving::Moving;
use crate::pages::Pages;
use crate::resolve::Wanted;
use abi::{Errno, SpaceId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use mem_api::MoveProgress;

/// One address space.
pub(crate) struct Space {
    pub(crate) hard: HardSpace,
    pub(crate) areas: Areas,
    pub(crate) pages: Pages,
    /// The page that made the last copy fail with ERESTART.
    pub(crate) wanted: Option<Wanted>,
    pub(crate) moving: Option<Box<Moving>>,
    /// How the pages of the move that brought it here came, once all are here.
    pub(crate) moved: MoveProgress,
    /// The description that is being exported in parts.
    pub(crate) description: Option<Vec<u8>>,
}

impl Space {
    pub(crate) fn new(hard: HardSpace) -> Self {
        Self {
            hard,
            areas: Areas::default(),
            pages: Pages::default(),
            wanted: None,
            moving: None,
            moved: MoveProgress { left: 0, on_demand: 0, prefetched: 0 },
            description: None,
        }
    }
}

/// All spaces of the node.
#[derive(Default)]
pub(crate) struct Spaces {
    rows: Vec<(u32, Option<Box<Space>>)>,
    free: Vec<u32>,
}

impl Spaces {
    pub(crate) fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    pub(crate) fn has_room(&self) -> Result<(), Errno> {
        if self.len() < SPACES_MAX { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    pub(crate) fn add(&mut self, space: Space) -> Result<SpaceId, Errno> {
        self.has_room()?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.rows.push((1, None));
            self.rows.len() as u32 - 1
        });
        let row = &mut self.rows[index as usize];
        row.1 = Some(Box::new(space));
        Ok(SpaceId { index, generation: row.0 })
    }

    pub(crate) fn remove(&mut self, id: SpaceId) -> Result<Box<Space>, Errno> {
        let row = self.rows.get_mut(id.index as usize).filter(|row| row.0 == id.generation);
        let row = row.ok_or(Errno::ESRCH)?;
        let space = row.1.take().ok_or(Errno::ESRCH)?;
        row.0 = row.0.wrapping_add(1);
        self.free.push(id.index);
        Ok(space)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Space> {
        self.rows.iter_mut().filter_map(|row| row.1.as_deref_mut())
    }

    pub(crate) fn iter_mut_with_id(&mut self) -> impl Iterator<Item = (SpaceId, &mut Space)> {
        (0..).zip(&mut self.rows).filter_map(|(index, (generation, space))| {
            Some((SpaceId { index, generation: *generation }, space.as_deref_mut()?))
        })
    }

    /// The space; ESRCH for an id that is not one, or not any more.
    pub(crate) fn get(&self, id: SpaceId) -> Result<&Space, Errno> {
        let row = self.rows.get(id.index as usize).filter(|row| row.0 == id.generation);
        row.and_then(|row| row.1.as_deref()).ok_or(Errno::ESRCH)
    }

    pub(crate) fn get_mut(&mut self, id: SpaceId) -> Result<&mut Space, Errno> {
        let row = self.rows.get_mut(id.index as usize).filter(|row| row.0 == id.generation);
        row.and_then(|row| row.1.as_deref_mut()).ok_or(Errno::ESRCH)
    }
}
