// SPDX-License-Identifier: MIT OR Apache-2.0
//! Null requests: how long a message and its answer take between the net-servers of two nodes.
//!
//! # Model
//! A series sends a request, waits for its answer, and sends the next. Requests and answers are
//! messages in the control lane like those of every server, but for the servers at both ends.
//!
//! # Limits
//! One series per link at a time, of [`PINGS_MAX`] requests at most. A peer has one request open; of a
//! second one the first is never answered.
//!
//! # Failure
//! A series ends early when the link goes down or an answer is not there after [`SILENCE_NS`].

use crate::limits::{PINGS_MAX, SILENCE_NS};
use abi::Errno;
use alloc::vec::Vec;
use net_api::PingFigures;

const REQUEST: u8 = 1;
const ANSWER: u8 = 2;
/// Bytes of a message: its kind, and the request's number, little-endian.
const MESSAGE_BYTES: usize = 9;

/// The series of one link, and what is owed to the peer's.
#[derive(Default, Debug)]
pub(crate) struct Pings {
    figures: PingFigures,
    wanted: u64,
    /// When the request that is open left; `None`: the next one is due, if any.
    sent_ns: Option<u64>,
    /// Requests of all series: an answer of an earlier one is told from those of this one.
    number: u64,
    /// The peer's request that is not answered yet.
    owed: Option<u64>,
}

impl Pings {
    /// Begins a series.
    pub(crate) fn start(&mut self, count: u64) -> Result<(), Errno> {
        if !(1..=PINGS_MAX).contains(&count) {
            return Err(Errno::EINVAL);
        }
        if self.figures.running {
            return Err(Errno::EBUSY);
        }
        self.figures = PingFigures { running: true, ..PingFigures::default() };
        (self.wanted, self.sent_ns) = (count, None);
        Ok(())
    }

    pub(crate) fn figures(&self) -> PingFigures {
        self.figures
    }

    /// The link went down: nothing of it is answered any more.
    pub(crate) fn link_down(&mut self) {
        self.figures.running = false;
        (self.sent_ns, self.owed) = (None, None);
    }

    /// A message that is due; call [`Self::sent`] if it could be sent.
    pub(crate) fn due(&self) -> Option<Vec<u8>> {
        let (kind, number) = match self.owed {
            Some(number) => (ANSWER, number),
            None if self.figures.running && self.sent_ns.is_none() => (REQUEST, self.number + 1),
            None => return None,
        };
        let mut message = Vec::with_capacity(MESSAGE_BYTES);
        message.push(kind);
        message.extend_from_slice(&number.to_le_bytes());
        Some(message)
    }

    /// The message that was due is on its way.
    pub(crate) fn sent(&mut self, now_ns: u64) {
        if self.owed.take().is_none() {
            self.number += 1;
            self.figures.sent += 1;
            self.sent_ns = Some(now_ns);
        }
    }

    /// A message of the peer's net-server. One that is none of these is left alone.
    pub(crate) fn received(&mut self, message: &[u8], now_ns: u64) {
        let Ok(message) = <[u8; MESSAGE_BYTES]>::try_from(message) else { return };
        let [kind, number @ ..] = message;
        let number = u64::from_le_bytes(number);
        match (kind, self.sent_ns) {
            (REQUEST, _) => self.owed = Some(number),
            (ANSWER, Some(sent_ns)) if self.figures.running && number == self.number => {
                self.answered(now_ns.saturating_sub(sent_ns));
            }
            _ => {}
        }
    }

    fn answered(&mut self, took_ns: u64) {
        let it = &mut self.figures;
        it.least_ns = if it.answered == 0 { took_ns } else { it.least_ns.min(took_ns) };
        it.most_ns = it.most_ns.max(took_ns);
        it.sum_ns = it.sum_ns.saturating_add(took_ns);
        it.answered += 1;
        it.running = it.answered < self.wanted;
        self.sent_ns = None;
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        if self.deadline_ns().is_some_and(|deadline_ns| deadline_ns <= now_ns) {
            self.figures.running = false;
            self.sent_ns = None;
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.sent_ns.map(|sent_ns| sent_ns + SILENCE_NS)
    }
}
