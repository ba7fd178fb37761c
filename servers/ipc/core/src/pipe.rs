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
use abi::{Errno, FileId, NodeId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ipc_api::epoll::Changes;
use ipc_api::file::Ready;
use runtime::Cx;
use serde::{Deserialize, Serialize};

/// Which end of a pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum End {
    Read,
    Write,
}

/// A pipe on its way to another home.
#[derive(Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) read_end: FileId,
    readable: bool,
    writable: bool,
    changes: Changes,
    pub(crate) bytes: Vec<u8>,
}

/// A blocked read.
#[derive(Debug)]
struct Reader {
    ticket: Ticket,
    from: NodeId,
    target: Target,
    len: usize,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    ring: Buffer,
    readable: bool,
    writable: bool,
    read_end: FileId,
    pub(crate) changes: Changes,
    readers: VecDeque<Reader>,
    pub(crate) writers: VecDeque<Writer>,
    pub(crate) pollers: Vec<Poller>,
}

impl Pipe {
    pub(crate) fn new(read_end: FileId) -> Self {
        Self {
            ring: Buffer::default(),
            readable: true,
            writable: true,
            read_end,
            changes: Changes::default(),
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            pollers: Vec::new(),
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
        if len == 0 || (self.ring.is_empty() && !self.writable) {
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
        ticket: Ticket,
        from: NodeId,
        target: Target,
        len: usize,
    ) {
        self.readers.push_back(Reader { ticket, from, target, len });
    }

    /// Writes what goes in now; the number of bytes.
    pub(crate) fn write(
        &mut self,
        cx: &mut Cx<'_>,
        source: &Source,
        len: usize,
    ) -> Result<usize, Errno> {
        if !self.readable {
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
        if self.ring.is_empty() && self.writable {
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
        if !self.readable {
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
        wake_pollers(cx, &mut pollers, |poller| {
            let end = if poller.file == self.read_end { End::Read } else { End::Write };
            self.poll(end, poller.events)
        });
        self.pollers = pollers;
        note(cx, self.read_end);
    }

    /// Which of `events` hold; POLLERR and POLLHUP always count.
    pub(crate) fn poll(&self, end: End, events: u32) -> u32 {
        let mut ready = 0;
        match end {
            End::Read => {
                if !self.ring.is_empty() {
                    ready |= POLLIN | POLLRDNORM;
                }
                if !self.writable {
                    ready |= POLLHUP;
                }
            }
            End::Write => {
                if self.room() >= ATOMIC_BYTES {
                    ready |= POLLOUT | POLLWRNORM;
                }
                if !self.readable {
                    ready |= POLLERR;
                }
            }
        }
        ready & (events | POLLERR | POLLHUP)
    }

    /// An end has no holder any more. True if the pipe is gone.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_>, end: End) -> bool {
        let file = self.read_end;
        match end {
            End::Read => {
                self.readable = false;
                self.changes.outs = self.changes.outs.wrapping_add(1);
                for reader in self.readers.drain(..) {
                    cx.complete::<()>(reader.ticket, Err(Errno::EBADF));
                }
            }
            End::Write => {
                self.writable = false;
                self.came();
                for writer in self.writers.drain(..) {
                    writer.end(cx, Err(Errno::EBADF));
                }
            }
        }
        self.pollers.retain(|poller| {
            let closed = (poller.file == file) == (end == End::Read);
            if closed {
                cx.complete::<()>(poller.ticket, Err(Errno::EBADF));
            }
            !closed
        });
        self.pump(cx);
        !self.readable && !self.writable
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
        let Self { readable, writable, read_end, changes, .. } = *self;
        Saved { read_end, readable, writable, changes, bytes: self.ring.to_vec() }
    }

    /// A pipe that came from another home.
    pub(crate) fn restored(saved: &Saved) -> Self {
        let mut pipe = Self::new(saved.read_end);
        pipe.ring.extend(&saved.bytes);
        pipe.readable = saved.readable;
        pipe.writable = saved.writable;
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
