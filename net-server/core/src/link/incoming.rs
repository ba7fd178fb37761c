// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a link does with frames that claim to come from its peer.

use super::renewal::attempt_of;
use super::{Link, Local, State};
use crate::envelope::{BODY, Envelope, Kind};
use crate::greeting::Greeting;
use crate::inbox::Inbox;
use crate::limits::SILENCE_NS;
use crate::notice::Notice;
use crate::opening::{Answering, Attempt, Peer};
use crate::receiver::{Arrival, Broken};
use crate::secure::{Session, TAG_BYTES};
use crate::wire::{self, Body, Frame, Piece};
use net_api::Cause;

/// Nanoseconds of a microsecond.
const US: u64 = 1000;

impl Link {
    /// A frame that claims to come from this peer; whether it does, and may have changed something.
    pub(crate) fn received(
        &mut self,
        local: &mut Local,
        envelope: &Envelope,
        frame: &mut [u8],
        now_ns: u64,
        inbox: &mut Inbox,
    ) -> bool {
        self.figures.frames_received += 1;
        let used = if envelope.kind == Kind::Sealed {
            self.sealed(local, envelope, frame, now_ns, inbox)
        } else {
            self.greeted(local, envelope, frame, now_ns, inbox)
        };
        if let Err(cause) = used {
            self.dropped(cause);
        }
        // Of a member's own, what is malformed ends the link, and what came before is acknowledged again.
        used.is_ok() || matches!(used, Err(Cause::Malformed | Cause::Duplicate))
    }

    pub(crate) fn dropped(&mut self, cause: Cause) {
        self.figures.drops.count(cause);
    }

    fn sealed(
        &mut self,
        local: &mut Local,
        envelope: &Envelope,
        frame: &mut [u8],
        now_ns: u64,
        inbox: &mut Inbox,
    ) -> Result<(), Cause> {
        let Envelope { session: number, version, .. } = *envelope;
        match &mut self.state {
            State::Up { session, heard_ns, .. } if session.mine == number => {
                if session.version != version {
                    return Err(Cause::BadVersion);
                }
                session.opener.open(envelope.number, frame, BODY)?;
                *heard_ns = now_ns;
            }
            State::Up { .. } | State::Down(_) => {
                let open = |it: &mut Session| it.opener.open(envelope.number, frame, BODY);
                let confirmed = self.answering.confirmed(number, version, open)?;
                self.confirmed(local, confirmed, now_ns, inbox)?;
            }
        }
        let said = &frame[BODY..frame.len() - TAG_BYTES];
        let said = wire::decode(said).ok_or(Cause::Malformed)?;
        self.use_frame(local, &said, now_ns, inbox)
    }

    fn greeted(
        &mut self,
        local: &mut Local,
        envelope: &Envelope,
        frame: &[u8],
        now_ns: u64,
        inbox: &mut Inbox,
    ) -> Result<(), Cause> {
        let greeting = self.read_greeting(envelope, frame);
        if greeting == Err(Cause::Unauthentic) && !self.key_doubted {
            self.key_doubted = true;
            self.notice = Some(Notice::OtherKey(self.node));
        }
        let present = self.names();
        let peer = Peer { node: self.node, keys: &self.keys[self.greets] };
        let me = &mut local.me;
        let attempt = attempt_of(&mut self.state);
        let Envelope { session: number, version, .. } = *envelope;
        match (greeting?, attempt) {
            (Greeting::Hello { session, versions }, _) => {
                self.answering.greeted(session);
                self.compare(me.side.versions, versions);
            }
            (Greeting::Challenge { challenge, versions }, Some(attempt)) => {
                let said = (number, challenge);
                let met = attempt.challenged(me, peer, said, versions, present, now_ns);
                if met != Err(Cause::Replayed) {
                    self.compare(me.side.versions, versions);
                }
                // That the versions do not meet is no fault of the frame.
                return met.or_else(|it| if it == Cause::BadVersion { Ok(()) } else { Err(it) });
            }
            (Greeting::Proposal { session, versions, noise }, mut attempt) => {
                let mine_counts = me.side.node < self.node;
                if let Some(attempt) = &mut attempt
                    && attempt.is_proposing()
                    && mine_counts
                {
                    return Ok(());
                }
                let (answering, said) = (&mut self.answering, (version, number));
                let proposed = (session, versions);
                let new = answering.proposed(me, peer, said, proposed, &noise, present)?;
                if let Some(attempt) = attempt
                    && new
                {
                    // The peer's attempt goes on, and this node's only if nothing comes of it.
                    *attempt = Attempt::new(&mut me.random, now_ns + SILENCE_NS);
                }
            }
            (Greeting::Response { noise }, Some(attempt)) => {
                let session = attempt.answered(version, number, &noise)?;
                // What the peer proposed meanwhile must not be used later.
                self.answering = Answering::new(&mut me.random);
                match present {
                    Some(_) => self.renewed(session, now_ns),
                    None => self.up(session, now_ns, inbox),
                }
            }
            (Greeting::Challenge { .. } | Greeting::Response { .. }, None) => {
                return Err(Cause::Replayed);
            }
        }
        Ok(())
    }

    /// A frame of this session.
    fn use_frame(
        &mut self,
        local: &mut Local,
        frame: &Frame<'_>,
        now_ns: u64,
        inbox: &mut Inbox,
    ) -> Result<(), Cause> {
        for (sender, ack) in self.lanes.senders.iter_mut().zip(frame.acks) {
            let held_ns = u64::from(frame.held_us) * US;
            sender.acknowledged(ack, now_ns, held_ns, &mut self.lanes.rtt);
        }
        match &frame.body {
            Body::Ack => Ok(()),
            Body::Data(piece) => self.use_piece(local, piece, now_ns, inbox),
        }
    }

    fn use_piece(
        &mut self,
        local: &mut Local,
        piece: &Piece<'_>,
        now_ns: u64,
        inbox: &mut Inbox,
    ) -> Result<(), Cause> {
        let lane = piece.lane as usize;
        self.lanes.ack.arrived_ns = Some(now_ns);
        let arrival = self.lanes.receivers[lane].arrived(piece);
        match arrival {
            Arrival::InOrder => self.lanes.ack.later(now_ns),
            Arrival::Early | Arrival::Useless => self.lanes.ack.now(),
        }
        match self.deliver(lane, inbox) {
            Err(Broken) => {
                self.down(local, now_ns, inbox);
                Err(Cause::Malformed)
            }
            Ok(_) if arrival == Arrival::Useless => Err(Cause::Duplicate),
            Ok(_) => Ok(()),
        }
    }
}
