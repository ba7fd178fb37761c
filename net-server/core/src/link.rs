// SPDX-License-Identifier: MIT OR Apache-2.0
//! The link to one node.
//!
//! # Model
//! ```text
//!          a session that both ends know
//!   Down ----------------------------------> Up
//!    ^   an attempt after the other           |
//!    +----------------------------------------+
//!        silence, a new session of the peer, or what a correct peer never sends
//! ```
//! `crate::opening` says how a session comes about. Frames of an earlier session cannot be opened with
//! the present one's keys.
//!
//! # Invariants
//! Both lanes begin empty with every session. While the link is down nothing waits in it. A frame that
//! was not authentic changes a count and nothing else.

use crate::envelope::{BODY, Envelope, Kind, Mac};
use crate::greeting::{self, Greeting};
use crate::inbox::{Inbox, Item};
use crate::limits::{ACK_DELAY_NS, ACK_FRAMES, KEEPALIVE_NS, SILENCE_NS, Versions};
use crate::notice::Notice;
use crate::opening::{Answering, Attempt, Myself, Peer, Said};
use crate::receiver::{Arrival, Broken, Receiver};
use crate::secure::{LinkKeys, Session, TAG_BYTES};
use crate::sender::{Rtt, Sender};
use crate::wire::{self, Body, Frame, LANES, Piece};
use abi::{Errno, NodeId, ServerId};
use alloc::vec::Vec;
use net_api::{Cause, LinkFigures, Phase};
use runtime::node::Lane;

/// Nanoseconds of a microsecond.
const US: u64 = 1000;
const LANE: [Lane; LANES] = [Lane::Control, Lane::Pages];

#[derive(Debug)]
enum State {
    Down(Attempt),
    Up { session: Session, heard_ns: u64 },
}

/// When the next acknowledgement must leave.
#[derive(Default, Debug)]
struct AckState {
    due_ns: Option<u64>,
    frames: u32,
    /// When the last data frame arrived.
    arrived_ns: Option<u64>,
}

impl AckState {
    fn now(&mut self) {
        self.due_ns = Some(0);
    }

    fn later(&mut self, now_ns: u64) {
        self.frames += 1;
        if self.frames >= ACK_FRAMES {
            self.now();
        } else {
            self.due_ns.get_or_insert(now_ns + ACK_DELAY_NS);
        }
    }
}

#[derive(Default, Debug)]
struct Lanes {
    senders: [Sender; LANES],
    receivers: [Receiver; LANES],
    rtt: Rtt,
    ack: AckState,
}

/// What frames need to know of this node.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) me: Myself,
    pub(crate) mac: Mac,
    pub(crate) payload_max: usize,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: NodeId,
    mac: Mac,
    keys: LinkKeys,
    state: State,
    answering: Answering,
    lanes: Lanes,
    sent_ns: u64,
    /// The versions of a peer with which there is no common one.
    refused: Option<Versions>,
    /// A greeting under another key came since the link was up.
    key_doubted: bool,
    notice: Option<Notice>,
    figures: LinkFigures,
}

impl Link {
    pub(crate) fn new(
        node: NodeId,
        mac: Mac,
        keys: LinkKeys,
        local: &mut Local,
        now_ns: u64,
    ) -> Self {
        let random = &mut local.me.random;
        Self {
            node,
            mac,
            keys,
            state: State::Down(Attempt::new(random, now_ns)),
            answering: Answering::new(random),
            lanes: Lanes::default(),
            sent_ns: now_ns,
            refused: None,
            key_doubted: false,
            notice: None,
            figures: LinkFigures::default(),
        }
    }

    pub(crate) fn figures(&self) -> LinkFigures {
        let (up, version, phase) = match &self.state {
            State::Up { session, .. } => (true, session.version, Phase::default()),
            State::Down(_) if self.refused.is_some() => (false, 0, Phase::Refused),
            State::Down(attempt) if attempt.is_proposing() => (false, 0, Phase::Opening),
            State::Down(_) => (false, 0, Phase::Silent),
        };
        LinkFigures { up, phase, version, rtt_ns: self.lanes.rtt.smooth_ns(), ..self.figures }
    }

    /// What the log was told and what was counted, for tests that compare all else.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn forget_counts(&mut self) {
        self.figures = LinkFigures::default();
        (self.notice, self.key_doubted) = (None, false);
    }

    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }

    pub(crate) fn send(
        &mut self,
        server: ServerId,
        lane: Lane,
        data: Vec<u8>,
    ) -> Result<(), Errno> {
        if matches!(self.state, State::Down(_)) {
            return Err(Errno::EHOSTDOWN);
        }
        let bytes = data.len() as u64;
        self.lanes.senders[lane as usize].push(server, data)?;
        self.figures.messages_sent += 1;
        self.figures.bytes_sent += bytes;
        Ok(())
    }

    /// A frame that claims to come from this peer.
    pub(crate) fn received(
        &mut self,
        local: &mut Local,
        envelope: &Envelope,
        frame: &mut [u8],
        now_ns: u64,
        inbox: &mut Inbox,
    ) {
        self.figures.frames_received += 1;
        let used = if envelope.kind == Kind::Sealed {
            self.sealed(local, envelope, frame, now_ns, inbox)
        } else {
            self.greeted(local, envelope, frame, now_ns, inbox)
        };
        if let Err(cause) = used {
            self.dropped(cause);
        }
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
            State::Up { session, heard_ns } if session.mine == number => {
                if session.version != version {
                    return Err(Cause::BadVersion);
                }
                session.opener.open(envelope.number, frame, BODY)?;
                *heard_ns = now_ns;
            }
            State::Up { .. } | State::Down(_) => {
                let open = |it: &mut Session| it.opener.open(envelope.number, frame, BODY);
                let session = self.answering.confirmed(number, version, open)?;
                self.up(session, now_ns, inbox);
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
        let greeting = greeting::read(envelope, frame, &self.keys);
        if greeting == Err(Cause::Unauthentic) && !self.key_doubted {
            self.key_doubted = true;
            self.notice = Some(Notice::OtherKey(self.node));
        }
        let peer = Peer { node: self.node, keys: &self.keys };
        let me = &mut local.me;
        let Envelope { session: number, version, .. } = *envelope;
        match (greeting?, &mut self.state) {
            (Greeting::Hello { session, versions }, _) => {
                self.answering.greeted(session);
                self.compare(me.side.versions, versions);
            }
            (Greeting::Challenge { challenge, versions }, State::Down(attempt)) => {
                let met = attempt.challenged(me, peer, (number, challenge), versions, now_ns);
                if met != Err(Cause::Replayed) {
                    self.compare(me.side.versions, versions);
                }
                // That the versions do not meet is no fault of the frame.
                return met.or_else(|it| if it == Cause::BadVersion { Ok(()) } else { Err(it) });
            }
            (Greeting::Proposal { session, versions, noise }, state) => {
                let mine_counts = me.side.node < self.node;
                if let State::Down(attempt) = state
                    && attempt.is_proposing()
                    && mine_counts
                {
                    return Ok(());
                }
                let (answering, said) = (&mut self.answering, (version, number));
                let new = answering.proposed(me, peer, said, (session, versions), &noise)?;
                if let State::Down(attempt) = state
                    && new
                {
                    // The peer's attempt goes on, and this node's only if nothing comes of it.
                    *attempt = Attempt::new(&mut me.random, now_ns + SILENCE_NS);
                }
            }
            (Greeting::Response { noise }, State::Down(attempt)) => {
                let session = attempt.answered(version, number, &noise)?;
                // What the peer proposed meanwhile must not be used later.
                self.answering = Answering::new(&mut me.random);
                self.up(session, now_ns, inbox);
            }
            (Greeting::Challenge { .. } | Greeting::Response { .. }, State::Up { .. }) => {
                return Err(Cause::Replayed);
            }
        }
        Ok(())
    }

    /// Notes whether there is a version that both nodes speak.
    fn compare(&mut self, mine: Versions, theirs: Versions) {
        let refused = mine.common(theirs).is_none().then_some(theirs);
        if refused.is_some() && refused != self.refused {
            self.notice = Some(Notice::NoCommonVersion { node: self.node, mine, theirs });
        }
        self.refused = refused;
    }

    fn up(&mut self, session: Session, now_ns: u64, inbox: &mut Inbox) {
        if matches!(self.state, State::Up { .. }) {
            inbox.mark(&Item::Down(self.node));
        }
        self.state = State::Up { session, heard_ns: now_ns };
        self.lanes = Lanes::default();
        (self.refused, self.key_doubted) = (None, false);
        self.figures.lives += 1;
        // The peer may wait for the first frame of the session.
        self.lanes.ack.now();
        inbox.mark(&Item::Up(self.node));
    }

    fn down(&mut self, local: &mut Local, now_ns: u64, inbox: &mut Inbox) {
        if matches!(self.state, State::Up { .. }) {
            inbox.mark(&Item::Down(self.node));
        }
        self.lanes = Lanes::default();
        self.state = State::Down(Attempt::new(&mut local.me.random, now_ns));
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

    /// Hands on what is whole; whether that was anything.
    fn deliver(&mut self, lane: usize, inbox: &mut Inbox) -> Result<bool, Broken> {
        let (messages, bytes) = self.lanes.receivers[lane].deliver(self.node, LANE[lane], inbox)?;
        self.figures.messages_received += messages;
        self.figures.bytes_received += bytes;
        Ok(messages > 0)
    }

    /// A server made room: goes on where deliveries had stopped.
    pub(crate) fn resume(&mut self, local: &mut Local, now_ns: u64, inbox: &mut Inbox) {
        for lane in 0..LANES {
            match self.deliver(lane, inbox) {
                Ok(true) => self.lanes.ack.now(),
                Ok(false) => {}
                Err(Broken) => {
                    self.dropped(Cause::Malformed);
                    self.down(local, now_ns, inbox);
                }
            }
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, local: &mut Local, now_ns: u64, inbox: &mut Inbox) {
        let State::Up { heard_ns, .. } = self.state else { return };
        if now_ns >= heard_ns + SILENCE_NS {
            self.down(local, now_ns, inbox);
            return;
        }
        for sender in &mut self.lanes.senders {
            sender.tick(now_ns, &self.lanes.rtt);
        }
    }

    /// When [`Self::tick`] or [`Self::next_frame`] has something to do.
    pub(crate) fn deadline_ns(&self) -> u64 {
        if self.answering.owes() {
            return 0;
        }
        match &self.state {
            State::Down(attempt) => attempt.due_ns(),
            State::Up { heard_ns, .. } => {
                let senders = self.lanes.senders.iter();
                let again = senders.filter_map(|sender| sender.deadline_ns(&self.lanes.rtt));
                let fixed = [heard_ns + SILENCE_NS, self.sent_ns + KEEPALIVE_NS];
                again.chain(self.lanes.ack.due_ns).chain(fixed).min().unwrap_or(u64::MAX)
            }
        }
    }

    /// Writes the next frame to send into `out`; false if there is none now. Greetings go first, then
    /// control before pages, and data before a bare acknowledgement, as it carries one.
    pub(crate) fn next_frame(&mut self, local: &mut Local, now_ns: u64, out: &mut Vec<u8>) -> bool {
        let mut said = self.answering.next(&local.me);
        if said.is_none()
            && let State::Down(attempt) = &mut self.state
        {
            said = attempt.next(&mut local.me, now_ns);
        }
        let sent = match said {
            Some(said) => {
                self.greet(local, said, out);
                true
            }
            None => self.next_sealed(local, now_ns, out),
        };
        self.figures.frames_sent += u64::from(sent);
        sent
    }

    fn greet(&self, local: &Local, (version, session, greeting): Said, out: &mut Vec<u8>) {
        // The greeting corrects the kind.
        let kind = Kind::Hello;
        let (from, to) = (local.me.side.node, self.node);
        let envelope = Envelope { version, kind, from, to, session, number: 0 };
        greeting.encode(envelope, &self.keys, (local.mac, self.mac), out);
    }

    fn next_sealed(&mut self, local: &Local, now_ns: u64, out: &mut Vec<u8>) -> bool {
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
