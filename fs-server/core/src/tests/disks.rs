// SPDX-License-Identifier: MIT OR Apache-2.0
//! Trees on disks that forget what was not flushed.

use super::world::World;
use abi::{Errno, NodeId, Ticket};
use cluster::{Draft, Member, Policy, View};
use core::cell::RefCell;
use disk_api::{
    DiskInfo, Extent, Fetch, Figures, Flush, Info, Read, ReadId, Readable, State, Write,
};
use fs_api::file::{Fsync, Release, Resize, SyncAll};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Msg, NodeReply, Operation, Wire};
use std::collections::BTreeMap;
use std::format;
use std::rc::Rc;
use std::string::String;
use std::vec;
use std::vec::Vec;

const SECTOR: usize = 512;
const SECTORS: u64 = disk_api::limits::FILES_SECTORS_MIN;
const CREATE: u32 = 0o102;

/// What is on a disk.
#[derive(Default)]
pub struct Medium {
    safe: BTreeMap<u64, Vec<u8>>,
    written: Vec<(u64, Vec<u8>)>,
}

impl Medium {
    fn read(&self, sector: u64) -> Vec<u8> {
        let new = self.written.iter().rev().find(|(at, _)| *at == sector);
        let bytes = new.map(|(_, bytes)| bytes).or_else(|| self.safe.get(&sector));
        bytes.cloned().unwrap_or_else(|| vec![0; SECTOR])
    }

    /// The power goes: of what was not flushed any sectors are there.
    fn crash(&mut self, random: &mut ChaCha8Rng) {
        for (sector, bytes) in core::mem::take(&mut self.written) {
            if random.next_u32().is_multiple_of(2) {
                self.safe.insert(sector, bytes);
            }
        }
    }
}

/// A disk server that answers at once.
pub struct PlayedDisk {
    medium: Rc<RefCell<Medium>>,
    read: BTreeMap<u32, Vec<u8>>,
    last: u32,
}

impl PlayedDisk {
    pub fn new(medium: Rc<RefCell<Medium>>) -> Self {
        Self { medium, read: BTreeMap::new(), last: 0 }
    }

    fn perform(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        (op, msg): (u16, &Msg),
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        Ok(match op {
            Info::NUMBER => {
                let mut regions = [Extent::default(); 4];
                regions[3] = Extent { first: 4096, sectors: SECTORS };
                let state = State::Ready { sectors: 1 << 20, writable: true, regions };
                Answer::reply(&DiskInfo { state, figures: Figures::default() })
            }
            Read::NUMBER => {
                let Read { sector, sectors, .. } = Read::get(msg)?;
                let medium = self.medium.borrow();
                let bytes = (sector..sector + sectors).flat_map(|it| medium.read(it)).collect();
                self.last += 1;
                self.read.insert(self.last, bytes);
                let ticket = cx.open_ticket(from)?;
                let id = ReadId { index: self.last, generation: 1 };
                cx.complete(ticket, Ok(Readable { id }));
                Answer::Pending(ticket)
            }
            Fetch::NUMBER => {
                let id = Fetch::get(msg)?.id;
                bulk.set(&self.read.remove(&id.index).ok_or(Errno::ESTALE)?)?;
                Answer::reply(&())
            }
            Write::NUMBER => {
                let Write { sector, .. } = Write::get(msg)?;
                let sectors = (sector..).zip(bulk.data().chunks_exact(SECTOR));
                let written = sectors.map(|(at, bytes)| (at, bytes.to_vec()));
                self.medium.borrow_mut().written.extend(written);
                Answer::reply(&())
            }
            Flush::NUMBER => {
                let medium = &mut *self.medium.borrow_mut();
                medium.safe.extend(medium.written.drain(..));
                let ticket = cx.open_ticket(from)?;
                cx.complete(ticket, Ok(()));
                Answer::Pending(ticket)
            }
            _ => return Err(Errno::ENOSYS),
        })
    }
}

impl Core for PlayedDisk {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        self.perform(cx, from, (op, msg), bulk).unwrap_or_else(Answer::Failed)
    }

    fn completion(&mut self, _: &mut Cx<'_>, _: u64, _: Result<NodeReply, Errno>) {}

    fn event(&mut self, _: &mut Cx<'_>, _: Event) {}

    fn cancel(&mut self, _: &mut Cx<'_>, _: Ticket) {}
}

/// A cluster that is switched off and on.
struct Power {
    world: World,
    media: Vec<Rc<RefCell<Medium>>>,
    view: View,
    random: ChaCha8Rng,
}

fn node(number: usize) -> NodeId {
    NodeId::new(number as u16).expect("a node")
}

impl Power {
    fn new(count: usize, seed: u64) -> Self {
        let members = (1..=count).map(|it| (node(it), Member::boot(it as u64, true))).collect();
        let founders: Vec<NodeId> = (1..=count).map(node).collect();
        let view = View::begun(5, members, &founders).expect("a view").with_backups();
        let media = (0..count).map(|_| Rc::default()).collect::<Vec<_>>();
        let mut world = World::new(count as u16);
        world.start_again(&media, &view);
        Self { world, media, view, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The power of all nodes goes, and comes.
    fn cycle(&mut self) {
        for medium in &self.media {
            medium.borrow_mut().crash(&mut self.random);
        }
        let mut draft = Draft::new(&self.view);
        let members = self.view.roster().to_vec();
        members.iter().for_each(|member| draft.leave(member.node));
        for member in members {
            let boot = Member::boot(u64::from(self.random.next_u32()), true);
            draft.admit(member.node, boot, Some(member.disk)).expect("it left");
        }
        draft.settle(Policy { backups: true });
        self.view = self.view.apply(&draft.finish().expect("a change")).expect("lawful");
        self.world.start_again(&self.media, &self.view);
    }

    fn put(&self, at: usize, path: &str, bytes: &[u8]) {
        let file = self.world.open(at, path, CREATE | 0o1000).expect("it can be made");
        self.world.write(at, file, bytes).expect("there is room");
        self.world.call(at, &Release { file }).expect("it is open");
    }

    fn get(&self, at: usize, path: &str) -> Result<Vec<u8>, Errno> {
        let file = self.world.open(at, path, 0)?;
        let bytes = self.world.read(at, file, 60_000);
        self.world.call(at, &Release { file }).expect("it is open");
        bytes
    }

    fn sync(&self, at: usize) {
        self.world.call(at, &SyncAll {}).expect("disks work");
    }
}

#[test]
fn tree_that_was_synced_is_there_after_the_power_failed() {
    for count in [1, 2, 3] {
        let mut power = Power::new(count, 5);
        power.world.mkdir(0, "/tmp/d").expect("made");
        power.put(0, "/tmp/d/a", b"one");
        power.put(count - 1, "/etc/new", &[7; 10_000]);
        power.world.link(0, "/tmp/d/a", "/tmp/d/b").expect("linked");
        power.world.symlink(0, "a", "/tmp/d/c").expect("linked");
        power.put(0, "/tmp/gone", b"x");
        power.sync(0);
        power.world.unlink(0, "/tmp/gone").expect("it is there");
        power.sync(count - 1);
        for round in 0..3 {
            power.cycle();
            for at in 0..count {
                assert_eq!(power.get(at, "/tmp/d/c"), Ok(b"one".to_vec()), "{count} {round}");
                assert_eq!(power.get(at, "/etc/new"), Ok(vec![7; 10_000]));
                assert_eq!(power.get(at, "/tmp/gone"), Err(Errno::ENOENT));
                assert_eq!(power.world.stat(at, "/tmp/d/b").expect("it is there").links, 2);
            }
        }
    }
}

#[test]
fn file_that_was_open_without_a_name_is_freed() {
    let mut power = Power::new(1, 6);
    let file = power.world.open(0, "/tmp/x", CREATE).expect("made");
    power.world.write(0, file, &[1; 9000]).expect("room");
    power.world.unlink(0, "/tmp/x").expect("it is there");
    power.sync(0);
    power.cycle();
    assert_eq!(power.get(0, "/tmp/x"), Err(Errno::ENOENT));
    let figures = power.world.step(0, |fs, _| fs.tree.figures());
    assert_eq!(figures.bytes_free, figures.bytes_total);
}

#[test]
fn fsync_is_answered_when_the_file_is_safe() {
    for count in [1, 2] {
        let mut power = Power::new(count, 8);
        let file = power.world.open(0, "/tmp/x", CREATE).expect("made");
        power.world.write(0, file, b"first").expect("room");
        power.world.call(0, &Fsync { file }).expect("safe");
        power.world.write(0, file, &[2; 5000]).expect("room");
        power.world.call(0, &Fsync { file }).expect("safe");
        power.world.call(0, &Resize { file, len: 7 }).expect("cut");
        power.world.call(0, &Resize { file, len: 20 }).expect("longer");
        power.world.call(0, &Fsync { file }).expect("safe");
        let each = power.world.open(0, "/tmp/each", CREATE | 0o10000).expect("made");
        assert_eq!(power.world.write(0, each, b"safe"), Ok(4));
        power.cycle();
        assert_eq!(power.get(0, "/tmp/each"), Ok(b"safe".to_vec()), "O_DSYNC");
        let mut wanted = b"first\x02\x02".to_vec();
        wanted.resize(20, 0);
        assert_eq!(power.get(count - 1, "/tmp/x"), Ok(wanted));
    }
}

/// Things that programs do, and what is there after the last sync.
#[test]
fn trees_of_storms_are_there_as_they_were_synced() {
    for seed in 0..40 {
        let count = 1 + seed as usize % 3;
        let mut power = Power::new(count, seed);
        let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for round in 0..6u8 {
            for _ in 0..20 {
                let at = power.random.next_u32() as usize % count;
                let path = format!("/tmp/{}", power.random.next_u32() % 8);
                match power.random.next_u32() % 4 {
                    0 | 1 => {
                        let len = power.random.next_u32() as usize % 20_000;
                        let bytes = vec![power.random.next_u32() as u8; len];
                        power.put(at, &path, &bytes);
                        model.insert(path, bytes);
                    }
                    2 => {
                        let is_there = model.remove(&path).is_some();
                        assert_eq!(power.world.unlink(at, &path).is_ok(), is_there);
                    }
                    _ => {
                        let to = format!("/tmp/{}", power.random.next_u32() % 8);
                        let moved = power.world.rename(at, &path, &to).is_ok();
                        if let Some(bytes) = model.remove(&path) {
                            assert!(moved);
                            model.insert(to, bytes);
                        }
                    }
                }
            }
            power.sync(round as usize % count);
            // What is not synced may be there or not, but is no inconsistency.
            for _ in 0..power.random.next_u32() % 3 {
                power.put(0, "/tmp/later", &[round; 3000]);
            }
            power.cycle();
            for number in 0..8 {
                let path = format!("/tmp/{number}");
                let at = power.random.next_u32() as usize % count;
                let found = power.get(at, &path);
                let wanted = model.get(&path).cloned().ok_or(Errno::ENOENT);
                assert_eq!(found, wanted, "seed {seed}, round {round}: {path}");
            }
            let later = power.get(0, "/tmp/later").unwrap_or_default();
            assert!(later.len() <= 3000);
        }
    }
}

/// One of two nodes has lost its disk's content: the other one's copy goes on, and it says so.
#[test]
fn slots_that_a_disk_has_not_are_said_to_be_missing() {
    let mut power = Power::new(2, 9);
    power.put(0, "/tmp/x", b"kept");
    power.sync(0);
    *power.media[0].borrow_mut() = Medium::default();
    power.cycle();
    let home = power.view.home(abi::SlotNo::new(0).expect("a slot"));
    let at = usize::from(home.get()) - 1;
    let waits = power.world.begin(
        1 - at,
        &fs_api::name::NameStat { at: super::world::path_of("/tmp/x"), follow: true },
    );
    power.world.settle();
    let answer = power.world.answer::<fs_api::name::NameStat>(1 - at, waits);
    if at == 0 {
        assert!(answer.is_none(), "nothing is said of it before it is known who has it");
    } else {
        assert!(answer.is_some_and(|it| it.is_ok()));
    }
}
