// SPDX-License-Identifier: MIT OR Apache-2.0
//! FIFOs, fifo(7): pipes that are found by an inode.
//!
//! # Model
//! The inode is fs-server's; its pipe lives in the ipc server at the home of the same slot, as long as anybody has it
//! open. An open(2) that waits for the other end has its description already: so it is the other end that others wait
//! for. It ends when the other end comes, whatever becomes of that then, as on Linux.

use crate::files::{Kind, PipeNo};
use crate::limits::PIPES_MAX;
use crate::pipe::{End, Opening, Pipe};
use crate::{Ipc, node_of};
use abi::linux::general::{O_ACCMODE, O_NONBLOCK, O_RDONLY, O_WRONLY};
use abi::{Errno, FileId, InodeId, NodeId, SlotNo, Ticket};
use alloc::vec::Vec;
use ipc_api::{FifoOpen, FifoOpened};
use runtime::{Answer, Client, Cx};

use crate::descriptions::SETTABLE;

impl Ipc {
    pub(crate) fn fifo_open(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        request: FifoOpen,
    ) -> Result<Answer, Errno> {
        let FifoOpen { inode, flags } = request;
        let home = cx.view().home(inode.slot());
        if home != cx.node() {
            return self.forward(cx, from, home, &request);
        }
        let end = match flags & O_ACCMODE {
            O_RDONLY => End::Read,
            O_WRONLY => End::Write,
            _ => End::Both,
        };
        self.files.check_room(1)?;
        let found = self.fifos.get(&inode).copied();
        let pipe = found.and_then(|number| self.pipes.get(&number));
        let lacks = pipe.map_or(end != End::Both, |pipe| pipe.lacks_other(end));
        let waits = lacks && flags & O_NONBLOCK == 0;
        if lacks && !waits && end == End::Write {
            return Err(Errno::ENXIO);
        }
        let number = match found {
            Some(number) => number,
            None => self.new_fifo(cx, inode)?,
        };
        let node = node_of(cx, from);
        let opened = self.fifo_opened(cx, (number, end), (from, node), flags, waits);
        if opened.is_err() {
            self.drop_fifo_unused(number);
        }
        opened
    }

    fn new_fifo(&mut self, cx: &Cx<'_>, inode: InodeId) -> Result<PipeNo, Errno> {
        if self.pipes.len() >= PIPES_MAX {
            return Err(Errno::ENFILE);
        }
        let number = PipeNo(self.files.new_id_in(cx, inode.slot())?);
        self.pipes.insert(number, Pipe::fifo(number.0, inode));
        self.fifos.insert(inode, number);
        Ok(number)
    }

    fn fifo_opened(
        &mut self,
        cx: &mut Cx<'_>,
        (number, end): (PipeNo, End),
        (from, node): (Client, NodeId),
        flags: u32,
        waits: bool,
    ) -> Result<Answer, Errno> {
        let file = self.files.new_id_in(cx, number.0.slot())?;
        let ticket = if waits { Some(cx.open_ticket(from)?) } else { None };
        let kind = Kind::Pipe { pipe: number, end };
        self.files.open(file, node, kind, flags & (O_ACCMODE | SETTABLE));
        let pipe = self.pipes.get_mut(&number).ok_or(Errno::EIO)?;
        if let Some(ticket) = ticket {
            pipe.openings.push(Opening { ticket, from: node, file, end });
        }
        pipe.opened(cx, end);
        Ok(ticket.map_or_else(|| Answer::reply(&FifoOpened { file }), Answer::Pending))
    }

    fn drop_fifo_unused(&mut self, number: PipeNo) {
        let unused = |pipe: &&Pipe| pipe.lacks_other(End::Read) && pipe.lacks_other(End::Write);
        if self.pipes.get(&number).filter(unused).is_some() {
            self.pipe_gone(number);
        }
    }

    /// Nobody has a pipe open any more.
    pub(crate) fn pipe_gone(&mut self, number: PipeNo) {
        if let Some(inode) = self.pipes.remove(&number).and_then(|pipe| pipe.inode) {
            self.fifos.remove(&inode);
        }
    }

    /// Ends an open(2) that waits, if there is one.
    pub(crate) fn cancel_opening(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let of = |pipe: &Pipe| {
            let found = pipe.openings.iter().find(|it| it.ticket == ticket);
            found.map(|it| (it.file, it.from))
        };
        let Some((file, from)) = self.pipes.values().find_map(of) else { return false };
        self.give_up_opening(cx, (ticket, file, from), Errno::ECANCELED);
        true
    }

    /// The opens of a slot's FIFOs that wait come again.
    pub(crate) fn send_openings_away(&mut self, cx: &mut Cx<'_>, slot: SlotNo) {
        let pipes = self.pipes.iter().filter(|(number, _)| number.0.slot() == slot);
        let openings = pipes.flat_map(|(_, pipe)| &pipe.openings);
        let all: Vec<(Ticket, FileId, NodeId)> =
            openings.map(|it| (it.ticket, it.file, it.from)).collect();
        for it in all {
            self.give_up_opening(cx, it, Errno::ERESTART);
        }
    }

    fn give_up_opening(
        &mut self,
        cx: &mut Cx<'_>,
        (ticket, file, from): (Ticket, FileId, NodeId),
        errno: Errno,
    ) {
        for pipe in self.pipes.values_mut() {
            pipe.openings.retain(|it| it.ticket != ticket);
        }
        if let Ok(Some(kind)) = self.files.release(file, from) {
            self.closed(cx, file, kind);
        }
        cx.complete::<()>(ticket, Err(errno));
    }
}
