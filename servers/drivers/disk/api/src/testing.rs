// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk server whose disk is memory, for the tests of those who use one.
//!
//! # Model
//! A [`Medium`] outlives the server that uses it, as a disk outlives the start of a node. It has one
//! region's sectors. A write stands in it beside what is safe, until a flush that came later has ended;
//! when the power goes, each sector of it is there or not.
//!
//! What takes a disk's time ends at a timer, [`Medium::delay_ns`] later.

use crate::limits::{CLIENT_REQUESTS_MAX, SECTOR_BYTES};
use crate::{
    DiskInfo, EVENT_ROOM, Extent, Fetch, Figures, Flush, Info, Read, ReadId, Readable, Region,
    State, Write,
};
use abi::{Errno, ServerId, Ticket};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Msg, NodeReply, Operation, Wire};

/// What is on a disk's region, and what is wrong with it.
#[derive(Debug)]
pub struct Medium {
    /// What is safe.
    pub safe: Vec<u8>,
    /// What is written and not safe: the first sector and the bytes.
    pub written: Vec<(usize, Vec<u8>)>,
    /// How long reads, writes and flushes take.
    pub delay_ns: u64,
    /// Flushes fail.
    pub fails: bool,
    /// Reads of these sectors fail.
    pub unreadable: Vec<u64>,
}

impl Medium {
    /// An empty one with so many sectors.
    pub fn new(sectors: u64) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            safe: vec![0; sectors as usize * SECTOR_BYTES],
            written: Vec::new(),
            delay_ns: 0,
            fails: false,
            unreadable: Vec::new(),
        }))
    }

    /// The power goes: `keeps` says for each sector that was written and is not safe whether it is there.
    pub fn crash(&mut self, mut keeps: impl FnMut() -> bool) {
        for (sector, bytes) in core::mem::take(&mut self.written) {
            for (number, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
                if keeps() {
                    self.put(sector + number, bytes);
                }
            }
        }
    }

    /// All that was on it is gone.
    pub fn lose(&mut self) {
        self.written.clear();
        self.safe.fill(0);
    }

    fn put(&mut self, sector: usize, bytes: &[u8]) {
        self.safe[sector * SECTOR_BYTES..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Makes the first `count` of what was written safe.
    fn flush(&mut self, count: usize) {
        let count = count.min(self.written.len());
        for (sector, bytes) in self.written.drain(..count).collect::<Vec<_>>() {
            self.put(sector, &bytes);
        }
    }

    fn read(&self, sector: u64, sectors: u64) -> Result<Vec<u8>, Errno> {
        if self.unreadable.iter().any(|it| (sector..sector + sectors).contains(it)) {
            return Err(Errno::EIO);
        }
        let (first, len) = (sector as usize * SECTOR_BYTES, sectors as usize * SECTOR_BYTES);
        let mut bytes = self.safe.get(first..first + len).ok_or(Errno::EINVAL)?.to_vec();
        for (at, written) in &self.written {
            for (number, data) in written.chunks(SECTOR_BYTES).enumerate() {
                let place = (at + number) * SECTOR_BYTES;
                if (first..first + len).contains(&place) {
                    bytes[place - first..][..SECTOR_BYTES].copy_from_slice(data);
                }
            }
        }
        Ok(bytes)
    }
}

enum Work {
    Read(Ticket, u64, u64),
    Write,
    Flush(Ticket),
}

/// The server.
pub struct TestDisk {
    medium: Option<Rc<RefCell<Medium>>>,
    /// What is under way, and when it ends: one after the other.
    works: VecDeque<(u64, Work)>,
    readable: BTreeMap<u32, Vec<u8>>,
    next: u32,
    refused: Option<ServerId>,
}

impl TestDisk {
    /// The server of this medium, or of none.
    pub fn new(medium: Option<Rc<RefCell<Medium>>>) -> Self {
        Self { medium, works: VecDeque::new(), readable: BTreeMap::new(), next: 0, refused: None }
    }

    fn check_room(&self) -> Result<(), Errno> {
        let data = self.works.iter().filter(|(_, work)| !matches!(work, Work::Flush(_))).count();
        let has_room = data + self.readable.len() < CLIENT_REQUESTS_MAX;
        if has_room { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    fn begin(&mut self, cx: &mut Cx<'_>, delay_ns: u64, work: Work) -> Result<(), Errno> {
        let at = cx.now_ns() + delay_ns;
        cx.arm(at, 0)?;
        self.works.push_back((at, work));
        Ok(())
    }

    fn perform(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        let Some(medium) = self.medium.clone() else { return Err(Errno::ENODEV) };
        let mut medium = medium.borrow_mut();
        match op {
            Info::NUMBER => {
                let sectors = (medium.safe.len() / SECTOR_BYTES) as u64;
                let regions = [Extent { first: 0, sectors }; Region::ALL.len()];
                let state = State::Ready { sectors, writable: true, regions };
                Ok(Answer::reply(&DiskInfo { state, figures: Figures::default() }))
            }
            Read::NUMBER => {
                let Read { sector, sectors, .. } = Read::get(msg)?;
                self.check_room()?;
                let ticket = cx.open_ticket(from)?;
                self.begin(cx, medium.delay_ns, Work::Read(ticket, sector, sectors))?;
                Ok(Answer::Pending(ticket))
            }
            Fetch::NUMBER => {
                let id = Fetch::get(msg)?.id;
                bulk.set(&self.readable.remove(&id.index).ok_or(Errno::ESTALE)?)?;
                Ok(Answer::reply(&()))
            }
            Write::NUMBER => {
                let Write { sector, .. } = Write::get(msg)?;
                let end = sector as usize * SECTOR_BYTES + bulk.data().len();
                if end > medium.safe.len() || !bulk.data().len().is_multiple_of(SECTOR_BYTES) {
                    return Err(Errno::EINVAL);
                }
                self.check_room()?;
                self.begin(cx, medium.delay_ns, Work::Write)?;
                medium.written.push((sector as usize, bulk.data().to_vec()));
                Ok(Answer::reply(&()))
            }
            Flush::NUMBER => {
                let ticket = cx.open_ticket(from)?;
                self.begin(cx, medium.delay_ns, Work::Flush(ticket))?;
                Ok(Answer::Pending(ticket))
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    fn end(&mut self, cx: &mut Cx<'_>, work: Work) {
        let Some(medium) = self.medium.clone() else { return };
        let mut medium = medium.borrow_mut();
        match work {
            Work::Read(ticket, sector, sectors) => {
                let read = medium.read(sector, sectors).map(|bytes| {
                    self.next += 1;
                    self.readable.insert(self.next, bytes);
                    Readable { id: ReadId { index: self.next, generation: 1 } }
                });
                cx.complete(ticket, read);
            }
            Work::Write => {}
            Work::Flush(ticket) if medium.fails => {
                cx.complete::<()>(ticket, Err(Errno::EIO));
            }
            Work::Flush(ticket) => {
                // Works end in their order: what is not under way any more came before.
                let later = self.works.iter().filter(|(_, work)| matches!(work, Work::Write));
                let count = medium.written.len() - later.count().min(medium.written.len());
                medium.flush(count);
                cx.complete(ticket, Ok(()));
            }
        }
    }
}

impl Core for TestDisk {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        let answer = self.perform(cx, from, op, msg, bulk);
        if let (Err(Errno::EAGAIN), Client::Server { id, .. }) = (&answer, from) {
            self.refused = Some(id);
        }
        answer.unwrap_or_else(Answer::Failed)
    }

    fn completion(&mut self, _cx: &mut Cx<'_>, _cookie: u64, _result: Result<NodeReply, Errno>) {}

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        if !matches!(event, Event::Timer(_)) {
            return;
        }
        let now_ns = cx.now_ns();
        while let Some((_, work)) = self.works.pop_front_if(|(at, _)| *at <= now_ns) {
            self.end(cx, work);
        }
        if let Some(client) = self.refused.take() {
            cx.raise(client, EVENT_ROOM, &());
        }
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
    }
}
