// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a host knows of the cluster: its view, who can be reached, whether it may act, and which
//! messages it takes.
//!
//! # Model
//! The views server pushes every view that this node enters ([`system::ENTER`](crate::system)), and
//! every lease. A node is *reachable* for a server if its link is up and it is a member of the view: the
//! core hears of the beginning and the end of that.
//!
//! Links outlive views: a message from a member of before and after is delivered whatever its epoch
//! was, so that nothing has to be sent again when a view is entered. It is dropped if it is older than
//! its sender's admission, and held while it is of a view that this server has not entered yet. It says for
//! which life of its receiver it is: a link is up before others hear that a node booted again.
//!
//! # Limits
//! [`HELD_MESSAGES_MAX`] and [`HELD_BYTES_MAX`]: beyond them the node that has sent most of it counts as down for this
//! server.

use crate::limits::{HELD_BYTES_MAX, HELD_MESSAGES_MAX};
use crate::node::{Kind, NodeMessage};
use crate::{Lease, Msg};
use abi::{Epoch, Errno, NodeId, ServerId, SlotNo};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use cluster::View;
use cluster::limits::VIEW_BYTES_MAX;

/// What is to be done with a message from another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Judged {
    /// Run it.
    Run,
    /// It is of no life of its sender that is a member.
    Drop,
    /// It waits for a view, or for a lease.
    Hold,
}

/// See the module.
pub(crate) struct Membership {
    me: NodeId,
    pub(crate) view: View,
    /// Nodes of whose link something was heard, and whether it is up. Where nothing was, net-server
    /// refuses to send.
    links: BTreeMap<NodeId, bool>,
    /// Nodes on which the same server died: they count as down for it, until they boot again.
    pub(crate) dead_peers: BTreeSet<NodeId>,
    /// From which epoch on messages of a member count, where that is not the first.
    since: BTreeMap<NodeId, u64>,
    held: VecDeque<(NodeId, NodeMessage)>,
    held_bytes: usize,
    /// Of a node outside: who sent more to which of its lives than there was room for.
    overrun: BTreeMap<NodeId, u32>,
    /// The node may act before this time of its clock.
    lease_until: u64,
    /// Who gives leases.
    pub(crate) leader: Option<NodeId>,
    /// The part of the next view that has come.
    incoming: Vec<u8>,
    /// Slots of this node that may be given away with the next view: nothing begins there.
    frozen: BTreeSet<SlotNo>,
    /// The views server itself: its messages are of no epoch, and it speaks to everybody.
    agrees: bool,
}

/// How one view differs from the one before, for a server.
pub(crate) struct Turn {
    /// The view that was left.
    pub(crate) old: View,
    /// Nodes that were reachable and are not any more.
    pub(crate) lost: Vec<NodeId>,
    /// Nodes that were not, and have left. Something may have been sent to them all the same: a link is up
    /// before this server hears of it.
    pub(crate) left: Vec<NodeId>,
    /// Nodes that have become reachable.
    pub(crate) found: Vec<NodeId>,
    /// Nodes of which messages to this life were dropped before it began to count.
    pub(crate) overrun: Vec<NodeId>,
}

impl Turn {
    /// Whether the life of this node, a member of the old view, has ended.
    pub(crate) fn is_over(&self, node: NodeId) -> bool {
        self.lost.contains(&node) || self.left.contains(&node)
    }
}

impl Membership {
    /// A server `server` of the node `me` in a view that holds for good, unless another is pushed.
    pub(crate) fn new(me: NodeId, server: ServerId, view: View, lease_until: u64) -> Self {
        Self {
            me,
            view,
            links: BTreeMap::new(),
            dead_peers: BTreeSet::new(),
            since: BTreeMap::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            overrun: BTreeMap::new(),
            lease_until,
            leader: None,
            incoming: Vec::new(),
            frozen: BTreeSet::new(),
            agrees: server == ServerId::Views,
        }
    }

    /// Whether the node may act on what others may take over.
    pub(crate) fn may_act(&self, now_ns: u64) -> bool {
        self.agrees || now_ns < self.lease_until
    }

    /// Whether messages may be sent to `node`.
    pub(crate) fn speaks_to(&self, node: NodeId) -> bool {
        !self.dead_peers.contains(&node) && (self.agrees || self.view.contains(node))
    }

    /// Whether a call to `node` can be answered, as far as is known.
    pub(crate) fn reaches(&self, node: NodeId) -> bool {
        node == self.me || self.reachable(node)
    }

    fn reachable(&self, node: NodeId) -> bool {
        self.links.get(&node) != Some(&false) && self.speaks_to(node)
    }

    /// The link to `node` is up; whether it is reachable now.
    pub(crate) fn link_up(&mut self, node: NodeId) -> bool {
        self.dead_peers.remove(&node);
        self.links.insert(node, true);
        self.reachable(node)
    }

    /// The link to `node` is down, and with it goes what it brought; whether it was reachable.
    pub(crate) fn link_down(&mut self, node: NodeId) -> bool {
        let was = self.reachable(node);
        self.links.insert(node, false);
        self.overrun.remove(&node);
        self.forget_held(|from, _| from == node);
        was
    }

    /// The same server of `node` died; whether it was reachable.
    pub(crate) fn peer_died(&mut self, node: NodeId) -> bool {
        let was = self.reachable(node);
        self.dead_peers.insert(node);
        self.forget_held(|from, _| from == node);
        was
    }

    fn forget_held(&mut self, is_over: impl Fn(NodeId, &NodeMessage) -> bool) {
        self.held.retain(|(from, message)| {
            let stays = !is_over(*from, message);
            if !stays {
                self.held_bytes -= weight(message);
            }
            stays
        });
    }

    /// What is to be done with a message.
    pub(crate) fn judge(&self, now_ns: u64, from: NodeId, message: &NodeMessage) -> Judged {
        // What net-servers say of servers that died has no epoch.
        if self.agrees || message.kind == Kind::Gone {
            return Judged::Run;
        }
        let mine = self.view.epoch().0;
        if message.epoch > mine {
            return Judged::Hold;
        }
        let member = self.view.contains(from);
        // A link is up before others have heard that another life of this node is there.
        let is_mine = message.life == self.life_of(self.me);
        if !member || !is_mine || message.epoch < self.since.get(&from).copied().unwrap_or(1) {
            return Judged::Drop;
        }
        if self.may_act(now_ns) { Judged::Run } else { Judged::Hold }
    }

    /// The life of a member that this view knows; 0 if it is none.
    pub(crate) fn life_of(&self, node: NodeId) -> u32 {
        self.view.member(node).map_or(0, |member| member.incarnation.get())
    }

    /// Keeps a message for later. Where there is no room, who takes most of it cannot go on: those nodes.
    pub(crate) fn hold(&mut self, from: NodeId, mut message: NodeMessage) -> Vec<NodeId> {
        let (mut over, outside) = (Vec::new(), self.view.epoch() == Epoch(0));
        // Lives of this node have ascending numbers, so what somebody sent to an earlier one is for none that comes.
        // It may be a lot: others go on for a while as if that life were there.
        let life = message.life;
        let newer = |(node, it): &(NodeId, NodeMessage)| *node == from && it.life > life;
        if outside && (self.overrun.get(&from) == Some(&life) || self.held.iter().any(newer)) {
            return over;
        }
        while let Err(refused) = self.keep(from, message) {
            message = refused;
            let greediest = self.greediest(from, &message);
            let of_it = self.held.iter().filter(|(node, _)| *node == greediest);
            let sent = (greediest == from).then_some(life);
            let newest = of_it.map(|(_, it)| it.life).chain(sent).max().unwrap_or(0);
            let before = self.held.len();
            if outside {
                self.forget_held(|node, it| node == greediest && it.life < newest);
            }
            if self.held.len() < before {
                continue;
            }
            self.forget_held(|node, _| node == greediest);
            if outside {
                self.overrun.insert(greediest, newest);
            } else {
                over.push(greediest);
            }
            if greediest == from {
                break;
            }
        }
        over
    }

    /// Who takes most of the room for messages that wait, with this one.
    fn greediest(&self, from: NodeId, message: &NodeMessage) -> NodeId {
        let share = |it: &NodeMessage| weight(it) + HELD_BYTES_MAX / HELD_MESSAGES_MAX;
        let mut shares = BTreeMap::from([(from, share(message))]);
        for (node, held) in &self.held {
            *shares.entry(*node).or_default() += share(held);
        }
        shares.into_iter().max_by_key(|(_, share)| *share).map_or(from, |(node, _)| node)
    }

    fn keep(&mut self, from: NodeId, message: NodeMessage) -> Result<(), NodeMessage> {
        let bytes = self.held_bytes + weight(&message);
        if self.held.len() >= HELD_MESSAGES_MAX || bytes > HELD_BYTES_MAX {
            return Err(message);
        }
        self.held_bytes = bytes;
        self.held.push_back((from, message));
        Ok(())
    }

    /// The first message that does not have to wait any more. What was held of a life that is no
    /// member's is dropped.
    pub(crate) fn release(&mut self, now_ns: u64) -> Option<(NodeId, NodeMessage)> {
        let mut at = 0;
        while let Some((from, message)) = self.held.get(at) {
            let judged = self.judge(now_ns, *from, message);
            if judged == Judged::Hold {
                at += 1;
                continue;
            }
            let (from, message) = self.held.remove(at)?;
            self.held_bytes -= weight(&message);
            if judged == Judged::Run {
                return Some((from, message));
            }
        }
        None
    }

    /// Enters a view; `None` if it is not newer.
    pub(crate) fn enter(&mut self, view: View) -> Option<Turn> {
        if view.epoch() <= self.view.epoch() {
            return None;
        }
        let others = self.view.members().iter().copied().filter(|node| *node != self.me);
        let was: Vec<NodeId> = others.filter(|node| self.reachable(*node)).collect();
        let old = core::mem::replace(&mut self.view, view);
        self.frozen.clear();
        let me = self.life_of(self.me);
        let overrun = core::mem::take(&mut self.overrun);
        let overrun = overrun.into_iter().filter(|(_, life)| *life == me).map(|(node, _)| node);
        let same = |node: NodeId| old.keeps(&self.view, node);
        self.since.retain(|node, _| self.view.contains(*node));
        for node in self.view.members().iter().filter(|node| !same(**node)) {
            self.since.insert(*node, old.epoch().0 + 1);
        }
        let lost = was.iter().copied().filter(|node| !same(*node)).collect();
        let gone = old.members().iter().copied().filter(|node| *node != self.me && !same(*node));
        let left = gone.filter(|node| !was.contains(node)).collect();
        let up = self.links.iter().filter(|(_, up)| **up).map(|(node, _)| *node);
        let is_new = |node: &NodeId| self.reachable(*node) && !(same(*node) && was.contains(node));
        let found = up.filter(is_new).collect();
        Some(Turn { old, lost, left, found, overrun: overrun.collect() })
    }

    /// A piece of the next view; the view, if it is the last one.
    ///
    /// # Errors
    /// EINVAL: it does not follow the piece before, or together they are no view.
    pub(crate) fn piece(&mut self, msg: &Msg) -> Result<Option<View>, Errno> {
        let [at, total, ..] = msg.words;
        if at == 0 {
            self.incoming.clear();
        }
        let end = at + msg.bytes.len() as u64;
        if at != self.incoming.len() as u64 || end > total || total > VIEW_BYTES_MAX as u64 {
            return Err(Errno::EINVAL);
        }
        self.incoming.extend_from_slice(&msg.bytes);
        if end < total {
            return Ok(None);
        }
        let view = View::decode(&self.incoming).map_err(|_| Errno::EINVAL)?;
        self.incoming = Vec::new();
        Ok(Some(view))
    }

    /// The node may act until this time; whether it could not just before.
    pub(crate) fn lease(&mut self, now_ns: u64, lease: Lease) -> bool {
        let could = self.may_act(now_ns);
        self.lease_until = self.lease_until.max(lease.until_ns);
        self.leader = NodeId::new(lease.leader);
        !could && self.may_act(now_ns)
    }

    /// Nothing begins in the slot until the next view.
    pub(crate) fn freeze(&mut self, slot: SlotNo) {
        self.frozen.insert(slot);
    }

    /// The slot stays.
    pub(crate) fn thaw(&mut self, slot: SlotNo) {
        self.frozen.remove(&slot);
    }

    /// A slot in which this node may make new things.
    pub(crate) fn slot_for_new(&self) -> Option<SlotNo> {
        if self.view.epoch() == Epoch(0) {
            return None;
        }
        self.view.slots_of(self.me).find(|slot| !self.is_frozen(*slot))
    }

    /// Whether the slot may be given away with the next view, or waits for who has it.
    pub(crate) fn is_frozen(&self, slot: SlotNo) -> bool {
        self.frozen.contains(&slot) || self.view.is_waiting(slot)
    }
}

fn weight(message: &NodeMessage) -> usize {
    message.msg.bytes.len() + message.bulk.len()
}
