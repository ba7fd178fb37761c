// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages with bytes for which a link has no room: they wait here, and go when it has.
//!
//! # Model
//! ```text
//! call or answer --no room--> waits --every CROWDED_NS--> sent
//! ```
//! What a program wrote or read must not be lost because pages fill the link: a read has taken its bytes from a pipe
//! by the time they are to leave. Cores whose callers ask again (for pages) are left out:
//! [`crate::Core::waits_for_room`].
//!
//! # Failure
//! What waits for a node that is down is forgotten: it has failed, or follows its slot. Answers beyond
//! [`OWED_BYTES_MAX`] are queued by net-server as far as it can; what it refuses then ends with EAGAIN.

use crate::cx::transmit;
use crate::limits::{CROWDED_NS, OWED_BYTES_MAX};
use crate::node::{Kind, Lane, NodeMessage, Urge};
use crate::replication::Outbound;
use crate::tables::Action;
use crate::{Cx, Msg};
use abi::{Errno, NodeId};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

/// The cookie of the timer at which what waits is sent.
pub(crate) const CROWDED: u64 = u64::MAX;

/// What waits for room.
#[derive(Default)]
pub(crate) struct Owed {
    /// Whether anything does, or is refused instead.
    pub(crate) waits: bool,
    /// Open calls of ours.
    calls: BTreeSet<(NodeId, u64)>,
    /// Answers, in the order in which they were given.
    answers: VecDeque<Outbound>,
    bytes: usize,
    /// The timer is set.
    armed: bool,
}

impl Owed {
    /// Whether a call waits here, so that it has not left.
    pub(crate) fn has_call(&self, to: NodeId, request: u64) -> bool {
        self.calls.contains(&(to, request))
    }

    /// Forgets what waits for a node.
    pub(crate) fn node_down(&mut self, node: NodeId) {
        self.calls.retain(|(to, _)| *to != node);
        self.answers.retain(|it| it.to != node);
        self.bytes = self.answers.iter().map(|it| it.bulk.len()).sum();
    }
}

impl Cx<'_> {
    /// Whether an open call of ours, which a link refused, waits for room.
    pub(crate) fn call_waits(&mut self, to: NodeId, request: u64) -> bool {
        let kept = self.tables.call_to(to, request).is_some_and(|call| call.kept.is_some());
        let waits = kept && self.tables.owed.waits;
        if waits {
            self.tables.owed.calls.insert((to, request));
            self.look_for_room();
        }
        waits
    }

    /// Gives an answer with bytes, now or when the link has room.
    pub(crate) fn answer_with_bytes(&mut self, mut it: Outbound) {
        let owed = &self.tables.owed;
        let keeps = owed.waits && owed.bytes + it.bulk.len() <= OWED_BYTES_MAX;
        // Those that wait already go first, or one might wait for ever.
        let queued = owed.answers.iter().any(|other| other.to == it.to);
        let sent = if keeps && queued { Err(Errno::EAGAIN) } else { transmit(self, &mut it) };
        match sent {
            Err(Errno::EAGAIN) if keeps => {
                self.tables.owed.bytes += it.bulk.len();
                self.tables.owed.answers.push_back(it);
                self.look_for_room();
            }
            Err(Errno::EAGAIN) if self.tables.owed.waits => {
                it.how.1 = Urge::Owed;
                let sent = transmit(self, &mut it);
                self.refuse_unless(sent, &it);
            }
            sent => self.refuse_unless(sent, &it),
        }
    }

    /// Who asked hears that the answer could not be sent; if the link is down it has noticed, or is told again.
    fn refuse_unless(&mut self, sent: Result<(), Errno>, it: &Outbound) {
        let Err(errno) = sent else { return };
        let header = (Kind::Reply, 0, errno.number(), it.header.3);
        let (how, to) = ((Lane::Control, Urge::Owed), it.to);
        let mut it = Outbound { how, to, header, msg: Msg::default(), bulk: Vec::new() };
        let _ = transmit(self, &mut it);
    }

    fn look_for_room(&mut self) {
        // Without a timer the next one that is refused brings this one too.
        if !self.tables.owed.armed {
            self.tables.owed.armed = self.arm(self.now_ns + CROWDED_NS, CROWDED).is_ok();
        }
    }

    /// Sends what waits, as far as the links have room.
    pub(crate) fn send_owed(&mut self) {
        self.tables.owed.armed = false;
        for (node, request) in core::mem::take(&mut self.tables.owed.calls) {
            self.send_waiting_call(node, request);
        }
        let owed = &mut self.tables.owed;
        owed.bytes = 0;
        for it in core::mem::take(&mut owed.answers) {
            self.answer_with_bytes(it);
        }
    }

    fn send_waiting_call(&mut self, node: NodeId, request: u64) {
        // One that follows its slot meanwhile was sent.
        let Some(call) = self.tables.call_to(node, request) else { return };
        let Some((op, msg, bulk)) = call.kept.clone() else { return };
        let given_up = self.tables.is_given_up(request);
        if given_up && !self.tables.is_again(request) {
            // It never left: nobody has anything to give up.
            if let Some(cookie) = self.tables.end_call(node, request) {
                let result = Err(Errno::ECANCELED);
                self.tables.actions.push_back(Action::Complete { cookie, result });
            }
            return;
        }
        let how = (NodeMessage::lane_of(&bulk), Urge::New);
        let header = (Kind::Call, op, 0, request);
        self.transmit_or_end(Outbound { how, to: node, header, msg, bulk });
        if given_up && !self.tables.owed.has_call(node, request) {
            self.send_cancel(node, request);
        }
    }
}
