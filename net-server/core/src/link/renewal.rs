// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys of the two ends that change while the link is there.
//!
//! # Model
//! - *The peer's* key was changed: greetings are made and read with the new one from then on. A session
//!   that is up is renewed with it, and the lanes go on: nothing is lost. If that is not done within
//!   [`RENEWAL_NS`], the session ends, as it was made with a key that does not count any more.
//! - *This node's* key: it may hold several private ones, and cannot always know which of them the peer
//!   takes for its own. The peer's greetings show it: both sides greet.
//!
//! # Invariants
//! Which key the peer greets with decides what greetings are made with, and nothing else: the handshake that
//! follows needs the peer's own private key.

use super::{Link, Local, State};
use crate::envelope::Envelope;
use crate::greeting::{self, Greeting};
use crate::inbox::Inbox;
use crate::limits::RENEWAL_NS;
use crate::notice::Notice;
use crate::opening::{Attempt, Confirmed};
use crate::secure::{LinkKeys, Session};
use alloc::boxed::Box;
use alloc::vec::Vec;
use net_api::Cause;

/// The session that is up is to be replaced by one with the peer's new key.
#[derive(Debug)]
pub(super) struct Renewal {
    attempt: Attempt,
    until_ns: u64,
}

impl Renewal {
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.until_ns
    }

    pub(super) fn due_ns(&self) -> u64 {
        self.attempt.due_ns().min(self.until_ns)
    }
}

/// The attempt that is under way, for a first session or for the next one.
pub(super) fn attempt_of(state: &mut State) -> Option<&mut Attempt> {
    match state {
        State::Down(attempt) => Some(attempt),
        State::Up { renewal, .. } => renewal.as_mut().map(|renewal| &mut renewal.attempt),
    }
}

impl Link {
    pub(super) fn attempt(&mut self) -> Option<&mut Attempt> {
        attempt_of(&mut self.state)
    }

    /// How this node and the peer call the session that is up.
    pub(super) fn names(&self) -> Option<[u64; 2]> {
        match &self.state {
            State::Up { session, .. } => Some(session.names()),
            State::Down(_) => None,
        }
    }

    /// The peer's key was changed.
    pub(crate) fn change_peer(&mut self, keys: Vec<LinkKeys>, local: &mut Local, now_ns: u64) {
        self.keys = keys;
        let random = &mut local.me.random;
        self.answering.outdate(random);
        let attempt = Attempt::new(random, now_ns);
        match &mut self.state {
            State::Down(before) => *before = attempt,
            State::Up { renewal, .. } => {
                let until_ns = now_ns + RENEWAL_NS;
                *renewal = Some(Box::new(Renewal { attempt, until_ns }));
            }
        }
        self.key_doubted = false;
    }

    /// This node holds other private keys than before.
    pub(crate) fn change_own(&mut self, keys: Vec<LinkKeys>, greets: usize) {
        (self.keys, self.greets, self.key_doubted) = (keys, greets, false);
    }

    /// The peer uses a session that was made when it proposed.
    pub(super) fn confirmed(
        &mut self,
        local: &mut Local,
        confirmed: Confirmed,
        now_ns: u64,
        inbox: &mut Inbox,
    ) -> Result<(), Cause> {
        let Confirmed { session, renews, outdated } = confirmed;
        let goes_on = renews.is_some() && renews == self.names();
        match (renews, outdated) {
            (None, false) => self.up(session, now_ns, inbox),
            (Some(_), false) if goes_on => self.renewed(session, now_ns),
            // It is as good as the session that it renews, and is renewed as that one would be.
            (Some(_), true) if goes_on => {
                if let State::Up { session: now, renewal: Some(renewal), .. } = &mut self.state {
                    *now = session;
                    renewal.attempt = Attempt::new(&mut local.me.random, now_ns);
                }
            }
            // The peer notices that nobody answers, and begins anew.
            (None | Some(_), _) => return Err(Cause::Stale),
        }
        Ok(())
    }

    /// The session goes on, under new keys.
    pub(super) fn renewed(&mut self, next: Session, now_ns: u64) {
        let State::Up { session, heard_ns, renewal } = &mut self.state else { return };
        (*session, *heard_ns, *renewal) = (next, now_ns, None);
        self.key_doubted = false;
        self.notice = Some(Notice::Renewed(self.node));
        // The peer may wait for the first frame of the session.
        self.lanes.ack.now();
    }

    /// Reads a greeting with that of this node's keys with which it was made.
    pub(super) fn read_greeting(
        &mut self,
        envelope: &Envelope,
        frame: &[u8],
    ) -> Result<Greeting, Cause> {
        let read = greeting::read(envelope, frame, &self.keys[self.greets]);
        if read != Err(Cause::Unauthentic) {
            return read;
        }
        let others = (0..self.keys.len()).filter(|at| *at != self.greets);
        let found = others
            .map(|at| (at, greeting::read(envelope, frame, &self.keys[at])))
            .find(|(_, read)| *read != Err(Cause::Unauthentic));
        let Some((at, read)) = found else { return Err(Cause::Unauthentic) };
        self.greets = at;
        read
    }
}
