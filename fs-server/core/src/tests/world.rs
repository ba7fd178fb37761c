// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nodes in one thread: each with fs-server, a memory of objects and one space, and a program that
//! asks; between them a network that keeps order.

use super::disks::{Medium, PlayedDisk};
use crate::limits::REMOTE_BYTES;
use crate::{Config, FsCore};
use abi::image::{RootEntry, RootKind};
use abi::{CoreId, Errno, FileId, InodeId, NodeId, ObjectId, ServerId, SlotNo, SpaceId, Ticket};
use alloc::collections::VecDeque;
use cluster::View;
use core::cell::RefCell;
use fs_api::file::{ListDirectory, Read, Release, Resize, Seek, Write};
use fs_api::name::{At, Credentials, Named, Open, Opened};
use mem_api::{Access, Content, CopyIn, CopyOut, ObjectCopy, ObjectCreate, ObjectCreated};
use mem_api::{
    ObjectAdopt, ObjectFetch, ObjectHold, ObjectPunch, ObjectRead, ObjectRelease, ObjectRename,
    ObjectResize, ObjectUse, ObjectUsers, ObjectWrite, Prepare,
};
use runtime::collections::{HashMap, HashSet};
use runtime::node::{NET_SEND, NET_TAKE};
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Host, Msg, NodeReply, Operation, Platform};
use runtime::{Completion, Give, Given, Status, Wire, system};
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

pub const SPACE: SpaceId = SpaceId { index: 1, generation: 1 };
pub const SPACE_BYTES: usize = 256 * 1024;
/// Where the tests' transfers go through.
pub const BUFFER: u64 = 4096;

pub fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("a node number")
}

enum Parcel {
    Message(NodeId, Vec<u8>),
    Down(NodeId),
    Up(NodeId),
}

/// One object for each file of the image and node.
#[derive(Default)]
struct RootObjects(Vec<((usize, Content), u64)>);

impl RootObjects {
    fn get(&self, key: &(usize, Content)) -> Option<&u64> {
        self.0.iter().find(|(it, _)| it == key).map(|(_, object)| object)
    }

    fn insert(&mut self, key: (usize, Content), object: u64) {
        self.0.push((key, object));
    }
}

#[derive(Default)]
struct Shared {
    now_ns: u64,
    serial: u64,
    objects: HashMap<u64, Vec<u8>>,
    absent: HashSet<(usize, u64)>,
    spaces: Vec<Vec<u8>>,
    root: Vec<u8>,
    roots: RootObjects,
    queues: Vec<VecDeque<Parcel>>,
    dead: HashSet<usize>,
    /// Objects have pages on other nodes: mem-server does not resize them.
    held_elsewhere: bool,
    notes: VecDeque<(usize, ServerId)>,
    /// Nodes whose disk has answered.
    disk_notes: HashSet<usize>,
    messages: u64,
    refs: HashMap<u64, u32>,
    /// Objects that were given this id, in which slot.
    renamed: Vec<(u64, SlotNo)>,
    /// Writes to objects before memory ends, if it does.
    writes_left: Option<u64>,
    /// The server's heap is used up but for so many bytes, if it is.
    heap_left: Option<usize>,
}

/// A program: it asks and keeps the answers.
#[derive(Default)]
struct Program {
    cookies: u64,
    answers: HashMap<u64, Result<Msg, Errno>>,
}

impl Core for Program {
    fn request(&mut self, _: &mut Cx<'_>, _: Client, _: u16, _: &Msg, _: &mut Bulk<'_>) -> Answer {
        Answer::Failed(Errno::ENOSYS)
    }

    fn completion(&mut self, _: &mut Cx<'_>, cookie: u64, result: Result<NodeReply, Errno>) {
        self.answers.insert(cookie, result.map(|reply| reply.msg));
    }

    fn event(&mut self, _: &mut Cx<'_>, _: Event) {}

    fn cancel(&mut self, _: &mut Cx<'_>, _: Ticket) {}
}

pub struct World {
    shared: RefCell<Shared>,
    fs: Vec<Host<FsCore>>,
    programs: Vec<Host<Program>>,
    /// The nodes' disks, if they have any.
    pub disks: Vec<Host<PlayedDisk>>,
}

struct Surroundings<'w> {
    world: &'w World,
    at: usize,
}

impl Platform for Surroundings<'_> {
    fn now_ns(&self) -> u64 {
        let mut shared = self.world.shared.borrow_mut();
        shared.now_ns += 1;
        shared.now_ns
    }

    fn core(&self) -> CoreId {
        CoreId(0)
    }

    fn heap_left(&self) -> usize {
        self.world.shared.borrow().heap_left.unwrap_or(usize::MAX)
    }

    fn call(
        &mut self,
        from: ServerId,
        to: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        match to {
            ServerId::Fs => self.world.fs[self.at].request(self, from, op, msg, bulk),
            ServerId::Disk if !self.world.disks.is_empty() => {
                self.world.disks[self.at].request(self, from, op, msg, bulk)
            }
            ServerId::Net => self.world.shared.borrow_mut().net(self.at, op, msg, bulk),
            ServerId::Mem => match self.world.shared.borrow_mut().mem(self.at, op, msg, bulk) {
                Ok(reply) => {
                    *msg = reply;
                    Status::Done
                }
                Err(errno) => Status::Failed(errno),
            },
            _ => Status::Failed(Errno::ENOSYS),
        }
    }

    fn notify(&mut self, from: ServerId, client: ServerId, _core: CoreId) {
        if from == ServerId::Disk {
            self.world.shared.borrow_mut().disk_notes.insert(self.at);
            return;
        }
        // The views server's part is the test's.
        if client == ServerId::Views {
            return;
        }
        assert_eq!(client, ServerId::Proc);
        self.world.shared.borrow_mut().notes.push_back((self.at, ServerId::Fs));
    }
}

impl Shared {
    fn net(&mut self, at: usize, op: u16, msg: &mut Msg, bulk: &mut Bulk<'_>) -> Status {
        let me = node(at as u16 + 1);
        match op {
            NET_SEND => {
                let to = msg.words[0] as usize - 1;
                if self.dead.contains(&to) {
                    return Status::Failed(Errno::EHOSTDOWN);
                }
                self.messages += 1;
                self.queues[to].push_back(Parcel::Message(me, bulk.data().to_vec()));
            }
            NET_TAKE => {
                msg.words = match self.queues[at].pop_front() {
                    None => [0; 4],
                    Some(Parcel::Message(from, data)) => {
                        bulk.set(&data).expect("it fits");
                        [1, u64::from(from.get()), 0, 0]
                    }
                    Some(Parcel::Down(who)) => [2, u64::from(who.get()), 0, 0],
                    Some(Parcel::Up(who)) => [3, u64::from(who.get()), 0, 0],
                }
            }
            _ => return Status::Failed(Errno::ENOSYS),
        }
        Status::Done
    }

    fn range(&mut self, at: usize, addr: u64, len: u64) -> Result<&mut [u8], Errno> {
        let end = addr.checked_add(len).ok_or(Errno::EFAULT)? as usize;
        self.spaces[at].get_mut(addr as usize..end).ok_or(Errno::EFAULT)
    }

    fn object_get(&self, object: ObjectId, offset: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let bytes = self.objects.get(&object.raw()).ok_or(Errno::ESTALE)?;
        let mut out = vec![0; len as usize];
        let start = bytes.len().min(offset as usize);
        let end = bytes.len().min((offset + len) as usize);
        out[..end - start].copy_from_slice(&bytes[start..end]);
        Ok(out)
    }

    fn object_put(&mut self, object: ObjectId, offset: u64, data: &[u8]) -> Result<(), Errno> {
        let bytes = self.objects.get_mut(&object.raw()).ok_or(Errno::ESTALE)?;
        let end = offset as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(())
    }

    fn mem(&mut self, at: usize, op: u16, msg: &Msg, bulk: &mut Bulk<'_>) -> Result<Msg, Errno> {
        match op {
            Prepare::NUMBER => {
                let Prepare { addr, len, .. } = Prepare::get(msg)?;
                self.range(at, addr, len)?;
            }
            CopyIn::NUMBER => {
                let CopyIn { addr, len, .. } = CopyIn::get(msg)?;
                let data = self.range(at, addr, len)?.to_vec();
                bulk.set(&data)?;
            }
            CopyOut::NUMBER => {
                let CopyOut { addr, .. } = CopyOut::get(msg)?;
                let data = bulk.data().to_vec();
                self.range(at, addr, data.len() as u64)?.copy_from_slice(&data);
            }
            ObjectCreate::NUMBER => {
                let ObjectCreate { content, slot } = ObjectCreate::get(msg)?;
                if let Some(object) = self.roots.get(&(at, content)) {
                    *self.refs.get_mut(object).expect("never freed") += 1;
                    return Msg::of(&ObjectCreated { object: ObjectId::from_raw(*object) });
                }
                // Of each node's slots one that is its own in the first view.
                let own = SlotNo::new(at as u16).expect("a slot");
                let object = self.new_id(slot.unwrap_or(own));
                let bytes = match content {
                    Content::Zero => Vec::new(),
                    Content::Root { offset, len } => {
                        self.roots.insert((at, content), object.raw());
                        self.root[offset as usize..(offset + len) as usize].to_vec()
                    }
                };
                self.objects.insert(object.raw(), bytes);
                self.refs.insert(object.raw(), 1);
                return Msg::of(&ObjectCreated { object });
            }
            _ => return self.object_op(at, op, msg, bulk),
        }
        Ok(Msg::default())
    }

    fn new_id(&mut self, slot: SlotNo) -> ObjectId {
        self.serial += 1;
        ObjectId::new(slot, self.serial).expect("a small number")
    }

    fn punch(&mut self, op: &ObjectPunch) -> Result<(), Errno> {
        if self.held_elsewhere {
            return Err(Errno::ENOSYS);
        }
        let bytes = self.objects.get_mut(&op.object.raw()).ok_or(Errno::ESTALE)?;
        let at = |page: u64| bytes.len().min((page * 4096) as usize);
        let hole = at(op.first)..at(op.first + op.pages);
        bytes[hole].fill(0);
        Ok(())
    }

    fn rename(&mut self, op: &ObjectRename) -> Result<ObjectId, Errno> {
        let former = op.object.raw();
        let bytes = self.objects.remove(&former).ok_or(Errno::ESTALE)?;
        let refs = self.refs.remove(&former).ok_or(Errno::ESTALE)?;
        let object = self.new_id(op.slot);
        self.objects.insert(object.raw(), bytes);
        self.refs.insert(object.raw(), refs);
        self.renamed.push((object.raw(), op.slot));
        Ok(object)
    }

    fn object_op(
        &mut self,
        at: usize,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Msg, Errno> {
        match op {
            ObjectHold::NUMBER => {
                let object = ObjectHold::get(msg)?.object.raw();
                *self.refs.get_mut(&object).ok_or(Errno::ESTALE)? += 1;
            }
            ObjectAdopt::NUMBER => {}
            ObjectRename::NUMBER => {
                let object = self.rename(&ObjectRename::get(msg)?)?;
                return Msg::of(&ObjectCreated { object });
            }
            ObjectUse::NUMBER => {
                let object = ObjectUse::get(msg)?.object.raw();
                let alone =
                    self.refs.get(&object) == Some(&1) && !self.absent.contains(&(at, object));
                return Msg::of(&ObjectUsers { alone });
            }
            ObjectCopy::NUMBER => {
                let copy = ObjectCopy::get(msg)?;
                if self.absent.contains(&(at, copy.object.raw())) {
                    return Err(Errno::EAGAIN);
                }
                if copy.access == Access::Read {
                    let data = self.object_get(copy.object, copy.offset, copy.len)?;
                    self.range(at, copy.addr, copy.len)?.copy_from_slice(&data);
                } else {
                    let data = self.range(at, copy.addr, copy.len)?.to_vec();
                    self.object_put(copy.object, copy.offset, &data)?;
                }
            }
            ObjectRead::NUMBER => {
                let ObjectRead { object, offset, len } = ObjectRead::get(msg)?;
                if self.absent.contains(&(at, object.raw())) {
                    return Err(Errno::ERESTART);
                }
                bulk.set(&self.object_get(object, offset, len)?)?;
            }
            ObjectWrite::NUMBER => {
                let ObjectWrite { object, offset } = ObjectWrite::get(msg)?;
                if let Some(left) = &mut self.writes_left {
                    *left = left.checked_sub(1).ok_or(Errno::ENOMEM)?;
                }
                self.object_put(object, offset, bulk.data())?;
            }
            ObjectFetch::NUMBER => {
                self.absent.remove(&(at, ObjectFetch::get(msg)?.object.raw()));
            }
            ObjectResize::NUMBER => {
                let ObjectResize { object, len } = ObjectResize::get(msg)?;
                if self.held_elsewhere {
                    return Err(Errno::ENOSYS);
                }
                self.objects.get_mut(&object.raw()).ok_or(Errno::ESTALE)?.resize(len as usize, 0);
            }
            ObjectPunch::NUMBER => self.punch(&ObjectPunch::get(msg)?)?,
            ObjectRelease::NUMBER => {
                let object = ObjectRelease::get(msg)?.object.raw();
                let refs = self.refs.get_mut(&object).ok_or(Errno::ESTALE)?;
                *refs -= 1;
                if *refs == 0 {
                    self.refs.remove(&object);
                    self.objects.remove(&object);
                }
            }
            _ => return Err(Errno::ENOSYS),
        }
        Ok(Msg::default())
    }
}

fn image() -> (Vec<RootEntry>, Vec<u8>) {
    let mut data = vec![b'#'; 100];
    data.resize(4096, 0);
    data.extend(b"root:x:0:0::/root:/bin/sh\n");
    let entry =
        |path: &str, mode, kind| RootEntry { path: path.to_string(), mode, mtime_s: 7, kind };
    let file = |offset, len| RootKind::File { offset, len };
    let entries = vec![
        entry("bin", 0o755, RootKind::Directory),
        entry("bin/busybox", 0o755, file(0, 100)),
        entry("bin/sh", 0o777, RootKind::Symlink("busybox".into())),
        entry("bin/ash", 0o755, RootKind::HardLink("bin/busybox".into())),
        entry("etc", 0o755, RootKind::Directory),
        entry("etc/passwd", 0o644, file(4096, 26)),
        entry("mnt", 0o755, RootKind::Directory),
        entry("usr", 0o755, RootKind::Directory),
        entry("usr/share", 0o755, RootKind::Directory),
        entry("usr/share/words", 0o644, file(0, 50)),
        entry("usr/empty", 0o755, RootKind::Directory),
    ];
    (entries, data)
}

impl World {
    /// So much of the server's heap is left from now on.
    pub fn set_heap_left(&self, bytes: Option<usize>) {
        self.shared.borrow_mut().heap_left = bytes;
    }

    /// A cluster of so many nodes.
    pub fn new(count: u16) -> Self {
        Self::with_room(count, 1 << 20)
    }

    /// The same, with room for so many bytes in the files of each node.
    pub fn with_room(count: u16, bytes_max: u64) -> Self {
        let members: Vec<NodeId> = (1..=count).map(node).collect();
        let (root, data) = image();
        let view = View::fixed(members.clone()).expect("a view");
        let mut shared = Shared { root: data, ..Shared::default() };
        let (mut fs, mut programs) = (Vec::new(), Vec::new());
        for id in members {
            let wall_ns = 1_000_000_000_000;
            let config = Config { root: root.clone(), wall_ns, seed: [7; 32], bytes_max };
            let core = FsCore::new(id, view.clone(), config).expect("a sound image");
            fs.push(Host::new(ServerId::Fs, id, view.clone(), core));
            programs.push(Host::new(ServerId::Proc, id, view.clone(), Program::default()));
            shared.spaces.push(vec![0; SPACE_BYTES]);
            shared.queues.push(VecDeque::new());
        }
        Self { shared: RefCell::new(shared), fs, programs, disks: Vec::new() }
    }

    /// A cluster in a first view, with backups.
    pub fn with_backups(count: u16) -> (Self, View) {
        let mut it = Self::new(count);
        let members: Vec<NodeId> = (1..=count).map(node).collect();
        let view = View::fixed(members.clone()).expect("a view").with_backups();
        for (at, id) in members.into_iter().enumerate() {
            let (wall_ns, bytes_max) = (1_000_000_000_000, 1 << 20);
            let config = Config { root: image().0, wall_ns, seed: [7; 32], bytes_max };
            let core = FsCore::new(id, View::outside(id), config).expect("a sound image");
            it.fs[at] = Host::outside(ServerId::Fs, id, core);
            let mut surroundings = Surroundings { world: &it, at };
            runtime::testing::lease(&it.fs[at], &mut surroundings, u64::MAX);
            it.enter(at, &view);
        }
        it.settle();
        (it, view)
    }

    /// The nodes start again, with what the disks of `media` have, and enter a view.
    pub fn start_again(&mut self, media: &[Rc<RefCell<Medium>>], view: &View) {
        self.disks.clear();
        for (at, medium) in media.iter().enumerate() {
            let id = node(at as u16 + 1);
            let (wall_ns, bytes_max) = (1_000_000_000_000, 1 << 20);
            let config = Config { root: image().0, wall_ns, seed: [7; 32], bytes_max };
            let core = FsCore::new(id, View::outside(id), config).expect("a sound image");
            self.fs[at] = Host::outside(ServerId::Fs, id, core);
            let program = Program::default();
            self.programs[at] = Host::new(ServerId::Proc, id, view.clone(), program);
            let disk = PlayedDisk::new(Rc::clone(medium));
            self.disks.push(Host::new(ServerId::Disk, id, view.clone(), disk));
        }
        let mut shared = self.shared.borrow_mut();
        shared.queues.iter_mut().for_each(VecDeque::clear);
        (shared.notes, shared.disk_notes) = (VecDeque::new(), HashSet::default());
        drop(shared);
        for at in 0..media.len() {
            let mut surroundings = Surroundings { world: self, at };
            runtime::testing::lease(&self.fs[at], &mut surroundings, u64::MAX);
            self.fs[at].step(&mut surroundings, Core::start);
            self.enter(at, view);
        }
        self.settle();
    }

    /// Starts a call of the program on node `at` (from 0).
    pub fn begin<O: Operation>(&self, at: usize, op: &O) -> u64 {
        self.programs[at].step(&mut Surroundings { world: self, at }, |program, cx| {
            program.cookies += 1;
            cx.ask(op, program.cookies);
            program.cookies
        })
    }

    /// Its answer, if it has come.
    pub fn answer<O: Operation>(&self, at: usize, cookie: u64) -> Option<Result<O::Reply, Errno>> {
        let mut surroundings = Surroundings { world: self, at };
        let answer =
            self.programs[at].step(&mut surroundings, |program, _| program.answers.remove(&cookie));
        answer.map(|answer| answer.and_then(|msg| O::Reply::get(&msg)))
    }

    /// The program on a node gives up on a call.
    pub fn cancel(&self, at: usize, cookie: u64) {
        self.programs[at].step(&mut Surroundings { world: self, at }, |_, cx| cx.cancel(cookie));
    }

    /// Delivers what waits for one node.
    pub fn deliver(&self, at: usize) {
        if self.shared.borrow().dead.contains(&at) {
            return;
        }
        self.fs[at].collect(&mut Surroundings { world: self, at }, ServerId::Net);
    }

    /// Hands out the answers that wait for programs.
    pub fn answers(&self) {
        loop {
            let note = self.shared.borrow_mut().notes.pop_front();
            let Some((at, server)) = note else { return };
            self.programs[at].collect(&mut Surroundings { world: self, at }, server);
        }
    }

    /// Delivers everything that waits.
    pub fn settle(&self) {
        loop {
            let mut quiet = true;
            for at in 0..self.fs.len() {
                let waits = !self.shared.borrow().queues[at].is_empty();
                if waits && !self.shared.borrow().dead.contains(&at) {
                    quiet = false;
                    let mut surroundings = Surroundings { world: self, at };
                    self.fs[at].collect(&mut surroundings, ServerId::Net);
                }
            }
            let disks = core::mem::take(&mut self.shared.borrow_mut().disk_notes);
            for at in disks {
                quiet = false;
                self.fs[at].collect(&mut Surroundings { world: self, at }, ServerId::Disk);
            }
            let note = self.shared.borrow_mut().notes.pop_front();
            if let Some((at, server)) = note {
                quiet = false;
                self.programs[at].collect(&mut Surroundings { world: self, at }, server);
            }
            if quiet {
                return;
            }
        }
    }

    /// A call from start to end.
    pub fn call<O: Operation>(&self, at: usize, op: &O) -> Result<O::Reply, Errno> {
        let cookie = self.begin(at, op);
        self.settle();
        self.answer::<O>(at, cookie).expect("nothing hangs")
    }

    pub fn nodes(&self) -> usize {
        self.fs.len()
    }

    /// What the fs-server of node `at` answers when node `from` sends a request of its own making.
    pub fn call_as_peer<O: Operation>(&self, from: usize, at: usize, op: &O) -> Result<(), Errno> {
        let client = Client::Node { node: node(from as u16 + 1), request: 1 };
        let msg = Msg::of(op)?;
        let answer = self.fs[at].step(&mut Surroundings { world: self, at }, |fs, cx| {
            fs.request(cx, client, O::NUMBER, &msg, &mut Bulk::none())
        });
        match answer {
            Answer::Done(_) | Answer::Pending(_) => Ok(()),
            Answer::Failed(errno) => Err(errno),
            Answer::NextView => Err(Errno::EAGAIN),
            Answer::Moved(_) => Err(Errno::ESTALE),
        }
    }

    pub fn kill(&self, dead: usize) {
        let mut shared = self.shared.borrow_mut();
        shared.dead.insert(dead);
        for at in (0..self.fs.len()).filter(|at| *at != dead) {
            shared.queues[at].push_back(Parcel::Down(node(dead as u16 + 1)));
        }
    }

    pub fn tell_up(&self, at: usize, who: usize) {
        self.shared.borrow_mut().queues[at].push_back(Parcel::Up(node(who as u16 + 1)));
    }

    /// A node enters a view. What it sends stays in the queues.
    pub fn enter(&self, at: usize, view: &View) {
        let mut surroundings = Surroundings { world: self, at };
        runtime::testing::views::enter(&self.fs[at], &mut surroundings, view);
    }

    /// Whether the slot may not be given away; freezes it if it may.
    pub fn occupies(&self, at: usize, slot: SlotNo) -> bool {
        self.fs[at].freeze(slot).expect("its home")
    }

    /// Begins to give a slot to another node; the answer, if there is one at once.
    pub fn begin_give(&self, at: usize, slot: SlotNo, to: usize) -> Option<bool> {
        let (slot, to) = (slot.index() as u16, node(to as u16 + 1));
        let give = Give { slot, to, really: true };
        let mut msg = Msg::of(&give).expect("a message");
        let mut surroundings = Surroundings { world: self, at };
        let views = ServerId::Views;
        let bulk = &mut Bulk::none();
        match self.fs[at].request(&mut surroundings, views, system::GIVE, &mut msg, bulk) {
            Status::Done => Some(Given::get(&msg).expect("an answer").given),
            Status::Pending(_) => None,
            Status::Failed(errno) => panic!("{errno}"),
        }
    }

    /// The later answer, if it is there.
    pub fn given(&self, at: usize) -> Option<bool> {
        let mut surroundings = Surroundings { world: self, at };
        match runtime::testing::take(&self.fs[at], &mut surroundings, ServerId::Views)? {
            Completion::Ticket { result, .. } => {
                Some(result.is_ok_and(|msg| Given::get(&msg).expect("an answer").given))
            }
            Completion::Event { .. } => panic!("no event is due"),
        }
    }

    /// Gives a slot away; whether the other node has it.
    pub fn give(&self, at: usize, slot: SlotNo, to: usize) -> bool {
        self.begin_give(at, slot, to).unwrap_or_else(|| {
            self.settle();
            self.given(at).expect("an answer")
        })
    }

    pub fn messages(&self) -> u64 {
        self.shared.borrow().messages
    }

    pub fn objects(&self) -> usize {
        self.shared.borrow().objects.len()
    }

    /// Every object's pages go away from a node.
    pub fn evict(&self, at: usize) {
        let mut shared = self.shared.borrow_mut();
        let objects: Vec<u64> = shared.objects.keys().copied().collect();
        shared.absent.extend(objects.into_iter().map(|object| (at, object)));
    }

    /// The slots of the objects that were renamed.
    pub fn renamed(&self) -> Vec<SlotNo> {
        self.shared.borrow().renamed.iter().map(|(_, slot)| *slot).collect()
    }

    /// Objects that are no file's of the image.
    pub fn written_objects(&self) -> usize {
        let shared = self.shared.borrow();
        shared.objects.len() - shared.roots.0.len()
    }

    /// After so many more writes to objects there is no memory left for another.
    pub fn end_memory_after(&self, writes: Option<u64>) {
        self.shared.borrow_mut().writes_left = writes;
    }

    /// A step of a node's core.
    pub fn step<R>(&self, at: usize, run: impl FnOnce(&mut FsCore, &mut Cx<'_>) -> R) -> R {
        self.fs[at].step(&mut Surroundings { world: self, at }, run)
    }

    pub fn hold_elsewhere(&self) {
        self.shared.borrow_mut().held_elsewhere = true;
    }

    pub fn open_files(&self, at: usize) -> usize {
        self.fs[at].step(&mut Surroundings { world: self, at }, |fs, _| fs.open_files())
    }

    pub fn poke(&self, at: usize, data: &[u8]) {
        let mut shared = self.shared.borrow_mut();
        shared.range(at, BUFFER, data.len() as u64).expect("it fits").copy_from_slice(data);
    }

    pub fn peek(&self, at: usize, len: u64) -> Vec<u8> {
        self.shared.borrow_mut().range(at, BUFFER, len).expect("it fits").to_vec()
    }

    pub fn open(&self, at: usize, path: &str, flags: u32) -> Result<FileId, Errno> {
        let open = Open { at: path_of(path), flags, mode: 0o644 };
        match self.call(at, &open)? {
            Named::Here(Opened { file, .. }) => Ok(file),
            Named::Elsewhere(_) => Err(Errno::ENXIO),
        }
    }

    pub fn write(&self, at: usize, file: FileId, data: &[u8]) -> Result<u64, Errno> {
        self.poke(at, data);
        let len = data.len() as u64;
        Ok(self.call(at, &Write { file, space: SPACE, addr: BUFFER, len })?.bytes)
    }

    pub fn read(&self, at: usize, file: FileId, len: u64) -> Result<Vec<u8>, Errno> {
        let moved = self.call(at, &Read { file, space: SPACE, addr: BUFFER, len })?;
        Ok(self.peek(at, moved.bytes))
    }

    pub fn close(&self, at: usize, file: FileId) {
        self.call(at, &Release { file }).expect("it was open");
    }

    pub fn put(&self, at: usize, path: &str, data: &[u8]) -> Result<(), Errno> {
        let file = self.open(at, path, 0o1101)?;
        let written = self.write(at, file, data);
        self.close(at, file);
        written.map(|_| ())
    }

    /// The same for any number of bytes, with a hole for every stretch that is all zeroes.
    pub fn put_long(&self, at: usize, path: &str, data: &[u8]) -> Result<(), Errno> {
        let file = self.open(at, path, 0o1101)?;
        for (offset, part) in
            (0i64..).step_by(REMOTE_BYTES as usize).zip(data.chunks(REMOTE_BYTES as usize))
        {
            if part.iter().any(|byte| *byte != 0) {
                self.call(at, &Seek { file, offset, whence: 0 })?;
                assert_eq!(self.write(at, file, part)?, part.len() as u64);
            }
        }
        self.call(at, &Resize { file, len: data.len() as u64 })?;
        self.close(at, file);
        Ok(())
    }

    pub fn get(&self, at: usize, path: &str) -> Result<Vec<u8>, Errno> {
        let file = self.open(at, path, 0)?;
        let mut all = Vec::new();
        loop {
            let part = self.read(at, file, 65536);
            match part {
                Ok(part) if part.is_empty() => break,
                Ok(part) => all.extend(part),
                Err(errno) => {
                    self.close(at, file);
                    return Err(errno);
                }
            }
        }
        self.close(at, file);
        Ok(all)
    }

    /// The names of an open directory, in the order of its records, by calls with a buffer of `len`.
    pub fn names_of(&self, at: usize, file: FileId, len: u64) -> Result<Vec<String>, Errno> {
        let mut names = Vec::new();
        loop {
            let list = ListDirectory { file, space: SPACE, addr: BUFFER, len };
            let moved = self.call(at, &list)?.bytes;
            if moved == 0 {
                return Ok(names);
            }
            names.extend(records(&self.peek(at, moved)));
        }
    }

    pub fn list(&self, at: usize, path: &str) -> Result<Vec<String>, Errno> {
        let file = self.open(at, path, 0o200000)?;
        let names = self.names_of(at, file, 128);
        self.close(at, file);
        let mut names = names?;
        names.retain(|name| name != "." && name != "..");
        names.sort();
        Ok(names)
    }
}

pub fn records(mut data: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while !data.is_empty() {
        let len = usize::from(u16::from_le_bytes([data[16], data[17]]));
        let name = data[19..len].split(|byte| *byte == 0).next().expect("a name");
        names.push(String::from_utf8(name.to_vec()).expect("text"));
        data = &data[len..];
    }
    names
}

pub fn path_of(path: &str) -> At {
    At { dir: None, path: path.to_string(), who: Credentials { uid: 0, gid: 0, mask: 0o022 } }
}

pub fn path_from(dir: InodeId, path: &str) -> At {
    At { dir: Some(dir), ..path_of(path) }
}

pub fn path_as(uid: u32, path: &str) -> At {
    At { who: Credentials { uid, gid: uid, mask: 0o022 }, ..path_of(path) }
}
