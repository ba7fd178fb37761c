// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzzer drives: a node with a link, and a script of what happens to it.
//!
//! # Model
//! A script is a list of operations: a byte that says which, two that say how long its argument is
//! (little-endian), and the argument. Some bring frames that anybody could send, some what only a member
//! could seal, some let time pass. Any bytes are a script.
//!
//! # Invariants
//! Whatever the script, nothing panics. What is not authentic is counted once and changes nothing.

use crate::envelope::{self, BODY, Envelope, Kind};
use crate::member::{Member, config, frames, mac, node_id, secret};
use crate::secure::{LinkKeys, MAC_BYTES};
use crate::wire::{Ack, Body, Frame, Piece};
use crate::{Net, Notice};
use abi::ServerId;
use alloc::vec::Vec;
use net_api::Cause;
use runtime::node::{Lane, Urge};

const MS: u64 = 1_000_000;
/// Operations of one script that are performed: the rest of a longer one is not.
const OPERATIONS_MAX: usize = 64;
/// Bytes that an operation takes beside its argument.
pub const OPERATION_BYTES: usize = 3;
/// Frames that are kept to be sent again.
const KEPT_MAX: usize = 64;

/// Runs a script. The answer has a bit for each kind of thing that came of it, so that a fuzzer can
/// tell whether a script shows something new.
///
/// # Panics
/// If an invariant does not hold.
pub fn script(bytes: &[u8]) -> u64 {
    let mut run = Run::new();
    let mut rest = bytes;
    for _ in 0..OPERATIONS_MAX {
        let Some(([what, low, high], after)) = rest.split_first_chunk() else { break };
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
        let (argument, after) = after.split_at(len);
        rest = after;
        run.operation(*what, argument);
    }
    run.seen()
}

struct Run {
    net: Net,
    member: Member,
    keys: LinkKeys,
    now_ns: u64,
    /// What either side sent.
    kept: Vec<Vec<u8>>,
    seen: u64,
}

/// Bytes of an argument, one by one; zeros behind its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u64 {
        let bytes = core::array::from_fn(|_| self.byte());
        u64::from_le_bytes(bytes)
    }

    /// Mostly small, sometimes anything.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => self.word(),
            small => u64::from(small),
        }
    }
}

impl Run {
    fn new() -> Self {
        let mut net = Net::new(&config(0, 2, 1), 0);
        let member = Member::connect(&mut net, 0);
        let keys = LinkKeys::new(&secret(1), secret(0).public());
        Self { net, member, keys, now_ns: 0, kept: Vec::new(), seen: 0 }
    }

    fn operation(&mut self, what: u8, argument: &[u8]) {
        let mut bytes = Bytes(argument);
        match what % 9 {
            0 => self.stranger(argument.to_vec()),
            1 => {
                let frame = self.enveloped(&mut bytes, 0);
                self.stranger(frame);
            }
            2 => {
                let mut frame = self.enveloped(&mut bytes, MAC_BYTES);
                let mac = self.keys.mac(&frame);
                frame.extend_from_slice(&mac);
                self.received(frame);
            }
            3 => {
                // Shorter content would be padded on the way.
                let mut content = argument.to_vec();
                content.resize(content.len().max(8), 0);
                let frame = self.member.seal(&content);
                self.received(frame);
            }
            4 => self.piece(&mut bytes),
            5 => {
                self.now_ns += u64::from(bytes.byte()) * 8 * MS;
                self.net.tick(self.now_ns);
                self.collect();
            }
            6 => {
                let lane = if bytes.byte() % 2 == 0 { Lane::Control } else { Lane::Pages };
                let data = alloc::vec![1; 8 * bytes.number() as u16 as usize];
                let _ = self.net.send(node_id(1), (lane, Urge::New), ServerId::Mem, data);
                self.collect();
            }
            7 => {
                while let Ok(Some(_)) = self.net.take(ServerId::Mem, usize::MAX, self.now_ns) {}
                if !self.figures().up {
                    self.member = Member::connect(&mut self.net, self.now_ns);
                }
                self.collect();
            }
            _ => self.again(&mut bytes),
        }
    }

    fn figures(&self) -> net_api::LinkFigures {
        self.net.figures(node_id(1)).expect("the cluster has this node")
    }

    fn dropped(&self) -> u64 {
        self.figures().drops.total() + self.net.strays().total()
    }

    /// A frame with a well-formed envelope; `more` bytes follow.
    fn enveloped(&self, bytes: &mut Bytes<'_>, more: usize) -> Vec<u8> {
        let kinds = [Kind::Hello, Kind::Challenge, Kind::Proposal, Kind::Response, Kind::Sealed];
        let kind = kinds[usize::from(bytes.byte()) % kinds.len()];
        let version = bytes.byte() % 4;
        let session = match bytes.byte() % 3 {
            0 => 0,
            1 => self.member.session_there(),
            _ => bytes.word(),
        };
        let number = bytes.number();
        let body = bytes.0;
        let len = (body.len() + more).clamp(32, 9000 - envelope::HEADER_BYTES);
        let (from, to) = (node_id(1), node_id(0));
        let envelope = Envelope { version, kind, from, to, session, number };
        let mut out = Vec::new();
        envelope.begin(mac(1), mac(0), len, &mut out);
        out.extend_from_slice(body);
        out.resize(BODY + len - more, 0);
        out
    }

    fn piece(&mut self, bytes: &mut Bytes<'_>) {
        let acks = core::array::from_fn(|_| Ack { next: bytes.number(), early: bytes.number() });
        let lane = if bytes.byte().is_multiple_of(2) { Lane::Control } else { Lane::Pages };
        let seq = bytes.number();
        let offset = bytes.number() as u32;
        let message_len = bytes.number() as u32;
        let payload = bytes.0;
        let server = ServerId::Mem;
        let piece = Piece { lane, server, seq, message_len, offset, payload };
        let body = if payload.is_empty() { Body::Ack } else { Body::Data(piece) };
        let mut content = Vec::new();
        Frame { acks, held_us: 0, body }.encode(&mut content);
        let frame = self.member.seal(&content);
        self.received(frame);
    }

    /// Something that was sent before, with a byte changed or as it was.
    fn again(&mut self, bytes: &mut Bytes<'_>) {
        let index = usize::from(bytes.byte());
        if self.kept.is_empty() {
            return;
        }
        let mut frame = self.kept[index % self.kept.len()].clone();
        let (at, change) = (usize::from(bytes.byte()), bytes.byte());
        let at = at % frame.len();
        frame[at] ^= change;
        let own = frame[6..12] == mac(0);
        if change == 0 && !own { self.received(frame) } else { self.stranger(frame) }
    }

    fn received(&mut self, frame: Vec<u8>) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(frame.clone());
        }
        let mut frame = frame;
        self.net.received(&mut frame, self.now_ns);
        self.collect();
    }

    /// A frame that is not authentic.
    fn stranger(&mut self, mut frame: Vec<u8>) {
        self.note();
        let before = self.net.state_text();
        self.net.received(&mut frame, self.now_ns);
        assert_eq!(self.dropped(), 1, "what is dropped is counted once");
        self.note();
        assert_eq!(self.net.state_text(), before, "what is not authentic changes nothing");
    }

    /// Takes what the node says.
    fn collect(&mut self) {
        for frame in frames(&mut self.net, self.now_ns) {
            self.seen |= 1 << (32 + frame[envelope::ETHERNET_BYTES + 1].min(7));
            if self.kept.len() < KEPT_MAX {
                self.kept.push(frame);
            }
        }
        self.note();
    }

    /// Notes what can be seen of the node.
    fn note(&mut self) {
        while let Some(notice) = self.net.next_notice() {
            let bit = match notice {
                Notice::NoCommonVersion { .. } => 40,
                Notice::OtherKey(_) => 41,
                Notice::NoKey(_) => 42,
                Notice::Silent { .. } => 43,
                Notice::Answers(_) => 44,
                Notice::Slow(_) => 45,
                Notice::Renewed(_) => 51,
                Notice::OldKey(_) => 52,
                Notice::Revoked(_) => 53,
                Notice::OwnKey(_) => 54,
            };
            self.seen |= 1 << bit;
        }
        let (figures, strays) = (self.figures(), self.net.strays());
        for (bit, cause) in Cause::ALL.into_iter().enumerate() {
            self.seen |= u64::from(figures.drops.of(cause) > 0) << bit;
            self.seen |= u64::from(strays.of(cause) > 0) << (16 + bit);
        }
        self.seen |= 1 << (43 + figures.phase as u64);
        self.seen |= u64::from(figures.up) << 47;
        self.seen |= u64::from(figures.messages_received > 0) << 48;
        self.seen |= u64::from(figures.messages_received > 2) << 49;
        self.seen |= u64::from(figures.frames_repeated > 0) << 50;
    }

    fn seen(mut self) -> u64 {
        self.collect();
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::script;
    use proptest::prelude::*;

    #[test]
    fn script_of_a_good_piece_delivers_it() {
        // Acknowledgements of nothing; lane, number, offset, length; one byte of payload.
        let piece = [4, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 77];
        assert_ne!(script(&piece) & 1 << 48, 0);
        assert_eq!(script(&[]) & 1 << 48, 0);
    }

    proptest! {
        #[test]
        fn script_of_any_bytes_holds(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            script(&bytes);
        }
    }
}
