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
//! Nobody without the key of a member changes anything but counts: every frame is authenticated before
//! it is used, and those that carry messages are encrypted (ADR 0020).
//!
//! # Limits
//! Queues are bounded at the sender (EAGAIN) and at the receiver, which stops acknowledging: a slow
//! server slows its senders down, and nothing is dropped. A server whose inbox is full for a lane holds
//! up that lane for the others of its node.
//!
//! # Failure
//! A node that is silent for 1.5 s is down: what waited for it is dropped, and every server is told.
//! If a server of this node died, the same server of each other node is told in its name.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod envelope;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod greeting;
mod inbox;
mod keys;
pub mod limits;
mod link;
mod links;
mod load;
#[cfg(any(test, feature = "fuzz"))]
mod member;
mod notice;
mod opening;
mod ping;
mod receiver;
mod secure;
mod sender;
#[cfg(test)]
mod tests;
mod wire;

use abi::{Errno, NodeId, ServerId};
use alloc::vec::Vec;
pub use envelope::Mac;
use inbox::Inbox;
pub use inbox::Item;
pub use keys::Enrolled;
use limits::{MTU_MAX, MTU_MIN, STANDSTILL_NS, Versions};
use link::{Link, Local};
use links::Links;
use net_api::{Cause, Drops, LinkFigures, LoadFigures, Phase, PingFigures};
pub use notice::Notice;
use opening::Myself;
use runtime::node::{Lane, Urge};
pub use secure::{PublicKey, Secret};
use secure::{Random, Side, TAG_BYTES};

/// Bytes of a frame's payload that are not a message's.
const OVERHEAD_BYTES: usize = envelope::HEADER_BYTES + wire::HEADER_BYTES + TAG_BYTES;

/// Another node of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its number.
    pub node: NodeId,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its public key; without one it is no member any more, or not yet.
    pub key: Option<PublicKey>,
}

/// The node and its neighbours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Its Ethernet address.
    pub mac: Mac,
    /// All other nodes; this one may be among them.
    pub peers: Vec<Peer>,
    /// Bytes of a frame's payload, 1,500 to 9,000; others are taken as the nearest of these.
    pub mtu: u16,
    /// The servers of this node that take messages.
    pub servers: Vec<ServerId>,
    /// This node's private key; without one all links stay down.
    pub secret: Option<Secret>,
    /// Random bytes, other ones at every boot.
    pub seed: [u8; 32],
    /// The formats of frames that this node speaks: [`limits::VERSIONS`].
    pub versions: Versions,
}

/// The links of a node.
#[derive(Debug)]
pub struct Net {
    /// Without the private key, which is in `linked`.
    config: Config,
    /// Nothing without a private key.
    linked: Option<Linked>,
    inbox: Inbox,
    /// Frames that belong to no link.
    strays: Drops,
    notice: Option<Notice>,
    ticked_ns: u64,
}

#[derive(Debug)]
struct Linked {
    local: Local,
    /// This node's private keys, the newest first; at most [`limits::SECRETS_MAX`], and one at least.
    secrets: Vec<Secret>,
    links: Links,
}

impl Linked {
    fn new(config: &Config, secret: &Secret, now_ns: u64) -> Self {
        let mtu = usize::from(config.mtu.clamp(MTU_MIN, MTU_MAX));
        let me = Myself {
            side: Side { node: config.node, versions: config.versions },
            random: Random::new(&config.seed, secret),
        };
        let local = Local { me, mac: config.mac, payload_max: mtu - OVERHEAD_BYTES };
        let secrets = Vec::from([secret.clone()]);
        let mut linked = Self { local, secrets, links: Links::default() };
        for peer in config.peers.iter().filter(|peer| peer.node != config.node) {
            if let Some(key) = peer.key {
                linked.meet(peer, key, 0, now_ns);
            }
        }
        linked
    }
}

impl Net {
    /// All links down, greeting at once.
    pub fn new(config: &Config, now_ns: u64) -> Self {
        let secret = config.secret.as_ref();
        Self {
            config: Config { secret: None, ..config.clone() },
            linked: secret.map(|secret| Linked::new(config, secret, now_ns)),
            inbox: Inbox::new(&config.servers),
            strays: Drops::default(),
            ticked_ns: now_ns,
            notice: secret.is_none().then_some(Notice::NoKey(config.node)),
        }
    }

    /// Whether this is another node of the cluster, linked or not.
    fn is_peer(&self, node: NodeId) -> bool {
        node != self.config.node && self.config.peers.iter().any(|peer| peer.node == node)
    }

    /// Queues a message for `server` of `node`.
    ///
    /// # Errors
    /// EINVAL: no other node of the cluster. EHOSTDOWN: it does not answer, or takes what is owed to it
    /// so slowly that the link was given up. EAGAIN: the queue is full. EMSGSIZE: empty, or longer than
    /// [`limits::MESSAGE_BYTES`].
    pub fn send(
        &mut self,
        node: NodeId,
        (lane, urge): (Lane, Urge),
        server: ServerId,
        data: Vec<u8>,
    ) -> Result<(), Errno> {
        let linked = self.linked.as_mut().and_then(|Linked { local, links, .. }| {
            let link = links.wake(node)?;
            Some((local, link))
        });
        let Some((local, link)) = linked else {
            let known = self.is_peer(node);
            return Err(if known { Errno::EHOSTDOWN } else { Errno::EINVAL });
        };
        let (inbox, ticked_ns) = (&mut self.inbox, &self.ticked_ns);
        match link.send(server, lane, urge, data) {
            Err(Errno::EAGAIN) if urge == Urge::Owed => {
                link.give_up(local, *ticked_ns, inbox);
                Err(Errno::EHOSTDOWN)
            }
            sent => sent,
        }
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
        let room =
            |inbox: &Inbox| [Lane::Control, Lane::Pages].map(|lane| inbox.has_room(server, lane));
        let had_room = room(&self.inbox);
        let taken = self.inbox.take(server, capacity).map_err(|_| Errno::EMSGSIZE)?;
        if had_room != room(&self.inbox) {
            let Self { linked, inbox, .. } = self;
            if let Some(Linked { local, links, .. }) = linked {
                links.wake_all().for_each(|link| link.resume(local, now_ns, inbox));
            }
            self.take_own(now_ns);
        }
        Ok(taken)
    }

    /// A server of this node died: messages for it are dropped, so that they hold up no others, and
    /// the same server of every other node is told that this one does not answer.
    pub fn server_down(&mut self, server: ServerId, now_ns: u64) {
        self.inbox.remove(server);
        let Self { linked, inbox, .. } = self;
        if let Some(Linked { local, links, .. }) = linked {
            for link in links.wake_all() {
                link.server_down(server);
                link.resume(local, now_ns, inbox);
            }
        }
    }

    /// A frame arrived. Its bytes are decrypted where they are.
    pub fn received(&mut self, frame: &mut [u8], now_ns: u64) {
        let (from, read) = match envelope::read(frame, self.config.node, self.config.mac) {
            Ok(envelope) => (Some(envelope.from), Ok(envelope)),
            Err((from, cause)) => (from, Err(cause)),
        };
        let Self { linked, inbox, strays, .. } = self;
        let linked =
            linked.as_mut().zip(from).is_some_and(|(Linked { local, links, .. }, from)| {
                links.received(from, |link| match read {
                    Ok(envelope) => link.received(local, &envelope, frame, now_ns, inbox),
                    Err(cause) => {
                        link.dropped(cause);
                        false
                    }
                })
            });
        match read {
            _ if linked => {}
            Ok(_) => strays.count(Cause::UnknownNode),
            Err(cause) => strays.count(cause),
        }
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

    /// Begins to load the link to `node` with so many bytes, raw or sealed.
    ///
    /// # Errors
    /// EINVAL: no other node of the cluster, or `bytes` is 0 or above [`limits::LOAD_BYTES_MAX`]. EHOSTDOWN: it does
    /// not answer. EBUSY: a load is under way.
    pub fn load(&mut self, node: NodeId, bytes: u64, raw: bool) -> Result<(), Errno> {
        self.link(node).ok_or(Errno::EINVAL)?.begin_load(bytes, raw)
    }

    /// Figures of the last load of the link to `node`.
    ///
    /// # Errors
    /// EINVAL: no other node of the cluster.
    pub fn load_figures(&self, node: NodeId) -> Result<LoadFigures, Errno> {
        let link = self.linked.as_ref().and_then(|linked| linked.links.get(node));
        link.map(Link::load_figures).ok_or(Errno::EINVAL)
    }

    fn link(&mut self, node: NodeId) -> Option<&mut Link> {
        self.linked.as_mut()?.links.wake(node)
    }

    /// Figures of the last series of null requests to `node`.
    ///
    /// # Errors
    /// EINVAL: no other node of the cluster.
    pub fn ping_figures(&self, node: NodeId) -> Result<PingFigures, Errno> {
        let link = self.linked.as_ref().and_then(|linked| linked.links.get(node));
        link.map(Link::ping_figures).ok_or(Errno::EINVAL)
    }

    /// Time has passed. What has arrived until now must have been given to [`Self::received`] before.
    pub fn tick(&mut self, now_ns: u64) {
        let Self { linked, inbox, ticked_ns, .. } = self;
        let stood_ns = now_ns.saturating_sub(*ticked_ns);
        *ticked_ns = now_ns;
        if let Some(Linked { local, links, .. }) = linked {
            if stood_ns >= STANDSTILL_NS {
                links.wake_all().for_each(|link| link.excuse(stood_ns, now_ns));
            }
            links.tick(now_ns, |link| link.tick(local, now_ns, inbox));
        }
    }

    /// Writes the next Ethernet frame to send into `out`; false if there is none now. A frame that
    /// was written counts as sent.
    pub fn next_frame(&mut self, now_ns: u64, out: &mut Vec<u8>) -> bool {
        let Some(Linked { local, links, .. }) = &mut self.linked else { return false };
        links.next_frame(local, now_ns, out)
    }

    /// When to call [`Self::tick`] and [`Self::next_frame`] again; `None` without neighbours.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.linked.as_ref()?.links.deadline_ns()
    }

    /// Something for the log; call until there is nothing.
    pub fn next_notice(&mut self) -> Option<Notice> {
        let own = self.notice.take();
        own.or_else(|| self.linked.as_mut()?.links.next_notice())
    }

    /// A server that must be told that something waits for it; each call names another one.
    pub fn next_to_tell(&mut self) -> Option<ServerId> {
        self.inbox.next_to_tell()
    }

    /// Figures of the link to `node`.
    ///
    /// # Errors
    /// EINVAL: no other node of the cluster.
    pub fn figures(&self, node: NodeId) -> Result<LinkFigures, Errno> {
        match self.linked.as_ref().and_then(|linked| linked.links.get(node)) {
            Some(link) => Ok(link.figures()),
            None if self.is_peer(node) => {
                Ok(LinkFigures { phase: Phase::NoKey, ..LinkFigures::default() })
            }
            None => Err(Errno::EINVAL),
        }
    }

    /// Frames that belong to no link, and were dropped.
    pub fn strays(&self) -> Drops {
        self.strays
    }

    /// All state but the counts, as text: tests compare it.
    #[cfg(any(test, feature = "fuzz"))]
    fn state_text(&mut self) -> alloc::string::String {
        self.strays = Drops::default();
        if let Some(linked) = &mut self.linked {
            linked.links.forget_counts();
        }
        alloc::format!("{self:?}")
    }

    /// Messages that came for servers that this node does not run.
    pub fn unwanted(&self) -> u64 {
        self.inbox.unwanted
    }
}
