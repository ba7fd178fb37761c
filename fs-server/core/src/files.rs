// SPDX-License-Identifier: MIT OR Apache-2.0
//! Open file descriptions whose home is this node.

use crate::inode::{MAY_READ, MAY_WRITE};
use crate::limits::{FILES_MAX, TOUCHED_KEPT};
use crate::lower::{Lower, LowerKind, LowerNo};
use abi::linux::general::{O_ACCMODE, O_APPEND, O_NONBLOCK, O_PATH};
use abi::{Errno, FileId, InodeId, NodeId, SlotNo};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use cluster::Slot;
use fs_api::name::FileKind;
use runtime::collections::{HashMap, growth_bytes};
use serde::{Deserialize, Serialize, Serializer};

/// An open file description, open(2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// The file.
    pub inode: InodeId,
    /// What it is.
    pub kind: FileKind,
    /// Access mode and status flags.
    pub flags: u32,
    /// Offset; in a directory the cookie of the last entry that was read.
    pub position: u64,
    /// The inode counts it.
    pub kept: bool,
    /// How often each node holds it.
    holds: BTreeMap<NodeId, u32>,
    /// The backup has it. One that its home alone holds ends with it: the backup needs it not.
    copied: bool,
    /// Locks were asked for in its name where its inode has its home, which is another.
    pub locked: bool,
}

impl Description {
    /// Whether the access mode allows it.
    ///
    /// # Errors
    /// EBADF.
    pub fn check(&self, wanted: u32) -> Result<(), Errno> {
        let allowed = match self.flags & O_ACCMODE {
            _ if self.flags & O_PATH != 0 => 0,
            0 => MAY_READ,
            1 => MAY_WRITE,
            _ => MAY_READ | MAY_WRITE,
        };
        if allowed & wanted == wanted { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// Whether no other node holds it.
    pub fn is_only_of(&self, node: NodeId) -> bool {
        self.holds.keys().all(|it| *it == node)
    }

    /// Whether writes go to the end.
    pub fn appends(&self) -> bool {
        self.flags & O_APPEND != 0
    }
}

/// A description on its way to another home of its slot.
#[derive(Clone, Serialize, Deserialize)]
pub struct SavedFile {
    id: FileId,
    inode: InodeId,
    kind: FileKind,
    flags: u32,
    position: u64,
    kept: bool,
    holds: Vec<(NodeId, u32)>,
    locked: bool,
}

impl SavedFile {
    /// The file.
    pub fn inode(&self) -> InodeId {
        self.inode
    }
}

/// The descriptions of a slot; one at a time is copied while they are encoded.
pub struct SavedFiles<'a> {
    files: &'a Files,
    ids: Vec<FileId>,
}

impl SavedFiles<'_> {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

impl Serialize for SavedFiles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.ids.iter().map(|id| save(*id, &self.files.table[id])))
    }
}

fn save(id: FileId, description: &Description) -> SavedFile {
    let Description { inode, kind, flags, position, kept, ref holds, locked, .. } = *description;
    let holds = holds.iter().map(|(node, count)| (*node, *count)).collect();
    SavedFile { id, inode, kind, flags, position, kept, holds, locked }
}

/// Those that another node than `home` holds.
pub fn held_elsewhere(mut saved: Vec<SavedFile>, home: NodeId) -> Vec<SavedFile> {
    saved.retain(|it| it.holds.iter().any(|(node, _)| *node != home));
    saved
}

/// Set in the serial of a device's description.
const DEVICE_BIT: u64 = 1 << 53;

/// The description of a device: it has no offset, so its id says all, and every node serves it by
/// itself, whoever opened it where.
pub fn device_file(number: LowerNo, flags: u32) -> Option<FileId> {
    let append = if flags & O_APPEND != 0 { 4 } else { 0 };
    let no_wait = if flags & O_NONBLOCK != 0 { 8 } else { 0 };
    let path = if flags & O_PATH != 0 { 16 } else { 0 };
    let bits = u64::from(flags & O_ACCMODE | append | no_wait | path);
    FileId::new(SlotNo::new(0)?, DEVICE_BIT | u64::from(number) << 8 | bits)
}

/// Number and flags of a device's description; `None` if the id is not one of [`device_file`].
fn device_parts(file: FileId) -> Option<(LowerNo, u32)> {
    let serial = file.serial() & !DEVICE_BIT;
    let bit = |bit: u64, flag: u32| if serial & bit != 0 { flag } else { 0 };
    let flags = (serial & 3) as u32 | bit(4, O_APPEND) | bit(8, O_NONBLOCK) | bit(16, O_PATH);
    let number = LowerNo::try_from(serial >> 8).ok()?;
    (device_file(number, flags) == Some(file)).then_some((number, flags))
}

/// Whether the id claims to be a device's.
pub fn is_device(file: FileId) -> bool {
    file.serial() & DEVICE_BIT != 0
}

/// The table of descriptions.
#[derive(Default, Debug)]
pub struct Files {
    table: HashMap<FileId, Description>,
    /// Descriptions that this node has made.
    made: u64,
    devices: usize,
    /// The heap is nearly used up.
    pub short: bool,
    /// What the step under way has changed.
    touched: Vec<FileId>,
    /// What it closed of which the backup has a copy.
    closed: BTreeSet<FileId>,
}

impl Files {
    /// Bytes that the table needs when it next grows, if that is now.
    pub fn growth_bytes(&self) -> usize {
        growth_bytes(&self.table)
    }

    /// Whether one more fits.
    ///
    /// # Errors
    /// ENFILE.
    pub fn room(&self) -> Result<(), Errno> {
        if self.short || self.table.len() >= FILES_MAX { Err(Errno::ENFILE) } else { Ok(()) }
    }

    /// A new description in a slot of this node, held once by `node`. `kept`: the inode counts it.
    ///
    /// # Errors
    /// ENFILE.
    pub fn add(
        &mut self,
        (slot, row): (SlotNo, &Slot),
        node: NodeId,
        (inode, kind, flags): (InodeId, FileKind, u32),
        kept: bool,
    ) -> Result<FileId, Errno> {
        self.room()?;
        self.made += 1;
        let id = row.serial(self.made).and_then(|serial| FileId::new(slot, serial));
        let id = id.ok_or(Errno::ENFILE)?;
        let holds = BTreeMap::from([(node, 1)]);
        let (copied, locked) = (false, false);
        let it = Description { inode, kind, flags, position: 0, kept, holds, copied, locked };
        self.table.insert(id, it);
        self.touch(id);
        Ok(id)
    }

    /// Makes sure that a device's description has its row; a row stays, as there are few.
    pub fn meet_device(&mut self, file: FileId, lower: &Lower) {
        if self.table.contains_key(&file) {
            return;
        }
        let Some((number, flags)) = device_parts(file) else { return };
        let inode = Lower::id(number);
        if lower.number(inode) != Some(number)
            || !matches!(lower.node(number).kind, LowerKind::Device(_))
        {
            return;
        }
        let holds = BTreeMap::new();
        let kind = FileKind::Device;
        self.devices += 1;
        let (position, kept, copied, locked) = (0, false, false, false);
        let description = Description { inode, kind, flags, position, kept, holds, copied, locked };
        self.table.insert(file, description);
    }

    /// The description.
    ///
    /// # Errors
    /// EBADF: there is none.
    pub fn get(&self, file: FileId) -> Result<&Description, Errno> {
        self.table.get(&file).ok_or(Errno::EBADF)
    }

    /// The same.
    ///
    /// # Errors
    /// EBADF: there is none.
    pub fn get_mut(&mut self, file: FileId) -> Result<&mut Description, Errno> {
        self.touch(file);
        self.table.get_mut(&file).ok_or(Errno::EBADF)
    }

    /// `node` holds it once more.
    ///
    /// # Errors
    /// EBADF: there is none.
    pub fn hold(&mut self, file: FileId, node: NodeId) -> Result<(), Errno> {
        let description = self.get_mut(file)?;
        if is_device(file) {
            return Ok(());
        }
        let count = description.holds.entry(node).or_default();
        *count = count.saturating_add(1);
        Ok(())
    }

    /// `node` holds it once less. The last one takes the description away.
    ///
    /// # Errors
    /// EBADF: there is none, or the node does not hold it.
    pub fn release(&mut self, file: FileId, node: NodeId) -> Result<Option<Description>, Errno> {
        let description = self.get_mut(file)?;
        if is_device(file) {
            return Ok(None);
        }
        let count = description.holds.get_mut(&node).ok_or(Errno::EBADF)?;
        *count -= 1;
        if *count == 0 {
            description.holds.remove(&node);
        }
        let is_last = description.holds.is_empty();
        Ok(if is_last { self.remove(file) } else { None })
    }

    fn remove(&mut self, file: FileId) -> Option<Description> {
        let gone = self.table.remove(&file)?;
        self.touch(file);
        if gone.copied {
            self.closed.insert(file);
        }
        Some(gone)
    }

    /// `node` is down and holds nothing any more; what nobody holds is handed out.
    pub fn drop_node(&mut self, node: NodeId) -> Vec<(FileId, Description)> {
        let mut unheld = Vec::new();
        for (file, description) in &mut self.table {
            if description.holds.remove(&node).is_some() {
                self.touched.push(*file);
            }
            if description.holds.is_empty() && !is_device(*file) {
                unheld.push(*file);
            }
        }
        unheld.into_iter().filter_map(|file| Some((file, self.remove(file)?))).collect()
    }

    /// The descriptions of a slot, to be encoded.
    pub fn saved(&self, slot: SlotNo) -> SavedFiles<'_> {
        let in_slot = self.table.keys().filter(|file| file.slot() == slot && !is_device(**file));
        SavedFiles { files: self, ids: in_slot.copied().collect() }
    }

    /// Whether these can be the descriptions of a slot that comes here, and there is room for them.
    ///
    /// # Errors
    /// EPROTO: they cannot. ENFILE.
    pub fn check_saved(&self, slot: SlotNo, saved: &[SavedFile]) -> Result<(), Errno> {
        let mut ids: Vec<FileId> = saved.iter().map(|it| it.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let sound = |it: &SavedFile| {
            let regular = it.kind == FileKind::Regular;
            let own = !Lower::is_lower(it.inode) && it.inode.slot() == slot;
            // A file of the writable tree is there as long as it is open.
            let counted = if own && regular { it.kept } else { !it.kept || own };
            let fits = regular || it.kind == FileKind::Directory;
            it.id.slot() == slot && !is_device(it.id) && fits && counted
        };
        let new = |it: &SavedFile| !self.table.contains_key(&it.id);
        if ids.len() < saved.len() || !saved.iter().all(|it| sound(it) && new(it)) {
            return Err(Errno::EPROTO);
        }
        if self.table.len() + saved.len() > FILES_MAX { Err(Errno::ENFILE) } else { Ok(()) }
    }

    /// Takes in what was found sound, as far as anybody holds it who `stays`; what is open now.
    pub fn install(
        &mut self,
        saved: Vec<SavedFile>,
        stays: impl Fn(NodeId) -> bool,
    ) -> Vec<Description> {
        let mut open = Vec::new();
        for SavedFile { id, inode, kind, flags, position, kept, holds, locked } in saved {
            let holds: BTreeMap<NodeId, u32> =
                holds.into_iter().filter(|(node, _)| stays(*node)).collect();
            if !holds.is_empty() {
                let copied = true;
                let description =
                    Description { inode, kind, flags, position, kept, holds, copied, locked };
                open.push(description.clone());
                self.table.insert(id, description);
            }
        }
        open
    }

    /// The backup of a slot gets what [`Self::saved`] says.
    pub fn mark_copied(&mut self, slot: SlotNo) {
        let in_slot = self.table.iter_mut().filter(|(file, _)| file.slot() == slot);
        in_slot.for_each(|(_, description)| description.copied = true);
    }

    fn touch(&mut self, file: FileId) {
        // Devices are everywhere, and live in no slot.
        if !is_device(file) && self.touched.last() != Some(&file) {
            self.touched.push(file);
        }
    }

    /// What the step under way changed, some perhaps twice. [`Self::put_touched`] takes it back.
    pub fn take_touched(&mut self) -> Vec<FileId> {
        core::mem::take(&mut self.touched)
    }

    /// The step is over; the next one uses the same memory.
    pub fn put_touched(&mut self, mut touched: Vec<FileId>) {
        touched.clear();
        touched.shrink_to(TOUCHED_KEPT);
        self.touched = touched;
    }

    /// Whether the backup of the description's slot, whose home is `me`, has to know how it is now, or that it
    /// is no more.
    pub fn concerns_backup(&mut self, file: FileId, me: NodeId) -> bool {
        let Some(it) = self.table.get_mut(&file) else { return self.closed.remove(&file) };
        it.copied |= it.holds.keys().any(|node| *node != me);
        it.copied
    }

    /// A description as a backup has to have it; `None` if it is no more.
    pub fn for_backup(&self, file: FileId) -> Option<SavedFile> {
        self.table.get(&file).map(|it| save(file, it))
    }

    /// Takes in a description as the home of its slot has it; how many more count on the inode.
    ///
    /// # Errors
    /// EPROTO: it cannot be. ENFILE.
    pub fn put_copy(&mut self, slot: SlotNo, saved: SavedFile) -> Result<i32, Errno> {
        let one = core::slice::from_ref(&saved);
        let former = self.table.remove(&saved.id);
        self.check_saved(slot, one)?;
        let more = i32::from(saved.kept) - i32::from(former.is_some_and(|it| it.kept));
        self.install(Vec::from([saved]), |_| true);
        Ok(more)
    }

    /// A description that is no more at the home of its slot.
    pub fn drop_copy(&mut self, file: FileId) -> Option<Description> {
        self.table.remove(&file)
    }

    /// Who is no member holds nothing in a slot that is taken over; what nobody holds is handed out.
    pub fn drop_strangers(
        &mut self,
        slot: SlotNo,
        member: impl Fn(NodeId) -> bool,
    ) -> Vec<(FileId, Description)> {
        let in_slot = |file: &FileId| file.slot() == slot && !is_device(*file);
        let gone = self.table.extract_if(|file, it| {
            if !in_slot(file) {
                return false;
            }
            it.holds.retain(|node, _| member(*node));
            it.holds.is_empty()
        });
        gone.collect()
    }

    /// The slot is another home's now.
    pub fn forget_slot(&mut self, slot: SlotNo) {
        self.table.retain(|file, _| file.slot() != slot || is_device(*file));
    }

    /// Whether any lives in the slot.
    pub fn any_in(&self, slot: SlotNo) -> bool {
        self.table.keys().any(|file| file.slot() == slot && !is_device(*file))
    }

    /// How many there are, beside the devices'.
    pub fn len(&self) -> usize {
        self.table.len() - self.devices
    }
}
