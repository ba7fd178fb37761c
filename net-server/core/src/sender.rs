// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sending half of a lane: queue, window, retransmission.
//!
//! # Invariants
//! `flights` holds consecutive numbers, the first one not acknowledged; at most [`WINDOW_FRAMES`].
//!
//! # Source
//! RFC 6298 for the time-out, RFC 2018 for selective acknowledgement.

use crate::limits::{
    ACK_DELAY_NS, MESSAGE_BYTES, OWED_BYTES_MAX, OWED_MESSAGES_MAX, REORDER_FRAMES, RTO_FIRST_NS,
    RTO_MAX_NS, RTO_MIN_NS, SEND_BYTES_MAX, SEND_MESSAGES_MAX, WINDOW_BYTES, WINDOW_FRAMES,
};
use crate::wire::{Ack, Piece};
use abi::{Errno, ServerId};
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use runtime::Mutant;
use runtime::node::{Lane, Urge};

/// Round-trip time of a link.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Rtt {
    smooth_ns: u64,
    variance_ns: u64,
}

impl Rtt {
    /// The smoothed round-trip time; 0 before the first measurement.
    pub(crate) fn smooth_ns(&self) -> u64 {
        self.smooth_ns
    }

    fn measured(&mut self, sample_ns: u64) {
        if self.smooth_ns == 0 {
            (self.smooth_ns, self.variance_ns) = (sample_ns.max(1), sample_ns / 2);
            return;
        }
        let off_ns = self.smooth_ns.abs_diff(sample_ns);
        self.variance_ns = (3 * self.variance_ns + off_ns) / 4;
        self.smooth_ns = ((7 * self.smooth_ns + sample_ns) / 8).max(1);
    }

    fn time_out_ns(&self) -> u64 {
        if self.smooth_ns == 0 {
            return RTO_FIRST_NS;
        }
        // The receiver may hold an acknowledgement, which is no part of the round trip.
        let latest_ns = self.smooth_ns + 4 * self.variance_ns + ACK_DELAY_NS;
        latest_ns.clamp(RTO_MIN_NS, RTO_MAX_NS)
    }
}

/// A message that waits or is under way.
#[derive(Clone, Debug)]
struct Message {
    server: ServerId,
    data: Arc<[u8]>,
}

#[derive(Debug)]
struct Flight {
    message: Message,
    part: Range<usize>,
    sent_ns: u64,
    /// How often it was sent.
    sends: u32,
    acknowledged: bool,
    lost: bool,
}

impl Flight {
    fn deadline_ns(&self, rtt: &Rtt) -> u64 {
        let backoff = self.sends.saturating_sub(1).min(8);
        self.sent_ns + (rtt.time_out_ns() << backoff).min(RTO_MAX_NS)
    }
}

#[derive(Default, Debug)]
pub(crate) struct Sender {
    queue: VecDeque<Message>,
    queued_bytes: usize,
    /// Bytes of the queue's first message that are under way already.
    cut: usize,
    flights: VecDeque<Flight>,
    flight_bytes: usize,
    /// Number of the first flight.
    first: u64,
}

impl Sender {
    pub(crate) fn push(
        &mut self,
        server: ServerId,
        urge: Urge,
        data: Vec<u8>,
    ) -> Result<(), Errno> {
        if data.is_empty() || data.len() > MESSAGE_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        let (messages_max, bytes_max) = match urge {
            Urge::New => (SEND_MESSAGES_MAX, SEND_BYTES_MAX),
            Urge::Owed => (OWED_MESSAGES_MAX, SEND_BYTES_MAX + OWED_BYTES_MAX),
        };
        let full = self.queued_bytes + data.len() > bytes_max;
        if full || self.queue.len() >= messages_max {
            return Err(Errno::EAGAIN);
        }
        self.push_always(server, data);
        Ok(())
    }

    /// Queues a message past the bounds: for the few that the net-server itself sends.
    pub(crate) fn push_always(&mut self, server: ServerId, data: Vec<u8>) {
        self.queued_bytes += data.len();
        self.queue.push_back(Message { server, data: data.into() });
    }

    /// Bytes that wait, those under way not counted.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether all has been acknowledged.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.flights.is_empty()
    }

    /// Number of the next new frame.
    fn next(&self) -> u64 {
        self.first + self.flights.len() as u64
    }

    /// Marks the next frame to send as sent; its index among the flights, and whether it is a
    /// repetition.
    pub(crate) fn pick(&mut self, now_ns: u64, payload_max: usize) -> Option<(usize, bool)> {
        if let Some(index) = self.flights.iter().position(|flight| flight.lost) {
            let flight = &mut self.flights[index];
            flight.lost = false;
            flight.sends += 1;
            flight.sent_ns = now_ns;
            return Some((index, true));
        }
        let full = self.flights.len() as u64 >= WINDOW_FRAMES || self.flight_bytes >= WINDOW_BYTES;
        let message = self.queue.front()?;
        if full {
            return None;
        }
        let end = message.data.len().min(self.cut + payload_max);
        let part = self.cut..end;
        let is_last = end == message.data.len();
        self.flight_bytes += part.len();
        let message = message.clone();
        let (acknowledged, lost) = (false, false);
        self.flights.push_back(Flight {
            message,
            part,
            sent_ns: now_ns,
            sends: 1,
            acknowledged,
            lost,
        });
        self.cut = if is_last { 0 } else { end };
        if is_last && let Some(message) = self.queue.pop_front() {
            self.queued_bytes -= message.data.len();
        }
        Some((self.flights.len() - 1, false))
    }

    /// The frame at an index that [`Self::pick`] gave.
    pub(crate) fn piece(&self, lane: Lane, index: usize) -> Piece<'_> {
        let flight = &self.flights[index];
        Piece {
            lane,
            server: flight.message.server,
            seq: self.first + index as u64,
            message_len: flight.message.data.len() as u32,
            offset: flight.part.start as u32,
            payload: &flight.message.data[flight.part.clone()],
        }
    }

    /// The receiver says what has arrived, and that it held the news for `held_ns`. Numbers that were
    /// never sent are ignored.
    pub(crate) fn acknowledged(&mut self, ack: Ack, now_ns: u64, held_ns: u64, rtt: &mut Rtt) {
        if ack.next > self.next() || ack.next < self.first {
            return;
        }
        let mut newest = None;
        for _ in self.first..ack.next {
            let Some(flight) = self.flights.pop_front() else { return };
            self.first += 1;
            self.flight_bytes -= flight.part.len();
            if !flight.acknowledged && flight.sends == 1 {
                newest = Some(flight.sent_ns);
            }
        }
        for (index, flight) in self.flights.iter_mut().enumerate() {
            if ack.early >> index & 1 == 1 && !flight.acknowledged {
                (flight.acknowledged, flight.lost) = (true, false);
                if flight.sends == 1 {
                    newest = Some(flight.sent_ns);
                }
            }
        }
        if let Some(sent_ns) = newest {
            rtt.measured(now_ns.saturating_sub(sent_ns).saturating_sub(held_ns));
        }
        self.find_lost(now_ns, rtt);
    }

    /// Frames that several later ones have overtaken count as lost, once per round trip.
    fn find_lost(&mut self, now_ns: u64, rtt: &Rtt) {
        if Mutant::LostFramesStayLost.is_on() {
            return;
        }
        let mut later = 0;
        for flight in self.flights.iter_mut().rev() {
            if flight.acknowledged {
                later += 1;
            } else if later >= REORDER_FRAMES && now_ns >= flight.sent_ns + rtt.smooth_ns {
                flight.lost = true;
            }
        }
    }

    /// Frames whose time is over count as lost.
    pub(crate) fn tick(&mut self, now_ns: u64, rtt: &Rtt) {
        if Mutant::LostFramesStayLost.is_on() {
            return;
        }
        for flight in &mut self.flights {
            if !flight.acknowledged && now_ns >= flight.deadline_ns(rtt) {
                flight.lost = true;
            }
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn deadline_ns(&self, rtt: &Rtt) -> Option<u64> {
        let open = self.flights.iter().filter(|flight| !flight.acknowledged && !flight.lost);
        open.map(|flight| flight.deadline_ns(rtt)).min()
    }
}
