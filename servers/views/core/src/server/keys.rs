// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys of nodes that change while the cluster runs: an administrator's wish goes into the view, and what
//! the view says goes to net-server.
//!
//! # Model
//! The shell server of this node raises the wish, and nobody else is heard. It is asked for in each view
//! until one has it, or none may, or too long has passed: it must not take effect when the administrator
//! has been told that it did not.
//!
//! What a view changes net-server hears once, entry by entry. So does a node that starts and remembers a
//! view: whom the cluster knows as a stranger does not become a friend by the next power failure.

use super::{Machine, ViewsServer};
use crate::limits::KEY_WISH_NS;
use abi::{Epoch, NodeId};
use alloc::format;
use cluster::{PublicKey, Request, View};
use net_api::PeerKey;
use runtime::{Cx, Msg, Wire};
use shell_api::KeyWish;

#[derive(Clone, Copy, Debug)]
struct Wanted {
    node: NodeId,
    key: Option<PublicKey>,
    /// Of the core's time.
    until: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Keys {
    wanted: Option<Wanted>,
    /// The view up to which net-server knows all changes.
    told: Epoch,
}

impl<M: Machine> ViewsServer<M> {
    /// An administrator wishes a key changed. The last wish is what counts.
    pub(super) fn wish_key(&mut self, now: u64, msg: &Msg) {
        let Ok(KeyWish { node, key }) = KeyWish::get(msg) else { return };
        let key = match key.map(PublicKey::new) {
            Some(None) => return,
            Some(key) => key,
            None => None,
        };
        self.keys.wanted = Some(Wanted { node, key, until: now + KEY_WISH_NS });
    }

    /// Asks for it in each view.
    pub(super) fn ask_for_key(&mut self, cx: &Cx<'_>, now: u64) {
        let (Some(wanted), Some(views)) = (self.keys.wanted, &mut self.views) else { return };
        let Wanted { node, key, until } = wanted;
        let may = |view: &View| view.may_change_key(cx.node(), node, key).is_ok();
        if now >= until || !views.view().is_some_and(may) {
            self.keys.wanted = None;
            views.withdraw_keys();
            return;
        }
        // Refused if there is no room now, or this node is no member: it is asked again.
        let _ = views.request(now, Request::Key(node, key));
    }

    /// Tells net-server what is new.
    pub(super) fn tell_keys(&mut self, cx: &mut Cx<'_>, view: &View) {
        let told = core::mem::replace(&mut self.keys.told, view.epoch());
        for entry in view.keys().iter().filter(|entry| entry.since > told) {
            let key = entry.key.map(PublicKey::bytes);
            // Without net-server there are no links.
            let _ = cx.leaf(&PeerKey { node: entry.node, key });
            let what = if key.is_some() { "changed" } else { "revoked" };
            self.say(
                cx,
                &format!("view {} has {what} the key of node {}", entry.since.0, entry.node),
            );
            if key.is_none() && entry.node == cx.node() {
                let line = format!(
                    "node {}: its key was revoked: it is no part of the cluster any more. To take it back, \
                     give it another key (`linkkey` at the rescue prompt, Ctrl-]), and say so on a member \
                     (`node key`)",
                    cx.node()
                );
                self.machine.alarm(&line);
            }
        }
    }
}
