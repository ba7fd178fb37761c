// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that tear, lose, forget and rot, against the journal.

use super::*;
use crate::Rng;

#[derive(Default)]
struct Disk {
    areas: [Vec<u8>; AREAS],
    pending: Vec<Write>,
}

impl Disk {
    fn put(&mut self, write: &Write, mut keeps: impl FnMut() -> bool) {
        let area = &mut self.areas[write.area];
        area.resize(area.len().max(write.offset + write.bytes.len()), 0);
        for (number, sector) in write.bytes.chunks(SECTOR_BYTES).enumerate() {
            if keeps() {
                let at = write.offset + number * SECTOR_BYTES;
                area[at..at + sector.len()].copy_from_slice(sector);
            }
        }
    }

    fn sync(&mut self, mut forgets: impl FnMut(&Write) -> bool) {
        for write in core::mem::take(&mut self.pending) {
            let keeps = !forgets(&write);
            self.put(&write, || keeps);
        }
    }

    fn crash(&mut self, rng: &mut Rng) {
        let share = rng.below(5) * 25;
        for write in core::mem::take(&mut self.pending) {
            self.put(&write, || rng.below(100) < share);
        }
    }

    fn recover(&self) -> Result<Option<Recovered>, Damage> {
        Journal::recover(self.areas.each_ref().map(Vec::as_slice))
    }
}

fn vote(term: u64) -> Record {
    Record::Vote { term, voted_for: None }
}

/// A long record, so that areas fill.
fn long(term: u64, len: usize) -> Record {
    let prev = Position { term, index: term };
    Record::Append { prev, entries: vec![Entry::Change(vec![7; len])] }
}

fn last(records: &[Record]) -> u64 {
    let term = |record: &Record| match record {
        Record::Vote { term, .. } => *term,
        Record::Append { prev, .. } => prev.term,
        Record::Disk { .. } | Record::Install(_) => 0,
    };
    records.last().map_or(0, term)
}

#[test]
fn disk_that_was_never_written_holds_nothing() {
    assert_eq!(Disk::default().recover(), Ok(None));
    let mut noise = Disk::default();
    noise.areas[2] = vec![0x55; 3 * SECTOR_BYTES];
    assert_eq!(noise.recover(), Ok(None));
}

/// Whatever tears when the power goes, and whatever one copy forgets or lets rot: all that was
/// flushed is there, and nothing that was not written.
#[test]
fn flushed_records_survive_torn_lost_forgotten_and_rotten_writes() {
    let mut rotations = 0;
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let bad = rng.below(2) as usize;
        let (mut disk, mut journal) = (Disk::default(), Journal::new());
        let (mut term, mut flushed) = (0, 0);
        for _ in 0..60 {
            term += 1;
            let record = match rng.below(3) {
                0 => long(term, rng.below(40_000) as usize),
                _ => vote(term),
            };
            let before = journal.generation;
            disk.pending
                .extend(journal.append(core::slice::from_ref(&record), || vec![record.clone()]));
            rotations += u64::from(journal.generation != before);
            if rng.below(2) == 0 {
                disk.sync(|write| write.area % 2 == bad && rng.below(20) == 0);
                journal.synced(journal.written());
                flushed = term;
            }
            if rng.below(10) == 0 {
                disk.crash(&mut rng);
                let area = &mut disk.areas[bad + 2 * rng.below(2) as usize];
                if !area.is_empty() {
                    let at = rng.below(area.len() as u64) as usize;
                    area[at] ^= 0x10;
                }
                let found = disk.recover().unwrap_or_else(|_| panic!("seed {seed}: damaged"));
                let Some(found) = found else {
                    assert_eq!(flushed, 0, "seed {seed}");
                    (journal, term) = (Journal::new(), 0);
                    continue;
                };
                let got = last(&found.records);
                assert!((flushed..=term).contains(&got), "seed {seed}: {flushed} {got} {term}");
                // It is repaired before it goes on, but for what one copy forgets again.
                disk.pending.extend(found.repair);
                disk.sync(|write| write.area % 2 == bad && rng.below(20) == 0);
                (journal, term, flushed) = (found.journal, got, got);
            }
        }
    }
    assert!(rotations > 1000, "areas fill: {rotations}");
}

/// Both copies are spoilt: that is told, and not taken for the end of the journal.
#[test]
fn flushed_record_that_both_copies_lost_is_damage() {
    let (mut disk, mut journal) = (Disk::default(), Journal::new());
    for term in 1..=6 {
        disk.pending.extend(journal.append(&[vote(term)], || vec![vote(term)]));
        disk.sync(|_| false);
        journal.synced(journal.written());
    }
    let whole = disk.recover().expect("it is good").expect("it is there");
    assert_eq!(last(&whole.records), 6);
    for sector in 0..5 {
        let mut disk = Disk { areas: disk.areas.clone(), pending: Vec::new() };
        for area in &mut disk.areas[2..] {
            area[sector * SECTOR_BYTES + 20] ^= 1;
        }
        assert_eq!(disk.recover(), Err(Damage), "sector {sector}");
    }
}

/// The area that a closed one names is gone: the old state is not taken for the newest.
#[test]
fn newest_area_that_both_copies_lost_is_damage() {
    let (mut disk, mut journal) = (Disk::default(), Journal::new());
    let mut term = 0;
    while journal.generation < 3 {
        term += 1;
        disk.pending.extend(journal.append(&[long(term, 30_000)], || vec![vote(term)]));
        disk.sync(|_| false);
        journal.synced(journal.written());
    }
    disk.pending.extend(journal.append(&[vote(term + 1)], || vec![vote(term + 1)]));
    disk.sync(|_| false);
    assert!(disk.recover().is_ok());
    let newest = journal.area();
    for area in &mut disk.areas[newest..newest + 2] {
        area.clear();
    }
    assert_eq!(disk.recover(), Err(Damage));
}
