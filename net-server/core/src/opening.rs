// SPDX-License-Identifier: MIT OR Apache-2.0
//! How two nodes come to a session: the side that asks, and the side that answers.
//!
//! # Model
//! ```text
//! asks                                  answers
//!   Hello(a)               --->                          keeps nothing
//!                          <---         Challenge(a, c)
//!   Proposal(c, a, noise)  --->                          once for each c; the session waits
//!                          <---         Response(a, noise with b)
//!   Sealed(b)              --->                          the session replaces the one before
//! ```
//! Either side asks while its link is down, and either answers at any time. If both ask at once and
//! both proposals are under way, that of the node with the lower number counts.
//!
//! A side that has learned of a new key of the other one asks while the link is up: that handshake *renews*
//! the session that is there. Both name it, so that what waits in the lanes goes on only if both mean the same;
//! who answers and has no such session answers as to a node that has just started.
//!
//! # Invariants
//! What is heard again from earlier changes nothing: a Hello is answered and forgotten, a Challenge and
//! a Response name an attempt that is over, a Proposal names a challenge that was used up. A session is
//! replaced only when the first frame sealed for the new one arrives, which needs the answer of just
//! now. So a restarted node is told from a recording without clocks or numbers that survive a restart.

use crate::greeting::{ETERNAL, Greeting};
use crate::limits::{ATTEMPT_NS, HELLO_NS, Versions};
use crate::secure::{
    Forged, Initiator, LinkKeys, PROPOSAL_BYTES, Prologue, RESPONSE_BYTES, Random, Session, Side,
    respond,
};
use abi::NodeId;
use net_api::Cause;

/// This node, as handshakes need it.
#[derive(Debug)]
pub(crate) struct Myself {
    pub(crate) side: Side,
    pub(crate) random: Random,
}

/// The node at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    pub(crate) node: NodeId,
    pub(crate) keys: &'a LinkKeys,
}

impl Peer<'_> {
    fn side(&self, versions: Versions) -> Side {
        Side { node: self.node, versions }
    }
}

/// A greeting to send: the envelope's version and session, and the body.
pub(crate) type Said = (u8, u64, Greeting);

#[derive(Debug)]
enum Step {
    Greeting,
    Proposing { initiator: Initiator, noise: [u8; PROPOSAL_BYTES], challenge: u64, version: u8 },
}

/// The side that asks.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// How this node calls the session.
    mine: u64,
    step: Step,
    /// When it last got further.
    since_ns: u64,
    /// When to say it, or say it again.
    due_ns: u64,
}

impl Attempt {
    /// An attempt that begins at `due_ns`.
    pub(crate) fn new(random: &mut Random, due_ns: u64) -> Self {
        Self { mine: random.number(), step: Step::Greeting, since_ns: due_ns, due_ns }
    }

    pub(crate) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    pub(crate) fn is_proposing(&self) -> bool {
        matches!(self.step, Step::Proposing { .. })
    }

    /// What to say now, if it is time.
    pub(crate) fn next(&mut self, me: &mut Myself, now_ns: u64) -> Option<Said> {
        if now_ns < self.due_ns {
            return None;
        }
        if now_ns >= self.since_ns + ATTEMPT_NS && self.is_proposing() {
            *self = Self::new(&mut me.random, now_ns);
        }
        self.due_ns = now_ns + HELLO_NS;
        let (session, versions) = (self.mine, me.side.versions);
        Some(match &self.step {
            Step::Greeting => (ETERNAL, 0, Greeting::Hello { session, versions }),
            Step::Proposing { noise, challenge, version, .. } => {
                (*version, *challenge, Greeting::Proposal { session, versions, noise: *noise })
            }
        })
    }

    /// The peer answered the Hello of the session that it calls `session`. `renews` is what this node and the
    /// peer call the one that is to go on.
    pub(crate) fn challenged(
        &mut self,
        me: &mut Myself,
        peer: Peer<'_>,
        (session, challenge): (u64, u64),
        versions: Versions,
        renews: Option<[u64; 2]>,
        now_ns: u64,
    ) -> Result<(), Cause> {
        if session != self.mine || self.is_proposing() {
            return Err(Cause::Replayed);
        }
        let version = me.side.versions.common(versions).ok_or(Cause::BadVersion)?;
        let sides = (me.side, peer.side(versions));
        let prologue = Prologue::new(sides.0, sides.1, version, self.mine, challenge, renews);
        let (initiator, noise) = Initiator::new(peer.keys, &prologue, &mut me.random);
        self.step = Step::Proposing { initiator, noise, challenge, version };
        (self.since_ns, self.due_ns) = (now_ns, now_ns);
        Ok(())
    }

    /// The peer answered the proposal.
    pub(crate) fn answered(
        &mut self,
        version: u8,
        session: u64,
        noise: &[u8; RESPONSE_BYTES],
    ) -> Result<Session, Cause> {
        match &mut self.step {
            Step::Proposing { initiator, version: mine, .. } if session == self.mine => {
                if version != *mine {
                    return Err(Cause::BadVersion);
                }
                initiator.finish(noise).map_err(|_| Cause::Unauthentic)
            }
            Step::Greeting | Step::Proposing { .. } => Err(Cause::Replayed),
        }
    }
}

/// A session whose first sealed frame has not come yet.
#[derive(Debug)]
struct Pending {
    session: Session,
    renews: Option<[u64; 2]>,
    /// The peer's key was changed since it proposed.
    outdated: bool,
    challenge: u64,
    proposal: [u8; PROPOSAL_BYTES],
    response: [u8; RESPONSE_BYTES],
}

/// A session that the peer uses.
#[derive(Debug)]
pub(crate) struct Confirmed {
    pub(crate) session: Session,
    /// What this node and the peer call the session that it renews.
    pub(crate) renews: Option<[u64; 2]>,
    /// It was made with a key of the peer's that does not count any more.
    pub(crate) outdated: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owed {
    Nothing,
    /// A Challenge for the session that the peer calls so.
    Challenge(u64),
    Response,
}

/// The side that answers.
#[derive(Debug)]
pub(crate) struct Answering {
    /// What the next proposal must name.
    challenge: u64,
    pending: Option<Pending>,
    owed: Owed,
}

impl Answering {
    pub(crate) fn new(random: &mut Random) -> Self {
        Self { challenge: random.number(), pending: None, owed: Owed::Nothing }
    }

    pub(crate) fn owes(&self) -> bool {
        self.owed != Owed::Nothing
    }

    /// What to say now.
    pub(crate) fn next(&mut self, me: &Myself) -> Option<Said> {
        let owed = core::mem::replace(&mut self.owed, Owed::Nothing);
        match (owed, &self.pending) {
            (Owed::Challenge(session), _) => {
                let (challenge, versions) = (self.challenge, me.side.versions);
                Some((ETERNAL, session, Greeting::Challenge { challenge, versions }))
            }
            (Owed::Response, Some(pending)) => {
                let Session { version, theirs, .. } = pending.session;
                Some((version, theirs, Greeting::Response { noise: pending.response }))
            }
            (Owed::Nothing | Owed::Response, _) => None,
        }
    }

    /// The peer's key was changed: no proposal that was made with the old one is answered any more. The peer
    /// may have the answer to one, and use what it proposed.
    pub(crate) fn outdate(&mut self, random: &mut Random) {
        self.challenge = random.number();
        if let Some(pending) = &mut self.pending {
            pending.outdated = true;
        }
    }

    /// The peer wants a session, and calls it so.
    pub(crate) fn greeted(&mut self, session: u64) {
        self.owed = Owed::Challenge(session);
    }

    /// The peer proposed; `present` is what this node and the peer call the session that is there. True if this is not the repetition of a proposal that was answered.
    pub(crate) fn proposed(
        &mut self,
        me: &mut Myself,
        peer: Peer<'_>,
        (version, challenge): (u8, u64),
        (session, versions): (u64, Versions),
        noise: &[u8; PROPOSAL_BYTES],
        present: Option<[u64; 2]>,
    ) -> Result<bool, Cause> {
        if self
            .pending
            .as_ref()
            .is_some_and(|it| !it.outdated && it.challenge == challenge && it.proposal == *noise)
        {
            self.owed = Owed::Response;
            return Ok(false);
        }
        if challenge != self.challenge {
            return Err(Cause::Replayed);
        }
        if me.side.versions.common(versions) != Some(version) {
            return Err(Cause::BadVersion);
        }
        let mut answer = |renews: Option<[u64; 2]>| {
            let sides = (peer.side(versions), me.side);
            let renewed = renews.map(|[mine, theirs]| [theirs, mine]);
            let prologue = Prologue::new(sides.0, sides.1, version, session, challenge, renewed);
            let (session, response) = respond(peer.keys, &prologue, &mut me.random, noise)?;
            Ok::<_, Forged>((session, response, renews))
        };
        // Which of the two it is the proposal shows by what it was made with.
        let answer =
            present.map_or(Err(Forged), |names| answer(Some(names))).or_else(|_| answer(None));
        let (session, response, renews) = answer.map_err(|_| Cause::Unauthentic)?;
        self.challenge = me.random.number();
        self.pending = Some(Pending {
            session,
            renews,
            outdated: false,
            challenge,
            proposal: *noise,
            response,
        });
        self.owed = Owed::Response;
        Ok(true)
    }

    /// Opens a frame that is sealed for the session that waits; then it waits no more.
    pub(crate) fn confirmed(
        &mut self,
        session: u64,
        version: u8,
        open: impl FnOnce(&mut Session) -> Result<(), Cause>,
    ) -> Result<Confirmed, Cause> {
        let Some(pending) = self.pending.as_mut().filter(|it| it.session.mine == session) else {
            return Err(Cause::Stale);
        };
        if pending.session.version != version {
            return Err(Cause::BadVersion);
        }
        open(&mut pending.session)?;
        let pending = self.pending.take().expect("it was there just now");
        let Pending { session, renews, outdated, .. } = pending;
        Ok(Confirmed { session, renews, outdated })
    }
}
