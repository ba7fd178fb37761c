// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disk has, at the start: each area is read to its last commit, and then the one that counts once more, for
//! what it says.
//!
//! # Failure
//! What cannot be read is as good as damaged. If the newest area is damaged, the one before is taken in first: it may
//! have what is missing.

use crate::batch::{self, Header, Kind};
use crate::files::Files;
use crate::layout::Layout;
use crate::limits::{REQUEST_SECTORS, SECTOR_BYTES};
use crate::space::Space;
use crate::store::{Found, Outside};
use crate::walker::{Step, Walk};
use abi::Errno;
use alloc::vec;

/// Sectors that are read at once where a request failed.
const CAREFUL_SECTORS: u64 = 8;

/// What an area has.
#[derive(Clone, Copy, Default, Debug)]
struct Chain {
    epoch: u64,
    /// The last batch that counts.
    commit: Option<u32>,
    /// Damage before it.
    damaged: u32,
    /// The highest epoch that was seen.
    seen: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Looks how far this area goes.
    Looks(u8),
    /// Takes in what it says.
    Takes(u8),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Recovery {
    layout: Layout,
    chains: [Chain; 2],
    stage: Stage,
    /// Areas that are taken in after this one.
    then: Option<u8>,
    walk: Walk,
    asked: Option<u64>,
    /// Sectors of one request.
    most: u64,
    damaged: u32,
}

impl Recovery {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            layout: *layout,
            chains: [Chain::default(); 2],
            stage: Stage::Looks(0),
            then: None,
            walk: Walk::new(layout.area),
            asked: None,
            most: REQUEST_SECTORS,
            damaged: 0,
        }
    }

    /// The area that must stay until another one counts, and the highest epoch that was seen.
    pub(crate) fn last(&self) -> (u8, u64) {
        let [a, b] = self.chains;
        (self.newest().unwrap_or(1), a.seen.max(b.seen))
    }

    fn newest(&self) -> Option<u8> {
        let [a, b] = self.chains;
        match (a.commit, b.commit) {
            (None, None) => None,
            (Some(_), None) => Some(0),
            (None, Some(_)) => Some(1),
            (Some(_), Some(_)) => Some(u8::from(b.epoch > a.epoch)),
        }
    }

    /// What was asked for comes; EAGAIN: it is to be asked for again.
    pub(crate) fn was_read(&mut self, bytes: Result<&[u8], Errno>) {
        let Some(sectors) = self.asked.take() else { return };
        match bytes {
            Ok(bytes) => {
                self.walk.read(bytes);
                self.most = (self.most * 2).min(REQUEST_SECTORS);
            }
            Err(Errno::EAGAIN) => {}
            Err(_) if sectors > CAREFUL_SECTORS => self.most = CAREFUL_SECTORS,
            Err(_) => self.walk.read(&vec![0; sectors as usize * SECTOR_BYTES]),
        }
    }

    /// Goes on until it has to wait, or knows all.
    pub(crate) fn go_on(
        &mut self,
        files: &mut Files,
        space: &mut Space,
        outside: &mut impl Outside,
    ) -> Option<Found> {
        while self.asked.is_none() {
            let (Stage::Looks(area) | Stage::Takes(area)) = self.stage;
            match self.walk.step() {
                Step::Read { sector, sectors } => {
                    let sectors = sectors.min(self.most);
                    self.asked = Some(sectors);
                    outside.read(self.layout.area_start(area) + sector, sectors);
                }
                Step::Batch(header) if self.stage == Stage::Looks(area) => self.look(area, header),
                Step::Batch(header)
                    if Some(header.number) <= self.chains[usize::from(area)].commit =>
                {
                    self.take(files, outside);
                }
                Step::Batch(_) | Step::End => {
                    if let Some(found) = self.end(area, files, space) {
                        return Some(found);
                    }
                }
            }
        }
        None
    }

    fn look(&mut self, area: u8, header: Header) {
        let chain = &mut self.chains[usize::from(area)];
        chain.epoch = header.epoch;
        if header.commits {
            chain.commit = Some(header.number);
            chain.damaged = self.walk.damaged;
        }
    }

    fn take(&mut self, files: &mut Files, outside: &mut impl Outside) {
        let mut rest = self.walk.records();
        while !rest.is_empty() {
            let Some((kind, record, more)) = batch::split_record(rest) else {
                self.damaged += 1;
                return;
            };
            let sound = match kind {
                Kind::Client => outside.found(record).is_ok(),
                Kind::Map => files.hear(record).is_some(),
            };
            self.damaged += u32::from(!sound);
            rest = more;
        }
    }

    /// An area has no more.
    fn end(&mut self, area: u8, files: &mut Files, space: &mut Space) -> Option<Found> {
        let seen = self.walk.epoch_seen;
        self.walk = Walk::new(self.layout.area);
        match self.stage {
            Stage::Looks(0) => {
                self.chains[0].seen = seen;
                self.stage = Stage::Looks(1);
                None
            }
            Stage::Looks(_) => {
                self.chains[1].seen = seen;
                self.choose()
            }
            Stage::Takes(_) => match self.then.take() {
                Some(next) => {
                    self.stage = Stage::Takes(next);
                    None
                }
                None => {
                    self.damaged += files.claim(space) + self.chains[usize::from(area)].damaged;
                    let whole = self.damaged == 0;
                    Some(if whole { Found::Whole } else { Found::Damaged(self.damaged) })
                }
            },
        }
    }

    fn choose(&mut self) -> Option<Found> {
        let Some(newest) = self.newest() else {
            // The first area of all may have been cut off; a later one only when another counted.
            let lost = self.last().1 > 1;
            return Some(if lost { Found::Damaged(1) } else { Found::Nothing });
        };
        let (new, old) = (self.chains[usize::from(newest)], self.chains[usize::from(1 - newest)]);
        let mends = new.damaged > 0 && old.commit.is_some() && old.epoch + 1 == new.epoch;
        self.stage = Stage::Takes(if mends { 1 - newest } else { newest });
        self.then = mends.then_some(newest);
        None
    }
}
