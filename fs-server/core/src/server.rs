// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server: takes requests apart and hands them to who answers them.

use crate::files::{Files, device_file, is_device};
use crate::job::{Announcement, Waiting};
use crate::lower::Lower;
use crate::tree::Tree;
use abi::image::RootEntry;
use abi::linux::general::{O_CREAT, O_EXCL, O_NOCTTY, O_TRUNC};
use abi::{Errno, FileId, InodeId, NodeId};
use alloc::vec::Vec;
use cluster::View;
use fs_api::name::FileKind;
use fs_api::peer::{self};
use hashbrown::HashMap;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Msg, NodeReply};

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
    pub(crate) random: ChaCha20Rng,
    wall_ns: i64,
    pub(crate) cookies: u64,
    pub(crate) waiting: HashMap<u64, Waiting>,
    pub(crate) announcements: HashMap<u64, Announcement>,
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
        let first_serial = first_serial(config.wall_ns);
        Ok(Self {
            tree: Tree::new(node, view, lower, config.bytes_max, first_serial),
            files: Files::new(first_serial),
            random: ChaCha20Rng::from_seed(config.seed),
            wall_ns: config.wall_ns,
            cookies: 0,
            waiting: HashMap::new(),
            announcements: HashMap::new(),
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

    /// A new description of this home, held once by `node`.
    pub(crate) fn open_here(
        &mut self,
        node: NodeId,
        inode: InodeId,
        kind: FileKind,
        flags: u32,
    ) -> Result<FileId, Errno> {
        if let (FileKind::Device, Some(number)) = (kind, self.tree.lower.number(inode)) {
            return device_file(number, flags).ok_or(Errno::ENFILE);
        }
        let serial = self.files.next_serial();
        let slot = self.tree.file_slot(serial).ok_or(Errno::ENFILE)?;
        let file = self.files.add(slot, serial, node, (inode, kind, flags & !OPENING))?;
        if self.is_kept(inode, kind) {
            self.tree.inode_mut(inode)?.opens += 1;
        }
        Ok(file)
    }

    /// Whether an inode stays while the description is open. A description of a directory is made
    /// where it is asked for: a directory whose home is elsewhere goes with its name.
    fn is_kept(&self, inode: InodeId, kind: FileKind) -> bool {
        match kind {
            _ if Lower::is_lower(inode) => false,
            FileKind::Regular => true,
            FileKind::Directory => self.tree.is_home(inode),
            FileKind::Device | FileKind::Pipe | FileKind::Terminal => false,
        }
    }

    pub(crate) fn close(&mut self, inode: InodeId, kind: FileKind) {
        if !self.is_kept(inode, kind) {
            return;
        }
        if let Ok(file) = self.tree.inode_mut(inode) {
            file.opens -= 1;
        }
        self.tree.free_unused(inode);
    }

    /// Whether this node performs operations on the file.
    pub(crate) fn is_mine(&mut self, cx: &Cx<'_>, file: FileId) -> bool {
        if is_device(file) {
            self.files.meet_device(file, &self.tree.lower);
            return true;
        }
        cx.view().home(file.slot()) == cx.node()
    }
}

impl Core for FsCore {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
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

    fn entered(&mut self, cx: &mut Cx<'_>, _old: &View) {
        self.tree.enter(cx.view());
    }

    fn completion(&mut self, cx: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        self.answered(cx, cookie, result);
        self.release_freed(cx);
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::NodeDown(node) => {
                self.drop_jobs_of(cx, node);
                for description in self.files.drop_node(node) {
                    self.close(description.inode, description.kind);
                }
                self.release_freed(cx);
            }
            Event::NodeUp(node) => {
                for (inode, place) in self.tree.announced_here() {
                    // A link that breaks again brings another NodeUp.
                    let _ = cx.inform_node(node, &peer::Overlaid { inode, place }, Vec::new());
                }
            }
            // Calls to it have failed; what a dead client held stays held.
            Event::ServerDown(_) | Event::Upcall { .. } | Event::Timer(_) => {}
        }
    }

    /// Nothing here waits for long: what a home or mem-server answers ends the ticket, and a home
    /// that is down fails the call.
    fn cancel(&mut self, _cx: &mut Cx<'_>, _ticket: abi::Ticket) {}
}

/// Ids must not come again when the node boots again, as other nodes may still have old ones: the
/// serials of a boot begin where an earlier one does not get, unless it made a million inodes or
/// descriptions each second. 33 bits of seconds last until 2242.
fn first_serial(wall_ns: i64) -> u64 {
    let seconds = wall_ns.max(0).unsigned_abs() / 1_000_000_000;
    (seconds & ((1 << 33) - 1)) << 20
}
