// SPDX-License-Identifier: MIT OR Apache-2.0
//! A member's side of its lease: may I act?
//!
//! # Invariants
//! The lease counts, by the member's clock, from when it asked. The leader heard of it later, so a
//! leader that waits [`waited`](crate::limits::waited)`(`[`MEMBER_LEASE_NS`]`)` from then, by its own
//! clock, waits longer than the member acts, as long as no clock drifts more than
//! [`DRIFT_PER_MILLE`](crate::limits::DRIFT_PER_MILLE).

use crate::limits::{HURRY_NS, MEMBER_LEASE_NS, RENEW_NS, ROUNDS_MAX, UNANSWERED_NS};
use crate::rules::{Rule, Rules};
use alloc::collections::VecDeque;

/// The lease that a member holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lease {
    until: u64,
    next_round: u64,
    /// Rounds that may still be answered, and when they were asked.
    asked: VecDeque<(u64, u64)>,
    renew_at: u64,
    answered_at: u64,
}

impl Lease {
    /// Whether it is good.
    pub fn is_good(&self, now: u64) -> bool {
        now < self.until
    }

    /// Until when it is good; in the past if it is not.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// When to ask again.
    pub fn renew_at(&self) -> u64 {
        self.renew_at
    }

    /// Begins to ask for more; returns the round's number, and whether the one who was asked lately
    /// does not answer.
    pub fn ask(&mut self, now: u64) -> (u64, bool) {
        if self.asked.len() == ROUNDS_MAX {
            self.asked.pop_front();
        }
        self.next_round += 1;
        self.asked.push_back((self.next_round, now));
        self.renew_at = now + RENEW_NS;
        (self.next_round, now > self.answered_at + UNANSWERED_NS)
    }

    /// Asks soon.
    pub fn hurry(&mut self, now: u64) {
        let last = self.asked.back().map_or(0, |(_, at)| *at);
        self.renew_at = self.renew_at.min(now.max(last + HURRY_NS));
    }

    /// The leader granted a round.
    pub fn granted<R: Rules>(&mut self, now: u64, round: u64) {
        let Some(at) = self.asked.iter().position(|(number, _)| *number == round) else { return };
        let asked_at = self.asked[at].1;
        let from = if R::holds(Rule::CountsFromRequest) { asked_at } else { now };
        self.until = self.until.max(from + MEMBER_LEASE_NS);
        self.answered_at = now;
        // Those before it, answered or lost, give nothing more.
        self.asked.drain(..=at);
    }
}
