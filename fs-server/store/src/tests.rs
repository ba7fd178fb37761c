// SPDX-License-Identifier: MIT OR Apache-2.0
//! The store over a disk that the test plays: it forgets, tears, refuses and rots as the seed says.

use crate::layout::Layout;
use crate::limits::{BLOCK_SECTORS, BLOCKS_RESERVED, SECTOR_BYTES};
use crate::{Found, Outside, Store};
use abi::Errno;
use abi::limits::PAGE_BYTES;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::vec;
use std::vec::Vec;

/// Areas that are full soon, and few blocks.
const LAYOUT: Layout = Layout { area: 512, blocks: 160 };

type Sector = [u8; SECTOR_BYTES];

/// A disk that outlives the stores.
#[derive(Default)]
struct Disk {
    safe: BTreeMap<u64, Sector>,
    /// Written and not safe, in order.
    written: Vec<(u64, Sector)>,
    unreadable: BTreeSet<u64>,
}

impl Disk {
    fn read(&self, sector: u64) -> Sector {
        let new = self.written.iter().rev().find(|(at, _)| *at == sector).map(|(_, bytes)| *bytes);
        new.or_else(|| self.safe.get(&sector).copied()).unwrap_or([0; SECTOR_BYTES])
    }

    fn flush(&mut self, count: usize) {
        self.safe.extend(self.written.drain(..count));
    }

    /// The power goes: of what was not safe each sector is there or not.
    fn crash(&mut self, random: &mut ChaCha8Rng) {
        for (sector, bytes) in core::mem::take(&mut self.written) {
            if random.next_u32().is_multiple_of(2) {
                self.safe.insert(sector, bytes);
            }
        }
    }
}

/// What the client has in memory.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Tree {
    records: BTreeMap<u32, Vec<u8>>,
    pages: BTreeMap<(u64, u64), u64>,
}

/// The client and its disk.
struct World {
    random: ChaCha8Rng,
    disk: Disk,
    tree: Tree,
    unsaid: BTreeSet<u32>,
    flushes: VecDeque<usize>,
    reads: VecDeque<(u64, u64)>,
    refuses: bool,
    fails: bool,
}

fn bytes_of(stamp: u64) -> Vec<u8> {
    stamp.to_le_bytes().repeat(PAGE_BYTES / 8)
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            disk: Disk::default(),
            tree: Tree::default(),
            unsaid: BTreeSet::new(),
            flushes: VecDeque::new(),
            reads: VecDeque::new(),
            refuses: true,
            fails: false,
        }
    }

    fn below(&mut self, most: u64) -> u64 {
        u64::from(self.random.next_u32()) % most
    }
}

impl Outside for World {
    fn write(&mut self, sector: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        if self.fails {
            return Err(Errno::EIO);
        }
        if self.refuses && self.below(4) == 0 {
            return Err(Errno::EAGAIN);
        }
        assert!(bytes.len() <= 65536 && bytes.len().is_multiple_of(SECTOR_BYTES));
        for (number, data) in (sector..).zip(bytes.chunks_exact(SECTOR_BYTES)) {
            self.disk.written.push((number, data.try_into().expect("a sector")));
        }
        Ok(())
    }

    fn flush(&mut self) {
        assert!(self.flushes.is_empty(), "one at a time");
        self.flushes.push_back(self.disk.written.len());
    }

    fn read(&mut self, sector: u64, sectors: u64) {
        self.reads.push_back((sector, sectors));
    }

    fn page_bytes(&mut self, inode: u64, page: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        if self.refuses && self.below(8) == 0 {
            return Err(Errno::EAGAIN);
        }
        for (page, out) in (page..).zip(bytes.chunks_exact_mut(PAGE_BYTES)) {
            let stamp = self.tree.pages.get(&(inode, page)).copied();
            out.copy_from_slice(&bytes_of(stamp.expect("only what is there is dirty")));
        }
        Ok(())
    }

    fn record(&mut self, out: &mut Vec<u8>) {
        let Some(key) = self.unsaid.pop_first() else { return };
        out.extend(key.to_le_bytes());
        match self.tree.records.get(&key) {
            Some(value) => {
                out.push(1);
                out.extend(value);
            }
            None => out.push(0),
        }
    }

    fn all_again(&mut self) {
        self.unsaid = self.tree.records.keys().copied().collect();
    }

    fn found(&mut self, record: &[u8]) -> Result<(), Errno> {
        let (key, value) = record.split_first_chunk().ok_or(Errno::EPROTO)?;
        let key = u32::from_le_bytes(*key);
        match value.split_first() {
            Some((1, value)) => drop(self.tree.records.insert(key, value.to_vec())),
            Some((0, _)) => drop(self.tree.records.remove(&key)),
            Some(_) | None => return Err(Errno::EPROTO),
        }
        Ok(())
    }
}

/// Opens the store on what the disk has, and reads all of it into the tree: what was found, and how many pages
/// are damaged.
fn open(world: &mut World) -> (Store, Found, u32) {
    world.tree = Tree::default();
    (world.flushes, world.reads) = (VecDeque::new(), VecDeque::new());
    let nonce = u64::from(world.random.next_u32());
    let mut store = Store::over(LAYOUT, nonce);
    let mut found = store.go_on(world);
    while found.is_none() {
        let (sector, sectors) = world.reads.pop_front().expect("it reads until it knows");
        let bytes: Vec<u8> =
            (sector..sector + sectors).flat_map(|it| world.disk.read(it)).collect();
        let bad = (sector..sector + sectors).any(|it| world.disk.unreadable.contains(&it));
        let result = if bad { Err(Errno::EIO) } else { Ok(&bytes[..]) };
        found = store.was_read(result, world);
    }
    let mut bad = 0;
    for inode in store.ids().collect::<Vec<_>>() {
        let mut page = 0;
        while let Some(place) = store.place(inode, page) {
            let sectors = place.sector..place.sector + place.sums.len() as u64 * BLOCK_SECTORS;
            let bytes: Vec<u8> = sectors.flat_map(|it| world.disk.read(it)).collect();
            bad += (place.sums.len() - Store::check(&place, &bytes)) as u32;
            for (page, bytes) in (place.page..).zip(bytes.chunks_exact(PAGE_BYTES)) {
                let stamp = u64::from_le_bytes(bytes[..8].try_into().expect("eight"));
                world.tree.pages.insert((inode, page), stamp);
            }
            page = place.page + place.sums.len() as u64;
        }
    }
    (store, found.expect("it was waited for"), bad)
}

/// A client that does things at random, and what it may find after a crash.
struct Run {
    world: World,
    store: Store,
    /// The states since the last one that is known to be safe.
    since: Vec<Tree>,
    /// Syncs under way, and how many states there were.
    syncs: Vec<(u64, usize)>,
    stamps: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let (store, found, _) = open(&mut world);
        assert_eq!(found, Found::Nothing);
        Self { world, store, since: vec![Tree::default()], syncs: Vec::new(), stamps: 0 }
    }

    /// One operation on the tree: several records at once, or one thing with pages.
    fn change(&mut self) {
        let kind = self.world.below(10);
        for _ in 0..=if kind < 5 { self.world.below(3) } else { 0 } {
            match kind {
                0 if self.world.below(20) == 0 => self.store.begin_anew(),
                0..4 => {
                    let key = self.world.below(40) as u32;
                    let len = self.world.below(3000) as usize;
                    self.stamps += 1;
                    self.world.tree.records.insert(key, vec![self.stamps as u8; len]);
                    self.world.unsaid.insert(key);
                }
                4 => {
                    let key = self.world.below(40) as u32;
                    self.world.tree.records.remove(&key);
                    self.world.unsaid.insert(key);
                }
                5..8 => self.write(),
                8 => {
                    let (inode, first) = (self.world.below(4), self.world.below(40));
                    let end = if self.world.below(2) == 0 { u64::MAX } else { first + 3 };
                    self.world
                        .tree
                        .pages
                        .retain(|(i, p), _| *i != inode || *p < first || *p >= end);
                    self.store.forget(inode, first..end);
                }
                _ => {
                    let inode = self.world.below(4);
                    self.world.tree.pages.retain(|(other, _), _| *other != inode);
                    self.store.gone(inode);
                }
            }
        }
        self.since.push(self.world.tree.clone());
    }

    fn write(&mut self) {
        let (inode, first) = (self.world.below(4), self.world.below(40));
        let room = self.store.pages() - self.world.tree.pages.len() as u64;
        let count = (1 + self.world.below(20)).min(room);
        for page in first..first + count {
            self.stamps += 1;
            self.world.tree.pages.insert((inode, page), self.stamps);
        }
        self.store.dirty(inode, first..first + count);
    }

    fn sync(&mut self) {
        let number = self.store.sync(&mut self.world);
        self.syncs.push((number, self.since.len() - 1));
    }

    /// The disk goes on.
    fn disk(&mut self) {
        match self.world.flushes.pop_front() {
            Some(count) => {
                self.world.disk.flush(count);
                self.store.flushed(Ok(()), &mut self.world);
            }
            None => drop(self.store.go_on(&mut self.world)),
        }
        let ended = |it: &(u64, usize)| self.store.outcome(it.0) == Some(Ok(()));
        let safe = self.syncs.iter().filter(|it| ended(it)).map(|it| it.1).max();
        let store = &self.store;
        self.syncs.retain(|it| store.outcome(it.0).is_none());
        if let Some(safe) = safe {
            self.since.drain(..safe);
            self.syncs.iter_mut().for_each(|it| it.1 = it.1.saturating_sub(safe));
        }
    }

    /// What is found after a crash is one of the states since the last that was safe: records exactly so, each page as
    /// in one of them.
    fn check(&mut self, seed: u64) {
        let found = &self.world.tree;
        let same = self.since.iter().any(|tree| tree.records == found.records);
        assert!(same, "seed {seed}: no such state");
        for (at, stamp) in &found.pages {
            let was = self.since.iter().any(|tree| tree.pages.get(at) == Some(stamp));
            assert!(was, "seed {seed}: page {at:?} was never {stamp}");
        }
        let always = |at: &(u64, u64)| self.since.iter().all(|tree| tree.pages.contains_key(at));
        for at in self.since[0].pages.keys().filter(|at| always(at)) {
            assert!(found.pages.contains_key(at), "seed {seed}: page {at:?} is lost");
        }
    }

    fn crash(&mut self, seed: u64) {
        let mut random = self.world.random.clone();
        self.world.disk.crash(&mut random);
        self.world.random = random;
        let (store, found, bad) = open(&mut self.world);
        assert!(!matches!(found, Found::Damaged(_)), "seed {seed}: {found:?}");
        assert_eq!(bad, 0, "seed {seed}: pages that the journal names are there");
        self.store = store;
        self.check(seed);
        (self.since, self.syncs) = (vec![self.world.tree.clone()], Vec::new());
        self.world.unsaid.clear();
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..400 {
        match run.world.below(20) {
            0..7 => run.change(),
            7..9 => run.sync(),
            9..19 => run.disk(),
            _ if run.world.below(4) == 0 => run.crash(seed),
            _ => {}
        }
    }
    run.crash(seed);
}

#[test]
fn store_keeps_what_was_safe_whenever_the_power_goes() {
    let seeds = std::env::var("STORE_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(200);
    (0..seeds).for_each(run);
}

impl Run {
    /// Everything is synced, and the disk has done all.
    fn settle(&mut self) {
        self.sync();
        for _ in 0..200 {
            self.disk();
        }
        assert!(self.syncs.is_empty(), "it ends");
    }
}

/// Sectors rot, or cannot be read: what comes of it is said, and nothing is taken for what it is not. Only the last
/// batch of a journal cannot be told from one that was cut off.
#[test]
fn store_whose_disk_rots_says_so() {
    let mut noticed = 0;
    for seed in 0..300 {
        let mut run = Run::new(seed);
        let mut all = vec![Tree::default()];
        for _ in 0..30 {
            run.change();
            all.push(run.world.tree.clone());
            if run.world.below(3) == 0 {
                run.settle();
            }
        }
        run.settle();
        let sectors: Vec<u64> = run.world.disk.safe.keys().copied().collect();
        let sector = sectors[run.world.below(sectors.len() as u64) as usize];
        let bit = run.world.below(SECTOR_BYTES as u64 * 8) as usize;
        if seed % 4 == 0 {
            run.world.disk.unreadable.insert(sector);
        } else if let Some(bytes) = run.world.disk.safe.get_mut(&sector) {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let (_, found, bad) = open(&mut run.world);
        let tree = &run.world.tree;
        if matches!(found, Found::Damaged(_)) || bad > 0 {
            noticed += 1;
            let right = |(key, value): (&u32, &Vec<u8>)| {
                all.iter().any(|tree| tree.records.get(key) == Some(value))
            };
            assert!(tree.records.iter().all(right), "seed {seed}: no record is made up");
        } else {
            let was = all.iter().any(|it| it.records == tree.records);
            assert!(was, "seed {seed}: no such state, {sector}");
        }
    }
    assert!(noticed > 100, "most damage matters: {noticed}");
}

#[test]
fn store_that_is_full_writes_pages_anew() {
    let mut run = Run::new(7);
    let pages = run.store.pages();
    for round in 0..20 {
        for page in 0..pages {
            run.world.tree.pages.insert((1, page), round * 1000 + page);
        }
        run.store.dirty(1, 0..pages);
        run.since.push(run.world.tree.clone());
        run.settle();
        assert_eq!(run.since.len(), 1, "it was safe");
    }
    // What nobody counted does not fit, and is said.
    for page in pages..pages + BLOCKS_RESERVED + 1 {
        run.world.tree.pages.insert((1, page), page);
    }
    run.store.dirty(1, 0..pages + BLOCKS_RESERVED + 1);
    let number = run.store.sync(&mut run.world);
    for _ in 0..200 {
        run.disk();
    }
    assert_eq!(run.store.outcome(number), Some(Err(Errno::ENOSPC)));
    run.world.tree.pages.retain(|(_, page), _| *page < 5);
    run.store.forget(1, 5..u64::MAX);
    run.since = vec![run.world.tree.clone()];
    run.settle();
    assert!(run.store.free_pages() > pages, "what was forgotten is free");
    run.crash(7);
}

#[test]
fn store_whose_disk_fails_says_so_from_then_on() {
    let mut run = Run::new(3);
    run.change();
    run.world.fails = true;
    let number = run.store.sync(&mut run.world);
    for _ in 0..50 {
        run.disk();
    }
    assert_eq!(run.store.outcome(number), Some(Err(Errno::EIO)));
    assert!(run.store.has_failed());
    run.world.fails = false;
    let number = run.store.sync(&mut run.world);
    assert_eq!(run.store.outcome(number), Some(Err(Errno::EIO)), "it does not come back");
}

#[test]
fn store_gathers_pages_of_a_chunk_that_lie_apart() {
    let mut run = Run::new(5);
    for page in [0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7] {
        run.world.tree.pages.insert((1, page), page + 100);
        run.store.dirty(1, page..page + 1);
        run.settle();
    }
    let mut places = 0;
    let mut page = 0;
    while let Some(place) = run.store.place(1, page) {
        places += 1;
        page = place.page + place.sums.len() as u64;
    }
    assert!(places <= 8, "{places} places for 12 pages");
}

/// A disk of somebody who can compute checksums.
#[test]
fn store_of_any_content_is_no_panic() {
    for seed in 0..2000 {
        let mut world = World::new(seed);
        for area in 0..2u64 {
            let mut at = area * LAYOUT.area;
            for number in 0..world.below(6) as u32 {
                let mut bytes = Vec::new();
                crate::batch::begin(&mut bytes);
                for _ in 0..world.below(8) {
                    let len = world.below(200) as usize;
                    let mut record: Vec<u8> = (0..len).map(|_| world.below(256) as u8).collect();
                    for word in record.chunks_exact_mut(8).take(6) {
                        let small = world.below(300).to_le_bytes();
                        if world.below(4) > 0 {
                            word.copy_from_slice(&small);
                        }
                    }
                    let kind = crate::batch::Kind::Map;
                    crate::batch::put_record(&mut bytes, kind, |out| out.extend(record));
                }
                let commits = world.below(2) == 0;
                let flushed = world.below(8) as u32;
                let number = if world.below(8) == 0 { u32::MAX } else { number };
                let header =
                    crate::batch::Header { epoch: area + 1, nonce: 5, number, flushed, commits };
                crate::batch::finish(&mut bytes, header);
                for sector in bytes.chunks_exact(SECTOR_BYTES) {
                    world.disk.safe.insert(at, sector.try_into().expect("a sector"));
                    at += 1;
                }
            }
        }
        let (mut store, ..) = open(&mut world);
        for inode in store.ids().collect::<Vec<_>>() {
            store.gone(inode);
        }
        let _ = store.sync(&mut world);
    }
}
