// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server: takes requests apart and hands them to who answers them.

use crate::data::{Sink, Source};
use crate::files::{Files, device_file, is_device};
use crate::job::{Announcement, Reply, Shape, Waiting, Work};
use crate::lower::Lower;
use crate::tree::{Kind, Tree};
use crate::walk::{NameOp, Walk};
use abi::image::RootEntry;
use abi::linux::general::{
    O_APPEND, O_CREAT, O_DSYNC, O_EXCL, O_NOATIME, O_NOCTTY, O_NONBLOCK, O_TRUNC,
};
use abi::{Errno, FileId, InodeId, NodeId};
use alloc::string::String;
use alloc::vec::Vec;
use cluster::View;
use fs_api::file::{self, FileObject, Flags, Position, Ready};
use fs_api::name::{self, At, Credentials, FileKind, Text};
use fs_api::peer::{self, AT_POSITION, BehindFile, LISTING, RecordsEnd};
use hashbrown::HashMap;
use mem_api::{Access, CopyIn, ObjectHold, Prepare};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Msg, NodeReply, Operation, Wire};

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

/// Flags that F_SETFL can change.
const SETTABLE: u32 = O_APPEND | O_NONBLOCK | O_NOATIME | O_DSYNC;
/// Flags that open(2) uses up.
const OPENING: u32 = O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY;
/// What is always so of a file: POLLIN, POLLOUT and their kin.
const ALWAYS_READY: u32 = 0x1 | 0x4 | 0x40 | 0x100;

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
        if kind == FileKind::Regular && !Lower::is_lower(inode) {
            self.tree.inode_mut(inode)?.opens += 1;
        }
        Ok(file)
    }

    fn close(&mut self, inode: InodeId, kind: FileKind) {
        if kind != FileKind::Regular || Lower::is_lower(inode) {
            return;
        }
        if let Ok(file) = self.tree.inode_mut(inode) {
            file.opens -= 1;
        }
        self.tree.free_unused(inode);
    }

    /// Whether this node performs operations on the file.
    fn is_mine(&mut self, cx: &Cx<'_>, file: FileId) -> bool {
        if is_device(file) {
            self.files.meet_device(file, &self.tree.lower);
            return true;
        }
        cx.view().home(file.slot()) == cx.node()
    }

    /// Performs an operation on an open file at its home: here, or there.
    fn at_home<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        (file, op): (FileId, &O),
        here: impl FnOnce(&mut Self, &mut Cx<'_>) -> Result<Reply, Errno>,
    ) -> Answer {
        if !self.is_mine(cx, file) {
            return self.forward(cx, from, cx.view().home(file.slot()), op, Vec::new());
        }
        match here(self, cx) {
            Ok(reply) => Answer::Done(reply.msg),
            Err(errno) => Answer::Failed(errno),
        }
    }

    fn forward<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        home: NodeId,
        op: &O,
        bulk: Vec<u8>,
    ) -> Answer {
        // A request is handed on once at most: another node knows the homes as well.
        if matches!(from, Client::Node { .. }) {
            return Answer::Failed(Errno::EBADF);
        }
        self.call(cx, from, home, op, bulk, Waiting::Forwarded)
    }

    fn call<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        home: NodeId,
        op: &O,
        bulk: Vec<u8>,
        waiting: impl FnOnce(abi::Ticket) -> Waiting,
    ) -> Answer {
        match cx.open_ticket(from) {
            Ok(ticket) => {
                let cookie = self.new_cookie();
                self.waiting.insert(cookie, waiting(ticket));
                cx.call_node(home, op, bulk, cookie);
                Answer::Pending(ticket)
            }
            Err(errno) => Answer::Failed(errno),
        }
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
                    let _ = cx.tell_node(node, &peer::Overlaid { inode, place }, Vec::new());
                }
            }
            Event::Upcall { .. } | Event::Timer(_) => {}
        }
    }

    /// Nothing here waits for long: what a home or mem-server answers ends the ticket, and a home
    /// that is down fails the call.
    fn cancel(&mut self, _cx: &mut Cx<'_>, _ticket: abi::Ticket) {}
}

impl FsCore {
    fn file_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        Ok(match op {
            file::Read::NUMBER => {
                let file::Read { file, space, addr, len } = file::Read::get(msg)?;
                self.read_request(cx, from, bulk, file, None, (space, addr, len))?
            }
            file::ReadAt::NUMBER => {
                let file::ReadAt { file, space, addr, len, offset } = file::ReadAt::get(msg)?;
                let offset = Some(checked_offset(offset)?);
                self.read_request(cx, from, bulk, file, offset, (space, addr, len))?
            }
            file::ListDirectory::NUMBER => {
                let file::ListDirectory { file, space, addr, len } = file::ListDirectory::get(msg)?;
                self.read_request(cx, from, bulk, file, Some(LISTING), (space, addr, len))?
            }
            file::Write::NUMBER => {
                let file::Write { file, space, addr, len } = file::Write::get(msg)?;
                self.write_request(cx, from, bulk, file, None, Source::Space { space, addr, len })?
            }
            file::WriteAt::NUMBER => {
                let file::WriteAt { file, space, addr, len, offset } = file::WriteAt::get(msg)?;
                let offset = Some(checked_offset(offset)?);
                self.write_request(
                    cx,
                    from,
                    bulk,
                    file,
                    offset,
                    Source::Space { space, addr, len },
                )?
            }
            file::Resize::NUMBER => {
                let resize = file::Resize::get(msg)?;
                let file::Resize { file, len } = resize;
                if !self.is_mine(cx, file) {
                    let home = cx.view().home(file.slot());
                    return Ok(self.forward(cx, from, home, &resize, Vec::new()));
                }
                self.start(cx, from, bulk, Work::Resize { file, len })
            }
            file::FileStat::NUMBER => {
                let stat = file::FileStat::get(msg)?;
                let op = NameOp::Stat { follow: false };
                self.by_inode(cx, from, bulk, (stat.file, &stat), op)?
            }
            file::SetAttributes::NUMBER => {
                let set = file::SetAttributes::get(msg)?;
                let op = NameOp::Change { follow: false, attributes: set.attributes };
                self.by_inode(cx, from, bulk, (set.file, &set), op)?
            }
            file::ObjectOf::NUMBER => {
                let file::ObjectOf { file } = file::ObjectOf::get(msg)?;
                self.object_request(cx, from, file)?
            }
            _ => self.state_request(cx, from, op, msg)?,
        })
    }

    /// Operations on the description itself.
    fn state_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
    ) -> Result<Answer, Errno> {
        let asking = match from {
            Client::Server { .. } => cx.node(),
            Client::Node { node, .. } => node,
        };
        Ok(match op {
            file::Seek::NUMBER => {
                let seek = file::Seek::get(msg)?;
                self.at_home(cx, from, (seek.file, &seek), |it, _| {
                    Reply::of(&Position { offset: it.seek(&seek)? })
                })
            }
            file::Poll::NUMBER => {
                let events = file::Poll::get(msg)?.events & ALWAYS_READY;
                Answer::reply(&Ready { events })
            }
            file::PollWait::NUMBER => {
                let events = file::PollWait::get(msg)?.events & ALWAYS_READY;
                Answer::reply(&Ready { events })
            }
            file::Ioctl::NUMBER | file::TerminalRead::NUMBER => Answer::Failed(Errno::ENOTTY),
            file::SetFlags::NUMBER => {
                let set = file::SetFlags::get(msg)?;
                self.at_home(cx, from, (set.file, &set), |it, _| {
                    let description = it.files.get_mut(set.file)?;
                    description.flags = description.flags & !SETTABLE | set.flags & SETTABLE;
                    Ok(Reply::default())
                })
            }
            file::GetFlags::NUMBER => {
                let get = file::GetFlags::get(msg)?;
                self.at_home(cx, from, (get.file, &get), |it, _| {
                    Reply::of(&Flags { flags: it.files.get(get.file)?.flags })
                })
            }
            file::InodeOf::NUMBER => {
                let of = file::InodeOf::get(msg)?;
                self.at_home(cx, from, (of.file, &of), |it, _| {
                    Reply::of(&file::Inode { inode: it.files.get(of.file)?.inode })
                })
            }
            file::Hold::NUMBER => {
                let hold = file::Hold::get(msg)?;
                if !cx.view().contains(hold.node) {
                    return Err(Errno::EINVAL);
                }
                self.at_home(cx, from, (hold.file, &hold), |it, _| {
                    it.files.hold(hold.file, hold.node)?;
                    Ok(Reply::default())
                })
            }
            file::Release::NUMBER => {
                let release = file::Release::get(msg)?;
                self.at_home(cx, from, (release.file, &release), |it, _| {
                    if let Some(description) = it.files.release(release.file, asking)? {
                        it.close(description.inode, description.kind);
                    }
                    Ok(Reply::default())
                })
            }
            _ => return Err(Errno::ENOSYS),
        })
    }

    fn read_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        bulk: &mut Bulk<'_>,
        file: FileId,
        offset: Option<u64>,
        (space, addr, len): (abi::SpaceId, u64, u64),
    ) -> Result<Answer, Errno> {
        local_only(from)?;
        let sink = Sink::Space { space, addr };
        if self.is_mine(cx, file) {
            return Ok(self.start(cx, from, bulk, read_work(file, offset, len, sink)));
        }
        let len = len.min(crate::limits::REMOTE_BYTES);
        // So that the bytes, once read, have a place.
        if len > 0 {
            cx.leaf(&Prepare { space, addr, len, access: Access::Write })?;
        }
        let home = cx.view().home(file.slot());
        let offset = offset.unwrap_or(AT_POSITION);
        let op = peer::Bytes { file, offset, len };
        Ok(self.call(cx, from, home, &op, Vec::new(), |ticket| Waiting::ReadBack {
            ticket,
            file,
            space,
            addr,
        }))
    }

    fn write_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        bulk: &mut Bulk<'_>,
        file: FileId,
        offset: Option<u64>,
        source: Source,
    ) -> Result<Answer, Errno> {
        local_only(from)?;
        if self.is_mine(cx, file) {
            return Ok(self.start(cx, from, bulk, Work::Write { file, offset, source }));
        }
        let Source::Space { space, addr, len } = source else { return Err(Errno::EPROTO) };
        let len = len.min(crate::limits::REMOTE_BYTES);
        let mut data = alloc::vec![0; len as usize];
        if len > 0 {
            cx.leaf_bulk(&CopyIn { space, addr, len }, &mut Bulk::new(&mut data))?;
        }
        let home = cx.view().home(file.slot());
        let op = peer::PutBytes { file, offset: offset.unwrap_or(AT_POSITION) };
        Ok(self.forward(cx, from, home, &op, data))
    }

    /// An operation on an open file's inode, which may have another home than the description.
    fn by_inode<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        bulk: &mut Bulk<'_>,
        (file, request): (FileId, &O),
        op: NameOp,
    ) -> Result<Answer, Errno> {
        if !self.is_mine(cx, file) {
            let home = cx.view().home(file.slot());
            return Ok(self.forward(cx, from, home, request, Vec::new()));
        }
        let inode = self.files.get(file)?.inode;
        if matches!(op, NameOp::Stat { .. }) && self.tree.is_here(inode) {
            return Ok(Answer::from_result(self.tree.stat(inode)));
        }
        // The file was opened: who may change it is for proc-server to say.
        let walk = Walk::at(inode, Credentials::default());
        Ok(self.start(cx, from, bulk, Work::Name { walk, op, shape: Shape::Bare }))
    }

    fn object_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        file: FileId,
    ) -> Result<Answer, Errno> {
        local_only(from)?;
        if self.is_mine(cx, file) {
            let behind = self.behind(cx, cx.node(), file)?;
            let object: FileObject = self.object_behind(cx, behind, false)?;
            return Ok(Answer::reply(&object));
        }
        let home = cx.view().home(file.slot());
        Ok(self.call(cx, from, home, &peer::Behind { file }, Vec::new(), Waiting::Behind))
    }

    /// What is behind an open file; `node` refers to the object from now on.
    fn behind(&mut self, cx: &mut Cx<'_>, node: NodeId, file: FileId) -> Result<BehindFile, Errno> {
        let description = self.files.get(file)?;
        description.check(crate::inode::MAY_READ).map_err(|_| Errno::EACCES)?;
        let writable = description.check(crate::inode::MAY_WRITE).is_ok();
        let inode = description.inode;
        match self.kind_behind(file)? {
            Kind::LowerFile(_) => Ok(BehindFile::Image(inode)),
            Kind::File => {
                let (object, size) = self.object(cx, inode)?;
                cx.leaf(&ObjectHold { object, node })?;
                Ok(BehindFile::Object { object, size, writable })
            }
            Kind::Directory | Kind::Link(_) | Kind::Device(_) | Kind::Elsewhere => {
                Err(Errno::ENODEV)
            }
        }
    }

    fn seek(&mut self, seek: &file::Seek) -> Result<u64, Errno> {
        let description = self.files.get(seek.file)?;
        let (inode, position) = (description.inode, description.position);
        if description.flags & abi::linux::general::O_PATH != 0 {
            return Err(Errno::EBADF);
        }
        let size = match self.kind_behind(seek.file)? {
            Kind::File | Kind::LowerFile(_) => self.tree.stat(inode)?.size,
            Kind::Directory => i64::MAX as u64,
            Kind::Device(_) => return Ok(0),
            Kind::Link(_) | Kind::Elsewhere => return Err(Errno::ESPIPE),
        };
        let beyond = u64::try_from(seek.offset).map_or(true, |offset| offset >= size);
        let base = match seek.whence {
            0 => 0,
            1 => position,
            2 => size,
            3 | 4 if beyond => return Err(Errno::ENXIO),
            3 => 0,
            4 => size.saturating_sub_signed(seek.offset),
            _ => return Err(Errno::EINVAL),
        };
        let base = i64::try_from(base).map_err(|_| Errno::EOVERFLOW)?;
        let target = base.checked_add(seek.offset).ok_or(Errno::EOVERFLOW)?;
        let target = u64::try_from(target).map_err(|_| Errno::EINVAL)?;
        self.files.get_mut(seek.file)?.position = target;
        Ok(target)
    }

    fn name_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        match op {
            name::PathOf::NUMBER => return self.path_request(cx, from, msg),
            name::TreeUse::NUMBER => return Ok(Answer::reply(&self.tree.figures())),
            _ => local_only(from)?,
        }
        let (walk, op) = name_work(op, msg)?;
        Ok(self.start(cx, from, bulk, Work::Name { walk, op, shape: Shape::Named }))
    }

    fn path_request(&mut self, cx: &mut Cx<'_>, from: Client, msg: &Msg) -> Result<Answer, Errno> {
        let request = name::PathOf::get(msg)?;
        if !Lower::is_lower(request.inode) && !self.tree.is_home(request.inode) {
            let home = self.tree.home(request.inode);
            return Ok(self.forward(cx, from, home, &request, Vec::new()));
        }
        let path = self.tree.path(request.inode);
        let gone = |errno| if errno == Errno::ESTALE { Errno::ENOENT } else { errno };
        Ok(Answer::from_result(path.map(Text).map_err(gone)))
    }

    fn peer_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        node: NodeId,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        Ok(match op {
            peer::NameStep::NUMBER => {
                let (walk, op): (Walk, NameOp) =
                    postcard::from_bytes(bulk.data()).map_err(|_| Errno::EPROTO)?;
                self.start(cx, from, bulk, Work::Name { walk, op, shape: Shape::Step })
            }
            peer::Overlaid::NUMBER => {
                let peer::Overlaid { inode, place } = peer::Overlaid::get(msg)?;
                // Only its home speaks for a directory.
                if self.tree.home(inode) != node {
                    return Err(Errno::EPERM);
                }
                Answer::from_result(self.tree.overlay(inode, place))
            }
            peer::Seal::NUMBER => Answer::from_result(self.seal(peer::Seal::get(msg)?.inode)),
            peer::Bytes::NUMBER => {
                let peer::Bytes { file, offset, len } = peer::Bytes::get(msg)?;
                let offset = (offset != AT_POSITION).then_some(offset);
                self.files.get(file)?;
                self.start(cx, from, bulk, read_work(file, offset, len, Sink::Reply))
            }
            peer::PutBytes::NUMBER => {
                let peer::PutBytes { file, offset } = peer::PutBytes::get(msg)?;
                let offset = (offset != AT_POSITION).then_some(offset);
                let source = Source::Bytes(bulk.data().to_vec());
                self.start(cx, from, bulk, Work::Write { file, offset, source })
            }
            peer::Rewind::NUMBER => {
                let peer::Rewind { file, from, to } = peer::Rewind::get(msg)?;
                let description = self.files.get_mut(file)?;
                if description.position == from {
                    description.position = to;
                }
                Answer::reply(&())
            }
            peer::Records::NUMBER => {
                let peer::Records { inode, after, len } = peer::Records::get(msg)?;
                if !self.tree.is_here(inode) {
                    return Err(Errno::ESTALE);
                }
                let len = len.min(crate::limits::REMOTE_BYTES) as usize;
                let listing = self.tree.list(inode, after, len);
                let listing =
                    listing.map_err(|e| if e == Errno::ESTALE { Errno::ENOENT } else { e })?;
                bulk.set(&listing.data)?;
                Answer::reply(&RecordsEnd { last: listing.last })
            }
            peer::Behind::NUMBER => {
                let file = peer::Behind::get(msg)?.file;
                Answer::from_result(self.behind(cx, node, file))
            }
            _ => return Err(Errno::ENOSYS),
        })
    }
}

/// Ids must not come again when the node boots again, as other nodes may still have old ones: the
/// serials of a boot begin where an earlier one does not get, unless it made a million inodes or
/// descriptions each second. 33 bits of seconds last until 2242.
fn first_serial(wall_ns: i64) -> u64 {
    let seconds = wall_ns.max(0).unsigned_abs() / 1_000_000_000;
    (seconds & ((1 << 33) - 1)) << 20
}

fn local_only(from: Client) -> Result<(), Errno> {
    // What names a space, or a program's path, is this node's programs' alone.
    match from {
        Client::Server { .. } => Ok(()),
        Client::Node { .. } => Err(Errno::EPERM),
    }
}

fn checked_offset(offset: u64) -> Result<u64, Errno> {
    i64::try_from(offset).map(|_| offset).map_err(|_| Errno::EINVAL)
}

fn read_work(file: FileId, offset: Option<u64>, len: u64, sink: Sink) -> Work {
    if offset == Some(LISTING) {
        Work::List { file, len, sink, got: None }
    } else {
        Work::Read { file, offset, len, sink }
    }
}

/// A path that must not be empty: it names something that may not exist yet.
fn named(at: &At) -> Result<Walk, Errno> {
    if at.path.is_empty() {
        return Err(Errno::ENOENT);
    }
    Walk::new(at)
}

fn second(dir: Option<InodeId>, path: &str, who: Credentials) -> Result<Walk, Errno> {
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    Walk::from_parts(dir, path, who)
}

fn name_work(op: u16, msg: &Msg) -> Result<(Walk, NameOp), Errno> {
    Ok(match op {
        name::Open::NUMBER => {
            let name::Open { at, flags, mode } = name::Open::get(msg)?;
            (Walk::new(&at)?, NameOp::Open { flags, mode })
        }
        name::NameStat::NUMBER => {
            let name::NameStat { at, follow } = name::NameStat::get(msg)?;
            (Walk::new(&at)?, NameOp::Stat { follow })
        }
        name::Enter::NUMBER => (Walk::new(&name::Enter::get(msg)?.at)?, NameOp::Enter),
        name::MakeDirectory::NUMBER => {
            let name::MakeDirectory { at, mode } = name::MakeDirectory::get(msg)?;
            (named(&at)?, NameOp::MakeDirectory { mode: mode & 0o1777 })
        }
        name::Unlink::NUMBER => {
            let name::Unlink { at, directory } = name::Unlink::get(msg)?;
            (named(&at)?, NameOp::Unlink { directory, sealed: None })
        }
        name::Rename::NUMBER => {
            let name::Rename { from, to_dir, to_path, flags } = name::Rename::get(msg)?;
            let to = second(to_dir, &to_path, from.who)?.into();
            (named(&from)?, NameOp::RenameFrom { to, flags })
        }
        name::Link::NUMBER => {
            let name::Link { from, to_dir, to_path, follow } = name::Link::get(msg)?;
            let to = second(to_dir, &to_path, from.who)?.into();
            (named(&from)?, NameOp::LinkFrom { to, follow })
        }
        name::MakeLink::NUMBER => {
            let name::MakeLink { at, target } = name::MakeLink::get(msg)?;
            (named(&at)?, NameOp::MakeLink { target: link_target(target)? })
        }
        name::ReadLink::NUMBER => (Walk::new(&name::ReadLink::get(msg)?.at)?, NameOp::ReadLink),
        name::ChangeName::NUMBER => {
            let name::ChangeName { at, follow, attributes } = name::ChangeName::get(msg)?;
            (Walk::new(&at)?, NameOp::Change { follow, attributes })
        }
        name::TruncateName::NUMBER => {
            let name::TruncateName { at, len } = name::TruncateName::get(msg)?;
            (Walk::new(&at)?, NameOp::Truncate { len })
        }
        name::CheckAccess::NUMBER => {
            let name::CheckAccess { at, mode } = name::CheckAccess::get(msg)?;
            (Walk::new(&at)?, NameOp::Access { mode })
        }
        _ => return Err(Errno::ENOSYS),
    })
}

fn link_target(target: String) -> Result<String, Errno> {
    match target.len() {
        0 => Err(Errno::ENOENT),
        1..abi::limits::PATH_BYTES => Ok(target),
        _ => Err(Errno::ENAMETOOLONG),
    }
}
