// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server: takes requests apart and hands them to who answers them.

use crate::disk::{DISK_TIMER, Disk};
use crate::files::{Description, Files, device_file, is_device};
use crate::job::{Announcement, Waiting};
use crate::limits::HEAP_RESERVE_BYTES;
use crate::lock_waits::{LOCK_TIMER, LockWork};
use crate::locks::Locks;
use crate::lower::Lower;
use crate::pieces::Arrived;
use crate::tree::Tree;
use abi::image::RootEntry;
use abi::linux::general::{O_CREAT, O_EXCL, O_NOCTTY, O_TRUNC};
use abi::{Errno, FileId, InodeId, NodeId, ServerId, SlotNo};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use cluster::View;
use disk_api::EVENT_ROOM;
use fs_api::name::FileKind;
use fs_api::peer::{self};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use runtime::collections::HashMap;
use runtime::{Answer, Bulk, Client, Core, Cursor, Cx, Event, Export, Msg, NodeReply, Piece};

/// What fs-server must know at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// The root file system's files, the same on every node.
    pub root: Vec<RootEntry>,
    /// Nanoseconds since 1970 at the node's start.
    pub wall_ns: i64,
    /// Seed of `/dev/urandom`: secret, and different at every start.
    pub seed: [u8; 32],
    /// Bytes that the writable files of this node may hold.
    pub bytes_max: u64,
}

/// The core of fs-server.
pub struct FsCore {
    pub(crate) tree: Tree,
    pub(crate) files: Files,
    pub(crate) locks: Locks,
    pub(crate) lock_work: LockWork,
    pub(crate) random: ChaCha20Rng,
    wall_ns: i64,
    pub(crate) cookies: u64,
    pub(crate) waiting: HashMap<u64, Waiting>,
    pub(crate) announcements: HashMap<u64, Announcement>,
    /// Slots that were admitted and may come with the next view.
    pub(crate) arrived: BTreeMap<SlotNo, Arrived>,
    pub(crate) disk: Disk,
}

/// Flags that open(2) uses up.
const OPENING: u32 = O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY;

impl FsCore {
    /// A server for `node`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the image's index.
    pub fn new(node: NodeId, view: View, config: Config) -> Result<Self, &'static str> {
        let lower = Lower::new(&config.root)?;
        let disk = Disk::new(&config.root, &config.seed);
        Ok(Self {
            tree: Tree::new(node, view, lower, config.bytes_max),
            files: Files::default(),
            locks: Locks::default(),
            lock_work: LockWork::default(),
            random: ChaCha20Rng::from_seed(config.seed),
            wall_ns: config.wall_ns,
            cookies: 0,
            waiting: HashMap::default(),
            announcements: HashMap::default(),
            arrived: BTreeMap::new(),
            disk,
        })
    }

    /// Nanoseconds since 1970.
    pub(crate) fn now_ns(&self, cx: &Cx<'_>) -> i64 {
        self.wall_ns.saturating_add_unsigned(cx.now_ns())
    }

    /// Open file descriptions of this home, for tests and figures.
    pub fn open_files(&self) -> usize {
        self.files.len()
    }

    /// Ranges that are locked here, copies too, for tests and figures.
    pub fn locked_ranges(&self) -> usize {
        self.locks.len()
    }

    /// A new description of this home, held once by `node`. One that its inode counts is in the inode's
    /// slot, so that they stay together.
    pub(crate) fn open_here(
        &mut self,
        cx: &Cx<'_>,
        node: NodeId,
        inode: InodeId,
        kind: FileKind,
        flags: u32,
    ) -> Result<FileId, Errno> {
        if let (FileKind::Device, Some(number)) = (kind, self.tree.lower.number(inode)) {
            return device_file(number, flags).ok_or(Errno::ENFILE);
        }
        let kept = self.is_kept(inode, kind);
        let slot = if kept { Some(inode.slot()) } else { cx.slot_for_new() };
        let slot = slot.ok_or(Errno::ENFILE)?;
        let row = (slot, cx.view().slot(slot));
        let file = self.files.add(row, node, (inode, kind, flags & !OPENING), kept)?;
        if kept {
            self.tree.inode_here(inode)?.opens += 1;
        }
        Ok(file)
    }

    /// Whether there is memory for what a request makes.
    fn look_at_heap(&mut self, cx: &Cx<'_>) {
        let growth = self.tree.growth_bytes().max(self.files.growth_bytes());
        // What is free lies in pieces.
        let short = cx.heap_left() < HEAP_RESERVE_BYTES.max(2 * growth);
        (self.tree.short, self.files.short) = (short, short);
    }

    /// Whether an inode stays while the description is open. A description of a directory is made
    /// where it is asked for: a directory whose home is elsewhere goes with its name.
    fn is_kept(&self, inode: InodeId, kind: FileKind) -> bool {
        match kind {
            _ if Lower::is_lower(inode) => false,
            FileKind::Regular => true,
            FileKind::Directory => self.tree.is_home(inode),
            FileKind::Device
            | FileKind::Pipe
            | FileKind::Terminal
            | FileKind::Counter
            | FileKind::Socket(_)
            | FileKind::Epoll
            | FileKind::Timer(_)
            | FileKind::Signals(_)
            | FileKind::Held => false,
        }
    }

    pub(crate) fn close(&mut self, cx: &mut Cx<'_>, file: FileId, description: &Description) {
        let Description { inode, kept, locked, .. } = *description;
        self.end_locks_of_file(cx, file, (inode, locked));
        if !kept {
            return;
        }
        if let Ok(file) = self.tree.inode_here(inode) {
            file.opens -= 1;
        }
        self.tree.free_unused(inode);
    }

    /// Whether this node performs operations on the file.
    ///
    /// # Errors
    /// EIO: the file is gone, with a home that left.
    pub(crate) fn is_mine(&mut self, cx: &Cx<'_>, file: FileId) -> Result<bool, Errno> {
        if is_device(file) {
            self.files.meet_device(file, &self.tree.lower);
            return Ok(true);
        }
        if cx.view().has_lost(file.slot(), file.serial()) {
            return Err(Errno::EIO);
        }
        Ok(cx.view().home(file.slot()) == cx.node())
    }
}

impl Core for FsCore {
    fn start(&mut self, cx: &mut Cx<'_>) {
        self.open_disk(cx);
    }

    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        match self.not_here(cx, from, op, msg) {
            Ok(None) => {}
            Ok(Some(answer)) => return answer,
            Err(errno) => return Answer::Failed(errno),
        }
        self.look_at_heap(cx);
        let answer = match (op, from) {
            (1..32, _) => self.file_request(cx, from, op, msg, bulk),
            (32..0x100, _) => self.name_request(cx, from, op, msg, bulk),
            (0x100.., Client::Node { node, .. }) => {
                self.peer_request(cx, from, node, op, msg, bulk)
            }
            (0 | 0x100.., _) => Err(Errno::ENOSYS),
        };
        self.release_freed(cx);
        answer.unwrap_or_else(Answer::Failed)
    }

    fn entered(&mut self, cx: &mut Cx<'_>, old: &View) {
        self.tree.enter(old, cx.view());
        self.settle_slots(cx);
        self.sync_again(cx);
        self.settle_objects(cx);
        self.check_holders(cx, old);
        self.go_on(cx);
        self.release_freed(cx);
    }

    fn occupies(&self, slot: SlotNo) -> bool {
        self.tree.any_in(slot)
            || self.files.any_in(slot)
            || self.locks.any_in(slot)
            || self.announcements.values().any(|it| it.dir.slot() == slot)
    }

    fn stays(&self, slot: SlotNo) -> bool {
        self.has_too_much(slot)
    }

    fn export(&mut self, cx: &mut Cx<'_>, slot: SlotNo) -> Export {
        self.export_slot(cx, slot)
    }

    fn export_more(&mut self, cx: &mut Cx<'_>, slot: SlotNo, at: Cursor) -> Result<Piece, Errno> {
        self.export_piece(cx, slot, at)
    }

    fn admits(&mut self, _cx: &mut Cx<'_>, slot: SlotNo, state: &[u8]) -> Result<(), Errno> {
        self.make_way(slot)?;
        self.admits_slot(slot, state)
    }

    fn admits_more(&mut self, cx: &mut Cx<'_>, slot: SlotNo, piece: &[u8]) -> Result<(), Errno> {
        self.admits_piece(cx, slot, piece)
    }

    fn abandon(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        self.abandon_slot(cx, slot);
    }

    fn import(&mut self, cx: &mut Cx<'_>, old: &View, slot: SlotNo, state: &[u8]) {
        self.import_slot(cx, old, slot, state);
    }

    fn given(&mut self, _cx: &mut Cx<'_>, slot: SlotNo) {
        self.forget_on_disk(slot);
        self.forget_slot(slot);
    }

    fn waits_for_room(&self) -> bool {
        true
    }

    fn is_replicated(&self) -> bool {
        true
    }

    fn changes(&mut self, cx: &mut Cx<'_>) {
        self.wake_loaded(cx);
        self.note_changes(cx);
        self.tell_changes(cx);
    }

    fn apply(&mut self, cx: &mut Cx<'_>, slot: SlotNo, change: &[u8]) -> Result<(), Errno> {
        self.look_at_heap(cx);
        let applied = self.apply_change(cx, slot, change);
        self.release_freed(cx);
        applied
    }

    fn promoted(&mut self, cx: &mut Cx<'_>, _old: &View, slot: SlotNo) {
        self.take_over(cx, slot);
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        self.answered(cx, cookie, result);
        self.release_freed(cx);
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::NodeDown(node) => {
                self.drop_jobs_of(cx, node);
                self.drop_locks_of(cx, node);
                for (file, description) in self.files.drop_node(node) {
                    self.close(cx, file, &description);
                }
                self.release_freed(cx);
            }
            Event::NodeUp(node) => {
                self.sync_again(cx);
                let begun = self.announcements.values().map(|it| (it.dir, it.place));
                let begun: Vec<_> = begun.collect();
                for (inode, place) in self.tree.announced_here().into_iter().chain(begun) {
                    // A link that breaks again brings another NodeUp.
                    let _ = cx.inform_node(node, &peer::Overlaid { inode, place }, Vec::new());
                }
            }
            Event::Timer(LOCK_TIMER) => self.lock_timer(cx),
            Event::Timer(DISK_TIMER) => self.disk_timer(cx),
            Event::Upcall { from: ServerId::Disk, number: EVENT_ROOM, .. } => {
                self.disk_has_room(cx)
            }
            // Calls to it have failed; what a dead client held stays held.
            Event::ServerDown(_) | Event::Upcall { .. } | Event::Timer(_) => {}
        }
    }

    /// Only who waits for a lock may wait for long: all else ends by what a home or mem-server answers.
    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: abi::Ticket) {
        if !self.cancel_sync(cx, ticket) && !self.cancel_waiting(cx, ticket) {
            self.cancel_ticket(cx, ticket);
        }
    }
}
