// SPDX-License-Identifier: MIT OR Apache-2.0
//! The link to one node.
//!
//! # Model
//! ```text
//!            a frame that names my session
//!   Down ------------------------------------> Up
//!    ^   Hello every HELLO_NS                   |
//!    +------------------------------------------+
//!        silence, a newer session of the peer, or what a correct peer never sends
//! ```
//! A *session* is my number for one life of the link; it grows with every life and every boot. Only
//! a peer that has heard of my present session can name it, so frames of an earlier life are never
//! taken for frames of this one.
//!
//! # Invariants
//! Both lanes begin empty with every session. While the link is down nothing waits in it.

use crate::inbox::{Inbox, Item};
use crate::limits::{ACK_DELAY_NS, ACK_FRAMES, HELLO_NS, KEEPALIVE_NS, SILENCE_NS};
use crate::ping::Pings;
use crate::receiver::{Arrival, Broken, Receiver};
use crate::sender::{Rtt, Sender};
use crate::wire::{Body, Frame, LANES, Mac, Piece};
use abi::{Errno, NodeId, ServerId};
use alloc::vec::Vec;
use net_api::{LinkFigures, PingFigures};
use runtime::node::{Lane, NodeMessage};

/// Nanoseconds of a microsecond.
const US: u64 = 1000;
const LANE: [Lane; LANES] = [Lane::Control, Lane::Pages];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// `candidate`: the session that the peer named last; 0 if none.
    Down { candidate: u64, hello_ns: u64 },
    /// Both ends know both sessions.
    Up { peer_session: u64, heard_ns: u64 },
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

/// What a frame to this peer needs beside the link's state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    pub(crate) node: NodeId,
    pub(crate) mac: Mac,
    pub(crate) payload_max: usize,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) node: NodeId,
    mac: Mac,
    session: u64,
    state: State,
    lanes: Lanes,
    sent_ns: u64,
    figures: LinkFigures,
    pings: Pings,
    /// Servers of this node that died: the peer is told, with every life of the link anew.
    dead: Vec<ServerId>,
}

impl Link {
    pub(crate) fn new(node: NodeId, mac: Mac, session: u64, now_ns: u64) -> Self {
        Self {
            node,
            mac,
            session,
            state: State::Down { candidate: 0, hello_ns: now_ns },
            lanes: Lanes::default(),
            sent_ns: now_ns,
            figures: LinkFigures::default(),
            pings: Pings::default(),
            dead: Vec::new(),
        }
    }

    pub(crate) fn figures(&self) -> LinkFigures {
        let up = matches!(self.state, State::Up { .. });
        LinkFigures { up, rtt_ns: self.lanes.rtt.smooth_ns(), ..self.figures }
    }

    pub(crate) fn send(
        &mut self,
        server: ServerId,
        lane: Lane,
        data: Vec<u8>,
    ) -> Result<(), Errno> {
        if matches!(self.state, State::Down { .. }) {
            return Err(Errno::EHOSTDOWN);
        }
        let bytes = data.len() as u64;
        self.lanes.senders[lane as usize].push(server, data)?;
        self.figures.messages_sent += 1;
        self.figures.bytes_sent += bytes;
        Ok(())
    }

    pub(crate) fn ping(&mut self, count: u64) -> Result<(), Errno> {
        match self.state {
            State::Down { .. } => Err(Errno::EHOSTDOWN),
            State::Up { .. } => self.pings.start(count),
        }
    }

    pub(crate) fn ping_figures(&self) -> PingFigures {
        self.pings.figures()
    }

    /// A message from the peer's net-server to this one.
    pub(crate) fn own_message(&mut self, message: &[u8], now_ns: u64) {
        self.pings.received(message, now_ns);
    }

    /// Sends what is due of null requests and answers. What finds the lane full goes later.
    fn send_pings(&mut self, now_ns: u64) {
        while let Some(message) = self.pings.due() {
            if self.send(ServerId::Net, Lane::Control, message).is_err() {
                return;
            }
            self.pings.sent(now_ns);
        }
    }

    /// A well-formed frame from this peer to this node.
    pub(crate) fn received(&mut self, frame: &Frame<'_>, now_ns: u64, inbox: &mut Inbox) {
        self.figures.frames_received += 1;
        match self.state {
            State::Down { .. } if frame.peer_session == self.session => {
                self.up(frame.session, now_ns, inbox);
                self.use_frame(frame, now_ns, inbox);
            }
            State::Down { .. } => {
                if frame.body == Body::Hello {
                    // Answered at once: the peer may be waiting to hear of my session.
                    self.state = State::Down { candidate: frame.session, hello_ns: now_ns };
                }
            }
            State::Up { peer_session, .. } if frame.session == peer_session => {
                if frame.peer_session == self.session {
                    self.state = State::Up { peer_session, heard_ns: now_ns };
                    self.use_frame(frame, now_ns, inbox);
                } else if frame.body == Body::Hello {
                    self.lanes.ack.now();
                }
            }
            State::Up { peer_session, .. } => {
                // An older session is a frame that was on its way for long.
                if frame.body == Body::Hello && frame.session > peer_session {
                    self.down(frame.session, now_ns, inbox);
                }
            }
        }
    }

    fn up(&mut self, peer_session: u64, now_ns: u64, inbox: &mut Inbox) {
        self.state = State::Up { peer_session, heard_ns: now_ns };
        self.lanes = Lanes::default();
        // The peer may not know yet that I know its session.
        self.lanes.ack.now();
        for server in self.dead.clone() {
            self.tell_dead(server);
        }
        inbox.mark(&Item::Up(self.node));
    }

    /// A server of this node died.
    pub(crate) fn server_down(&mut self, server: ServerId) {
        self.dead.push(server);
        if matches!(self.state, State::Up { .. }) {
            self.tell_dead(server);
        }
    }

    fn tell_dead(&mut self, server: ServerId) {
        let message = NodeMessage::gone(server).encode().expect("it has no bulk data");
        self.lanes.senders[Lane::Control as usize].push_always(server, message);
    }

    fn down(&mut self, candidate: u64, now_ns: u64, inbox: &mut Inbox) {
        if matches!(self.state, State::Up { .. }) {
            inbox.mark(&Item::Down(self.node));
        }
        self.pings.link_down();
        self.session += 1;
        self.lanes = Lanes::default();
        self.state = State::Down { candidate, hello_ns: now_ns };
    }

    /// A frame of this session.
    fn use_frame(&mut self, frame: &Frame<'_>, now_ns: u64, inbox: &mut Inbox) {
        for (sender, ack) in self.lanes.senders.iter_mut().zip(frame.acks) {
            let held_ns = u64::from(frame.held_us) * US;
            sender.acknowledged(ack, now_ns, held_ns, &mut self.lanes.rtt);
        }
        match &frame.body {
            Body::Hello => self.lanes.ack.now(),
            Body::Ack => {}
            Body::Data(piece) => self.use_piece(piece, now_ns, inbox),
        }
    }

    fn use_piece(&mut self, piece: &Piece<'_>, now_ns: u64, inbox: &mut Inbox) {
        let lane = piece.lane as usize;
        self.lanes.ack.arrived_ns = Some(now_ns);
        match self.lanes.receivers[lane].arrived(piece) {
            Arrival::InOrder => self.lanes.ack.later(now_ns),
            Arrival::Early => self.lanes.ack.now(),
            Arrival::Useless => {
                self.figures.dropped_duplicate += 1;
                self.lanes.ack.now();
            }
        }
        self.deliver(lane, now_ns, inbox);
    }

    fn deliver(&mut self, lane: usize, now_ns: u64, inbox: &mut Inbox) -> bool {
        match self.lanes.receivers[lane].deliver(self.node, inbox) {
            Ok((messages, bytes)) => {
                self.figures.messages_received += messages;
                self.figures.bytes_received += bytes;
                messages > 0
            }
            Err(Broken) => {
                self.figures.dropped_malformed += 1;
                self.down(0, now_ns, inbox);
                false
            }
        }
    }

    /// A server made room: goes on where deliveries had stopped.
    pub(crate) fn resume(&mut self, now_ns: u64, inbox: &mut Inbox) {
        for lane in 0..LANES {
            if self.deliver(lane, now_ns, inbox) {
                self.lanes.ack.now();
            }
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now_ns: u64, inbox: &mut Inbox) {
        let State::Up { heard_ns, .. } = self.state else { return };
        if now_ns >= heard_ns + SILENCE_NS {
            self.down(0, now_ns, inbox);
            return;
        }
        self.pings.tick(now_ns);
        for sender in &mut self.lanes.senders {
            sender.tick(now_ns, &self.lanes.rtt);
        }
    }

    /// When [`Self::tick`] or [`Self::next_frame`] has something to do.
    pub(crate) fn deadline_ns(&self) -> u64 {
        match self.state {
            State::Down { hello_ns, .. } => hello_ns,
            State::Up { heard_ns, .. } => {
                let senders = self.lanes.senders.iter();
                let again = senders.filter_map(|sender| sender.deadline_ns(&self.lanes.rtt));
                let fixed = [heard_ns + SILENCE_NS, self.sent_ns + KEEPALIVE_NS];
                again
                    .chain(self.lanes.ack.due_ns)
                    .chain(self.pings.deadline_ns())
                    .chain(fixed)
                    .min()
                    .unwrap_or(u64::MAX)
            }
        }
    }

    /// Writes the next frame to send into `out`; false if there is none now. Control goes before
    /// pages, data before a bare acknowledgement, as it carries one.
    pub(crate) fn next_frame(&mut self, local: Local, now_ns: u64, out: &mut Vec<u8>) -> bool {
        self.send_pings(now_ns);
        match self.state {
            State::Down { candidate, hello_ns } => {
                if now_ns < hello_ns {
                    return false;
                }
                self.state = State::Down { candidate, hello_ns: now_ns + HELLO_NS };
                self.encode(local, now_ns, candidate, Body::Hello, out);
            }
            State::Up { peer_session, .. } => {
                if let Some((lane, index)) = self.pick(local, now_ns) {
                    let piece = self.lanes.senders[lane].piece(LANE[lane], index);
                    self.encode(local, now_ns, peer_session, Body::Data(piece), out);
                } else if self.lanes.ack.due_ns.is_some_and(|due_ns| due_ns <= now_ns)
                    || now_ns >= self.sent_ns + KEEPALIVE_NS
                {
                    self.encode(local, now_ns, peer_session, Body::Ack, out);
                } else {
                    return false;
                }
                self.lanes.ack = AckState::default();
            }
        }
        self.sent_ns = now_ns;
        self.figures.frames_sent += 1;
        true
    }

    fn pick(&mut self, local: Local, now_ns: u64) -> Option<(usize, usize)> {
        for lane in 0..LANES {
            if let Some((index, again)) = self.lanes.senders[lane].pick(now_ns, local.payload_max) {
                self.figures.frames_repeated += u64::from(again);
                return Some((lane, index));
            }
        }
        None
    }

    fn encode(
        &self,
        local: Local,
        now_ns: u64,
        peer_session: u64,
        body: Body<'_>,
        out: &mut Vec<u8>,
    ) {
        let held_ns = self.lanes.ack.arrived_ns.map_or(0, |at_ns| now_ns.saturating_sub(at_ns));
        let acks = [0, 1].map(|lane: usize| self.lanes.receivers[lane].ack());
        let frame = Frame {
            from: local.node,
            to: self.node,
            session: self.session,
            peer_session,
            acks,
            held_us: u16::try_from(held_ns / US).unwrap_or(u16::MAX),
            body,
        };
        frame.encode(local.mac, self.mac, out);
    }
}
