// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the journal says of the tree, and what of that it has not said yet.
//!
//! # Model
//! As to a backup ([`replicate`](crate::replicate)): records say what is. Inodes are said before names, so that a name
//! leads to something whenever it is taken in. When a journal begins anew all is said, in ascending order: first the
//! inodes, some at a time, then the names.

use crate::extras::Extras;
use crate::inode::{Body, Entry, Meta};
use crate::limits::{SAID_AT_ONCE, SAID_ROOM_MAX, UNSAID_NAMES_MAX};
use crate::lower::Lower;
use crate::tree::{Shape, Tree};
use abi::{Errno, InodeId, SlotNo};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;
use serde::{Deserialize, Serialize};

/// A record. The order of variants is that of their numbers on disks.
#[derive(Serialize, Deserialize)]
pub(super) enum Record {
    /// Of which cluster this is, and over which image: its directories have numbers.
    Of {
        cluster: u64,
        image: u64,
    },
    /// The node has had all of a slot since one of these epochs, as its rows said.
    Slot {
        slot: u16,
        had: [u64; 2],
    },
    /// It has it no more.
    NoSlot(u16),
    Inode(SavedInode),
    Gone(InodeId),
    Name {
        dir: InodeId,
        name: String,
        entry: Option<Entry>,
    },
}

/// An inode; `room` are the pages that it may take, or some of them: those on the disk come with their places.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedInode {
    id: InodeId,
    meta: Meta,
    links: u32,
    shape: Shape,
    extras: Extras,
    room: Vec<(u64, u64)>,
}

impl SavedInode {
    pub(super) fn id(&self) -> InodeId {
        self.id
    }
}

/// Since when the node has had slots, as it says on its disk.
pub(super) type Marks = BTreeMap<SlotNo, [u64; 2]>;

#[derive(Default)]
enum All {
    /// Nothing is to be said again.
    #[default]
    Done,
    Inodes,
    Names(Option<(InodeId, String)>),
}

/// What the journal has not been told.
#[derive(Default)]
pub(super) struct Unsaid {
    pub(super) of: Option<(u64, u64)>,
    pub(super) slots: BTreeSet<SlotNo>,
    pub(super) inodes: BTreeSet<InodeId>,
    names: BTreeSet<(InodeId, String)>,
    all: All,
    /// Some of those that are said in order, and the last one before them.
    some: VecDeque<InodeId>,
    last: Option<InodeId>,
    /// There was more than can be kept: the journal must begin anew.
    pub(super) too_much: bool,
}

impl Unsaid {
    /// Whether there is anything.
    pub(super) fn any(&self) -> bool {
        let all = !matches!(self.all, All::Done) || self.too_much;
        self.of.is_some()
            || all
            || !self.slots.is_empty()
            || !self.inodes.is_empty()
            || !self.names.is_empty()
    }

    /// A name changed.
    pub(super) fn name(&mut self, dir: InodeId, name: String) {
        if self.names.len() + self.inodes.len() >= UNSAID_NAMES_MAX {
            (self.names, self.too_much) = (BTreeSet::new(), true);
        }
        if !self.too_much {
            self.names.insert((dir, name));
        }
    }

    /// An inode changed, came or went.
    pub(super) fn inode(&mut self, id: InodeId) {
        if self.names.len() + self.inodes.len() >= UNSAID_NAMES_MAX {
            (self.inodes, self.too_much) = (BTreeSet::new(), true);
        }
        if !self.too_much {
            self.inodes.insert(id);
        }
    }

    /// All is to be said, of a journal that has nothing.
    pub(super) fn all_again(&mut self, of: (u64, u64), marks: &Marks) {
        *self = Self { of: Some(of), all: All::Inodes, ..Self::default() };
        self.slots.extend(marks.keys());
    }

    /// The next record.
    pub(super) fn next(&mut self, tree: &Tree, marks: &Marks) -> Option<Record> {
        if let Some((cluster, image)) = self.of.take() {
            return Some(Record::Of { cluster, image });
        }
        if let Some(slot) = self.slots.pop_first() {
            let number = slot.index() as u16;
            let had = marks.get(&slot).map(|had| Record::Slot { slot: number, had: *had });
            return Some(had.unwrap_or(Record::NoSlot(number)));
        }
        if let Some(id) = self.inodes.pop_first() {
            return Some(save(tree, id).map_or(Record::Gone(id), Record::Inode));
        }
        if matches!(self.all, All::Inodes)
            && let Some(saved) = self.next_of_all(tree, |_| true).and_then(|id| save(tree, id))
        {
            return Some(Record::Inode(saved));
        }
        if matches!(self.all, All::Inodes) {
            (self.all, self.last) = (All::Names(None), None);
        }
        while let Some((dir, name)) = self.names.pop_first() {
            // Of one that is gone its end says all.
            if tree.inode(dir).is_ok() {
                let entry = tree.entry(dir, &name);
                return Some(Record::Name { dir, name, entry });
            }
        }
        self.next_name(tree)
    }

    fn next_name(&mut self, tree: &Tree) -> Option<Record> {
        while let All::Names(at) = &mut self.all {
            if let Some((dir, name)) = at
                && let Some((next, entry)) = tree.entry_after(*dir, name)
            {
                let (dir, next) = (*dir, String::from(next));
                *name = next.clone();
                return Some(Record::Name { dir, name: next, entry: Some(entry) });
            }
            let is_folder = |body: &Body| matches!(body, Body::Directory(_));
            match self.next_of_all(tree, is_folder) {
                Some(dir) => self.all = All::Names(Some((dir, String::new()))),
                None => self.all = All::Done,
            }
        }
        None
    }

    /// The inode after the last one of those that are wanted.
    fn next_of_all(&mut self, tree: &Tree, wanted: impl Fn(&Body) -> bool) -> Option<InodeId> {
        loop {
            if let Some(id) = self.some.pop_front() {
                self.last = Some(id);
                if tree.inode(id).is_ok() {
                    return Some(id);
                }
                continue;
            }
            self.some = tree.first_after(self.last, SAID_AT_ONCE, &wanted);
            if self.some.is_empty() {
                return None;
            }
        }
    }
}

fn save(tree: &Tree, id: InodeId) -> Option<SavedInode> {
    let (meta, links, shape) = tree.shape(id)?;
    let inode = tree.inode(id).ok()?;
    let room = match &inode.body {
        Body::File(file) => file.extents.ranges().take(SAID_ROOM_MAX).collect(),
        Body::Directory(_) | Body::Link(_) | Body::Special(_) => Vec::new(),
    };
    Some(SavedInode { id, meta, links, shape, extras: inode.extras.clone(), room })
}

impl Tree {
    /// Up to `most` inodes of some kind that follow this one, ascending: found by looking at all.
    fn first_after(
        &self,
        last: Option<InodeId>,
        most: usize,
        wanted: impl Fn(&Body) -> bool,
    ) -> VecDeque<InodeId> {
        let mut first = BTreeSet::new();
        for (id, inode) in self.all() {
            if Some(id) > last && wanted(&inode.body) {
                first.insert(id);
                if first.len() > most {
                    first.pop_last();
                }
            }
        }
        first.into_iter().collect()
    }

    /// The first name of a directory behind this one.
    fn entry_after(&self, dir: InodeId, name: &str) -> Option<(&str, Entry)> {
        let Body::Directory(folder) = &self.inode(dir).ok()?.body else { return None };
        let after = (Bound::Excluded(name), Bound::Unbounded);
        let (name, entry) = folder.entries.range::<str, _>(after).next()?;
        Some((name, *entry))
    }

    /// Takes in an inode that was found on the disk; nobody has it open.
    pub(super) fn found_inode(&mut self, saved: SavedInode) -> Result<(), Errno> {
        let SavedInode { id, meta, links, shape, extras, room } = saved;
        self.put_shape(id.slot(), (id, meta, links), shape)?;
        self.set_extras(id, extras)?;
        for (start, end) in room {
            // What is said twice counts once.
            self.copy_room(id, start..end.max(start), true)?;
        }
        Ok(())
    }

    /// The same for a name.
    pub(super) fn found_name(
        &mut self,
        dir: InodeId,
        name: String,
        entry: Option<Entry>,
    ) -> Result<(), Errno> {
        self.put_name(dir.slot(), (dir, name), entry)
    }

    /// Names and links agree after something was lost: names that lead nowhere are none, and inodes have as many
    /// links as names.
    pub(super) fn recount(&mut self) {
        let mut links: BTreeMap<InodeId, u32> = BTreeMap::new();
        for (_, inode) in self.all() {
            let Body::Directory(folder) = &inode.body else { continue };
            for entry in folder.entries.values() {
                if let Entry::Present { inode, .. } = entry {
                    *links.entry(*inode).or_default() += 1;
                }
            }
        }
        let ids: Vec<InodeId> = self.all().map(|(id, _)| id).collect();
        for id in ids.into_iter().filter(|id| !Lower::is_lower(*id)) {
            let named = links.get(&id).copied().unwrap_or(0);
            let Ok(inode) = self.inode_here(id) else { continue };
            inode.links = match &inode.body {
                Body::Directory(_) if named > 0 => inode.links.max(2),
                Body::Directory(_) | Body::File(_) | Body::Link(_) | Body::Special(_) => named,
            };
        }
    }
}
