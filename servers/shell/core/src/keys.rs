// SPDX-License-Identifier: MIT OR Apache-2.0
//! `node key` and `node revoke`: an administrator changes what the cluster takes for a node's key.
//!
//! # Model
//! ```text
//! wish to the views server --> a view has it --> key: done
//!                                                revoke: the node is no member any more --> done
//! ```
//! What is refused is refused here, with a sentence; the views server would drop the wish.
//!
//! # Failure
//! A wish that no view has within [`KEY_PATIENCE_NS`] is over: the views server has given it up before.

use crate::job::JobId;
use crate::limits::{DRAIN_LOOK_NS, KEY_PATIENCE_NS};
use crate::{Machine, Shell, Wait};
use abi::{NodeId, ServerId};
use alloc::format;
use alloc::string::String;
use cluster::{PublicKey, Refused, View};
use runtime::Cx;
use shell_api::{EVENT_KEY, KeyWish};

/// A change that was wished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    job: JobId,
    node: NodeId,
    /// None: it is revoked.
    key: Option<PublicKey>,
    until_ns: u64,
    /// A view has it.
    agreed: bool,
}

impl<M: Machine> Shell<M> {
    pub(crate) fn begin_key(
        &mut self,
        cx: &mut Cx<'_>,
        job: JobId,
        node: NodeId,
        key: Option<PublicKey>,
    ) {
        if let Err(sentence) = self.may_change_key(cx, node, key) {
            return self.end_with(cx, job, &sentence, 1);
        }
        let wish = KeyWish { node, key: key.map(PublicKey::bytes) };
        cx.raise(ServerId::Views, EVENT_KEY, &wish);
        let until_ns = cx.now_ns() + KEY_PATIENCE_NS;
        let change = Change { job, node, key, until_ns, agreed: false };
        self.later(cx, DRAIN_LOOK_NS, Wait::KeyLook(change));
    }

    fn may_change_key(
        &self,
        cx: &Cx<'_>,
        node: NodeId,
        key: Option<PublicKey>,
    ) -> Result<(), String> {
        if let Some(sentence) = unready(self.setup.views_agreed, cx) {
            return Err(sentence);
        }
        if !self.known_nodes(cx.view()).contains(&node) {
            return Err(format!("there is no node {node}: see `nodes`\n"));
        }
        cx.view().may_change_key(cx.node(), node, key).map_err(|why| refused(node, why))
    }

    /// Looks whether a view has what was wished.
    pub(crate) fn look_at_key(&mut self, cx: &mut Cx<'_>, mut change: Change) {
        let Change { job, node, key, until_ns, .. } = change;
        if !self.jobs.contains_key(&job) {
            return;
        }
        let since = since(cx.view(), node, key);
        if let (Some(epoch), false) = (since, change.agreed) {
            change.agreed = true;
            let what = if key.is_some() { "another key" } else { "no key any more" };
            self.print(cx, job, &format!("node {node} has {what}, from view {epoch} on\n"));
            if key.is_some() && cx.view().contains(node) {
                let hint = "Its links go on if it holds the private half; if not, it counts as down in a few \
                            seconds, until `linkkey` is typed at its rescue prompt\n";
                self.print(cx, job, hint);
            }
        }
        let is_out = key.is_some() || !cx.view().contains(node);
        match since {
            Some(_) if key.is_some() => self.end(cx, job, 0),
            Some(_) if is_out => {
                let line = format!("node {node} is no member: it is a stranger to all others\n");
                self.end_with(cx, job, &line, 0);
            }
            Some(_) | None if cx.now_ns() < until_ns => {
                self.later(cx, DRAIN_LOOK_NS, Wait::KeyLook(change));
            }
            Some(_) => {
                let line = format!("node {node} is a member still: see `nodes`\n");
                self.end_with(cx, job, &line, 1);
            }
            None if change.agreed => {
                self.end_with(cx, job, "it has been changed again since: see `nodes`\n", 1);
            }
            None => {
                self.end_with(cx, job, TOO_LATE, 1);
            }
        }
    }
}

/// The view that made the node's key this one, if it is.
fn since(view: &View, node: NodeId, key: Option<PublicKey>) -> Option<u64> {
    view.changed_key(node).filter(|entry| entry.key == key).map(|entry| entry.since.0)
}

/// Why nothing can be changed at all, if it cannot.
pub(crate) fn unready(views_agreed: bool, cx: &Cx<'_>) -> Option<String> {
    if !views_agreed {
        return Some(
            "keys and nodes are those of the images: this cluster has `views = \"static\"` in its cluster.toml\n"
                .into(),
        );
    }
    let sentence = "nothing can be changed without a majority of the voters: see `nodes`\n";
    (!cx.may_act()).then(|| sentence.into())
}

/// A wish that no view has in time.
pub(crate) const TOO_LATE: &str =
    "it could not be agreed on in time, and is given up: see `nodes`, and try again\n";

pub(crate) fn refused(node: NodeId, why: Refused) -> String {
    match why {
        Refused::Nothing => format!("node {node}: it is so already: see `nodes`\n"),
        Refused::NotYours => {
            "this node does not vote: give the command on one that does, see `nodes`\n".into()
        }
        Refused::Itself => {
            format!("node {node} cannot revoke its own key: give the command on another node\n")
        }
        Refused::Majority => format!(
            "without node {node} no majority of the voters would be left to agree on anything: start those \
             that are down, or `node drain {node}` first\n"
        ),
        Refused::OthersKey => "it is the key of another node: each has its own\n".into(),
        Refused::Keys => format!(
            "as many keys have been changed, and nodes added, as the cluster can remember ({}): node {node} needs \
             new images\n",
            cluster::limits::CHANGED_KEYS_MAX
        ),
        Refused::InUse => format!(
            "there is a node {node} already, with another key or Ethernet address: see `nodes`. `node key` \
             changes its key; another machine needs another number\n"
        ),
        Refused::OthersAddress => {
            "it is the Ethernet address of another node: each has its own\n".into()
        }
        other => format!("node {node}: {other}\n"),
    }
}

#[cfg(test)]
mod tests;
