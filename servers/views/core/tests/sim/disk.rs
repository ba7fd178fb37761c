// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk that does what disks do: what was not flushed when the power went is there, or not, or in
//! parts; and one of the two copies rots, or forgets a write that it acknowledged.

use crate::rng::Rng;
use std::collections::VecDeque;
use views_core::journal::{Damage, Journal, Recovered, Write};
use views_core::limits::SECTOR_BYTES;

enum Pending {
    Write(Write),
    Sync(u64),
}

/// A node's disk.
#[derive(Default)]
pub struct Disk {
    areas: [Vec<u8>; 4],
    pending: VecDeque<Pending>,
    /// Which copy (0 or 1) may rot; never both.
    bad_copy: usize,
}

impl Disk {
    /// An empty one.
    pub fn new(rng: &mut Rng) -> Self {
        Self { bad_copy: rng.range(0, 2) as usize, ..Self::default() }
    }

    /// Takes a write; it is not safe yet.
    pub fn write(&mut self, write: Write) {
        self.pending.push_back(Pending::Write(write));
    }

    /// Begins to flush.
    pub fn sync(&mut self, number: u64) {
        self.pending.push_back(Pending::Sync(number));
    }

    /// Has flushed all up to `number`.
    pub fn synced(&mut self, number: u64, rng: &mut Rng) {
        while let Some(pending) = self.pending.pop_front() {
            match pending {
                Pending::Write(write) => {
                    let forgets = write.area % 2 == self.bad_copy && rng.chance(5);
                    if !forgets {
                        self.put(&write, |_| true);
                    }
                }
                Pending::Sync(done) if done == number => return,
                Pending::Sync(_) => {}
            }
        }
    }

    /// The power goes: of what is pending, each sector is there or not.
    pub fn crash(&mut self, rng: &mut Rng) {
        let mode = rng.range(0, 3);
        while let Some(pending) = self.pending.pop_front() {
            if let Pending::Write(write) = pending {
                let whole = rng.chance(500);
                match mode {
                    0 => {}
                    1 if whole => self.put(&write, |_| true),
                    1 => {}
                    _ => self.put(&write, |_| rng.chance(600)),
                }
            }
        }
        if rng.chance(300) {
            self.rot(rng);
        }
    }

    /// Everything is gone.
    pub fn lose(&mut self) {
        self.areas = Default::default();
        self.pending.clear();
    }

    /// What is there.
    pub fn recover(&self) -> Result<Option<Recovered>, Damage> {
        Journal::recover(self.areas.each_ref().map(Vec::as_slice))
    }

    fn put(&mut self, write: &Write, mut sector: impl FnMut(usize) -> bool) {
        let area = &mut self.areas[write.area];
        area.resize(area.len().max(write.offset + write.bytes.len()), 0);
        for (number, bytes) in write.bytes.chunks(SECTOR_BYTES).enumerate() {
            if sector(number) {
                let at = write.offset + number * SECTOR_BYTES;
                area[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    fn rot(&mut self, rng: &mut Rng) {
        let area = &mut self.areas[self.bad_copy + 2 * rng.range(0, 2) as usize];
        if !area.is_empty() {
            let at = rng.range(0, area.len() as u64) as usize;
            area[at] ^= 1 << rng.range(0, 8);
        }
    }
}
