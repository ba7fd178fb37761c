// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests under way: buffers, order, flushes.
//!
//! # Model
//! ```text
//!            +-- Waiting: an earlier one has sectors in common --+
//!   Free ----+                                                   +--> Sent --+--> Free (written, failed)
//!            +---------------------------------------------------+          |
//!                                                     Readable: is fetched <-+
//! ```
//! A flush waits until all writes to its region that came before it have ended. Then the device flushes,
//! once for all that wait by then.
//!
//! # Invariants
//! **The device never has two requests with sectors in common, of which one writes**: it may do them in
//! any order. **A write that failed is told by the flushes of its region that came after it and had not
//! ended, or by the next one.**
//!
//! # Source
//! virtio 1.1, 5.2.6.2: a flush covers the writes that ended before it was sent.

use crate::device::{Command, Device, FLUSH_SLOT, Failed};
use abi::{Errno, ServerId, Ticket};
use alloc::vec::Vec;
use disk_api::limits::{CLIENT_REQUESTS_MAX, FLUSHES_MAX, REQUESTS_MAX, SECTOR_BYTES};
use disk_api::{Extent, Figures, ReadId, Region};

/// How a request ended that was answered "later".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// A read.
    Read(Ticket, Result<ReadId, Errno>),
    /// A flush.
    Flush(Ticket, Result<(), Errno>),
}

/// Who wants what where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Who.
    pub client: ServerId,
    /// Of which region.
    pub region: Region,
    /// Which sectors of the disk: at least one, and what a buffer holds.
    pub extent: Extent,
}

#[derive(Clone, Copy)]
enum Kind {
    Read(Ticket),
    /// A read that nobody waits for any more.
    Abandoned,
    Write,
}

#[derive(Clone, Copy)]
struct Request {
    /// Grows with each request.
    number: u64,
    wish: Wish,
    kind: Kind,
}

impl Request {
    fn is_write(&self) -> bool {
        matches!(self.kind, Kind::Write)
    }

    fn is_before(&self, later: &Self) -> bool {
        let writes = self.is_write() || later.is_write();
        self.number < later.number && writes && self.wish.extent.overlaps(later.wish.extent)
    }
}

#[derive(Clone, Copy)]
enum State {
    Free,
    Waiting(Request),
    Sent(Request, u64),
    Readable(ServerId, u64),
}

#[derive(Clone, Copy)]
struct Slot {
    generation: u32,
    state: State,
}

struct Flush {
    ticket: Ticket,
    region: Region,
    /// Of all requests that came before, the numbers are smaller.
    number: u64,
    is_sent: bool,
    /// Something before it failed.
    has_failed: bool,
}

/// All requests of a device.
pub struct Requests<D> {
    device: D,
    slots: [Slot; REQUESTS_MAX],
    flushes: Vec<Flush>,
    /// Since when the device flushes.
    flushing_ns: Option<u64>,
    next: u64,
    /// Regions of which something failed that no flush has told yet.
    failed: [bool; Region::ALL.len()],
    outcomes: Vec<Outcome>,
    figures: Figures,
}

impl<D: Device> Requests<D> {
    /// None yet.
    pub fn new(device: D) -> Self {
        Self {
            device,
            slots: [Slot { generation: 0, state: State::Free }; REQUESTS_MAX],
            flushes: Vec::new(),
            flushing_ns: None,
            next: 1,
            failed: [false; Region::ALL.len()],
            outcomes: Vec::new(),
            figures: Figures::default(),
        }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What was done so far.
    pub fn figures(&self) -> Figures {
        Figures { strange: self.device.strange(), ..self.figures }
    }

    /// Whether a request of the client with data would be taken.
    pub fn has_room(&self, client: ServerId) -> bool {
        let is_free = |slot: &&Slot| matches!(slot.state, State::Free);
        let is_its = |slot: &&Slot| match slot.state {
            State::Free => false,
            State::Waiting(request) | State::Sent(request, _) => request.wish.client == client,
            State::Readable(of, _) => of == client,
        };
        let held = self.slots.iter().filter(is_its).count();
        self.slots.iter().any(|slot| is_free(&slot)) && held < CLIENT_REQUESTS_MAX
    }

    /// Whether a flush would be taken.
    pub fn has_flush_room(&self) -> bool {
        self.flushes.len() < FLUSHES_MAX
    }

    /// Reads; an [`Outcome::Read`] follows.
    ///
    /// # Errors
    /// EAGAIN: see [`Self::has_room`].
    pub fn read(&mut self, now_ns: u64, wish: Wish, ticket: Ticket) -> Result<(), Errno> {
        self.figures.reads += 1;
        self.add(now_ns, wish, Kind::Read(ticket), &[])
    }

    /// Writes `data`; how it ended, the next flush tells.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn write(&mut self, now_ns: u64, wish: Wish, data: &[u8]) -> Result<(), Errno> {
        assert!(data.len() as u64 == wish.extent.sectors * SECTOR_BYTES as u64, "all sectors");
        self.add(now_ns, wish, Kind::Write, data)?;
        self.figures.writes += 1;
        Ok(())
    }

    fn add(&mut self, now_ns: u64, wish: Wish, kind: Kind, data: &[u8]) -> Result<(), Errno> {
        if !self.has_room(wish.client) {
            return Err(Errno::EAGAIN);
        }
        let is_free = |slot: &Slot| matches!(slot.state, State::Free);
        let index = self.slots.iter().position(is_free).ok_or(Errno::EAGAIN)?;
        self.device.copy_in(index, data);
        let request = Request { number: self.number(), wish, kind };
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Waiting(request);
        self.advance(now_ns);
        Ok(())
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Flushes a region; an [`Outcome::Flush`] follows.
    ///
    /// # Errors
    /// EAGAIN: see [`Self::has_flush_room`].
    pub fn flush(&mut self, now_ns: u64, region: Region, ticket: Ticket) -> Result<(), Errno> {
        if !self.has_flush_room() {
            return Err(Errno::EAGAIN);
        }
        let has_failed = core::mem::take(&mut self.failed[region as usize]);
        let number = self.number();
        self.flushes.push(Flush { ticket, region, number, is_sent: false, has_failed });
        self.advance(now_ns);
        Ok(())
    }

    /// Moves what was read to the beginning of `to`; the bytes.
    ///
    /// # Errors
    /// ESTALE, EMSGSIZE: as [`disk_api::Fetch`] says.
    pub fn fetch(&mut self, client: ServerId, id: ReadId, to: &mut [u8]) -> Result<usize, Errno> {
        let index = id.index as usize;
        let slot = self.slots.get_mut(index).ok_or(Errno::ESTALE)?;
        let State::Readable(of, sectors) = slot.state else { return Err(Errno::ESTALE) };
        if of != client || slot.generation != id.generation {
            return Err(Errno::ESTALE);
        }
        let len = sectors as usize * SECTOR_BYTES;
        self.device.copy_out(index, to.get_mut(..len).ok_or(Errno::EMSGSIZE)?);
        slot.state = State::Free;
        Ok(len)
    }

    /// Takes what the device has ended.
    pub fn collect(&mut self, now_ns: u64) {
        while let Some((index, result)) = self.device.ended() {
            self.figures.errors += u64::from(result.is_err());
            if index == FLUSH_SLOT {
                self.flushed(result);
            } else {
                self.slot_ended(index, result);
            }
        }
        self.advance(now_ns);
    }

    fn slot_ended(&mut self, index: usize, result: Result<(), Failed>) {
        let slot = &mut self.slots[index];
        let State::Sent(request, _) = slot.state else {
            unreachable!("a device ends what it was given, and that once");
        };
        slot.state = State::Free;
        match (request.kind, result) {
            (Kind::Write | Kind::Abandoned, Ok(())) | (Kind::Abandoned, Err(Failed)) => {}
            (Kind::Write, Err(Failed)) => self.write_failed(&request),
            (Kind::Read(ticket), Ok(())) => {
                let Wish { client, extent, .. } = request.wish;
                slot.state = State::Readable(client, extent.sectors);
                let id = ReadId { index: index as u32, generation: slot.generation };
                self.outcomes.push(Outcome::Read(ticket, Ok(id)));
            }
            (Kind::Read(ticket), Err(Failed)) => {
                self.outcomes.push(Outcome::Read(ticket, Err(Errno::EIO)));
            }
        }
    }

    /// All flushes that came after the write tell of it; if there is none yet, the next one.
    fn write_failed(&mut self, request: &Request) {
        let region = request.wish.region;
        let later = |flush: &&mut Flush| flush.region == region && flush.number > request.number;
        let mut is_told = false;
        for flush in self.flushes.iter_mut().filter(later) {
            flush.has_failed = true;
            is_told = true;
        }
        self.failed[region as usize] |= !is_told;
    }

    /// A flush that failed may have lost what was written to any region: each is told once.
    fn flushed(&mut self, result: Result<(), Failed>) {
        self.flushing_ns = None;
        let result = result.map_err(|Failed| Errno::EIO);
        if result.is_err() {
            self.failed = Region::ALL.map(|region| {
                let is_told = self.flushes.iter().any(|flush| flush.region == region);
                !is_told || self.failed[region as usize]
            });
            self.flushes.iter_mut().for_each(|flush| flush.has_failed = true);
        }
        for flush in self.flushes.extract_if(.., |flush| flush.is_sent) {
            self.outcomes.push(Outcome::Flush(flush.ticket, result));
        }
    }

    /// Sends what may be sent.
    fn advance(&mut self, now_ns: u64) {
        for index in 0..self.slots.len() {
            let State::Waiting(request) = self.slots[index].state else { continue };
            let is_held = self.slots.iter().any(|slot| match &slot.state {
                State::Waiting(other) | State::Sent(other, _) => other.is_before(&request),
                State::Free | State::Readable(..) => false,
            });
            if is_held {
                continue;
            }
            let extent = request.wish.extent;
            let command =
                if request.is_write() { Command::Write(extent) } else { Command::Read(extent) };
            self.device.begin(index, command);
            self.slots[index].state = State::Sent(request, now_ns);
        }
        self.advance_flushes(now_ns);
    }

    fn advance_flushes(&mut self, now_ns: u64) {
        let is_busy = self.flushing_ns.is_some();
        let needs_flush = self.device.needs_flush();
        let slots = &self.slots;
        let is_ready = |flush: &Flush| {
            !slots.iter().any(|slot| match &slot.state {
                State::Waiting(request) | State::Sent(request, _) => {
                    let its = request.wish.region == flush.region && request.number < flush.number;
                    its && request.is_write()
                }
                State::Free | State::Readable(..) => false,
            })
        };
        let is_over = |flush: &mut Flush| {
            is_ready(flush) && !flush.is_sent && (flush.has_failed || !needs_flush)
        };
        for flush in self.flushes.extract_if(.., is_over) {
            let result = if flush.has_failed { Err(Errno::EIO) } else { Ok(()) };
            self.outcomes.push(Outcome::Flush(flush.ticket, result));
        }
        if is_busy {
            return;
        }
        let mut any = false;
        for flush in self.flushes.iter_mut().filter(|flush| is_ready(flush)) {
            flush.is_sent = true;
            any = true;
        }
        if any {
            self.device.begin(FLUSH_SLOT, Command::Flush);
            self.flushing_ns = Some(now_ns);
            self.figures.flushes += 1;
        }
    }

    /// Gives up on a read or a flush; what the device does of it, it goes on doing. `false` if there is
    /// none such.
    pub fn cancel(&mut self, now_ns: u64, ticket: Ticket) -> bool {
        let is_there = self.cancel_read(ticket) || self.cancel_flush(ticket);
        self.advance(now_ns);
        is_there
    }

    fn cancel_read(&mut self, ticket: Ticket) -> bool {
        for slot in &mut self.slots {
            match &mut slot.state {
                State::Waiting(request) if request.is(ticket) => slot.state = State::Free,
                State::Sent(request, _) if request.is(ticket) => request.kind = Kind::Abandoned,
                State::Free | State::Waiting(_) | State::Sent(..) | State::Readable(..) => continue,
            }
            return true;
        }
        false
    }

    fn cancel_flush(&mut self, ticket: Ticket) -> bool {
        let before = self.flushes.len();
        // A flush that is sent ends without anybody to tell; what failed is told by the next one.
        let failed = &mut self.failed;
        self.flushes.retain(|flush| {
            failed[flush.region as usize] |= flush.ticket == ticket && flush.has_failed;
            flush.ticket != ticket
        });
        self.flushes.len() < before
    }

    /// The client died: what it read goes to nobody. What it wrote is written.
    pub fn forget(&mut self, client: ServerId) {
        for slot in &mut self.slots {
            match &mut slot.state {
                State::Readable(of, _) if *of == client => slot.state = State::Free,
                State::Waiting(it) | State::Sent(it, _) if it.wish.client == client => {
                    if matches!(it.kind, Kind::Read(_)) {
                        it.kind = Kind::Abandoned;
                    }
                }
                State::Free | State::Waiting(_) | State::Sent(..) | State::Readable(..) => {}
            }
        }
    }

    /// When the oldest request that the device has was sent.
    pub fn oldest_ns(&self) -> Option<u64> {
        let sent = self.slots.iter().filter_map(|slot| match slot.state {
            State::Sent(_, since_ns) => Some(since_ns),
            State::Free | State::Waiting(_) | State::Readable(..) => None,
        });
        sent.chain(self.flushing_ns).min()
    }

    /// The outcomes since the last time.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        core::mem::take(&mut self.outcomes)
    }

    /// Takes the device out of service: all that waits ends with EIO.
    pub fn stop(mut self) -> (Vec<Outcome>, Figures) {
        self.device.stop();
        for slot in &self.slots {
            if let State::Waiting(request) | State::Sent(request, _) = slot.state
                && let Kind::Read(ticket) = request.kind
            {
                self.outcomes.push(Outcome::Read(ticket, Err(Errno::EIO)));
            }
        }
        let flushes = self.flushes.iter();
        self.outcomes.extend(flushes.map(|flush| Outcome::Flush(flush.ticket, Err(Errno::EIO))));
        self.figures.errors += 1;
        let figures = self.figures();
        (self.outcomes, figures)
    }
}

impl Request {
    fn is(&self, ticket: Ticket) -> bool {
        matches!(self.kind, Kind::Read(of) if of == ticket)
    }
}
