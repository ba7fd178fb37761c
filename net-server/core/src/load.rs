// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loading a link, to see what it carries beside what the card carries raw.
//!
//! # Model
//! A load is a number of bytes. Sealed, they go as messages of the pages lane from net-server to net-server, which
//! leaves them alone, and the load is over when all are acknowledged. Raw, they go as frames of no session, which
//! the peer counts and drops before it opens them: what they cost is the card's, the driver's and the
//! network's; the load is over when all have left.
//!
//! # Limits
//! One load for each link at a time, of [`LOAD_BYTES_MAX`] at most.
//!
//! # Failure
//! A load ends early when the link goes down.

use crate::limits::LOAD_BYTES_MAX;
use abi::Errno;
use net_api::LoadFigures;

/// The load of one link.
#[derive(Default, Debug)]
pub(crate) struct Load {
    figures: LoadFigures,
    left: u64,
    raw: bool,
    begun_ns: Option<u64>,
}

impl Load {
    /// Begins one.
    pub(crate) fn start(&mut self, bytes: u64, raw: bool) -> Result<(), Errno> {
        if !(1..=LOAD_BYTES_MAX).contains(&bytes) {
            return Err(Errno::EINVAL);
        }
        if self.figures.running {
            return Err(Errno::EBUSY);
        }
        let figures = LoadFigures { running: true, ..LoadFigures::default() };
        *self = Self { figures, left: bytes, raw, begun_ns: None };
        Ok(())
    }

    pub(crate) fn figures(&self) -> LoadFigures {
        self.figures
    }

    pub(crate) fn link_down(&mut self) {
        self.figures.running = false;
    }

    /// How much of it is to be sent next, at most `most`; `None`: it is of the other kind, or all has been sent.
    pub(crate) fn next(&self, raw: bool, most: usize) -> Option<usize> {
        let due = self.figures.running && self.raw == raw && self.left > 0;
        due.then(|| usize::try_from(self.left).unwrap_or(most).min(most))
    }

    /// So many bytes are on their way.
    pub(crate) fn sent(&mut self, bytes: usize, now_ns: u64) {
        self.begun_ns.get_or_insert(now_ns);
        self.left = self.left.saturating_sub(bytes as u64);
        self.figures.bytes += bytes as u64;
        if self.raw {
            self.look(true, now_ns);
        }
    }

    /// Whether all that was sent has arrived; then the load is over, if all was sent.
    pub(crate) fn look(&mut self, arrived: bool, now_ns: u64) {
        if self.figures.running && self.left == 0 && arrived {
            self.figures.running = false;
            let begun_ns = self.begun_ns.unwrap_or(now_ns);
            self.figures.took_ns = now_ns.saturating_sub(begun_ns);
        }
    }
}
