// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving bytes between a buffer and a program, which may be on another node.

use crate::limits::{KEPT_BYTES_MAX, TRANSFER_BYTES};
use crate::pipe::End;
use abi::{Errno, FileId, NodeId, SpaceId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use ipc_api::file::{Moved, Ready};
use mem_api::{CopyIn, CopyOut};
use runtime::{Answer, Bulk, Cx};

/// Where the bytes of a read go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// Into a program of this node.
    Program { space: SpaceId, addr: u64 },
    /// Into the answer to another node.
    Message,
}

/// Where the bytes of a write come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    /// A program of this node.
    Program { space: SpaceId, addr: u64 },
    /// Another node's message.
    Message(Vec<u8>),
}

impl Source {
    /// Copies the bytes from `done` on into `into`, all or none.
    pub(crate) fn copy(&self, cx: &mut Cx<'_>, done: usize, into: &mut [u8]) -> Result<(), Errno> {
        match self {
            Self::Program { space, addr } => {
                let addr = addr.checked_add(done as u64).ok_or(Errno::EFAULT)?;
                let request = CopyIn { space: *space, addr, len: into.len() as u64 };
                cx.leaf_bulk(&request, &mut Bulk::new(into))
            }
            Self::Message(data) => {
                let end = done.checked_add(into.len()).ok_or(Errno::EPROTO)?;
                into.copy_from_slice(data.get(done..end).ok_or(Errno::EPROTO)?);
                Ok(())
            }
        }
    }

    /// Bytes that have to be kept here while the write waits.
    pub(crate) fn kept(&self) -> usize {
        match self {
            Self::Program { .. } => 0,
            Self::Message(data) => data.len(),
        }
    }
}

/// A read that has got its bytes.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) bytes: u64,
    /// The bytes, if they go into a message.
    data: Vec<u8>,
}

impl Taken {
    pub(crate) fn nothing() -> Self {
        Self { bytes: 0, data: Vec::new() }
    }

    /// A few bytes that go to `target` as a whole.
    pub(crate) fn of(cx: &mut Cx<'_>, target: Target, bytes: &[u8]) -> Result<Self, Errno> {
        let mut data = bytes.to_vec();
        if let Target::Program { space, addr } = target {
            cx.leaf_bulk(&CopyOut { space, addr }, &mut Bulk::new(&mut data))?;
            data.clear();
        }
        Ok(Self { bytes: bytes.len() as u64, data })
    }

    /// Answers the request that is being served.
    pub(crate) fn answer(self, bulk: &mut Bulk<'_>) -> Result<Answer, Errno> {
        if !self.data.is_empty() {
            bulk.set(&self.data)?;
        }
        Ok(Answer::reply(&Moved { bytes: self.bytes }))
    }

    /// Ends the ticket of a read.
    pub(crate) fn complete(self, cx: &mut Cx<'_>, ticket: Ticket) {
        cx.complete_bulk(ticket, Ok(Moved { bytes: self.bytes }), self.data);
    }
}

/// An empty queue keeps so much memory at most.
const KEPT_CAPACITY_BYTES: usize = 4096;

/// A queue of bytes.
#[derive(Default, Debug)]
pub(crate) struct Buffer(VecDeque<u8>);

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.0.iter().copied().collect()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.0.push_back(byte);
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().rev() {
            self.0.push_front(*byte);
        }
    }

    /// Moves at most `len` bytes to `target`. On an error nothing has moved.
    pub(crate) fn take(
        &mut self,
        cx: &mut Cx<'_>,
        target: Target,
        len: usize,
    ) -> Result<Taken, Errno> {
        let wanted = len.min(self.0.len());
        let (moved, data) = match target {
            Target::Program { space, addr } => {
                (self.copy_out(cx, space, addr, wanted)?, Vec::new())
            }
            Target::Message => (wanted, self.0.iter().take(wanted).copied().collect()),
        };
        self.0.drain(..moved);
        if self.0.is_empty() && self.0.capacity() > KEPT_CAPACITY_BYTES {
            self.0 = VecDeque::new();
        }
        Ok(Taken { bytes: moved as u64, data })
    }

    /// The bytes may lie in two runs: an error in the second leaves a short count.
    fn copy_out(
        &mut self,
        cx: &mut Cx<'_>,
        space: SpaceId,
        addr: u64,
        wanted: usize,
    ) -> Result<usize, Errno> {
        let (first, second) = self.0.as_mut_slices();
        let mut moved = 0;
        for run in [first, second] {
            let len = run.len().min(wanted - moved);
            if len == 0 {
                continue;
            }
            let addr = addr.checked_add(moved as u64).ok_or(Errno::EFAULT)?;
            match cx.leaf_bulk(&CopyOut { space, addr }, &mut Bulk::new(&mut run[..len])) {
                Ok(()) => moved += len,
                Err(errno) if moved == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(moved)
    }
}

/// A blocked write, and how far it is.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    pub(crate) file: FileId,
    pub(crate) source: Source,
    pub(crate) len: usize,
    pub(crate) done: usize,
}

impl Writer {
    /// Ends the write: what has been moved counts more than why it ended.
    pub(crate) fn end(self, cx: &mut Cx<'_>, result: Result<(), Errno>) {
        let moved = Moved { bytes: self.done as u64 };
        let result = if self.done > 0 { Ok(moved) } else { result.map(|()| moved) };
        cx.complete(self.ticket, result);
    }
}

/// Bytes that waiting writes of other nodes keep here.
pub(crate) fn kept_bytes(writers: &VecDeque<Writer>) -> usize {
    writers.iter().map(|writer| writer.source.kept()).sum()
}

/// Whether one more write may be kept beside `kept` bytes.
pub(crate) fn check_kept(kept: usize, source: &Source) -> Result<(), Errno> {
    if source.kept() > 0 && kept + source.kept() > KEPT_BYTES_MAX {
        return Err(Errno::EAGAIN);
    }
    Ok(())
}

/// A call that waits for a state of a file.
#[derive(Debug)]
pub(crate) struct Poller {
    pub(crate) ticket: Ticket,
    pub(crate) from: NodeId,
    pub(crate) file: FileId,
    pub(crate) events: u32,
    /// Which end of a pipe it looks at; of other files both.
    pub(crate) end: End,
}

/// Ends the polls that `ready` satisfies.
pub(crate) fn wake_pollers(
    cx: &mut Cx<'_>,
    pollers: &mut Vec<Poller>,
    ready: impl Fn(&Poller) -> u32,
) {
    pollers.retain(|poller| {
        let events = ready(poller);
        if events != 0 {
            cx.complete(poller.ticket, Ok(Ready { events }));
        }
        events == 0
    });
}

/// A length that a program asked for, as one step.
pub(crate) fn one_step(len: u64) -> usize {
    len.min(TRANSFER_BYTES) as usize
}

/// A zeroed buffer of `len` bytes, filled from `source`.
pub(crate) fn fetch(
    cx: &mut Cx<'_>,
    source: &Source,
    done: usize,
    len: usize,
) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; len];
    source.copy(cx, done, &mut bytes)?;
    Ok(bytes)
}
