// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree on the node's disk: what lives in the slots of this node, as their home or as their backup.
//!
//! # Model
//! ```text
//! Absent <--no disk-- Opening --all was read--> Open --the disk fails--> Broken
//! ```
//! [`fs_store`] keeps it; here is what it is told, and what becomes of what it finds. What is found stands in the tree,
//! and is *stale* until a view says of its slot that this node's disk is to be believed ([`cluster::Slot::kept`]): then
//! the slot is taken into service; in any other view it is forgotten. Bytes of files come from the disk when a file is
//! first used ([`load`]).
//!
//! # Invariants
//! - Nothing happens in a slot of this node before what the disk has of it is known.
//! - A slot is taken into service only with all that was acknowledged: the disk says since when it has had the slot,
//!   and the row since when it must.
//!
//! # Failure
//! A disk that fails leaves the node's files in memory; fsync(2) answers EIO from then on. As the views server uses the
//! same disk, the node does not stay for long.

mod load;
mod outside;
mod record;
mod slots;
mod sync;

use crate::FsCore;
use crate::inode::Body;
use crate::job::Waiting;
use crate::limits::WRITE_BACK_NS;
use abi::image::RootEntry;
use abi::limits::{PAGE_BYTES, WINDOW_BYTES};
use abi::{Errno, InodeId, SlotNo};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use cluster::SlotSet;
use disk_api::{Fetch, Flush, Info, Readable, Region, State as DiskState};
use fs_store::{Found, Store};
use load::Loads;
use outside::Out;
use record::{Marks, Unsaid};
use runtime::{Bulk, Cx, NodeReply, Operation, Wire};
use sync::Syncs;

/// The timer for what nobody asks to be safe.
pub(crate) const DISK_TIMER: u64 = 2;

const PAGE: u64 = PAGE_BYTES as u64;
const _: () = assert!(fs_store::limits::REGION_SECTORS_MIN == disk_api::limits::FILES_SECTORS_MIN);

/// What the store has asked the disk server for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DiskWork {
    /// To read what it has.
    Find,
    /// To flush.
    Flush,
    /// To read pages of a file.
    Load,
    /// A page that memory has elsewhere.
    Page,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Disk {
    store: Option<Box<Store>>,
    unsaid: Unsaid,
    marks: Marks,
    /// Slots that stand in the tree as they were found, and are not in service.
    stale: BTreeSet<SlotNo>,
    /// Slots that were taken into service from the disk.
    resumed: BTreeSet<SlotNo>,
    /// Slots that this node has since a moment ago: the journal says so when what came with them was written.
    fresh: BTreeSet<SlotNo>,
    /// Slots of this node of which the disk has not all.
    missing: SlotSet,
    /// What was found is of this cluster and image.
    of: Option<(u64, u64)>,
    image: u64,
    loads: Loads,
    syncs: Syncs,
    /// The disk server had no room for what was asked for: it is asked again when there is.
    refused: bool,
    timer: bool,
    /// The seed of the next number that is drawn.
    nonce: u64,
}

impl Disk {
    /// Before the start. `seed` differs from start to start.
    pub(crate) fn new(root: &[RootEntry], seed: &[u8; 32]) -> Self {
        let mut image = 0xcbf2_9ce4_8422_2325u64;
        for byte in root.iter().flat_map(|entry| entry.path.bytes().chain([0])) {
            image = (image ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let nonce = seed.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self { image, nonce, ..Self::default() }
    }

    /// Whether it is not known yet what the disk has.
    pub(crate) fn is_opening(&self) -> bool {
        self.store.as_ref().is_some_and(|store| store.is_opening())
    }

    /// Whether nothing may happen in a slot of this node because of what its disk has, or may have.
    pub(crate) fn closes(&self, slot: SlotNo) -> bool {
        self.is_opening() || self.missing.has(slot)
    }

    /// Pages of a file changed in memory.
    pub(crate) fn dirty(&mut self, inode: InodeId, pages: core::ops::Range<u64>) {
        if let Some(store) = &mut self.store {
            store.dirty(inode.raw(), pages);
        }
    }
}

impl FsCore {
    /// Begins to read what the disk has.
    pub(crate) fn open_disk(&mut self, cx: &mut Cx<'_>) {
        let Ok(info) = cx.leaf(&Info {}) else { return };
        let DiskState::Ready { writable: true, regions, .. } = info.state else { return };
        let sectors = regions[Region::Files as usize].sectors;
        self.disk.store = Store::new(sectors, self.disk.nonce).map(Box::new);
        let found = self.run_store(cx, |store, out| store.go_on(out)).flatten();
        self.disk_moved(cx, found);
    }

    /// Whether nothing may begin in a slot now.
    pub(crate) fn is_closed(&self, cx: &Cx<'_>, slot: SlotNo) -> bool {
        cx.is_frozen(slot) || cx.view().home(slot) == cx.node() && self.disk.closes(slot)
    }

    /// Lets the store do something.
    fn run_store<R>(
        &mut self,
        cx: &mut Cx<'_>,
        step: impl FnOnce(&mut Store, &mut Out<'_, '_>) -> R,
    ) -> Option<R> {
        let mut store = self.disk.store.take()?;
        // What is found is no change.
        let finds = store.is_opening();
        let touched = finds.then(|| core::mem::take(&mut self.tree.touched));
        let result = step(&mut store, &mut Out { fs: self, cx });
        self.disk.store = Some(store);
        if let Some(touched) = touched {
            self.tree.touched = touched;
        }
        Some(result)
    }

    /// The store did something: what waited for it goes on.
    fn disk_moved(&mut self, cx: &mut Cx<'_>, found: Option<Found>) {
        match found {
            None => {}
            Some(found) => self.disk_opened(cx, found),
        }
        self.end_syncs(cx);
    }

    /// All that the disk has was read.
    fn disk_opened(&mut self, cx: &mut Cx<'_>, found: Found) {
        let Some(store) = &self.disk.store else { return };
        self.tree.bound_pages(store.pages());
        if matches!(found, Found::Damaged(_)) {
            self.tree.recount();
        }
        self.disk.stale = self.disk.marks.keys().copied().collect();
        self.settle_slots(cx);
        self.go_on(cx);
        cx.run_parked();
    }

    /// What was asked of the disk server, or of memory for it, has come, or cannot.
    pub(crate) fn disk_answered(
        &mut self,
        cx: &mut Cx<'_>,
        work: DiskWork,
        result: Result<NodeReply, Errno>,
    ) {
        let found = match (work, result) {
            (DiskWork::Load, result) => return self.load_answered(cx, result),
            (DiskWork::Flush, Err(Errno::EAGAIN)) => {
                self.disk.refused = true;
                return;
            }
            (DiskWork::Flush, result) => {
                let result = result.map(drop);
                self.run_store(cx, |store, out| store.flushed(result, out));
                None
            }
            (DiskWork::Find, result) => {
                let bytes = result.and_then(|reply| fetch(cx, &reply));
                let bytes = bytes.as_deref().map_err(|errno| *errno);
                // What was refused is asked for again when there is room.
                if bytes == Err(Errno::EAGAIN) {
                    self.disk.refused = true;
                }
                if self.disk.refused {
                    return;
                }
                self.run_store(cx, |store, out| store.was_read(bytes, out)).flatten()
            }
            (DiskWork::Page, _) => self.run_store(cx, |store, out| store.go_on(out)).flatten(),
        };
        self.disk_moved(cx, found);
    }

    /// The disk server has room again.
    pub(crate) fn disk_has_room(&mut self, cx: &mut Cx<'_>) {
        let refused = core::mem::take(&mut self.disk.refused);
        let opening = self.disk.is_opening();
        let found = match (refused, opening) {
            (true, true) => {
                self.run_store(cx, |store, out| store.was_read(Err(Errno::EAGAIN), out)).flatten()
            }
            (true, false) => {
                self.ask_disk(cx, &Flush { region: Region::Files }, DiskWork::Flush);
                None
            }
            (false, _) => self.run_store(cx, |store, out| store.go_on(out)).flatten(),
        };
        self.load_again(cx);
        self.disk_moved(cx, found);
    }

    fn ask_disk<O: Operation>(&mut self, cx: &mut Cx<'_>, op: &O, work: DiskWork) {
        let cookie = self.new_cookie();
        self.waiting.insert(cookie, Waiting::Disk(work));
        cx.ask(op, cookie);
    }

    /// Nobody has asked for it, but it is time.
    pub(crate) fn disk_timer(&mut self, cx: &mut Cx<'_>) {
        self.disk.timer = false;
        self.run_store(cx, |store, out| store.sync(out));
        self.disk_moved(cx, None);
    }

    /// The end of a step, or before it is to be safe: the journal is to be told what it changed.
    pub(crate) fn note_changes(&mut self, cx: &mut Cx<'_>) {
        let Some(store) = &mut self.disk.store else { return };
        let unsaid = &mut self.disk.unsaid;
        let mut all = core::mem::take(&mut self.tree.touched);
        let touched = all.note();
        let room = touched.room.iter().map(|(id, ..)| id);
        for id in touched.inodes.iter().chain(touched.extras).chain(room).copied() {
            unsaid.inode(id);
            match self.tree.inode(id).map(|inode| &inode.body) {
                Ok(Body::File(file)) if store.has(id.raw()) => {
                    store.forget(id.raw(), file.size.div_ceil(PAGE)..u64::MAX);
                }
                Ok(_) => {}
                Err(_) => {
                    store.gone(id.raw());
                    self.disk.loads.forget(id);
                }
            }
        }
        for (dir, name) in touched.names {
            unsaid.name(*dir, name.clone());
        }
        for (id, pages, taken) in touched.room {
            if !taken {
                store.forget(id.raw(), pages.clone());
            }
        }
        for (id, range) in touched.written {
            if let Ok(file) = self.tree.file(*id) {
                let end = range.end.min(file.size).div_ceil(PAGE);
                store.dirty(id.raw(), range.start / PAGE..end.max(range.start / PAGE));
            }
        }
        self.tree.touched = all;
        if unsaid.too_much {
            store.begin_anew();
        }
        if !self.disk.timer && (unsaid.any() || store.any_dirty()) {
            self.disk.timer = cx.arm(cx.now_ns() + WRITE_BACK_NS, DISK_TIMER).is_ok();
        }
    }
}

/// What was read, from where the disk server has it.
fn fetch(cx: &mut Cx<'_>, reply: &NodeReply) -> Result<Vec<u8>, Errno> {
    let id = Readable::get(&reply.msg)?.id;
    let mut bytes = vec![0; WINDOW_BYTES];
    let mut bulk = Bulk::new(&mut bytes);
    // Nothing is sent along.
    bulk.len = 0;
    cx.leaf_bulk(&Fetch { id }, &mut bulk)?;
    let len = bulk.len;
    bytes.truncate(len);
    Ok(bytes)
}
