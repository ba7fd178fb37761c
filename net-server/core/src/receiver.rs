// SPDX-License-Identifier: MIT OR Apache-2.0
//! The receiving half of a lane: order, duplicates, reassembly, back-pressure.
//!
//! # Model
//! Frames wait in `early` until all before them have been used. The last frame of a message stays
//! there while the server's inbox is full, and is acknowledged as arrived but not as used: so the
//! sender's window closes, and nothing is lost.

use crate::inbox::Inbox;
use crate::limits::WINDOW_FRAMES;
use crate::wire::{Ack, Piece};
use abi::{NodeId, ServerId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use runtime::Mutant;
use runtime::node::Lane;

/// What a frame was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// The next one.
    InOrder,
    /// New, but one before it is missing.
    Early,
    /// A duplicate, or outside of the window.
    Useless,
}

/// The peer sends what a correct node never sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Broken;

#[derive(Debug)]
struct Kept {
    server: ServerId,
    message_len: u32,
    offset: u32,
    payload: Vec<u8>,
}

#[derive(Default, Debug)]
pub(crate) struct Receiver {
    /// All before it have been used.
    next: u64,
    early: BTreeMap<u64, Kept>,
    /// The message whose first frames have been used.
    partial: Vec<u8>,
}

impl Receiver {
    pub(crate) fn ack(&self) -> Ack {
        let early = self.early.keys().fold(0, |bits, seq| bits | 1 << (seq - self.next));
        Ack { next: self.next, early }
    }

    /// Takes a frame in. Follow with [`Self::deliver`].
    pub(crate) fn arrived(&mut self, piece: &Piece<'_>) -> Arrival {
        let inside = (self.next..self.next.saturating_add(WINDOW_FRAMES)).contains(&piece.seq);
        if !inside || self.early.contains_key(&piece.seq) {
            return Arrival::Useless;
        }
        let Piece { server, message_len, offset, .. } = *piece;
        let kept = Kept { server, message_len, offset, payload: piece.payload.to_vec() };
        self.early.insert(piece.seq, kept);
        if piece.seq == self.next { Arrival::InOrder } else { Arrival::Early }
    }

    /// Hands on the messages that are whole, as far as inboxes have room; how many, and their bytes.
    pub(crate) fn deliver(
        &mut self,
        from: NodeId,
        lane: Lane,
        inbox: &mut Inbox,
    ) -> Result<(u64, u64), Broken> {
        let (mut messages, mut bytes) = (0, 0);
        while let Some(kept) = self.early.get(&self.next) {
            let end = kept.offset as usize + kept.payload.len();
            if kept.offset as usize != self.partial.len() {
                return Err(Broken);
            }
            let is_last = end == kept.message_len as usize;
            if is_last && !inbox.has_room(kept.server, lane) {
                break;
            }
            let Some(kept) = self.early.remove(&self.next) else { break };
            self.next += 1;
            self.partial.extend_from_slice(&kept.payload);
            if is_last {
                let message = core::mem::take(&mut self.partial);
                messages += 1;
                bytes += message.len() as u64;
                if Mutant::MessagesComeTwice.is_on() {
                    inbox.push(kept.server, lane, from, message.clone());
                }
                inbox.push(kept.server, lane, from, message);
            }
        }
        Ok((messages, bytes))
    }
}
