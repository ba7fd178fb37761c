// SPDX-License-Identifier: MIT OR Apache-2.0
//! One event counter, eventfd(2), and the calls that wait at it.
//!
//! # Invariants
//! Readers wait only while the counter is 0, writers only while the value of the first of them does not
//! fit; each queue is served in the order of arrival.
//!
//! # Source
//! eventfd(2), poll(2).

use crate::transfer::{Poller, Source, Taken, Target, fetch, wake_pollers};
use crate::watch::note;
use abi::linux::general::{POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM};
use abi::{Errno, FileId, NodeId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ipc_api::epoll::Changes;
use ipc_api::file::{Moved, Ready};
use runtime::Cx;
use serde::{Deserialize, Serialize};

/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 8;
/// The highest value of a counter.
const COUNT_MAX: u64 = u64::MAX - 1;

/// A counter on its way to another home.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Saved {
    pub(crate) file: FileId,
    count: u64,
    semaphore: bool,
    changes: Changes,
}

impl Saved {
    /// Whether a counter can be so.
    pub(crate) fn is_sound(&self) -> bool {
        self.count <= COUNT_MAX
    }
}

#[derive(Debug)]
struct Reader {
    ticket: Ticket,
    from: NodeId,
    target: Target,
}

#[derive(Debug)]
struct Writer {
    ticket: Ticket,
    from: NodeId,
    value: u64,
}

#[derive(Debug)]
pub(crate) struct Counter {
    file: FileId,
    pub(crate) changes: Changes,
    count: u64,
    semaphore: bool,
    readers: VecDeque<Reader>,
    writers: VecDeque<Writer>,
    pub(crate) pollers: Vec<Poller>,
}

/// The value that a program or another node writes.
///
/// # Errors
/// EINVAL: it is none. EFAULT, ERESTART.
pub(crate) fn value_of(cx: &mut Cx<'_>, source: &Source, len: usize) -> Result<u64, Errno> {
    if len < VALUE_BYTES {
        return Err(Errno::EINVAL);
    }
    let bytes = fetch(cx, source, 0, VALUE_BYTES)?;
    let value = u64::from_le_bytes(*bytes.first_chunk().ok_or(Errno::EINVAL)?);
    if value > COUNT_MAX { Err(Errno::EINVAL) } else { Ok(value) }
}

impl Counter {
    pub(crate) fn new(file: FileId, count: u64, semaphore: bool) -> Self {
        Self {
            file,
            changes: Changes::default(),
            count,
            semaphore,
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            pollers: Vec::new(),
        }
    }

    /// Reads now; `None` if the call has to wait.
    pub(crate) fn read(
        &mut self,
        cx: &mut Cx<'_>,
        target: Target,
        len: usize,
    ) -> Result<Option<Taken>, Errno> {
        if len < VALUE_BYTES {
            return Err(Errno::EINVAL);
        }
        if self.count == 0 || !self.readers.is_empty() {
            return Ok(None);
        }
        let taken = self.take(cx, target)?;
        self.pump(cx);
        Ok(Some(taken))
    }

    /// What one read takes of a counter that is not 0.
    fn take(&mut self, cx: &mut Cx<'_>, target: Target) -> Result<Taken, Errno> {
        let value = if self.semaphore { 1 } else { self.count };
        let taken = Taken::of(cx, target, &value.to_le_bytes())?;
        self.count -= value;
        self.changes.outs = self.changes.outs.wrapping_add(1);
        Ok(taken)
    }

    pub(crate) fn wait_to_read(&mut self, ticket: Ticket, from: NodeId, target: Target) {
        self.readers.push_back(Reader { ticket, from, target });
    }

    /// Adds a value now; false if the call has to wait.
    pub(crate) fn write(&mut self, cx: &mut Cx<'_>, value: u64) -> bool {
        if !self.writers.is_empty() || !self.fits(value) {
            return false;
        }
        self.add(value);
        self.pump(cx);
        true
    }

    pub(crate) fn wait_to_write(&mut self, ticket: Ticket, from: NodeId, value: u64) {
        self.writers.push_back(Writer { ticket, from, value });
    }

    fn add(&mut self, value: u64) {
        self.count = self.count.saturating_add(value).min(COUNT_MAX);
        self.changes.ins = self.changes.ins.wrapping_add(1);
    }

    fn fits(&self, value: u64) -> bool {
        value <= COUNT_MAX - self.count
    }

    /// Gives back what a read took that could not be delivered.
    pub(crate) fn put_back(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        let value = u64::from_le_bytes(*bytes.as_array().ok_or(Errno::EINVAL)?);
        // Others may have written meanwhile: then it is as if they had found the counter full.
        self.add(value);
        self.pump(cx);
        Ok(())
    }

    /// Serves whoever can be served now.
    fn pump(&mut self, cx: &mut Cx<'_>) {
        while self.serve_reader(cx) || self.serve_writer(cx) {}
        let mut pollers = core::mem::take(&mut self.pollers);
        wake_pollers(cx, &mut pollers, |poller| self.poll(poller.events));
        self.pollers = pollers;
        note(cx, self.file);
    }

    fn serve_reader(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.count == 0 {
            return false;
        }
        let Some(reader) = self.readers.pop_front() else { return false };
        match self.take(cx, reader.target) {
            Ok(taken) => taken.complete(cx, reader.ticket),
            Err(errno) => cx.complete::<()>(reader.ticket, Err(errno)),
        }
        true
    }

    fn serve_writer(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(writer) = self.writers.front() else { return false };
        let (ticket, value) = (writer.ticket, writer.value);
        if !self.fits(value) {
            return false;
        }
        self.writers.pop_front();
        self.add(value);
        cx.complete(ticket, Ok(Moved { bytes: VALUE_BYTES as u64 }));
        true
    }

    /// Which of `events` hold.
    pub(crate) fn poll(&self, events: u32) -> u32 {
        let mut ready = 0;
        if self.count > 0 {
            ready |= POLLIN | POLLRDNORM;
        }
        if self.count < COUNT_MAX {
            ready |= POLLOUT | POLLWRNORM;
        }
        ready & events
    }

    /// Ends a waiting call, if it waits here.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let waiting = self.waiting();
        self.readers.retain(|call| call.ticket != ticket);
        self.writers.retain(|call| call.ticket != ticket);
        self.pollers.retain(|call| call.ticket != ticket);
        if self.waiting() == waiting {
            return false;
        }
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        self.pump(cx);
        true
    }

    fn waiting(&self) -> usize {
        self.readers.len() + self.writers.len() + self.pollers.len()
    }

    /// Forgets the calls of a node that is down.
    pub(crate) fn forget_node(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let mut gone: Vec<Ticket> = Vec::new();
        gone.extend(self.readers.iter().filter(|call| call.from == node).map(|call| call.ticket));
        gone.extend(self.writers.iter().filter(|call| call.from == node).map(|call| call.ticket));
        gone.extend(self.pollers.iter().filter(|call| call.from == node).map(|call| call.ticket));
        for ticket in gone {
            self.cancel(cx, ticket);
        }
    }

    /// Ends all that waits: nobody holds the counter any more, or it is about to move (ERESTART).
    pub(crate) fn send_away(&mut self, cx: &mut Cx<'_>, errno: Errno) {
        let readers = self.readers.drain(..).map(|call| call.ticket);
        for ticket in readers.chain(self.writers.drain(..).map(|call| call.ticket)) {
            cx.complete::<()>(ticket, Err(errno));
        }
        for poller in self.pollers.drain(..) {
            match errno {
                // Nothing holds: who waits looks again.
                Errno::ERESTART => cx.complete(poller.ticket, Ok(Ready { events: 0 })),
                errno => cx.complete::<()>(poller.ticket, Err(errno)),
            }
        }
    }

    /// What goes along to another home.
    pub(crate) fn saved(&self, file: FileId) -> Saved {
        Saved { file, count: self.count, semaphore: self.semaphore, changes: self.changes }
    }

    /// A counter that came from another home.
    pub(crate) fn restored(saved: &Saved) -> Self {
        Self { changes: saved.changes, ..Self::new(saved.file, saved.count, saved.semaphore) }
    }
}
