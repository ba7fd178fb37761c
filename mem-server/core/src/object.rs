// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory objects, and the table of them.

use crate::directory::Directory;
use crate::frames::Frames;
use crate::handover::Left;
use crate::limits::{OBJECT_PAGES_MAX, OBJECTS_MAX, PAGE};
use crate::machine::{FrameNo, Machine};
use crate::pages::{Entry, Hold, Pages};
use crate::resolve::{Miss, Wanted};
use abi::{Errno, NodeId, ObjectId, SlotNo, SpaceId};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use mem_api::Access;
use runtime::Cx;
use runtime::collections::HashMap;

/// Where an object's pages are.
pub(crate) enum Store {
    /// In the root file system's data: every node has them, nobody writes them.
    Root {
        /// First page in the data.
        first: u64,
        /// Bytes.
        len: u64,
    },
    /// In this table; those missing are zeroes, or rest on another node.
    Pages {
        /// What this node holds.
        pages: Pages,
        /// Bytes; where this node is not the home, the home checks it.
        len: u64,
    },
    /// In a space that moved here: the private object of a space whose pages rest elsewhere.
    Private(SpaceId),
    /// Left behind by a space that moved away.
    Left(Box<Left>),
}

/// What this node is to an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Another node is its home; or this one has become that and knows nothing of it yet.
    Holder,
    /// Its home, which is asking all members what they hold of it. What it knew before stands in the directory.
    Asking,
    /// Its home.
    Home,
}

/// One object as this node knows it.
pub(crate) struct Object {
    pub(crate) store: Store,
    /// References: of clients, of spaces that map it and, at its home, of other nodes.
    pub(crate) refs: u64,
    /// Of a remote object: how many references the home counts for this node.
    pub(crate) grants: u64,
    /// No reference is left here, and the home was asked to take back the pages owned here.
    pub(crate) leaving: bool,
    /// Nobody is its home: mem-server died there, or [`Self::given`]. What is here can be used in the way in
    /// which it is here, as nobody will ever take it away; the rest is lost.
    pub(crate) orphan: bool,
    /// An orphan because its slot was given away while one client of this node alone used it: nothing is lost.
    pub(crate) given: bool,
    /// Spaces that map it.
    pub(crate) users: BTreeSet<SpaceId>,
    pub(crate) role: Role,
    /// At the home: which nodes hold its pages.
    pub(crate) directory: Directory,
}

impl Object {
    pub(crate) fn new(store: Store, role: Role) -> Self {
        Self {
            store,
            role,
            refs: 0,
            grants: 0,
            leaving: false,
            orphan: false,
            given: false,
            users: BTreeSet::new(),
            directory: Directory::default(),
        }
    }
}

/// All objects of the node but the private ones of spaces that never moved.
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) map: HashMap<ObjectId, Object>,
    /// The local object for a file of the root file system, by its first page there.
    pub(crate) roots: HashMap<u64, ObjectId>,
    /// How many this node has made.
    made: u64,
}

impl Objects {
    /// The object; ESTALE for an id that is not one, or not any more.
    pub(crate) fn get(&self, id: ObjectId) -> Result<&Object, Errno> {
        self.map.get(&id).ok_or(Errno::ESTALE)
    }

    pub(crate) fn get_mut(&mut self, id: ObjectId) -> Result<&mut Object, Errno> {
        self.map.get_mut(&id).ok_or(Errno::ESTALE)
    }

    /// Adds an object in a slot of this node, in this one if it may be.
    pub(crate) fn create(
        &mut self,
        cx: &Cx<'_>,
        store: Store,
        wanted: Option<SlotNo>,
    ) -> Result<ObjectId, Errno> {
        if self.map.len() >= OBJECTS_MAX {
            return Err(Errno::ENFILE);
        }
        let any = cx.slot_for_new().ok_or(Errno::ENODEV)?;
        let slot = wanted.filter(|slot| is_usable(cx, *slot)).unwrap_or(any);
        let id = self.new_id(cx, slot)?;
        self.map.insert(id, Object::new(store, Role::Home));
        Ok(id)
    }

    fn new_id(&mut self, cx: &Cx<'_>, slot: SlotNo) -> Result<ObjectId, Errno> {
        self.made += 1;
        let serial = cx.view().slot(slot).serial(self.made).ok_or(Errno::ENFILE)?;
        ObjectId::new(slot, serial).ok_or(Errno::ENFILE)
    }

    /// Gives an object, whole and of this node alone, an id in another slot.
    pub(crate) fn rename(
        &mut self,
        cx: &Cx<'_>,
        object: ObjectId,
        slot: SlotNo,
    ) -> Result<ObjectId, Errno> {
        if !is_usable(cx, slot) {
            return Err(Errno::EINVAL);
        }
        let id = self.new_id(cx, slot)?;
        let mut it = self.map.remove(&object).ok_or(Errno::ESTALE)?;
        (it.orphan, it.given, it.role) = (false, false, Role::Home);
        self.map.insert(id, it);
        Ok(id)
    }

    /// Adds what this node knows of another home's object.
    pub(crate) fn adopt(&mut self, id: ObjectId, store: Store) -> Result<&mut Object, Errno> {
        if self.map.len() >= OBJECTS_MAX && !self.map.contains_key(&id) {
            return Err(Errno::ENFILE);
        }
        Ok(self.map.entry(id).or_insert_with(|| Object::new(store, Role::Holder)))
    }
}

/// Whether this node may make something in the slot now.
fn is_usable(cx: &Cx<'_>, slot: SlotNo) -> bool {
    cx.view().home(slot) == cx.node() && !cx.is_frozen(slot)
}

/// The home of an object.
pub(crate) fn home(cx: &Cx<'_>, object: ObjectId) -> NodeId {
    cx.view().home(object.slot())
}

/// Whether this node is the home of the object's slot, whatever it knows of the object.
pub(crate) fn is_home(cx: &Cx<'_>, object: ObjectId) -> bool {
    home(cx, object) == cx.node()
}

/// Whether a home of the object has left without giving its slot away: of an object that nobody has reported
/// since, nothing is left.
pub(crate) fn is_broken(cx: &Cx<'_>, object: ObjectId) -> bool {
    cx.view().has_broken(object.slot(), object.serial())
}

impl Object {
    /// Bytes of the object.
    pub(crate) fn len(&self) -> u64 {
        match &self.store {
            Store::Root { len, .. } | Store::Pages { len, .. } => *len,
            Store::Private(_) | Store::Left(_) => 0,
        }
    }

    /// The frame with a page of the object for this access, and whether it may be mapped writable.
    pub(crate) fn page<M: Machine>(
        &mut self,
        frames: &mut Frames<M>,
        wanted: Wanted,
    ) -> Result<(FrameNo, bool), Miss> {
        let Wanted { page, access, .. } = wanted;
        let orphan = self.orphan;
        match &mut self.store {
            Store::Root { .. } if access == Access::Write => Err(Miss::Error(Errno::EACCES)),
            Store::Root { first, len } => {
                let inside = page < len.div_ceil(PAGE);
                let frame = inside.then(|| frames.machine.root_frame(*first + page)).flatten();
                Ok((frame.ok_or(Miss::Error(Errno::EIO))?, false))
            }
            Store::Pages { pages, len } => {
                if page >= len.div_ceil(PAGE) {
                    return Err(Miss::Error(Errno::EIO));
                }
                let unknown = self.role == Role::Home && self.directory.owned_here(page);
                match pages.get(page).page {
                    Some((frame, Hold::Only)) => Ok((frame, true)),
                    Some((frame, Hold::Owner | Hold::Copy)) if access == Access::Read => {
                        Ok((frame, false))
                    }
                    _ if orphan => Err(Miss::Error(Errno::EIO)),
                    None if unknown && self.directory.broken => Err(Miss::Error(Errno::EIO)),
                    None if unknown => {
                        let frame = frames.allocate().map_err(Miss::Error)?;
                        pages.set(page, Entry { page: Some((frame, Hold::Only)), mapping: None });
                        Ok((frame, true))
                    }
                    Some(_) | None => Err(Miss::Away(wanted)),
                }
            }
            Store::Private(_) | Store::Left(_) => Err(Miss::Error(Errno::ESTALE)),
        }
    }

    /// The frame to read a page from; `None` where the object holds a page of zeroes that was never
    /// touched.
    pub(crate) fn peek<M: Machine>(
        &mut self,
        frames: &mut Frames<M>,
        wanted: Wanted,
    ) -> Result<Option<FrameNo>, Miss> {
        if let Store::Pages { pages, len } = &self.store {
            let beyond = wanted.page >= len.div_ceil(PAGE);
            let known = self.role == Role::Home && !self.directory.broken && !self.orphan;
            let never = known && self.directory.owned_here(wanted.page);
            if beyond || never && pages.get(wanted.page).page.is_none() {
                return Ok(None);
            }
        }
        self.page(frames, wanted).map(|(frame, _)| Some(frame))
    }

    /// Undoes [`Self::extend`]: nothing was written behind `end`. Pages of zeroes may stay there.
    pub(crate) fn shorten(&mut self, end: u64) {
        if let Store::Pages { len, .. } = &mut self.store {
            *len = end;
        }
    }

    /// Makes the object at least `end` bytes long, before a write.
    pub(crate) fn extend(&mut self, end: u64) -> Result<(), Errno> {
        match &mut self.store {
            Store::Root { .. } => Err(Errno::EACCES),
            Store::Pages { len, .. } => {
                if end.div_ceil(PAGE) > OBJECT_PAGES_MAX {
                    return Err(Errno::EFBIG);
                }
                *len = (*len).max(end);
                Ok(())
            }
            Store::Private(_) | Store::Left(_) => Err(Errno::ESTALE),
        }
    }
}
