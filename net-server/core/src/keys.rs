// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which keys count: this node's private ones, and what the cluster says of everybody's public ones.
//!
//! # Model
//! The configuration names a public key for each node. What the agreed view says replaces it
//! ([`Net::change_key`]), and names nodes that the configuration does not ([`Net::add_peer`]). A node may be given the private key that it is to have before the cluster knows
//! the public half ([`Net::enrol`]), or after: it holds both, and each peer's greetings show which one that peer
//! takes for this node's. When the cluster has said which one counts, older ones are forgotten.

use crate::limits::SECRETS_MAX;
use crate::link::Link;
use crate::secure::LinkKeys;
use crate::{Linked, Mac, Net, Notice, Peer, PublicKey, Secret};
use abi::{Errno, NodeId};
use alloc::vec::Vec;

/// What became of a private key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enrolled {
    /// Its public half.
    pub public: PublicKey,
    /// Whether the cluster has that for this node's key, as far as this node knows.
    pub counts: bool,
}

impl Linked {
    fn keys(&self, peer: PublicKey) -> Vec<LinkKeys> {
        self.secrets.iter().map(|secret| LinkKeys::new(secret, peer)).collect()
    }

    /// Begins to greet a peer.
    pub(crate) fn meet(&mut self, peer: &Peer, key: PublicKey, greets: usize, now_ns: u64) {
        let keys = self.keys(key);
        let link = Link::new(peer.node, peer.mac, keys, greets, &mut self.local, now_ns);
        self.links.insert(link);
    }

    /// The place of the private key that counts; that of the newest if it does not hold it.
    fn greets(&self, own: Option<PublicKey>) -> usize {
        self.secrets.iter().position(|secret| Some(secret.public()) == own).unwrap_or(0)
    }
}

impl Net {
    fn known(&self, node: NodeId) -> Option<PublicKey> {
        self.config.peers.iter().find(|peer| peer.node == node)?.key
    }

    /// Gives the node another private key. If it is the one that the cluster has for this node's, or a peer
    /// takes it for that, the links use it at once.
    ///
    /// # Errors
    /// EEXIST: it has it.
    pub fn enrol(&mut self, secret: &Secret, now_ns: u64) -> Result<Enrolled, Errno> {
        let public = secret.public();
        let own = self.known(self.config.node);
        let enrolled = Enrolled { public, counts: Some(public) == own };
        let Some(linked) = &mut self.linked else {
            self.linked = Some(Linked::new(&self.config, secret, now_ns));
            return Ok(enrolled);
        };
        if linked.secrets.contains(secret) {
            return Err(Errno::EEXIST);
        }
        if linked.secrets.len() >= SECRETS_MAX {
            let idle = |secret: &Secret| Some(secret.public()) != own;
            let oldest = linked.secrets.iter().rposition(idle);
            linked.secrets.remove(oldest.expect("of several keys one at most counts"));
        }
        linked.secrets.insert(0, secret.clone());
        self.change_own(own);
        Ok(enrolled)
    }

    /// The links are to greet with the private keys that there are.
    fn change_own(&mut self, own: Option<PublicKey>) {
        let Some(linked) = &mut self.linked else { return };
        let greets = linked.greets(own);
        for peer in &self.config.peers {
            let Some(key) = peer.key else { continue };
            let keys = linked.keys(key);
            if let Some(link) = linked.links.wake(peer.node) {
                link.change_own(keys, greets);
            }
        }
    }

    /// The cluster has another node, which the configuration need not name. Its link begins with its key
    /// ([`Self::change_key`]). Idempotent.
    ///
    /// # Errors
    /// EEXIST: the node is known at another address, which stays: an address that changed while frames are
    /// under way could only be a stranger's, or a mistake. EINVAL: the address is a group's, zero, or that of
    /// another node.
    pub fn add_peer(&mut self, node: NodeId, mac: Mac) -> Result<(), Errno> {
        let peers = &mut self.config.peers;
        if let Some(known) = peers.iter().find(|peer| peer.node == node) {
            return if known.mac == mac { Ok(()) } else { Err(Errno::EEXIST) };
        }
        let others = peers.iter().any(|peer| peer.mac == mac) || mac == self.config.mac;
        if mac[0] & 1 != 0 || mac == Mac::default() || others {
            return Err(Errno::EINVAL);
        }
        peers.push(Peer { node, mac, key: None });
        Ok(())
    }

    /// The cluster has this for a node's public key now; none if it was revoked: then its session ends, and
    /// what comes from it is a stranger's. Idempotent.
    ///
    /// # Errors
    /// EINVAL: no node of the cluster.
    pub fn change_key(
        &mut self,
        node: NodeId,
        key: Option<PublicKey>,
        now_ns: u64,
    ) -> Result<(), Errno> {
        let found = self.config.peers.iter_mut().find(|peer| peer.node == node);
        let peer = found.ok_or(Errno::EINVAL)?;
        if core::mem::replace(&mut peer.key, key) == key {
            return Ok(());
        }
        let peer = *peer;
        if node == self.config.node {
            self.own_key_changed(key);
            return Ok(());
        }
        let own = self.known(self.config.node);
        let Self { linked, inbox, notice, .. } = self;
        let Some(linked) = linked else { return Ok(()) };
        let keys = key.map(|key| linked.keys(key));
        match (linked.links.wake(node), key, keys) {
            (None, Some(key), _) => linked.meet(&peer, key, linked.greets(own), now_ns),
            (Some(link), _, Some(keys)) => link.change_peer(keys, &mut linked.local, now_ns),
            (Some(link), ..) => {
                link.down(&mut linked.local, now_ns, inbox);
                linked.links.remove(node);
                *notice = Some(Notice::Revoked(node));
            }
            (None, ..) => {}
        }
        Ok(())
    }

    fn own_key_changed(&mut self, key: Option<PublicKey>) {
        let Some(linked) = &mut self.linked else { return };
        let held = linked.secrets.iter().position(|secret| Some(secret.public()) == key);
        match held {
            // Those behind it are older.
            Some(at) => linked.secrets.truncate(at + 1),
            None if key.is_some() => self.notice = Some(Notice::OwnKey(self.config.node)),
            None => {}
        }
        self.change_own(key);
    }
}
