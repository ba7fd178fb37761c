// SPDX-License-Identifier: MIT OR Apache-2.0
//! The link to one node.
//!
//! # Model
//! ```text
//!          a session that both ends know
//!   Down ----------------------------------> Up
//!    ^   an attempt after the other           |
//!    +----------------------------------------+
//!        silence, a new session of the peer, or what a correct peer never sends;
//!        the peer's key was changed, and the session not renewed with the new one
//! ```
//! `crate::opening` says how a session comes about. Frames of an earlier session cannot be opened with
//! the present one's keys.
//!
//! # Invariants
//! Both lanes begin empty with every session, but for one that renews the one before: they go on. While the link is down nothing waits in it. A frame that
//! was not authentic changes a count and nothing else.

mod incoming;
mod outgoing;
mod renewal;

use crate::envelope::Mac;
use crate::inbox::{Inbox, Item};
use crate::limits::{
    ACK_DELAY_NS, ACK_FRAMES, KEEPALIVE_NS, LOAD_MESSAGE_BYTES, LOAD_QUEUED_BYTES, SILENCE_NS,
    Versions,
};
use crate::load::Load;
use crate::notice::Notice;
use crate::opening::{Answering, Attempt, Myself};
use crate::ping::Pings;
use crate::receiver::{Broken, Receiver};
use crate::secure::{LinkKeys, Session};
use crate::sender::{Rtt, Sender};
use crate::wire::LANES;
use abi::{Errno, NodeId, ServerId};
use alloc::boxed::Box;
use alloc::vec::Vec;
use net_api::{Cause, LinkFigures, LoadFigures, Phase, PingFigures};
use renewal::Renewal;
use runtime::node::{Lane, NodeMessage, Urge};

const LANE: [Lane; LANES] = [Lane::Control, Lane::Pages];

#[derive(Debug)]
enum State {
    Down(Attempt),
    Up { session: Session, heard_ns: u64, renewal: Option<Box<Renewal>> },
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
    /// One for each private key of this node, the newest first.
    keys: Vec<LinkKeys>,
    /// Which of them the peer greets with, as far as this node knows.
    greets: usize,
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
    pings: Pings,
    load: Load,
    /// Servers of this node that died: the peer is told, with every life of the link anew.
    dead: Vec<ServerId>,
}

impl Link {
    pub(crate) fn new(
        node: NodeId,
        mac: Mac,
        keys: Vec<LinkKeys>,
        greets: usize,
        local: &mut Local,
        now_ns: u64,
    ) -> Self {
        let random = &mut local.me.random;
        Self {
            node,
            mac,
            keys,
            greets,
            state: State::Down(Attempt::new(random, now_ns)),
            answering: Answering::new(random),
            lanes: Lanes::default(),
            sent_ns: now_ns,
            refused: None,
            key_doubted: false,
            notice: None,
            figures: LinkFigures::default(),
            pings: Pings::default(),
            load: Load::default(),
            dead: Vec::new(),
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
        urge: Urge,
        data: Vec<u8>,
    ) -> Result<(), Errno> {
        if matches!(self.state, State::Down(_)) {
            return Err(Errno::EHOSTDOWN);
        }
        let bytes = data.len() as u64;
        self.lanes.senders[lane as usize].push(server, urge, data)?;
        self.figures.messages_sent += 1;
        self.figures.bytes_sent += bytes;
        Ok(())
    }

    pub(crate) fn ping(&mut self, count: u64) -> Result<(), Errno> {
        match self.state {
            State::Down(_) => Err(Errno::EHOSTDOWN),
            State::Up { .. } => self.pings.start(count),
        }
    }

    pub(crate) fn ping_figures(&self) -> PingFigures {
        self.pings.figures()
    }

    pub(crate) fn begin_load(&mut self, bytes: u64, raw: bool) -> Result<(), Errno> {
        match self.state {
            State::Down(_) => Err(Errno::EHOSTDOWN),
            State::Up { .. } => self.load.start(bytes, raw),
        }
    }

    pub(crate) fn load_figures(&self) -> LoadFigures {
        self.load.figures()
    }

    /// Queues what there is room for of a load.
    fn send_load(&mut self, now_ns: u64) {
        while let Some(bytes) = self.load.next(false, LOAD_MESSAGE_BYTES) {
            let full = self.lanes.senders[Lane::Pages as usize].queued_bytes() >= LOAD_QUEUED_BYTES;
            let message = || alloc::vec![0; bytes];
            if full || self.send(ServerId::Net, Lane::Pages, Urge::New, message()).is_err() {
                return;
            }
            self.load.sent(bytes, now_ns);
        }
        self.load.look(self.lanes.senders[Lane::Pages as usize].is_idle(), now_ns);
    }

    /// A message from the peer's net-server to this one.
    pub(crate) fn own_message(&mut self, message: &[u8], now_ns: u64) {
        self.pings.received(message, now_ns);
    }

    /// Sends what is due of null requests and answers. What finds the lane full goes later.
    fn send_pings(&mut self, now_ns: u64) {
        while let Some(message) = self.pings.due() {
            if self.send(ServerId::Net, Lane::Control, Urge::New, message).is_err() {
                return;
            }
            self.pings.sent(now_ns);
        }
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
            self.pings.link_down();
            self.load.link_down();
            inbox.mark(&Item::Down(self.node));
        }
        self.state = State::Up { session, heard_ns: now_ns, renewal: None };
        self.lanes = Lanes::default();
        (self.refused, self.key_doubted) = (None, false);
        self.figures.lives += 1;
        self.notice = Some(Notice::Answers(self.node));
        // The peer may wait for the first frame of the session.
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

    pub(crate) fn down(&mut self, local: &mut Local, now_ns: u64, inbox: &mut Inbox) {
        if matches!(self.state, State::Up { .. }) {
            inbox.mark(&Item::Down(self.node));
        }
        self.pings.link_down();
        self.load.link_down();
        self.lanes = Lanes::default();
        self.state = State::Down(Attempt::new(&mut local.me.random, now_ns));
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

    /// What is owed to the peer found no room any more.
    pub(crate) fn give_up(&mut self, local: &mut Local, now_ns: u64, inbox: &mut Inbox) {
        self.notice = Some(Notice::Slow(self.node));
        self.down(local, now_ns, inbox);
    }

    /// This node itself stood still, and could hear nobody: that is no silence of the peer.
    pub(crate) fn excuse(&mut self, stood_ns: u64, now_ns: u64) {
        if let State::Up { heard_ns, .. } = &mut self.state {
            *heard_ns = heard_ns.saturating_add(stood_ns).min(now_ns);
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, local: &mut Local, now_ns: u64, inbox: &mut Inbox) {
        let State::Up { heard_ns, renewal, .. } = &self.state else { return };
        let (heard_ns, renewal) = (*heard_ns, renewal.as_ref());
        if renewal.is_some_and(|it| it.is_over(now_ns)) {
            self.notice = Some(Notice::OldKey(self.node));
            self.down(local, now_ns, inbox);
            return;
        }
        if now_ns >= heard_ns + SILENCE_NS {
            let silent_ms = now_ns.saturating_sub(heard_ns) / 1_000_000;
            self.notice = Some(Notice::Silent { node: self.node, silent_ms });
            self.down(local, now_ns, inbox);
            return;
        }
        self.pings.tick(now_ns);
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
            State::Up { heard_ns, renewal, .. } => {
                let senders = self.lanes.senders.iter();
                let again = senders.filter_map(|sender| sender.deadline_ns(&self.lanes.rtt));
                let fixed = [heard_ns + SILENCE_NS, self.sent_ns + KEEPALIVE_NS];
                again
                    .chain(self.lanes.ack.due_ns)
                    .chain(self.pings.deadline_ns())
                    .chain(renewal.as_ref().map(|renewal| renewal.due_ns()))
                    .chain(fixed)
                    .min()
                    .unwrap_or(u64::MAX)
            }
        }
    }
}
