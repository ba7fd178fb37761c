// SPDX-License-Identifier: MIT OR Apache-2.0
//! `node add` of a node that the images need not name: the cluster is told its key and Ethernet address, and
//! then it is waited for as any other.
//!
//! # Model
//! ```text
//! wish to the views server --> a view has it --> `node add` of a node that is known
//! ```
//! What is refused is refused here, with a sentence; the views server would drop the wish. What images say is
//! known here only: a view has no word on nodes that it was not told of.
//!
//! # Failure
//! As of a key that is changed ([`crate::keys`]).

use crate::drain::Deed;
use crate::job::JobId;
use crate::keys::{TOO_LATE, refused, unready};
use crate::limits::{DRAIN_LOOK_NS, KEY_PATIENCE_NS};
use crate::{Machine, Shell, Wait};
use abi::limits::NODES_CONFIGURED_MAX;
use abi::{NodeId, ServerId};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use cluster::{Newcomer, Refused, View};
use runtime::Cx;
use shell_api::{AddWish, EVENT_ADD};

/// A node that is being added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adding {
    job: JobId,
    new: Newcomer,
    until_ns: u64,
}

impl<M: Machine> Shell<M> {
    pub(crate) fn begin_adding(&mut self, cx: &mut Cx<'_>, job: JobId, new: Newcomer) {
        match self.may_add(cx, &new) {
            Err(sentence) => return self.end_with(cx, job, &sentence, 1),
            // It was added before, by a command that was given up perhaps.
            Ok(false) => return self.begin_deed(cx, job, (Deed::Add, new.node, false)),
            Ok(true) => {}
        }
        let Newcomer { node, key, address } = new;
        let wish = AddWish { node, key: key.bytes(), address: address.bytes() };
        cx.raise(ServerId::Views, EVENT_ADD, &wish);
        let adding = Adding { job, new, until_ns: cx.now_ns() + KEY_PATIENCE_NS };
        self.later(cx, DRAIN_LOOK_NS, Wait::AddLook(adding));
    }

    /// Whether the cluster has yet to be told.
    fn may_add(&self, cx: &Cx<'_>, new: &Newcomer) -> Result<bool, String> {
        if let Some(sentence) = unready(self.setup.views_agreed, cx) {
            return Err(sentence);
        }
        match cx.view().may_add(cx.node(), new) {
            Ok(()) => {}
            Err(Refused::Nothing) => return Ok(false),
            Err(why) => return Err(refused(new.node, why)),
        }
        let (id, mac) = (new.node.get(), new.address.bytes());
        let named = self.setup.nodes.iter().find(|entry| entry.id == id);
        let key = self.setup.keys.iter().find(|entry| entry.node == id);
        // Images of other nodes may be older than this one's.
        let same = named.is_none_or(|entry| entry.mac == mac)
            && key.is_none_or(|entry| entry.key == new.key.bytes());
        if !same {
            return Err(refused(new.node, Refused::InUse));
        }
        if self.setup.nodes.iter().any(|entry| entry.id != id && entry.mac == mac) {
            return Err(refused(new.node, Refused::OthersAddress));
        }
        let other = |entry: &&abi::image::MemberKey| entry.node != id;
        if self.setup.keys.iter().filter(other).any(|entry| entry.key == new.key.bytes()) {
            return Err(refused(new.node, Refused::OthersKey));
        }
        if named.is_none() && self.known_nodes(cx.view()).len() >= NODES_CONFIGURED_MAX {
            return Err(format!("a cluster has at most {NODES_CONFIGURED_MAX} nodes\n"));
        }
        Ok(true)
    }

    /// Looks whether a view has it.
    pub(crate) fn look_at_adding(&mut self, cx: &mut Cx<'_>, adding: Adding) {
        let Adding { job, new, until_ns } = adding;
        if !self.jobs.contains_key(&job) {
            return;
        }
        let entry = cx.view().changed_key(new.node);
        let entry = entry.filter(|it| it.key == Some(new.key) && it.address == Some(new.address));
        if let Some(since) = entry.map(|it| it.since.0) {
            let line = format!("node {} is known to the cluster, from view {since} on\n", new.node);
            self.print(cx, job, &line);
            return self.begin_deed(cx, job, (Deed::Add, new.node, false));
        }
        if cx.now_ns() < until_ns {
            return self.later(cx, DRAIN_LOOK_NS, Wait::AddLook(adding));
        }
        self.end_with(cx, job, TOO_LATE, 1);
    }

    /// The nodes that the image names, and those that were added, ascending.
    pub(crate) fn known_nodes(&self, view: &View) -> Vec<NodeId> {
        let named = self.setup.nodes.iter().filter_map(|entry| NodeId::new(entry.id));
        let mut nodes: Vec<NodeId> = named.chain(view.added()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

#[cfg(test)]
mod tests;
