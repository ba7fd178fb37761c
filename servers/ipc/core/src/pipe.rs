// SPDX-License-Identifier: MIT OR Apache-2.0
//! One pipe: a ring of bytes, and the calls that wait at it.
//!
//! # Invariants
//! Readers wait only while the ring is empty, writers only while it has no room for the first of
//! them; each queue is served in the order of arrival. A write of at most
//! [`ATOMIC_BYTES`] enters the ring as a whole.
//!
//! # Source
//! pipe(7), write(2), poll(2).

use crate::limits::{ATOMIC_BYTES, PIPE_BYTES, RETURNED_BYTES_MAX};
use crate::transfer::{Buffer, Poller, Source, Taken, Target, Writer, fetch, wake_pollers};
use crate::watch::note;
use abi::linux::general::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM};
use abi::{Errno, FileId, InodeId, NodeId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ipc_api::FifoOpened;
use ipc_api::epoll::Changes;
use ipc_api::file::Ready;
use runtime::Cx;
use serde::{Deserialize, Serialize};

/// Which end of a pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum End {
    Read,
    Write,
    /// A FIFO that is open for both.
    Both,
}

impl End {
    pub(crate) fn reads(self) -> bool {
        self != Self::Write
    }

    pub(crate) fn writes(self) -> bool {
        self != Self::Read
    }
}

/// A pipe on its way to another home.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) read_end: FileId,
    /// The inode of a FIFO.
    pub(crate) inode: Option<InodeId>,
    written: bool,
    changes: Changes,
    pub(crate) bytes: Vec<u8>,
}

/// A blocked read.
#[derive(Debug)]
struct Reader {
    ticket: Ticket,
    from: NodeId,
    file: FileId,
    target: Target,
    len: usize,
}

/// An open(2) of a FIFO that waits for the other end; its description is there already.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    pub(crate) file: FileId,
    pub(crate) end: End,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    ring: Buffer,
    /// Descriptions from which it can be read, and to which it can be written.
    read_ends: u32,
    write_ends: u32,
    /// There has been somebody who could write.
    written: bool,
    /// What names it: the end for reading, or an id that is nobody's, of a FIFO.
    read_end: FileId,
    /// The inode of a FIFO.
    pub(crate) inode: Option<InodeId>,
    pub(crate) openings: Vec<Opening>,
    pub(crate) changes: Changes,
    readers: VecDeque<Reader>,
    pub(crate) writers: VecDeque<Writer>,
    pub(crate) pollers: Vec<Poller>,
}

impl Pipe {
    pub(crate) fn new(read_end: FileId) -> Self {
        Self {
            ring: Buffer::default(),
            read_ends: 1,
            write_ends: 1,
            written: true,
            read_end,
            inode: None,
            openings: Vec::new(),
            changes: Changes::default(),
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            pollers: Vec::new(),
        }
    }

    /// That of a FIFO, which nobody has open yet.
    pub(crate) fn fifo(read_end: FileId, inode: InodeId) -> Self {
        let inode = Some(inode);
        Self { read_ends: 0, write_ends: 0, written: false, inode, ..Self::new(read_end) }
    }

    fn readable(&self) -> bool {
        self.read_ends > 0
    }

    fn writable(&self) -> bool {
        self.write_ends > 0
    }

    /// A FIFO is open once more: who waited for this end has it.
    pub(crate) fn opened(&mut self, cx: &mut Cx<'_>, end: End) {
        self.count(end);
        self.openings.retain(|it| {
            let meets = if it.end == End::Read { end.writes() } else { end.reads() };
            if meets {
                cx.complete(it.ticket, Ok(FifoOpened { file: it.file }));
            }
            !meets
        });
        self.wake(cx);
    }

    /// One more description.
    pub(crate) fn count(&mut self, end: End) {
        self.read_ends += u32::from(end.reads());
        self.write_ends += u32::from(end.writes());
        self.written |= end.writes();
    }

    /// Whether an open(2) for this end has to wait for the other.
    pub(crate) fn lacks_other(&self, end: End) -> bool {
        match end {
            End::Read => !self.writable(),
            End::Write => !self.readable(),
            End::Both => false,
        }
    }

    /// Bytes that can be read.
    pub(crate) fn len(&self) -> usize {
        self.ring.len()
    }

    fn room(&self) -> usize {
        // Bytes that were given back may stand above the pipe's size.
        PIPE_BYTES.saturating_sub(self.ring.len())
    }

    /// Reads now; `None` if the call has to wait.
    pub(crate) fn read(
        &mut self,
        cx: &mut Cx<'_>,
        target: Target,
        len: usize,
    ) -> Result<Option<Taken>, Errno> {
        if len == 0 || (self.ring.is_empty() && !self.writable()) {
            return Ok(Some(Taken::nothing()));
        }
        if self.ring.is_empty() || !self.readers.is_empty() {
            return Ok(None);
        }
        let taken = self.take(cx, target, len)?;
        self.pump(cx);
        Ok(Some(taken))
    }

    fn take(&mut self, cx: &mut Cx<'_>, target: Target, len: usize) -> Result<Taken, Errno> {
        let full = self.room() < ATOMIC_BYTES;
        let taken = self.ring.take(cx, target, len)?;
        // As on Linux: room is news only where there was none.
        if full && self.room() >= ATOMIC_BYTES {
            self.changes.outs = self.changes.outs.wrapping_add(1);
        }
        Ok(taken)
    }

    fn came(&mut self) {
        self.changes.ins = self.changes.ins.wrapping_add(1);
    }

    pub(crate) fn wait_to_read(
        &mut self,
        (ticket, from, file): (Ticket, NodeId, FileId),
        target: Target,
        len: usize,
    ) {
        self.readers.push_back(Reader { ticket, from, file, target, len });
    }

    /// Writes what goes in now; the number of bytes.
    pub(crate) fn write(
        &mut self,
        cx: &mut Cx<'_>,
        source: &Source,
        len: usize,
    ) -> Result<usize, Errno> {
        if !self.readable() {
            return Err(Errno::EPIPE);
        }
        if !self.writers.is_empty() {
            return Ok(0);
        }
        let moved = self.put(cx, source, 0, len)?;
        if moved > 0 {
            self.pump(cx);
        }
        Ok(moved)
    }

    fn put(
        &mut self,
        cx: &mut Cx<'_>,
        source: &Source,
        done: usize,
        len: usize,
    ) -> Result<usize, Errno> {
        let atomic = len <= ATOMIC_BYTES;
        let part = (len - done).min(self.room());
        if part == 0 || (atomic && part < len - done) {
            return Ok(0);
        }
        let bytes = fetch(cx, source, done, part)?;
        self.ring.extend(&bytes);
        self.came();
        Ok(part)
    }

    /// Gives bytes back that were read and could not be delivered.
    pub(crate) fn put_back(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        if self.ring.len() + bytes.len() > PIPE_BYTES + RETURNED_BYTES_MAX {
            return Err(Errno::ENOSPC);
        }
        self.ring.put_back(bytes);
        self.came();
        self.pump(cx);
        Ok(())
    }

    /// Serves whoever can be served now.
    fn pump(&mut self, cx: &mut Cx<'_>) {
        while self.serve_reader(cx) || self.serve_writer(cx) {}
        self.wake(cx);
    }

    fn serve_reader(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.ring.is_empty() && self.writable() {
            return false;
        }
        let Some(reader) = self.readers.pop_front() else { return false };
        match self.take(cx, reader.target, reader.len) {
            Ok(taken) => taken.complete(cx, reader.ticket),
            Err(errno) => cx.complete::<()>(reader.ticket, Err(errno)),
        }
        true
    }

    fn serve_writer(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(mut writer) = self.writers.pop_front() else { return false };
        if !self.readable() {
            writer.end(cx, Err(Errno::EPIPE));
            return true;
        }
        match self.put(cx, &writer.source, writer.done, writer.len) {
            Ok(0) => {
                self.writers.push_front(writer);
                false
            }
            Ok(moved) => {
                writer.done += moved;
                if writer.done == writer.len {
                    writer.end(cx, Ok(()));
                } else {
                    self.writers.push_front(writer);
                }
                true
            }
            Err(errno) => {
                writer.end(cx, Err(errno));
                true
            }
        }
    }

    fn wake(&mut self, cx: &mut Cx<'_>) {
        let mut pollers = core::mem::take(&mut self.pollers);
        wake_pollers(cx, &mut pollers, |poller| self.poll(poller.end, poller.events));
        self.pollers = pollers;
        note(cx, self.read_end);
    }

    /// Which of `events` hold; POLLERR and POLLHUP always count.
    pub(crate) fn poll(&self, end: End, events: u32) -> u32 {
        let mut ready = 0;
        if end.reads() {
            if !self.ring.is_empty() {
                ready |= POLLIN | POLLRDNORM;
            }
            if !self.writable() && self.written {
                ready |= POLLHUP;
            }
        }
        if end.writes() {
            if self.room() >= ATOMIC_BYTES {
                ready |= POLLOUT | POLLWRNORM;
            }
            if !self.readable() {
                ready |= POLLERR;
            }
        }
        ready & (events | POLLERR | POLLHUP)
    }

    /// A description has no holder any more. True if the pipe is gone.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>, file: FileId, end: End) -> bool {
        if end.reads() {
            self.read_ends = self.read_ends.saturating_sub(1);
            self.changes.outs = self.changes.outs.wrapping_add(u32::from(!self.readable()));
        }
        if end.writes() {
            self.write_ends = self.write_ends.saturating_sub(1);
            self.changes.ins = self.changes.ins.wrapping_add(u32::from(!self.writable()));
        }
        self.readers.retain(|reader| {
            if reader.file == file {
                cx.complete::<()>(reader.ticket, Err(Errno::EBADF));
            }
            reader.file != file
        });
        let writers = core::mem::take(&mut self.writers);
        for writer in writers {
            if writer.file == file {
                writer.end(cx, Err(Errno::EBADF));
            } else {
                self.writers.push_back(writer);
            }
        }
        self.pollers.retain(|poller| {
            if poller.file == file {
                cx.complete::<()>(poller.ticket, Err(Errno::EBADF));
            }
            poller.file != file
        });
        self.openings.retain(|it| {
            if it.file == file {
                cx.complete::<()>(it.ticket, Err(Errno::EBADF));
            }
            it.file != file
        });
        self.pump(cx);
        !self.readable() && !self.writable()
    }

    /// Ends a waiting call, if it waits here.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        if let Some(at) = self.writers.iter().position(|writer| writer.ticket == ticket) {
            if let Some(writer) = self.writers.remove(at) {
                writer.end(cx, Err(Errno::ECANCELED));
                self.pump(cx);
            }
            return true;
        }
        let waiting = self.readers.len() + self.pollers.len();
        self.readers.retain(|reader| reader.ticket != ticket);
        self.pollers.retain(|poller| poller.ticket != ticket);
        if self.readers.len() + self.pollers.len() == waiting {
            return false;
        }
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        true
    }

    /// The pipe is about to move: ends what waits, so that it comes again and waits for the next view.
    pub(crate) fn send_away(&mut self, cx: &mut Cx<'_>) {
        for reader in self.readers.drain(..) {
            cx.complete::<()>(reader.ticket, Err(Errno::ERESTART));
        }
        for writer in self.writers.drain(..) {
            writer.end(cx, Err(Errno::ERESTART));
        }
        for poller in self.pollers.drain(..) {
            // Nothing holds: who waits looks again.
            cx.complete(poller.ticket, Ok(Ready { events: 0 }));
        }
    }

    /// What goes along to another home.
    pub(crate) fn saved(&self) -> Saved {
        let Self { read_end, inode, written, changes, .. } = *self;
        Saved { read_end, inode, written, changes, bytes: self.ring.to_vec() }
    }

    /// A pipe that came from another home.
    pub(crate) fn restored(saved: &Saved) -> Self {
        let mut pipe = Self::new(saved.read_end);
        pipe.ring.extend(&saved.bytes);
        // Its descriptions are counted as they come.
        (pipe.read_ends, pipe.write_ends) = (0, 0);
        (pipe.inode, pipe.written) = (saved.inode, saved.written);
        pipe.changes = saved.changes;
        pipe
    }

    /// Forgets the calls of a node that is down: nobody waits for their answers.
    pub(crate) fn forget_node(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let mut gone: Vec<Ticket> = Vec::new();
        gone.extend(self.readers.iter().filter(|call| call.from == node).map(|call| call.ticket));
        gone.extend(self.writers.iter().filter(|call| call.from == node).map(|call| call.ticket));
        gone.extend(self.pollers.iter().filter(|call| call.from == node).map(|call| call.ticket));
        for ticket in gone {
            self.cancel(cx, ticket);
        }
    }
}
