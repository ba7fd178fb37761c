// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal on the node's disk, in the region that the disk server keeps for it.
//!
//! # Model
//! ```text
//!   Reading --a journal--> Repairing --> Open --Orphaned--> Forgetting --> Gone
//!      |  \--nothing ---------------------^                    |
//!      |   \--damage--> wiping -----------^                    |
//!      +--no disk, or it fails before anything was agreed--> Without
//!                                        Open --it fails--> Gone <---+
//! ```
//! Wiping first takes the areas their beginnings, and then all: so that whenever the power goes, what is
//! left is damaged, or nothing, and never an older memory that could be taken for a whole one.
//!
//! # Failure
//! A piece that cannot be read is empty, and the copy counts; if neither copy of a place can be read, that is
//! damage. A node whose disk is damaged begins as one without memory. One whose disk fails at its start
//! goes on in memory: it is another voter, and who it was stays as it was on the disk. A disk that fails later
//! ends the node's part: it may have promised what it will not remember.

use super::queue::{Cookies, Mark, Queue};
use crate::journal::{Journal, Write};
use crate::limits::{AREA_BYTES, AREAS, SECTOR_BYTES};
use crate::views::Start;
use abi::Errno;
use abi::limits::WINDOW_BYTES;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use disk_api::limits::{FILES_SECTORS_MIN, JOURNAL_SECTORS};
use disk_api::{Fetch, Info, Read, Readable, Region, State as DiskState};
use runtime::{Bulk, Cx, NodeReply, Wire};

/// An area is read in so many pieces.
const PIECES: usize = AREA_BYTES / WINDOW_BYTES;
const _: () = assert!(AREAS * AREA_BYTES == JOURNAL_SECTORS as usize * SECTOR_BYTES);

/// What has come of it.
#[derive(Debug)]
pub(super) enum News {
    /// A sentence for people.
    Say(String),
    /// The node begins with this.
    Begin(Start),
    /// What the core recorded up to here is safe.
    Synced(u64),
    /// The disk failed: the node must not act on what it remembers any more.
    Failed(Errno),
    /// The disk remembers nothing any more.
    Forgotten,
}

enum State {
    /// The node has no disk that can be used: what it knows is gone when it stops.
    Without,
    Reading(Box<Reading>),
    /// What was found is made whole, or wiped: then the node begins.
    Preparing(Queue, Start),
    Open(Queue),
    /// All is wiped, for good.
    Forgetting(Queue),
    /// Nothing is written any more.
    Gone,
}

struct Reading {
    areas: [Vec<u8>; AREAS],
    /// Which piece of all is being read.
    piece: usize,
    /// Under which number; `None`: there was no room.
    asked: Option<u64>,
    unreadable: [bool; AREAS * PIECES],
}

/// See the module.
pub(super) struct Disk {
    state: State,
    /// It has room for files.
    files: bool,
    cookies: Cookies,
}

impl Disk {
    /// Before [`Self::open`].
    pub(super) fn new() -> Self {
        Self { state: State::Without, files: false, cookies: Cookies::default() }
    }

    /// Whether it will still say what the node begins with.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, State::Reading(_) | State::Preparing(..))
    }

    /// Whether the disk keeps files, and who they are of.
    pub(super) fn keeps_files(&self) -> bool {
        self.files && !matches!(self.state, State::Without | State::Gone)
    }

    /// Begins to read.
    pub(super) fn open(&mut self, cx: &mut Cx<'_>) -> Vec<News> {
        let why = match cx.leaf(&Info {}).map(|info| info.state) {
            Ok(DiskState::Ready { writable: true, regions, .. }) => {
                self.files = regions[Region::Files as usize].sectors >= FILES_SECTORS_MIN;
                let reading = Box::new(Reading::new());
                self.read_on(cx, reading);
                return Vec::new();
            }
            Ok(DiskState::Ready { .. }) => "its disk is read-only".into(),
            Ok(DiskState::Stopped) => "its disk is out of service".into(),
            Ok(DiskState::Absent(absence)) => format!("it has no disk: {absence}"),
            Err(errno) => format!("its disk server does not answer: {errno}"),
        };
        self.without(&why)
    }

    /// The node goes on without.
    fn without(&mut self, why: &str) -> Vec<News> {
        self.state = State::Without;
        let line = format!("keeps its part in the cluster's views in memory only: {why}");
        vec![News::Say(line), News::Begin(Start::Empty)]
    }

    fn read_on(&mut self, cx: &mut Cx<'_>, mut reading: Box<Reading>) {
        let cookie = self.cookies.next();
        reading.asked = Some(cookie);
        let sectors = (WINDOW_BYTES / SECTOR_BYTES) as u64;
        let sector = reading.piece as u64 * sectors;
        cx.ask(&Read { region: Region::Journal, sector, sectors }, cookie);
        self.state = State::Reading(reading);
    }

    /// The disk server has answered.
    pub(super) fn answered(
        &mut self,
        cx: &mut Cx<'_>,
        cookie: u64,
        result: &Result<NodeReply, Errno>,
    ) -> Vec<News> {
        if matches!(&self.state, State::Reading(reading) if reading.asked == Some(cookie)) {
            let State::Reading(reading) = core::mem::replace(&mut self.state, State::Without)
            else {
                unreachable!("it was just looked at");
            };
            return self.read(cx, reading, result);
        }
        let (State::Preparing(queue, _) | State::Open(queue) | State::Forgetting(queue)) =
            &mut self.state
        else {
            return Vec::new();
        };
        let result = result.as_ref().map(|_| ()).map_err(|errno| *errno);
        match queue.answered(cookie, result) {
            Ok(Some(mark)) => self.safe(cx, mark),
            Ok(None) => Vec::new(),
            Err(errno) => self.failed(errno),
        }
    }

    /// A piece has been read, or cannot be.
    fn read(
        &mut self,
        cx: &mut Cx<'_>,
        mut reading: Box<Reading>,
        result: &Result<NodeReply, Errno>,
    ) -> Vec<News> {
        match result {
            Ok(reply) => {
                if let Err(errno) = reading.fetch(cx, reply) {
                    return self.failed_early(errno);
                }
            }
            Err(Errno::EAGAIN) => {
                reading.asked = None;
                self.state = State::Reading(reading);
                return Vec::new();
            }
            Err(Errno::EIO) => reading.unreadable[reading.piece] = true,
            Err(errno) => return self.failed_early(*errno),
        }
        reading.piece += 1;
        if reading.piece < AREAS * PIECES {
            self.read_on(cx, reading);
            return Vec::new();
        }
        self.judge(cx, &reading)
    }

    /// All has been read.
    fn judge(&mut self, cx: &mut Cx<'_>, reading: &Reading) -> Vec<News> {
        let mut news = Vec::new();
        if reading.unreadable.contains(&true) {
            news.push(News::Say("some of its disk's journal cannot be read".into()));
        }
        let areas = reading.areas.each_ref().map(Vec::as_slice);
        let found = if reading.is_lost() { None } else { Journal::recover(areas).ok() };
        match found {
            Some(Some(mut recovered)) => {
                let mut queue = Queue::default();
                for write in core::mem::take(&mut recovered.repair) {
                    queue.write(write);
                }
                queue.flush(Mark::Repaired);
                self.state = State::Preparing(queue, Start::Recover(recovered));
            }
            Some(None) if reading.is_blank() => {
                self.state = State::Open(Queue::default());
                news.push(News::Begin(Start::Empty));
            }
            // Something that was begun and never counted could be taken for what comes.
            Some(None) => self.wipe(),
            None => {
                news.push(News::Say(
                    "its disk lost what it had kept of the cluster's views: it begins as a node without".into(),
                ));
                self.wipe();
            }
        }
        news.extend(self.advance(cx));
        news
    }

    fn wipe(&mut self) {
        self.state = State::Preparing(behead(), Start::Empty);
    }

    /// What was found is no use to the core: the node begins with nothing, after that was wiped.
    pub(super) fn distrust(&mut self, cx: &mut Cx<'_>) -> Vec<News> {
        self.wipe();
        self.advance(cx)
    }

    /// Forgets all, for good.
    pub(super) fn forget(&mut self, cx: &mut Cx<'_>) -> Vec<News> {
        match &self.state {
            State::Without => vec![News::Forgotten],
            State::Open(_) => {
                self.state = State::Forgetting(behead());
                self.advance(cx)
            }
            State::Reading(_) | State::Preparing(..) | State::Forgetting(_) | State::Gone => {
                Vec::new()
            }
        }
    }

    /// Writes what the core recorded.
    pub(super) fn write(&mut self, write: Write) {
        if let State::Open(queue) = &mut self.state {
            queue.write(write);
        }
    }

    /// The core wants to know when that is safe: without a disk it is so at once, as far as it can be.
    pub(super) fn sync(&mut self, number: u64) -> Option<u64> {
        match &mut self.state {
            State::Open(queue) => {
                queue.flush(Mark::Synced(number));
                None
            }
            State::Without => Some(number),
            State::Reading(_) | State::Preparing(..) | State::Forgetting(_) | State::Gone => None,
        }
    }

    /// Gives the disk server what it takes.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) -> Vec<News> {
        let (State::Preparing(queue, _) | State::Open(queue) | State::Forgetting(queue)) =
            &mut self.state
        else {
            return Vec::new();
        };
        queue
            .advance(cx, &mut self.cookies)
            .map_or_else(|errno| self.failed(errno), |()| Vec::new())
    }

    /// The disk server has room again.
    pub(super) fn has_room(&mut self, cx: &mut Cx<'_>) -> Vec<News> {
        match core::mem::replace(&mut self.state, State::Without) {
            State::Reading(reading) if reading.asked.is_none() => self.read_on(cx, reading),
            other => self.state = other,
        }
        if let State::Preparing(queue, _) | State::Open(queue) | State::Forgetting(queue) =
            &mut self.state
        {
            queue.has_room();
        }
        self.advance(cx)
    }

    /// The disk server died.
    pub(super) fn died(&mut self) -> Vec<News> {
        self.failed(Errno::EIO)
    }

    fn failed(&mut self, errno: Errno) -> Vec<News> {
        match &self.state {
            State::Reading(_) | State::Preparing(..) => self.failed_early(errno),
            State::Open(_) | State::Forgetting(_) => {
                self.state = State::Gone;
                vec![News::Failed(errno)]
            }
            State::Without | State::Gone => Vec::new(),
        }
    }

    /// Nothing was said yet that would have to be remembered.
    fn failed_early(&mut self, errno: Errno) -> Vec<News> {
        self.without(&format!("its disk fails: {errno}"))
    }

    fn safe(&mut self, cx: &mut Cx<'_>, mark: Mark) -> Vec<News> {
        let mut news = match (core::mem::replace(&mut self.state, State::Gone), mark) {
            (State::Preparing(mut queue, start), Mark::Beheaded) => {
                empty(&mut queue);
                self.state = State::Preparing(queue, start);
                Vec::new()
            }
            (State::Forgetting(mut queue), Mark::Beheaded) => {
                empty(&mut queue);
                self.state = State::Forgetting(queue);
                Vec::new()
            }
            (State::Preparing(queue, start), Mark::Repaired | Mark::Wiped) => {
                self.state = State::Open(queue);
                vec![News::Begin(start)]
            }
            (State::Forgetting(_), Mark::Wiped) => vec![News::Forgotten],
            (state, Mark::Synced(number)) => {
                self.state = state;
                vec![News::Synced(number)]
            }
            (state, Mark::Beheaded | Mark::Repaired | Mark::Wiped) => {
                self.state = state;
                Vec::new()
            }
        };
        news.extend(self.advance(cx));
        news
    }
}

/// Takes all areas their beginnings.
fn behead() -> Queue {
    let mut queue = Queue::default();
    for area in 0..AREAS {
        queue.write(Write { area, offset: 0, bytes: vec![0; SECTOR_BYTES] });
    }
    queue.flush(Mark::Beheaded);
    queue
}

/// Makes all areas empty.
fn empty(queue: &mut Queue) {
    for (area, piece) in (0..AREAS).flat_map(|area| (0..PIECES).map(move |piece| (area, piece))) {
        let offset = piece * WINDOW_BYTES;
        queue.write(Write { area, offset, bytes: vec![0; WINDOW_BYTES] });
    }
    queue.flush(Mark::Wiped);
}

impl Reading {
    fn new() -> Self {
        Self {
            areas: core::array::from_fn(|_| vec![0; AREA_BYTES]),
            piece: 0,
            asked: None,
            unreadable: [false; AREAS * PIECES],
        }
    }

    fn fetch(&mut self, cx: &mut Cx<'_>, reply: &NodeReply) -> Result<(), Errno> {
        let id = Readable::get(&reply.msg)?.id;
        let (area, offset) = (self.piece / PIECES, self.piece % PIECES * WINDOW_BYTES);
        let mut bulk = Bulk::new(&mut self.areas[area][offset..offset + WINDOW_BYTES]);
        // Nothing is sent along.
        bulk.len = 0;
        cx.leaf_bulk(&Fetch { id }, &mut bulk)
    }

    /// Whether a place can be read in neither copy.
    fn is_lost(&self) -> bool {
        let lost = |area: usize, piece: usize| self.unreadable[area * PIECES + piece];
        (0..AREAS)
            .step_by(2)
            .any(|area| (0..PIECES).any(|piece| lost(area, piece) && lost(area + 1, piece)))
    }

    fn is_blank(&self) -> bool {
        self.areas.iter().flatten().all(|byte| *byte == 0)
    }
}
