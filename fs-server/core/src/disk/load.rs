// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes of files that are on the disk and not in memory yet: they are read when somebody wants them.
//!
//! # Model
//! One file at a time, from its first page to its last, into a new object; then whoever waits is run again.
//!
//! # Failure
//! A file of which a page cannot be read, or is not what was written, answers EIO until it is empty. One for which there is
//! no memory answers ENOMEM, and is tried again when it is next wanted.

use super::{DiskWork, PAGE, fetch};
use crate::FsCore;
use crate::limits::LOADS_MAX;
use abi::limits::PAGE_BYTES;
use abi::{Errno, InodeId, ObjectId, SlotNo};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use disk_api::{Read, Region};
use fs_store::{Place, Store};
use mem_api::{Content, ObjectCreate, ObjectRelease, ObjectResize, ObjectWrite};
use runtime::{Bulk, Cx, NodeReply};

struct Load {
    inode: InodeId,
    object: ObjectId,
    /// What was asked for; `None`: it was refused for now.
    place: Option<Place>,
    page: u64,
}

/// Files that are being read, or wait for that, and those of which that failed.
#[derive(Default)]
pub(super) struct Loads {
    now: Option<Load>,
    next: VecDeque<InodeId>,
    failed: BTreeMap<InodeId, Errno>,
    /// Slots that are given away as soon as their files are in memory.
    gives: BTreeSet<SlotNo>,
    /// Somebody may go on: at the end of the step, as who goes on may want another file.
    wake: bool,
}

impl Loads {
    /// The inode is gone, or empty.
    pub(super) fn forget(&mut self, inode: InodeId) {
        self.failed.remove(&inode);
    }
}

impl FsCore {
    /// Whether the bytes of a file are in memory. If not, they will be: what waits for the next view is run then.
    ///
    /// # Errors
    /// EIO, ENOMEM: they cannot be read.
    pub(crate) fn is_loaded(&mut self, cx: &mut Cx<'_>, inode: InodeId) -> Result<bool, Errno> {
        let Ok(file) = self.tree.file(inode) else { return Ok(true) };
        let on_disk = self.disk.store.as_ref().is_some_and(|store| store.has(inode.raw()));
        if file.object.is_some() || !on_disk {
            return Ok(true);
        }
        match self.disk.loads.failed.get(&inode).copied() {
            Some(Errno::EIO) => return Err(Errno::EIO),
            Some(errno) => {
                self.disk.loads.failed.remove(&inode);
                return Err(errno);
            }
            None => {}
        }
        let loads = &mut self.disk.loads;
        let begun = loads.now.as_ref().is_some_and(|load| load.inode == inode);
        if !begun && !loads.next.contains(&inode) && loads.next.len() < LOADS_MAX {
            loads.next.push_back(inode);
        }
        self.load_next(cx);
        Ok(false)
    }

    /// Whether all files of a slot are in memory; if not, [`Cx::export_now`] follows.
    pub(crate) fn is_slot_loaded(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Result<bool, Errno> {
        for inode in self.tree.ids_in(slot) {
            if !self.is_loaded(cx, inode)? {
                self.disk.loads.gives.insert(slot);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn load_next(&mut self, cx: &mut Cx<'_>) {
        while self.disk.loads.now.is_none()
            && let Some(inode) = self.disk.loads.next.pop_front()
        {
            let Ok(file) = self.tree.file(inode) else { continue };
            if file.object.is_some() {
                continue;
            }
            let (size, slot) = (file.size, self.tree.is_home(inode).then_some(inode.slot()));
            let made = cx.leaf(&ObjectCreate { content: Content::Zero, slot });
            let made = made.and_then(|made| {
                let sized = cx.leaf(&ObjectResize { object: made.object, len: size });
                if sized.is_err() {
                    let _ = cx.leaf(&ObjectRelease { object: made.object });
                }
                sized.map(|()| made.object)
            });
            match made {
                Ok(object) => {
                    self.disk.loads.now = Some(Load { inode, object, place: None, page: 0 });
                    self.load_on(cx);
                }
                Err(errno) => self.load_failed(inode, errno),
            }
        }
    }

    /// Asks for the next pages of the file under way, or ends it.
    fn load_on(&mut self, cx: &mut Cx<'_>) {
        let (Some(load), Some(store)) = (&mut self.disk.loads.now, &self.disk.store) else {
            return;
        };
        // A file that is gone has no places.
        match store.place(load.inode.raw(), load.page) {
            Some(place) => {
                let (sector, sectors) = (place.sector, Store::sectors(place.sums.len()));
                load.place = Some(place);
                let read = Read { region: Region::Files, sector, sectors };
                self.ask_disk(cx, &read, DiskWork::Load);
            }
            None => self.load_ended(cx, Ok(())),
        }
    }

    /// The disk server has room again.
    pub(super) fn load_again(&mut self, cx: &mut Cx<'_>) {
        if self.disk.loads.now.as_ref().is_some_and(|load| load.place.is_none()) {
            self.load_on(cx);
        }
    }

    pub(super) fn load_answered(&mut self, cx: &mut Cx<'_>, result: Result<NodeReply, Errno>) {
        let bytes = result.and_then(|reply| fetch(cx, &reply));
        let Some(load) = &mut self.disk.loads.now else { return };
        let Some(place) = load.place.take() else { return };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(Errno::EAGAIN) => return,
            Err(_) => return self.load_ended(cx, Err(Errno::EIO)),
        };
        let (inode, object) = (load.inode, load.object);
        load.page = place.page + place.sums.len() as u64;
        // It may have been cut, or gone, since it was asked for: then its blocks may have others' bytes.
        let store = self.disk.store.as_ref();
        let same =
            store.and_then(|store| store.place(inode.raw(), place.page)) == Some(place.clone());
        let size = self.tree.file(inode).map_or(0, |file| file.size);
        if !same {
            if let Some(load) = &mut self.disk.loads.now {
                load.page = if size > 0 { place.page } else { u64::MAX };
            }
            return self.load_on(cx);
        }
        if Store::check(&place, &bytes) < place.sums.len() {
            return self.load_ended(cx, Err(Errno::EIO));
        }
        let offset = place.page * PAGE;
        let len = size.saturating_sub(offset).min((place.sums.len() * PAGE_BYTES) as u64);
        let mut part: Vec<u8> = bytes;
        part.truncate(len as usize);
        let written = cx.leaf_bulk(&ObjectWrite { object, offset }, &mut Bulk::new(&mut part));
        match written {
            Ok(()) => self.load_on(cx),
            Err(errno) => self.load_ended(cx, Err(errno)),
        }
    }

    fn load_ended(&mut self, cx: &mut Cx<'_>, result: Result<(), Errno>) {
        let Some(Load { inode, object, .. }) = self.disk.loads.now.take() else { return };
        let size = self.tree.file(inode).map(|file| file.size);
        // It may have another size by now.
        let result = result.and_then(|()| {
            cx.leaf(&ObjectResize { object, len: size? })?;
            self.tree.set_object(inode, object)
        });
        if let Err(errno) = result {
            let _ = cx.leaf(&ObjectRelease { object });
            if size.is_ok() {
                self.load_failed(inode, errno);
            }
        }
        if self.disk.loads.next.is_empty() {
            for slot in core::mem::take(&mut self.disk.loads.gives) {
                cx.export_now(slot);
            }
        }
        self.disk.loads.wake = true;
    }

    /// The end of a step: who waited for files goes on, and the next one is read.
    pub(crate) fn wake_loaded(&mut self, cx: &mut Cx<'_>) {
        while core::mem::take(&mut self.disk.loads.wake) {
            self.go_on(cx);
            cx.run_parked();
            self.load_next(cx);
        }
    }

    fn load_failed(&mut self, inode: InodeId, errno: Errno) {
        self.disk.loads.failed.insert(inode, errno);
        self.disk.loads.wake = true;
    }
}
