// SPDX-License-Identifier: MIT OR Apache-2.0
//! Inodes on their way to another home of their slot.
//!
//! What comes is another node's word: a state that no tree can be in is refused.

use super::Tree;
use crate::extras::Extras;
use crate::inode::{Body, Entry, FileBody, Folder, Inode, Meta};
use crate::limits::{EXTRAS_BYTES_MAX, FILE_BYTES_MAX, INODES_MAX, LINKS_MAX, NAMES_MAX};
use crate::lower::{Lower, LowerKind};
use abi::limits::{NAME_BYTES, PAGE_BYTES, PATH_BYTES};
use abi::{Errno, InodeId, ObjectId, SlotNo};
use alloc::string::String;
use alloc::vec::Vec;
use fs_api::name::Special;
use fs_store::Extents;
use runtime::collections::{HashMap, HashSet};
use serde::{Deserialize, Serialize, Serializer};

/// An inode. How many names and open files it has follows from what comes with it.
#[derive(Serialize, Deserialize)]
pub struct SavedInode {
    id: InodeId,
    meta: Meta,
    body: SavedBody,
    extras: Extras,
}

#[derive(Serialize, Deserialize)]
enum SavedBody {
    File { size: u64, written: Vec<(u64, u64)>, mapped: bool, linkable: bool },
    Directory { links: u32, folder: SavedFolder },
    Link(String),
    Special(Special),
}

#[derive(Serialize, Deserialize)]
struct SavedFolder {
    parent: InodeId,
    entries: Vec<(String, Entry)>,
    next_cookie: u64,
    dead: bool,
}

impl SavedInode {
    /// The inode and its size, if it is a file with bytes.
    pub fn file_size(&self) -> Option<(InodeId, u64)> {
        match &self.body {
            SavedBody::File { size, .. } => (*size > 0).then_some((self.id, *size)),
            SavedBody::Directory { .. } | SavedBody::Link(_) | SavedBody::Special(_) => None,
        }
    }
}

/// The inodes of a slot, to be encoded in ascending order. One at a time is copied: all of them may be
/// more than what the heap has left.
pub struct SavedInodes<'a> {
    tree: &'a Tree,
    ids: Vec<InodeId>,
}

impl SavedInodes<'_> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl Serialize for SavedInodes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ids.iter().map(|id| save(*id, &self.tree.inodes[id])))
    }
}

/// A file whose bytes go along.
pub struct FileBytes {
    /// The inode.
    pub inode: InodeId,
    /// Where the bytes are here.
    pub object: ObjectId,
    /// How many: above 0.
    pub size: u64,
}

impl Tree {
    /// The inodes of a slot.
    pub fn saved(&self, slot: SlotNo) -> SavedInodes<'_> {
        let in_slot = self.inodes.keys().filter(|id| id.slot() == slot);
        let mut ids: Vec<InodeId> = in_slot.copied().collect();
        ids.sort_unstable();
        SavedInodes { tree: self, ids }
    }

    /// The files of a slot that have bytes, in no order.
    pub fn file_bytes(&self, slot: SlotNo) -> impl Iterator<Item = FileBytes> {
        let in_slot = self.inodes.iter().filter(move |(id, _)| id.slot() == slot);
        in_slot.filter_map(|(id, inode)| match &inode.body {
            Body::File(FileBody { object: Some(object), size, .. }) if *size > 0 => {
                Some(FileBytes { inode: *id, object: *object, size: *size })
            }
            Body::File(_) | Body::Directory(_) | Body::Link(_) | Body::Special(_) => None,
        })
    }

    /// Whether these can be the inodes of a slot that comes here, and there is room for them.
    ///
    /// # Errors
    /// EPROTO: they cannot. ENOSPC.
    pub fn check_saved(&self, slot: SlotNo, saved: &[SavedInode]) -> Result<(), Errno> {
        let ascending = saved.is_sorted_by(|a, b| a.id < b.id);
        let sound = ascending && saved.iter().all(|it| self.is_sound(slot, it, saved));
        if !sound || !ends_above(saved) {
            return Err(Errno::EPROTO);
        }
        let (mut names, mut pages) = (0, 0u64);
        for it in saved {
            match &it.body {
                SavedBody::File { written, .. } => {
                    pages += written.iter().map(|(start, end)| end - start).sum::<u64>();
                }
                SavedBody::Directory { folder, .. } => names += folder.entries.len(),
                SavedBody::Link(_) | SavedBody::Special(_) => {}
            }
        }
        let extras: usize = saved.iter().map(|it| it.extras.bytes()).sum();
        if self.extra_bytes + extras > EXTRAS_BYTES_MAX {
            return Err(Errno::ENOSPC);
        }
        let fits = self.inodes.len() + saved.len() <= INODES_MAX && self.names + names <= NAMES_MAX;
        if fits { self.room_for(pages) } else { Err(Errno::ENOSPC) }
    }

    fn is_sound(&self, slot: SlotNo, it: &SavedInode, all: &[SavedInode]) -> bool {
        let is_directory = |number| matches!(self.lower.node(number).kind, LowerKind::Directory(_));
        let lower = self.lower.number(it.id);
        let known = !Lower::is_lower(it.id) || lower.is_some_and(is_directory);
        let own = match &it.body {
            SavedBody::File { size, written, .. } => {
                // Room may be reserved beyond the end.
                let pages = FILE_BYTES_MAX / PAGE_BYTES as u64;
                let inside = |(start, end): &(u64, u64)| start < end && *end <= pages;
                let apart = written.is_sorted_by(|a, b| a.1 < b.0);
                lower.is_none() && *size <= FILE_BYTES_MAX && apart && written.iter().all(inside)
            }
            SavedBody::Link(target) => lower.is_none() && target.len() < PATH_BYTES,
            SavedBody::Special(_) => lower.is_none(),
            SavedBody::Directory { folder, .. } => {
                let mut names = HashSet::default();
                folder.entries.iter().all(|(name, entry)| {
                    let named = !name.is_empty() && name.len() <= NAME_BYTES && !name.contains('/');
                    named && names.insert(name) && entry_is_sound(folder, entry, all)
                })
            }
        };
        it.id.slot() == slot
            && known
            && own
            && it.extras.are_sound()
            && !self.inodes.contains_key(&it.id)
    }

    /// Takes in what was found sound, files with the objects that `object_of` says; no description counts
    /// yet.
    pub fn install(
        &mut self,
        saved: Vec<SavedInode>,
        object_of: impl Fn(InodeId) -> Option<ObjectId>,
    ) {
        let mut names: HashMap<InodeId, u32> = HashMap::default();
        for it in &saved {
            let SavedBody::Directory { folder, .. } = &it.body else { continue };
            for (_, entry) in &folder.entries {
                if let Entry::Present { inode, .. } = entry {
                    *names.entry(*inode).or_default() += 1;
                }
            }
        }
        for SavedInode { id, meta, body, extras } in saved {
            let named = names.get(&id).copied().unwrap_or(0);
            let (links, body) = self.installed(id, named, body, object_of(id));
            if Lower::is_lower(id) {
                self.overlaid.insert(id);
            }
            self.extra_bytes += extras.bytes();
            self.inodes.insert(id, Inode { meta, links, opens: 0, body, extras });
        }
    }

    fn installed(
        &mut self,
        id: InodeId,
        named: u32,
        body: SavedBody,
        object: Option<ObjectId>,
    ) -> (u32, Body) {
        match body {
            SavedBody::Link(target) => (named, Body::Link(target)),
            SavedBody::Special(special) => (named, Body::Special(special)),
            SavedBody::File { size, written, mapped, linkable } => {
                let mut extents = Extents::default();
                for (start, end) in written {
                    extents.add(start..end);
                }
                self.charge(extents.pages(), 0);
                (named, Body::File(FileBody { object, size, extents, mapped, linkable }))
            }
            SavedBody::Directory { links, folder } => {
                let SavedFolder { parent, entries, next_cookie, dead } = folder;
                self.names += entries.len();
                let lower = self.lower.number(id);
                let folder = Folder::restored((parent, lower), entries, next_cookie, dead);
                (links, Body::Directory(folder))
            }
        }
    }

    /// The slot is another home's now.
    pub fn forget_slot(&mut self, slot: SlotNo) {
        let gone: Vec<Inode> =
            self.inodes.extract_if(|id, _| id.slot() == slot).map(|(_, inode)| inode).collect();
        for inode in gone {
            self.extra_bytes -= inode.extras.bytes();
            match inode.body {
                Body::File(file) => {
                    self.charge(0, file.extents.pages());
                    self.freed_objects.extend(file.object);
                }
                Body::Directory(folder) => self.names -= folder.entries.len(),
                Body::Link(_) | Body::Special(_) => {}
            }
        }
    }

    /// The inodes that came and that neither a name nor an open file needs.
    pub fn free_unused_in(&mut self, slot: SlotNo) {
        let all: Vec<InodeId> =
            self.inodes.keys().filter(|id| id.slot() == slot).copied().collect();
        for id in all {
            self.free_unused(id);
        }
    }
}

fn save(id: InodeId, inode: &Inode) -> SavedInode {
    let body = match &inode.body {
        Body::File(file) => {
            let written = file.extents.ranges().collect();
            let (mapped, linkable) = (file.mapped, file.linkable);
            SavedBody::File { size: file.size, written, mapped, linkable }
        }
        Body::Link(target) => SavedBody::Link(target.clone()),
        Body::Special(special) => SavedBody::Special(*special),
        Body::Directory(folder) => {
            let entries = folder.entries.iter().map(|(name, entry)| (name.clone(), *entry));
            let folder = SavedFolder {
                parent: folder.parent,
                entries: entries.collect(),
                next_cookie: folder.next_cookie(),
                dead: folder.dead,
            };
            SavedBody::Directory { links: inode.links, folder }
        }
    };
    SavedInode { id, meta: inode.meta, body, extras: inode.extras.clone() }
}

fn find(all: &[SavedInode], id: InodeId) -> Option<&SavedInode> {
    let at = all.binary_search_by_key(&id, |it| it.id).ok()?;
    Some(&all[at])
}

fn entry_is_sound(folder: &SavedFolder, entry: &Entry, all: &[SavedInode]) -> bool {
    match entry {
        Entry::Whiteout => true,
        Entry::Present { inode, cookie } => {
            !Lower::is_lower(*inode) && *cookie <= folder.next_cookie && find(all, *inode).is_some()
        }
    }
}

/// Whether whoever climbs from any directory gets out of what came.
fn ends_above(all: &[SavedInode]) -> bool {
    let mut out: HashSet<InodeId> = HashSet::default();
    all.iter().all(|start| {
        let (mut way, mut at) = (Vec::new(), start.id);
        while !Lower::is_lower(at) && !out.contains(&at) {
            let Some(SavedInode { body: SavedBody::Directory { folder, .. }, .. }) = find(all, at)
            else {
                break;
            };
            if way.len() > all.len() {
                return false;
            }
            way.push(at);
            at = folder.parent;
        }
        out.extend(way);
        true
    })
}

const _: () = assert!(LINKS_MAX as usize <= NAMES_MAX, "names are what links are counted from");
