// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bytes of messages: from where they come, and where they go.

use abi::{Errno, SpaceId};
use alloc::vec;
use alloc::vec::Vec;
use ipc_api::socket::{RANGES_MAX, Range};
use mem_api::{Access, CopyIn, CopyOut, Prepare};
use runtime::{Bulk, Cx};

/// Ranges of a program's memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ranges {
    space: SpaceId,
    ranges: Vec<Range>,
}

impl Ranges {
    /// # Errors
    /// EINVAL: more than one call may have.
    pub(crate) fn new(space: SpaceId, ranges: Vec<Range>) -> Result<Self, Errno> {
        if ranges.len() > RANGES_MAX { Err(Errno::EINVAL) } else { Ok(Self { space, ranges }) }
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> u64 {
        self.ranges.iter().fold(0, |sum: u64, (_, len)| sum.saturating_add(*len))
    }

    /// The pieces of `len` bytes from `at` on: address and bytes of each.
    fn pieces(&self, at: usize, len: usize) -> Vec<(u64, usize)> {
        let (mut skip, mut left) = (at as u64, len as u64);
        let mut pieces = Vec::new();
        for (addr, bytes) in &self.ranges {
            let from = skip.min(*bytes);
            let part = (bytes - from).min(left);
            skip -= from;
            left -= part;
            if part > 0 {
                pieces.push((addr.wrapping_add(from), part as usize));
            }
        }
        pieces
    }

    /// `len` bytes from `at` on.
    pub(crate) fn fetch(&self, cx: &mut Cx<'_>, at: usize, len: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; len];
        let mut done = 0;
        for (addr, part) in self.pieces(at, len) {
            let request = CopyIn { space: self.space, addr, len: part as u64 };
            cx.leaf_bulk(&request, &mut Bulk::new(&mut bytes[done..done + part]))?;
            done += part;
        }
        Ok(bytes)
    }

    /// Writes bytes from the first range on.
    pub(crate) fn put(&self, cx: &mut Cx<'_>, bytes: &mut [u8]) -> Result<(), Errno> {
        let mut done = 0;
        for (addr, part) in self.pieces(0, bytes.len()) {
            let request = CopyOut { space: self.space, addr };
            cx.leaf_bulk(&request, &mut Bulk::new(&mut bytes[done..done + part]))?;
            done += part;
        }
        Ok(())
    }

    /// Makes sure that `len` bytes can be written.
    pub(crate) fn prepare(&self, cx: &mut Cx<'_>, len: usize) -> Result<(), Errno> {
        for (addr, part) in self.pieces(0, len) {
            let len = part as u64;
            cx.leaf(&Prepare { space: self.space, addr, len, access: Access::Write })?;
        }
        Ok(())
    }
}

/// Where the bytes of a message come from.
#[derive(Debug)]
pub(crate) enum From {
    /// A program of this node.
    Program(Ranges),
    /// Another node's message.
    Message(Vec<u8>),
}

impl From {
    /// `len` bytes from `at` on.
    pub(crate) fn fetch(&self, cx: &mut Cx<'_>, at: usize, len: usize) -> Result<Vec<u8>, Errno> {
        match self {
            Self::Program(ranges) => ranges.fetch(cx, at, len),
            Self::Message(bytes) => {
                bytes.get(at..at + len).map(<[u8]>::to_vec).ok_or(Errno::EPROTO)
            }
        }
    }

    /// Bytes that have to be kept here while the call waits.
    pub(crate) fn kept(&self) -> usize {
        match self {
            Self::Program(_) => 0,
            Self::Message(bytes) => bytes.len(),
        }
    }
}

/// Where the bytes of a message go.
#[derive(Clone, Debug)]
pub(crate) enum To {
    /// Into a program of this node.
    Program(Ranges),
    /// Into the answer to another node.
    Message,
}
