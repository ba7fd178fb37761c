// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decisions: who may do what with which sectors, and what is answered when.

use crate::device::Device;
use crate::open::Opened;
use crate::requests::{Outcome, Requests, Wish};
use abi::{Errno, ServerId, Ticket};
use alloc::boxed::Box;
use alloc::vec::Vec;
use disk_api::limits::{REQUEST_NS_MAX, REQUEST_SECTORS_MAX, SECTOR_BYTES};
use disk_api::superblock::Superblock;
use disk_api::{
    Absence, DiskInfo, EVENT_ROOM, Fetch, Figures, Flush, Info, Read, Region, State, Write,
};
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Msg, NodeReply, Operation, Wire};

/// The one timer.
const PATIENCE: u64 = 0;

enum Disk<D> {
    Absent(Absence),
    Ready { requests: Box<Requests<D>>, superblock: Superblock },
    Stopped(Figures),
}

/// The server's core.
pub struct DiskCore<D> {
    disk: Disk<D>,
    is_armed: bool,
    /// Clients that got EAGAIN: a row for each server at most.
    refused: Vec<ServerId>,
    say: fn(&str),
}

impl<D: Device> DiskCore<D> {
    /// The server of this disk, or of none; `say` logs a sentence.
    pub fn new(disk: Result<Opened<D>, Absence>, say: fn(&str)) -> Self {
        let disk = match disk {
            Ok(Opened { device, superblock }) => {
                Disk::Ready { requests: Box::new(Requests::new(device)), superblock }
            }
            Err(absence) => Disk::Absent(absence),
        };
        Self { disk, is_armed: false, refused: Vec::new(), say }
    }

    /// The device wants something.
    pub fn interrupt(&mut self, cx: &mut Cx<'_>) {
        if let Disk::Ready { requests, .. } = &mut self.disk {
            requests.collect(cx.now_ns());
        }
        self.settle(cx);
    }

    fn info(&self) -> DiskInfo {
        match &self.disk {
            Disk::Absent(absence) => {
                DiskInfo { state: State::Absent(absence.clone()), figures: Figures::default() }
            }
            Disk::Ready { requests, superblock } => {
                let device = requests.device();
                let (sectors, writable) = (device.sectors(), device.is_writable());
                let state = State::Ready { sectors, writable, regions: superblock.regions };
                DiskInfo { state, figures: requests.figures() }
            }
            Disk::Stopped(figures) => DiskInfo { state: State::Stopped, figures: *figures },
        }
    }

    /// The disk, for a client that may use the region.
    fn ready(
        &mut self,
        client: ServerId,
        region: Region,
    ) -> Result<(&mut Requests<D>, &Superblock), Errno> {
        match &mut self.disk {
            _ if region.owner() != Some(client) => Err(Errno::EPERM),
            Disk::Absent(_) => Err(Errno::ENODEV),
            Disk::Stopped(_) => Err(Errno::EIO),
            Disk::Ready { requests, superblock } => Ok((requests, superblock)),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, from: Client, it: &Read) -> Result<Answer, Errno> {
        let client = local(from)?;
        let (requests, superblock) = self.ready(client, it.region)?;
        let wish = wish(superblock, client, it.region, it.sector, it.sectors)?;
        if !requests.has_room(client) {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        requests.read(cx.now_ns(), wish, ticket)?;
        Ok(Answer::Pending(ticket))
    }

    fn write(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        it: &Write,
        data: &[u8],
    ) -> Result<Answer, Errno> {
        let client = local(from)?;
        let (requests, superblock) = self.ready(client, it.region)?;
        if !data.len().is_multiple_of(SECTOR_BYTES) {
            return Err(Errno::EINVAL);
        }
        let sectors = (data.len() / SECTOR_BYTES) as u64;
        let wish = wish(superblock, client, it.region, it.sector, sectors)?;
        if !requests.device().is_writable() {
            return Err(Errno::EROFS);
        }
        requests.write(cx.now_ns(), wish, data)?;
        Ok(Answer::reply(&()))
    }

    fn flush(&mut self, cx: &mut Cx<'_>, from: Client, it: &Flush) -> Result<Answer, Errno> {
        let (requests, _) = self.ready(local(from)?, it.region)?;
        if !requests.has_flush_room() {
            return Err(Errno::EAGAIN);
        }
        let ticket = cx.open_ticket(from)?;
        requests.flush(cx.now_ns(), it.region, ticket)?;
        Ok(Answer::Pending(ticket))
    }

    fn fetch(&mut self, from: Client, it: &Fetch, bulk: &mut Bulk<'_>) -> Result<Answer, Errno> {
        let client = local(from)?;
        match &mut self.disk {
            Disk::Absent(_) => Err(Errno::ENODEV),
            Disk::Stopped(_) => Err(Errno::EIO),
            Disk::Ready { requests, .. } => {
                bulk.len = requests.fetch(client, it.id, bulk.buf)?;
                bulk.answered = true;
                Ok(Answer::reply(&()))
            }
        }
    }

    fn perform(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Result<Answer, Errno> {
        match op {
            Info::NUMBER => local(from).map(|_| Answer::reply(&self.info())),
            Read::NUMBER => self.read(cx, from, &Read::get(msg)?),
            Fetch::NUMBER => self.fetch(from, &Fetch::get(msg)?, bulk),
            Write::NUMBER => self.write(cx, from, &Write::get(msg)?, bulk.data()),
            Flush::NUMBER => self.flush(cx, from, &Flush::get(msg)?),
            _ => Err(Errno::ENOSYS),
        }
    }

    /// Tells who waits, and sees that a device which does not answer is noticed.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        let Disk::Ready { requests, .. } = &mut self.disk else { return };
        tell(cx, requests.take_outcomes());
        let has_room =
            |client: &mut ServerId| requests.has_room(*client) && requests.has_flush_room();
        for client in self.refused.extract_if(.., has_room) {
            cx.raise(client, EVENT_ROOM, &());
        }
        if let (Some(oldest_ns), false) = (requests.oldest_ns(), self.is_armed) {
            // Without a timer server nobody notices; then the device is trusted to answer.
            self.is_armed = cx.arm(oldest_ns.saturating_add(REQUEST_NS_MAX), PATIENCE).is_ok();
        }
    }

    fn timer(&mut self, cx: &mut Cx<'_>) {
        self.is_armed = false;
        if let Disk::Ready { requests, .. } = &mut self.disk {
            // Its interrupt may only be late.
            requests.collect(cx.now_ns());
            let is_late = |since_ns: u64| cx.now_ns() >= since_ns.saturating_add(REQUEST_NS_MAX);
            if requests.oldest_ns().is_some_and(is_late) {
                self.stop(cx);
            }
        }
        self.settle(cx);
    }

    fn stop(&mut self, cx: &mut Cx<'_>) {
        let stopped = Disk::Stopped(Figures::default());
        let Disk::Ready { requests, .. } = core::mem::replace(&mut self.disk, stopped) else {
            return;
        };
        let (outcomes, figures) = requests.stop();
        self.disk = Disk::Stopped(figures);
        (self.say)(
            "the disk did not answer for 30 s: it is out of service until the node restarts",
        );
        tell(cx, outcomes);
        for client in core::mem::take(&mut self.refused) {
            cx.raise(client, EVENT_ROOM, &());
        }
    }
}

fn tell(cx: &mut Cx<'_>, outcomes: Vec<Outcome>) {
    for outcome in outcomes {
        match outcome {
            Outcome::Read(ticket, result) => {
                cx.complete(ticket, result.map(|id| disk_api::Readable { id }));
            }
            Outcome::Flush(ticket, result) => cx.complete(ticket, result),
        }
    }
}

/// Disks are for their own node: what another one wants, it asks of the servers that use them.
fn local(from: Client) -> Result<ServerId, Errno> {
    match from {
        Client::Server { id, .. } => Ok(id),
        Client::Node { .. } => Err(Errno::EPERM),
    }
}

fn wish(
    superblock: &Superblock,
    client: ServerId,
    region: Region,
    sector: u64,
    sectors: u64,
) -> Result<Wish, Errno> {
    if !(1..=REQUEST_SECTORS_MAX).contains(&sectors) {
        return Err(Errno::EINVAL);
    }
    let extent = superblock.region(region).part(sector, sectors).ok_or(Errno::EINVAL)?;
    Ok(Wish { client, region, extent })
}

impl<D: Device> Core for DiskCore<D> {
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        let answer = self.perform(cx, from, op, msg, bulk);
        if let (Err(Errno::EAGAIN), Client::Server { id, .. }) = (&answer, from)
            && !self.refused.contains(&id)
        {
            self.refused.push(id);
        }
        self.settle(cx);
        answer.unwrap_or_else(Answer::Failed)
    }

    fn completion(&mut self, _cx: &mut Cx<'_>, _cookie: u64, _result: Result<NodeReply, Errno>) {
        // This server asks nobody.
    }

    fn event(&mut self, cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::Timer(_) => self.timer(cx),
            Event::ServerDown(server) => {
                self.refused.retain(|client| *client != server);
                if let Disk::Ready { requests, .. } = &mut self.disk {
                    requests.forget(server);
                }
                self.settle(cx);
            }
            Event::Upcall { .. } | Event::NodeDown(_) | Event::NodeUp(_) => {}
        }
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) {
        if let Disk::Ready { requests, .. } = &mut self.disk
            && requests.cancel(cx.now_ns(), ticket)
        {
            cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        }
        self.settle(cx);
    }
}
