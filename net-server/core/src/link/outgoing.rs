// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a link sends next.

use super::{AckState, LANE, Link, Local, State};
use crate::envelope::{BODY, Envelope, Kind};
use crate::limits::KEEPALIVE_NS;
use crate::opening::Said;
use crate::secure::TAG_BYTES;
use crate::wire::{Body, Frame, HEADER_BYTES, LANES};
use alloc::vec::Vec;

/// Nanoseconds of a microsecond.
const US: u64 = 1000;

impl Link {
    /// Writes the next frame to send into `out`; false if there is none now. Greetings go first, then
    /// control before pages, and data before a bare acknowledgement, as it carries one.
    pub(crate) fn next_frame(&mut self, local: &mut Local, now_ns: u64, out: &mut Vec<u8>) -> bool {
        let mut said = self.answering.next(&local.me);
        if said.is_none()
            && let Some(attempt) = self.attempt()
        {
            said = attempt.next(&mut local.me, now_ns);
        }
        let sent = match said {
            Some(said) => {
                self.greet(local, said, out);
                true
            }
            None => self.next_sealed(local, now_ns, out) || self.next_raw(local, now_ns, out),
        };
        self.figures.frames_sent += u64::from(sent);
        sent
    }

    fn greet(&self, local: &Local, (version, session, greeting): Said, out: &mut Vec<u8>) {
        // The greeting corrects the kind.
        let kind = Kind::Hello;
        let (from, to) = (local.me.side.node, self.node);
        let envelope = Envelope { version, kind, from, to, session, number: 0 };
        greeting.encode(envelope, &self.keys[self.greets], (local.mac, self.mac), out);
    }

    fn next_sealed(&mut self, local: &Local, now_ns: u64, out: &mut Vec<u8>) -> bool {
        self.send_pings(now_ns);
        self.send_load(now_ns);
        let picked = self.pick(local.payload_max, now_ns);
        let State::Up { session, .. } = &mut self.state else { return false };
        let lanes = &self.lanes;
        let body = match picked {
            Some((lane, index)) => Body::Data(lanes.senders[lane].piece(LANE[lane], index)),
            None if lanes.ack.due_ns.is_some_and(|due_ns| due_ns <= now_ns) => Body::Ack,
            None if now_ns >= self.sent_ns + KEEPALIVE_NS => Body::Ack,
            None => return false,
        };
        let held_ns = lanes.ack.arrived_ns.map_or(0, |at_ns| now_ns.saturating_sub(at_ns));
        let acks = [0, 1].map(|lane: usize| lanes.receivers[lane].ack());
        let held_us = u16::try_from(held_ns / US).unwrap_or(u16::MAX);
        let frame = Frame { acks, held_us, body };
        let envelope = Envelope {
            version: session.version,
            kind: Kind::Sealed,
            from: local.me.side.node,
            to: self.node,
            session: session.theirs,
            number: session.sealer.number(),
        };
        envelope.begin(local.mac, self.mac, frame.bytes() + TAG_BYTES, out);
        frame.encode(out);
        session.sealer.seal(out, BODY);
        self.lanes.ack = AckState::default();
        self.sent_ns = now_ns;
        true
    }

    /// A frame of a raw load, which the peer drops unopened.
    fn next_raw(&mut self, local: &Local, now_ns: u64, out: &mut Vec<u8>) -> bool {
        let State::Up { session, .. } = &self.state else { return false };
        let Some(bytes) = self.load.next(true, local.payload_max) else { return false };
        let envelope = Envelope {
            version: session.version,
            kind: Kind::Sealed,
            from: local.me.side.node,
            to: self.node,
            session: !session.theirs,
            number: 0,
        };
        let len = HEADER_BYTES + bytes + TAG_BYTES;
        envelope.begin(local.mac, self.mac, len, out);
        out.resize(out.len() + len, 0);
        self.load.sent(bytes, now_ns);
        true
    }

    fn pick(&mut self, payload_max: usize, now_ns: u64) -> Option<(usize, usize)> {
        for lane in 0..LANES {
            if let Some((index, again)) = self.lanes.senders[lane].pick(now_ns, payload_max) {
                self.figures.frames_repeated += u64::from(again);
                return Some((lane, index));
            }
        }
        None
    }
}
