// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys of nodes that change, and nodes that are added, while the cluster runs: an administrator's wish goes
//! into the view, and what the view says goes to net-server.
//!
//! # Model
//! The shell server of this node raises the wish, and nobody else is heard. It is asked for in each view
//! until one has it, or none may, or too long has passed: it must not take effect when the administrator
//! has been told that it did not.
//!
//! What a view changes net-server hears once, entry by entry. So does a node that starts and remembers a
//! view: whom the cluster knows as a stranger does not become a friend by the next power failure. A node of no
//! cluster hears it from the view that it is told of: a member to which it has no link may be one that its image
//! does not name, and keep it out for that.

use super::{Machine, ViewsServer};
use crate::limits::KEY_WISH_NS;
use abi::{Epoch, Errno, NodeId};
use alloc::format;
use cluster::{ChangedKey, Newcomer, PublicKey, Request, StationAddress, View};
use net_api::PeerKey;
use runtime::{Cx, Msg, Wire};
use shell_api::{AddWish, KeyWish};

/// What an administrator may wish.
#[derive(Clone, Copy, Debug)]
enum Change {
    Key(NodeId, Option<PublicKey>),
    Node(Newcomer),
}

impl Change {
    fn may_be(self, view: &View, from: NodeId) -> bool {
        match self {
            Self::Key(node, key) => view.may_change_key(from, node, key).is_ok(),
            Self::Node(new) => view.may_add(from, &new).is_ok(),
        }
    }

    fn request(self) -> Request {
        match self {
            Self::Key(node, key) => Request::Key(node, key),
            Self::Node(new) => Request::Add(new),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    change: Change,
    /// Of the core's time.
    until: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Keys {
    wanted: Option<Wanted>,
    /// The view up to which net-server knows all changes.
    told: Epoch,
    /// The last one that it knows of a view that this node is not in.
    told_outside: Epoch,
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
        self.want(now, Change::Key(node, key));
    }

    /// An administrator wishes a node added. The same.
    pub(super) fn wish_node(&mut self, now: u64, msg: &Msg) {
        let Ok(AddWish { node, key, address }) = AddWish::get(msg) else { return };
        let (key, address) = (PublicKey::new(key), StationAddress::new(address));
        if let (Some(key), Some(address)) = (key, address) {
            self.want(now, Change::Node(Newcomer { node, key, address }));
        }
    }

    fn want(&mut self, now: u64, change: Change) {
        self.keys.wanted = Some(Wanted { change, until: now + KEY_WISH_NS });
    }

    /// Asks for it in each view.
    pub(super) fn ask_for_key(&mut self, cx: &Cx<'_>, now: u64) {
        let (Some(wanted), Some(views)) = (self.keys.wanted, &mut self.views) else { return };
        let Wanted { change, until } = wanted;
        let may = |view: &View| change.may_be(view, cx.node());
        if now >= until || !views.view().is_some_and(may) {
            self.keys.wanted = None;
            views.withdraw_keys();
            return;
        }
        // Refused if there is no room now, or this node is no member: it is asked again.
        let _ = views.request(now, change.request());
    }

    /// Tells net-server what is new.
    pub(super) fn tell_keys(&mut self, cx: &mut Cx<'_>, view: &View) {
        let told = core::mem::replace(&mut self.keys.told, view.epoch());
        for entry in view.keys().iter().filter(|entry| entry.since > told) {
            self.tell_key(cx, entry);
            let what = match (entry.address, entry.key) {
                (Some(_), Some(_)) => "has key and address of",
                (None, Some(_)) => "has changed the key of",
                (_, None) => "has revoked the key of",
            };
            self.say(cx, &format!("view {} {what} node {}", entry.since.0, entry.node));
            if entry.key.is_none() && entry.node == cx.node() {
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

    /// Tells net-server what a view says that this node was told of while it is outside. The first view that it
    /// is in says it again: that one counts.
    pub(super) fn tell_keys_outside(&mut self, cx: &mut Cx<'_>) {
        let told = self.views.as_ref().and_then(|views| views.told());
        let Some(view) = told.filter(|it| it.epoch() != self.keys.told_outside) else { return };
        let view = view.clone();
        self.keys.told_outside = view.epoch();
        for entry in view.keys() {
            self.tell_key(cx, entry);
        }
    }

    fn tell_key(&mut self, cx: &mut Cx<'_>, entry: &ChangedKey) {
        let ChangedKey { node, key, address, .. } = *entry;
        let (key, address) = (key.map(PublicKey::bytes), address.map(StationAddress::bytes));
        let line = match cx.leaf(&PeerKey { node, key, address }) {
            Err(Errno::EEXIST) => format!(
                "node {}: the cluster knows node {node} at another Ethernet address than this node's image, whose \
                 word counts here: one of the two is wrong",
                cx.node()
            ),
            Err(Errno::EINVAL) => format!(
                "node {}: has no link to node {node}: the cluster knows it at an Ethernet address that is another \
                 node's in this node's image",
                cx.node()
            ),
            // Without net-server there are no links.
            Ok(()) | Err(_) => return,
        };
        self.machine.alarm(&line);
    }
}
