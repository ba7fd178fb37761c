// SPDX-License-Identifier: MIT OR Apache-2.0
//! The server over a disk that the test plays: it ends requests when and how the test says.

use crate::core::DiskCore;
use crate::device::{Command, Device, FLUSH_SLOT, Failed};
use crate::open::{Opened, open};
use abi::{Errno, NodeId, ServerId, Ticket};
use cluster::View;
use disk_api::limits::{
    CLIENT_REQUESTS_MAX, FLUSHES_MAX, REQUEST_NS_MAX, REQUESTS_MAX, SECTOR_BYTES,
};
use disk_api::superblock::{Refusal, Superblock};
use disk_api::{
    Absence, EVENT_ROOM, Extent, Fetch, Flush, Info, Read, ReadId, Readable, Region, State, Write,
};
use runtime::testing::{Net, TestNode, call, take};
use runtime::{Client, Completion, Core, Event, Host, Operation, Status, Wire};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

const SECTORS: u64 = 16 * 2048;
const SHELL: ServerId = ServerId::Shell;
const FS: ServerId = ServerId::Fs;

/// A disk and what it was told.
#[derive(Default)]
struct Medium {
    /// What was written and said to be done.
    cache: BTreeMap<u64, [u8; SECTOR_BYTES]>,
    /// What it was when the flush that is under way began.
    flushing: BTreeMap<u64, [u8; SECTOR_BYTES]>,
    /// What is safe from a power cut.
    safe: BTreeMap<u64, [u8; SECTOR_BYTES]>,
    /// Slots' requests that have not ended, in the order in which they came.
    pending: Vec<(usize, Command)>,
    ended: Vec<(usize, Result<(), Failed>)>,
    buffers: Vec<Vec<u8>>,
    read_only: bool,
    stopped: bool,
}

#[derive(Clone, Default)]
struct Fake(Rc<RefCell<Medium>>);

impl Fake {
    fn new() -> Self {
        let medium = Medium { buffers: vec![vec![0; 65536]; REQUESTS_MAX], ..Medium::default() };
        Self(Rc::new(RefCell::new(medium)))
    }

    fn with_superblock(node: u16) -> Self {
        let fake = Self::new();
        let node = NodeId::new(node).expect("a node");
        let superblock = Superblock::new("korrigan", node, SECTORS).expect("large enough");
        fake.0.borrow_mut().cache.insert(0, superblock.encode());
        fake
    }

    /// Ends the `nth` of the requests that wait: done, or failed.
    fn end(&self, nth: usize, result: Result<(), Failed>) {
        let medium = &mut *self.0.borrow_mut();
        let (slot, command) = medium.pending.remove(nth);
        medium.ended.push((slot, result));
        if result.is_err() {
            return;
        }
        match command {
            Command::Flush => medium.safe = medium.flushing.clone(),
            Command::Read(extent) => {
                for (sector, to) in sectors(extent).zip(medium.buffers[slot].chunks_mut(512)) {
                    let data = medium.cache.get(&sector).copied().unwrap_or([0; SECTOR_BYTES]);
                    to.copy_from_slice(&data);
                }
            }
            Command::Write(extent) => {
                for (sector, from) in sectors(extent).zip(medium.buffers[slot].chunks(512)) {
                    medium.cache.insert(sector, from.try_into().expect("a sector"));
                }
            }
        }
    }

    fn pending(&self) -> Vec<Command> {
        self.0.borrow().pending.iter().map(|(_, command)| *command).collect()
    }
}

fn sectors(extent: Extent) -> impl Iterator<Item = u64> {
    extent.first..extent.first + extent.sectors
}

impl Device for Fake {
    fn sectors(&self) -> u64 {
        SECTORS
    }

    fn is_writable(&self) -> bool {
        !self.0.borrow().read_only
    }

    fn needs_flush(&self) -> bool {
        self.is_writable()
    }

    fn begin(&mut self, slot: usize, command: Command) {
        let medium = &mut *self.0.borrow_mut();
        if command == Command::Flush {
            medium.flushing = medium.cache.clone();
        }
        let pending = &mut medium.pending;
        let clashes = |(_, other): &(usize, Command)| match (*other, command) {
            (Command::Write(a), Command::Write(b) | Command::Read(b))
            | (Command::Read(a), Command::Write(b)) => a.overlaps(b),
            (Command::Read(_), Command::Read(_)) | (Command::Flush, _) | (_, Command::Flush) => {
                false
            }
        };
        assert!(!pending.iter().any(clashes), "the device may do them in any order");
        assert!(!pending.iter().any(|(other, _)| *other == slot), "a slot has one request");
        pending.push((slot, command));
    }

    fn ended(&mut self) -> Option<(usize, Result<(), Failed>)> {
        self.0.borrow_mut().ended.pop()
    }

    fn copy_in(&mut self, slot: usize, data: &[u8]) {
        let medium = &mut *self.0.borrow_mut();
        assert!(!medium.pending.iter().any(|(other, _)| *other == slot), "the device has it");
        medium.buffers[slot][..data.len()].copy_from_slice(data);
    }

    fn copy_out(&self, slot: usize, data: &mut [u8]) {
        data.copy_from_slice(&self.0.borrow().buffers[slot][..data.len()]);
    }

    fn stop(&mut self) {
        self.0.borrow_mut().stopped = true;
    }

    fn strange(&self) -> u64 {
        0
    }
}

fn node() -> NodeId {
    NodeId::new(1).expect("a node")
}

/// Opens the disk, which answers at once as `result` says.
fn opened(fake: &Fake, result: Result<(), Failed>) -> Result<Opened<Fake>, Absence> {
    let mut answered = false;
    open(fake.clone(), "korrigan", node(), || {
        assert!(!std::mem::replace(&mut answered, true), "it looks again after it waited");
        fake.end(0, result);
        true
    })
}

struct World {
    fake: Fake,
    host: Host<DiskCore<Fake>>,
    around: TestNode,
}

impl World {
    fn new() -> Self {
        Self::over(Fake::with_superblock(1))
    }

    fn over(fake: Fake) -> Self {
        let disk = opened(&fake, Ok(()));
        let view = View::fixed(vec![node()]).expect("a view");
        let host = Host::new(ServerId::Disk, node(), view, DiskCore::new(disk, |_| {}));
        let around = TestNode::new(node(), ServerId::Disk, Net::shared());
        Self { fake, host, around }
    }

    fn ask<O: Operation>(&mut self, client: ServerId, op: &O, buf: &mut [u8]) -> Status {
        match call(&self.host, &mut self.around, client, op, buf) {
            Ok(_) => Status::Done,
            Err(status) => status,
        }
    }

    fn pending<O: Operation>(&mut self, client: ServerId, op: &O) -> Ticket {
        match self.ask(client, op, &mut []) {
            Status::Pending(ticket) => ticket,
            other => panic!("it is answered later, not {other:?}"),
        }
    }

    fn write(
        &mut self,
        client: ServerId,
        region: Region,
        sector: u64,
        fill: u8,
        count: usize,
    ) -> Status {
        self.ask(client, &Write { region, sector }, &mut vec![fill; count * SECTOR_BYTES])
    }

    /// The device ends the `nth` request, and interrupts.
    fn end(&mut self, nth: usize, result: Result<(), Failed>) {
        self.fake.end(nth, result);
        self.host.step(&mut self.around, |core, cx| core.interrupt(cx));
    }

    /// The next completion of the client.
    fn taken(&mut self, client: ServerId) -> Option<(Ticket, Result<Option<ReadId>, Errno>)> {
        match take(&self.host, &mut self.around, client)? {
            Completion::Ticket { ticket, result } => {
                // A flush has no content; a read's id is never 0.
                let id = |id: Readable| (id.id.generation > 0).then_some(id.id);
                Some((ticket, result.map(|msg| id(Readable::get(&msg).expect("a reply")))))
            }
            Completion::Event { .. } => panic!("no event is due"),
        }
    }

    fn fetch(&mut self, client: ServerId, id: ReadId) -> Result<Vec<u8>, Status> {
        let mut window = vec![0; 65536];
        let (_, len) = call(&self.host, &mut self.around, client, &Fetch { id }, &mut window)?;
        window.truncate(len);
        Ok(window)
    }

    fn state(&mut self) -> State {
        let info = call(&self.host, &mut self.around, SHELL, &Info {}, &mut []);
        info.expect("it is answered at once").0.state
    }
}

const CHECK: Region = Region::Check;
/// Where its first sector is.
const CHECK_FIRST: u64 = 256;

#[test]
fn disk_writes_flushes_and_reads_back() {
    let mut world = World::new();
    assert_eq!(world.write(SHELL, CHECK, 3, 7, 2), Status::Done);
    let flush = world.pending(SHELL, &Flush { region: CHECK });
    let extent = Extent { first: CHECK_FIRST + 3, sectors: 2 };
    assert_eq!(world.fake.pending(), [Command::Write(extent)], "the flush waits for the write");
    world.end(0, Ok(()));
    assert_eq!(world.fake.pending(), [Command::Flush]);
    assert_eq!(world.taken(SHELL), None);
    world.end(0, Ok(()));
    assert_eq!(world.taken(SHELL), Some((flush, Ok(None))));
    assert_eq!(world.fake.0.borrow().safe.get(&(CHECK_FIRST + 4)), Some(&[7; SECTOR_BYTES]));
    let read = world.pending(SHELL, &Read { region: CHECK, sector: 2, sectors: 3 });
    world.end(0, Ok(()));
    let (ticket, id) = world.taken(SHELL).expect("it ended");
    let id = id.expect("done").expect("an id");
    assert_eq!(ticket, read);
    let short = call(&world.host, &mut world.around, SHELL, &Fetch { id }, &mut [0; 1535]);
    assert_eq!(short, Err(Status::Failed(Errno::EMSGSIZE)), "and it is kept");
    assert_eq!(world.fetch(FS, id), Err(Status::Failed(Errno::ESTALE)), "another client's");
    let data = world.fetch(SHELL, id).expect("three sectors");
    assert_eq!((data.len(), data[511], data[512], data[1535]), (1536, 0, 7, 7));
    assert_eq!(world.fetch(SHELL, id), Err(Status::Failed(Errno::ESTALE)), "once");
}

#[test]
fn disk_requests_on_the_same_sectors_keep_their_order() {
    let mut world = World::new();
    world.write(SHELL, CHECK, 0, 1, 2);
    world.write(SHELL, CHECK, 1, 2, 2);
    let read = world.pending(SHELL, &Read { region: CHECK, sector: 0, sectors: 3 });
    world.write(SHELL, CHECK, 2, 3, 1);
    world.write(SHELL, CHECK, 9, 4, 1);
    assert_eq!(world.fake.pending().len(), 2, "the first, and the one that is alone");
    world.end(1, Ok(()));
    for left in [1, 1, 1] {
        world.end(0, Ok(()));
        assert_eq!(world.fake.pending().len(), left);
    }
    let (ticket, id) = world.taken(SHELL).expect("it ended");
    assert_eq!(ticket, read);
    let data = world.fetch(SHELL, id.expect("done").expect("an id")).expect("three sectors");
    assert_eq!((data[0], data[512], data[1024]), (1, 2, 2), "as it was when it was asked for");
}

#[test]
fn disk_flush_is_shared_and_does_not_wait_for_later_writes() {
    let mut world = World::new();
    world.write(SHELL, CHECK, 0, 1, 1);
    let first = world.pending(SHELL, &Flush { region: CHECK });
    let other = world.pending(FS, &Flush { region: Region::Files });
    assert_eq!(world.fake.pending().len(), 2, "nothing is before the other region's");
    world.write(SHELL, CHECK, 5, 1, 1);
    world.end(0, Ok(()));
    assert_eq!(world.fake.pending().len(), 2, "one flush at a time");
    world.end(0, Ok(()));
    assert_eq!(world.taken(FS), Some((other, Ok(None))));
    assert_eq!(world.taken(SHELL), None, "this one began before its write had ended");
    world.end(1, Ok(()));
    assert_eq!(world.taken(SHELL), Some((first, Ok(None))));
}

#[test]
fn disk_write_that_failed_is_told_by_the_flushes_after_it_and_no_others() {
    let mut world = World::new();
    world.write(SHELL, CHECK, 0, 1, 1);
    let before = world.pending(SHELL, &Flush { region: CHECK });
    world.write(SHELL, CHECK, 1, 1, 1);
    let after = world.pending(SHELL, &Flush { region: CHECK });
    world.end(1, Err(Failed));
    assert_eq!(world.taken(SHELL), None, "the first write is under way");
    world.end(0, Ok(()));
    assert_eq!(world.taken(SHELL), Some((after, Err(Errno::EIO))));
    world.end(0, Ok(()));
    assert_eq!(world.taken(SHELL), Some((before, Ok(None))));
    // Nobody flushes yet.
    world.write(SHELL, CHECK, 0, 1, 1);
    world.end(0, Err(Failed));
    let other = world.pending(FS, &Flush { region: Region::Files });
    world.end(0, Ok(()));
    assert_eq!(world.taken(FS), Some((other, Ok(None))));
    let told = world.pending(SHELL, &Flush { region: CHECK });
    assert_eq!(world.taken(SHELL), Some((told, Err(Errno::EIO))));
    let next = world.pending(SHELL, &Flush { region: CHECK });
    world.end(0, Err(Failed));
    assert_eq!(world.taken(SHELL), Some((next, Err(Errno::EIO))), "the flush itself failed");
}

#[test]
fn disk_flush_that_failed_is_told_to_all_regions_once() {
    let mut world = World::new();
    let sent = world.pending(SHELL, &Flush { region: CHECK });
    let waits = world.pending(SHELL, &Flush { region: CHECK });
    world.end(0, Err(Failed));
    assert_eq!(world.taken(SHELL), Some((sent, Err(Errno::EIO))));
    assert_eq!(world.taken(SHELL), Some((waits, Err(Errno::EIO))));
    let other = world.pending(FS, &Flush { region: Region::Files });
    assert_eq!(world.taken(FS), Some((other, Err(Errno::EIO))), "what it wrote may be lost too");
    for (client, region) in [(SHELL, CHECK), (FS, Region::Files)] {
        let next = world.pending(client, &Flush { region });
        world.end(0, Ok(()));
        assert_eq!(world.taken(client), Some((next, Ok(None))));
    }
}

#[test]
fn disk_request_that_waits_for_one_that_is_given_up_goes_on() {
    let mut world = World::new();
    world.write(SHELL, CHECK, 0, 1, 2);
    let read = world.pending(SHELL, &Read { region: CHECK, sector: 1, sectors: 2 });
    world.write(SHELL, CHECK, 2, 2, 1);
    assert_eq!(world.fake.pending().len(), 1);
    world.host.step(&mut world.around, |core, cx| core.cancel(cx, read));
    assert_eq!(world.fake.pending().len(), 2, "nothing is before the second write any more");
}

#[test]
fn disk_read_that_failed_is_eio() {
    let mut world = World::new();
    let read = world.pending(SHELL, &Read { region: CHECK, sector: 0, sectors: 1 });
    world.end(0, Err(Failed));
    assert_eq!(world.taken(SHELL), Some((read, Err(Errno::EIO))));
}

#[test]
fn disk_regions_are_their_owners() {
    let mut world = World::new();
    let denied = Status::Failed(Errno::EPERM);
    for region in [Region::Journal, Region::Files] {
        assert_eq!(world.write(SHELL, region, 0, 1, 1), denied);
        assert_eq!(world.ask(SHELL, &Read { region, sector: 0, sectors: 1 }, &mut []), denied);
        assert_eq!(world.ask(SHELL, &Flush { region }, &mut []), denied);
    }
    let invalid = Status::Failed(Errno::EINVAL);
    for (sector, sectors) in [(0, 0), (0, 129), (127, 2), (128, 1), (u64::MAX, 1), (1, u64::MAX)] {
        let read = Read { region: CHECK, sector, sectors };
        assert_eq!(world.ask(SHELL, &read, &mut []), invalid, "{sector}, {sectors}");
    }
    assert_eq!(world.write(SHELL, CHECK, 0, 1, 0), invalid);
    let odd = world.ask(SHELL, &Write { region: CHECK, sector: 0 }, &mut [0; 511]);
    assert_eq!(odd, invalid);
    assert_eq!(world.fake.pending(), []);
}

#[test]
fn disk_bounds_are_answered_with_eagain_and_room_follows() {
    let mut world = World::new();
    for sector in 0..CLIENT_REQUESTS_MAX as u64 {
        assert_eq!(world.write(SHELL, CHECK, sector, 1, 1), Status::Done);
    }
    assert_eq!(world.write(SHELL, CHECK, 99, 1, 1), Status::Failed(Errno::EAGAIN));
    for sector in 0..(REQUESTS_MAX - CLIENT_REQUESTS_MAX) as u64 {
        assert_eq!(world.write(FS, Region::Files, sector, 1, 1), Status::Done, "others have room");
    }
    assert_eq!(world.write(FS, Region::Files, 99, 1, 1), Status::Failed(Errno::EAGAIN));
    world.end(0, Ok(()));
    for client in [SHELL, FS] {
        let event = take(&world.host, &mut world.around, client);
        assert!(matches!(event, Some(Completion::Event { number: EVENT_ROOM, .. })), "{client}");
    }
    let flushes = (0..FLUSHES_MAX).map(|_| world.pending(SHELL, &Flush { region: CHECK }));
    assert_eq!(flushes.count(), FLUSHES_MAX);
    let full = world.ask(SHELL, &Flush { region: CHECK }, &mut []);
    assert_eq!(full, Status::Failed(Errno::EAGAIN));
}

#[test]
fn disk_reads_that_nobody_wants_give_their_buffers_back() {
    let mut world = World::new();
    let read = |sector| Read { region: CHECK, sector, sectors: 1 };
    for _ in 0..2 {
        for sector in 0..CLIENT_REQUESTS_MAX as u64 {
            world.pending(SHELL, &read(sector));
        }
        assert_eq!(world.ask(SHELL, &read(99), &mut []), Status::Failed(Errno::EAGAIN));
        // Half of them are read and not fetched, half are under way.
        (0..CLIENT_REQUESTS_MAX / 2).for_each(|_| world.end(0, Ok(())));
        world.host.server_down(&mut world.around, SHELL);
        (0..CLIENT_REQUESTS_MAX / 2).for_each(|_| world.end(0, Ok(())));
    }
}

#[test]
fn disk_requests_that_are_given_up_end_once() {
    let mut world = World::new();
    let ticket = world.pending(SHELL, &Read { region: CHECK, sector: 0, sectors: 1 });
    world.host.step(&mut world.around, |core, cx| core.cancel(cx, ticket));
    assert_eq!(world.taken(SHELL), Some((ticket, Err(Errno::ECANCELED))));
    world.end(0, Ok(()));
    assert_eq!(world.taken(SHELL), None, "it ended once");
    let flush = world.pending(SHELL, &Flush { region: CHECK });
    world.host.step(&mut world.around, |core, cx| core.cancel(cx, flush));
    assert_eq!(world.taken(SHELL), Some((flush, Err(Errno::ECANCELED))));
    world.end(0, Ok(()));
    assert_eq!(world.taken(SHELL), None);
}

#[test]
fn disk_that_does_not_answer_is_taken_out_of_service() {
    let mut world = World::new();
    let read = world.pending(SHELL, &Read { region: CHECK, sector: 0, sectors: 1 });
    assert_eq!(world.around.armed_ns, Some(REQUEST_NS_MAX));
    world.around.now_ns = REQUEST_NS_MAX - 1;
    world.host.step(&mut world.around, |core, cx| core.event(cx, Event::Timer(0)));
    assert_eq!(world.taken(SHELL), None, "its patience is not over");
    let flush = world.pending(FS, &Flush { region: Region::Files });
    world.around.now_ns = REQUEST_NS_MAX;
    world.host.step(&mut world.around, |core, cx| core.event(cx, Event::Timer(0)));
    assert_eq!(world.taken(SHELL), Some((read, Err(Errno::EIO))));
    assert_eq!(world.taken(FS), Some((flush, Err(Errno::EIO))));
    assert!(world.fake.0.borrow().stopped);
    assert_eq!(world.state(), State::Stopped);
    assert_eq!(world.write(SHELL, CHECK, 0, 1, 1), Status::Failed(Errno::EIO));
    world.fake.end(0, Ok(()));
    world.host.step(&mut world.around, |core, cx| core.interrupt(cx));
}

#[test]
fn disk_that_is_none_answers_enodev_and_says_why() {
    let blank = Fake::new();
    let mut world = World::over(blank);
    assert_eq!(world.state(), State::Absent(Absence::Refused(Refusal::Foreign)));
    assert_eq!(world.write(SHELL, CHECK, 0, 1, 1), Status::Failed(Errno::ENODEV));
    let id = ReadId { index: 0, generation: 0 };
    assert_eq!(world.fetch(SHELL, id), Err(Status::Failed(Errno::ENODEV)));
    assert!(world.fake.0.borrow().stopped, "the disk is left alone");
    let other = opened(&Fake::with_superblock(2), Ok(()));
    assert_eq!(other.err(), Some(Absence::Refused(Refusal::OtherNode(2))));
    let bad = opened(&Fake::with_superblock(1), Err(Failed));
    assert_eq!(bad.err(), Some(Absence::Unreadable));
    let silent = open(Fake::with_superblock(1), "korrigan", node(), || false);
    assert_eq!(silent.err(), Some(Absence::Unreadable));
}

#[test]
fn disk_that_cannot_be_written_is_read() {
    let fake = Fake::with_superblock(1);
    fake.0.borrow_mut().read_only = true;
    let mut world = World::over(fake);
    assert_eq!(world.write(SHELL, CHECK, 0, 1, 1), Status::Failed(Errno::EROFS));
    let flush = world.pending(SHELL, &Flush { region: CHECK });
    assert_eq!(world.taken(SHELL), Some((flush, Ok(None))), "there is nothing to flush");
    world.pending(SHELL, &Read { region: CHECK, sector: 0, sectors: 1 });
    world.end(0, Ok(()));
    assert!(world.taken(SHELL).is_some_and(|(_, id)| id.is_ok()));
}

#[test]
fn disk_is_no_other_nodes() {
    let mut world = World::new();
    let from = Client::Node { node: NodeId::new(2).expect("a node"), request: 1 };
    let answer = world.host.step(&mut world.around, |core, cx| {
        let msg = runtime::Msg::of(&Info {}).expect("it fits");
        core.request(cx, from, Info::NUMBER, &msg, &mut runtime::Bulk::none())
    });
    assert!(matches!(answer, runtime::Answer::Failed(Errno::EPERM)), "{answer:?}");
}

mod order {
    //! Random requests that end in a random order: what was flushed is safe, and reads see what was
    //! written before them.

    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Act {
        Write(u64, u64),
        Read(u64, u64),
        Flush,
        End(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0u64..6, 1u64..4).prop_map(|(at, n)| Act::Write(at, n)),
            (0u64..6, 1u64..4).prop_map(|(at, n)| Act::Read(at, n)),
            Just(Act::Flush),
            (0usize..16).prop_map(Act::End),
            (0usize..16).prop_map(Act::End),
        ]
    }

    /// What a model without any delay holds.
    type Model = [u8; 9];

    struct Run {
        world: World,
        model: Model,
        /// Each write fills its sectors with its number.
        writes: u8,
        reads: BTreeMap<(u32, u32), (u64, Vec<u8>)>,
        flushes: BTreeMap<(u32, u32), Model>,
    }

    fn key(ticket: Ticket) -> (u32, u32) {
        (ticket.index, ticket.generation)
    }

    impl Run {
        fn act(&mut self, act: &Act) {
            match *act {
                Act::Write(at, count) => {
                    self.writes += 1;
                    let fill = self.writes;
                    if self.world.write(SHELL, CHECK, at, fill, count as usize) == Status::Done {
                        self.model[at as usize..(at + count) as usize].fill(fill);
                    }
                }
                Act::Read(sector, sectors) => {
                    let read = Read { region: CHECK, sector, sectors };
                    if let Status::Pending(ticket) = self.world.ask(SHELL, &read, &mut []) {
                        let range = sector as usize..(sector + sectors) as usize;
                        self.reads.insert(key(ticket), (sector, self.model[range].to_vec()));
                    }
                }
                Act::Flush => {
                    let flush = Flush { region: CHECK };
                    if let Status::Pending(ticket) = self.world.ask(SHELL, &flush, &mut []) {
                        self.flushes.insert(key(ticket), self.model);
                    }
                }
                Act::End(nth) => {
                    let waiting = self.world.fake.pending().len();
                    if waiting > 0 {
                        self.world.end(nth % waiting, Ok(()));
                    }
                }
            }
            self.take();
        }

        fn take(&mut self) {
            loop {
                match take(&self.world.host, &mut self.world.around, SHELL) {
                    Some(Completion::Ticket { ticket, result }) => {
                        let msg = result.expect("no fault is injected");
                        if let Some((_, wanted)) = self.reads.remove(&key(ticket)) {
                            let id = Readable::get(&msg).expect("a reply").id;
                            let data = self.world.fetch(SHELL, id).expect("it waits");
                            let seen: Vec<u8> = data.chunks(512).map(|sector| sector[0]).collect();
                            assert_eq!(seen, wanted);
                        } else {
                            let model = self.flushes.remove(&key(ticket)).expect("once");
                            self.is_safe(&model);
                        }
                    }
                    Some(Completion::Event { .. }) => {}
                    None => return,
                }
            }
        }

        /// What was written before the flush was asked for is safe, or what was written over it.
        fn is_safe(&self, model: &Model) {
            let medium = self.world.fake.0.borrow();
            for (sector, fill) in (CHECK_FIRST..).zip(model) {
                let safe = medium.safe.get(&sector).map_or(0, |data| data[0]);
                assert!(safe >= *fill, "sector {sector}: {safe} is older than {fill}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn disk_in_any_order_reads_and_keeps_what_was_written(
            acts in proptest::collection::vec(act(), 1..120),
        ) {
            let (reads, flushes) = (BTreeMap::new(), BTreeMap::new());
            let mut run = Run { world: World::new(), model: [0; 9], writes: 0, reads, flushes };
            acts.iter().for_each(|act| run.act(act));
            while !run.world.fake.pending().is_empty() {
                run.act(&Act::End(0));
            }
            assert!(run.reads.is_empty() && run.flushes.is_empty(), "all that waits ends");
        }
    }
}

const _: () = assert!(FLUSH_SLOT == REQUESTS_MAX);
