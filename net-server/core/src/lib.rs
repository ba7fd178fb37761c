// SPDX-License-Identifier: MIT OR Apache-2.0
//! Decisions of net-server: links between the nodes of a cluster.
//!
//! # Model
//! [`Net`] is a state machine over frames and time. Its driver hands it every frame that arrives
//! ([`Net::received`]) and the time ([`Net::tick`]), and afterwards sends what [`Net::next_frame`]
//! gives until there is no more, tells the servers that [`Net::next_to_tell`] names, and arms the
//! timer for [`Net::deadline_ns`].
//!
//! # Invariants
//! Between two nodes and in one lane messages arrive in the order of sending, each exactly once; or
//! both sides are told that the link went down, and nothing sent before arrives after.
//!
//! # Limits
//! Queues are bounded at the sender (EAGAIN) and at the receiver, which stops acknowledging: a slow
//! server slows its senders down, and nothing is dropped. A server whose inbox is full holds up the
//! lane for the others of its node.
//!
//! # Failure
//! A node that is silent for 1.5 s is down: what waited for it is dropped, and every server is told.
//! If a server of this node died, the same server of each other node is told in its name.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod crc;
mod inbox;
pub mod limits;
mod link;
mod ping;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;
mod wire;

use abi::{Errno, NodeId, ServerId};
use alloc::vec::Vec;
use inbox::Inbox;
pub use inbox::Item;
use limits::{MTU_MAX, MTU_MIN};
use link::{Link, Local};
use net_api::{LinkFigures, PingFigures};
use runtime::node::Lane;
pub use wire::Mac;

/// Bits of a session that count the lives of a link within one boot.
const LIVES_BITS: u32 = 20;

/// The node and its neighbours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Its Ethernet address.
    pub mac: Mac,
    /// All other nodes.
    pub peers: Vec<(NodeId, Mac)>,
    /// Bytes of a frame's payload, 1,500 to 9,000; others are taken as the nearest of these.
    pub mtu: u16,
    /// The servers of this node that take messages.
    pub servers: Vec<ServerId>,
    /// Wall-clock time at boot in milliseconds: a later boot has a higher number.
    pub boot_ms: u64,
}

/// The links of a node.
#[derive(Debug)]
pub struct Net {
    local: Local,
    links: Vec<Link>,
    inbox: Inbox,
    /// The link that may send first, so that all have their turn.
    turn: usize,
    /// Frames whose sender is unknown, as they were not well-formed.
    malformed: u64,
}

impl Net {
    /// All links down, greeting at once.
    pub fn new(config: &Config, now_ns: u64) -> Self {
        let session = config.boot_ms << LIVES_BITS | 1;
        let peers = config.peers.iter().filter(|(node, _)| *node != config.node);
        let mtu = usize::from(config.mtu.clamp(MTU_MIN, MTU_MAX));
        let payload_max = mtu - wire::HEADER_BYTES;
        Self {
            local: Local { node: config.node, mac: config.mac, payload_max },
            links: peers.map(|(node, mac)| Link::new(*node, *mac, session, now_ns)).collect(),
            inbox: Inbox::new(&config.servers),
            turn: 0,
            malformed: 0,
        }
    }

    fn link(&mut self, node: NodeId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.node == node)
    }

    /// Queues a message for `server` of `node`.
    ///
    /// # Errors
    /// EINVAL: no other node of the cluster. EHOSTDOWN: it does not answer. EAGAIN: the queue is
    /// full. EMSGSIZE: empty, or longer than [`limits::MESSAGE_BYTES`].
    pub fn send(
        &mut self,
        node: NodeId,
        lane: Lane,
        server: ServerId,
        data: Vec<u8>,
    ) -> Result<(), Errno> {
        self.link(node).ok_or(Errno::EINVAL)?.send(server, lane, data)
    }

    /// Takes the next item for a server, and whether more follow.
    ///
    /// # Errors
    /// EMSGSIZE: it does not fit `capacity` bytes; it stays.
    pub fn take(
        &mut self,
        server: ServerId,
        capacity: usize,
        now_ns: u64,
    ) -> Result<Option<(Item, bool)>, Errno> {
        let had_room = self.inbox.has_room(server);
        let taken = self.inbox.take(server, capacity).map_err(|_| Errno::EMSGSIZE)?;
        if !had_room && self.inbox.has_room(server) {
            for link in &mut self.links {
                link.resume(now_ns, &mut self.inbox);
            }
            self.take_own(now_ns);
        }
        Ok(taken)
    }

    /// A server of this node died: messages for it are dropped, so that they hold up no others, and
    /// the same server of every other node is told that this one does not answer.
    pub fn server_down(&mut self, server: ServerId, now_ns: u64) {
        self.inbox.remove(server);
        for link in &mut self.links {
            link.server_down(server);
            link.resume(now_ns, &mut self.inbox);
        }
    }

    /// A frame arrived.
    pub fn received(&mut self, frame: &[u8], now_ns: u64) {
        let Some(frame) = wire::decode(frame) else {
            self.malformed += 1;
            return;
        };
        if frame.to != self.local.node {
            return;
        }
        let Some(link) = self.links.iter_mut().find(|link| link.node == frame.from) else { return };
        link.received(&frame, now_ns, &mut self.inbox);
        self.take_own(now_ns);
    }

    /// Reads the messages for this server itself.
    fn take_own(&mut self, now_ns: u64) {
        while let Some((from, message)) = self.inbox.take_own() {
            if let Some(link) = self.link(from) {
                link.own_message(&message, now_ns);
            }
        }
    }

    /// Begins a series of `count` null requests to `node`.
    ///
    /// # Errors
    /// EINVAL: no other node of the cluster, or `count` is 0 or above [`limits::PINGS_MAX`].
    /// EHOSTDOWN: it does not answer. EBUSY: a series is running.
    pub fn ping(&mut self, node: NodeId, count: u64) -> Result<(), Errno> {
        self.link(node).ok_or(Errno::EINVAL)?.ping(count)
    }

    /// Figures of the last series of null requests to `node`.
    ///
    /// # Errors
    /// EINVAL: no other node of the cluster.
    pub fn ping_figures(&self, node: NodeId) -> Result<PingFigures, Errno> {
        let link = self.links.iter().find(|link| link.node == node);
        link.map(Link::ping_figures).ok_or(Errno::EINVAL)
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ns: u64) {
        for link in &mut self.links {
            link.tick(now_ns, &mut self.inbox);
        }
    }

    /// Writes the next Ethernet frame to send into `out`; false if there is none now. A frame that
    /// was written counts as sent.
    pub fn next_frame(&mut self, now_ns: u64, out: &mut Vec<u8>) -> bool {
        let count = self.links.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            if self.links[index].next_frame(self.local, now_ns, out) {
                self.turn = (index + 1) % count;
                return true;
            }
        }
        false
    }

    /// When to call [`Self::tick`] and [`Self::next_frame`] again; `None` without neighbours.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.links.iter().map(Link::deadline_ns).min()
    }

    /// A server that must be told that something waits for it; each call names another one.
    pub fn next_to_tell(&mut self) -> Option<ServerId> {
        self.inbox.next_to_tell()
    }

    /// Figures of the link to `node`; frames that were not well-formed count for every link.
    ///
    /// # Errors
    /// EINVAL: no other node of the cluster.
    pub fn figures(&self, node: NodeId) -> Result<LinkFigures, Errno> {
        let link = self.links.iter().find(|link| link.node == node);
        let mut figures = link.map(Link::figures).ok_or(Errno::EINVAL)?;
        figures.dropped_malformed += self.malformed;
        Ok(figures)
    }

    /// Messages that came for servers that this node does not run.
    pub fn unwanted(&self) -> u64 {
        self.inbox.unwanted
    }
}
