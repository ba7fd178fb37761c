// SPDX-License-Identifier: MIT OR Apache-2.0
//! net-server of a simulated node: its real core, joined to the simulated wire as its task joins it to
//! a card.

use crate::node::Node;
use abi::{CoreId, Errno, ServerId};
use net_api::{LinkUse, PeerKey, StrayUse};
use net_core::{Item, PublicKey};
use runtime::node::{Kind, NET_SEND, NET_TAKE, NodeMessage, Taken, read_send_words};
use runtime::{Bulk, Msg, Operation, Status, Wire};

/// Bit of a call's number by which an answer to an old message is known.
const OLD: u64 = 1 << 48;

/// The same message, from before its sender was a member; `None`: of no view. What a member sent in an
/// older view counts (links outlive views, ADR 0028), and a session delivers nothing twice.
fn of_an_old_view(data: &[u8]) -> Option<Vec<u8>> {
    let message = NodeMessage::decode(data).ok()?;
    let calls = message.kind == Kind::Call;
    if message.epoch == 0 {
        return None;
    }
    let epoch = 0;
    let request = if calls { message.request | OLD } else { message.request };
    NodeMessage { epoch, request, ..message }.encode().ok()
}

impl Node {
    pub(crate) fn net_request(
        &self,
        now_ns: u64,
        from: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        let result = match op {
            NET_SEND => self.net_send(from, msg.words, bulk.data()).map(|()| Msg::default()),
            NET_TAKE => self.net_take(from, now_ns, bulk),
            LinkUse::NUMBER => LinkUse::get(msg)
                .and_then(|link| self.around.borrow().net.figures(link.node))
                .and_then(|figures| Msg::of(&figures)),
            PeerKey::NUMBER => PeerKey::get(msg)
                .and_then(|PeerKey { node, key, address }| {
                    let net = &mut self.around.borrow_mut().net;
                    let added = address.map_or(Ok(()), |mac| net.add_peer(node, mac));
                    net.change_key(node, key.map(PublicKey), now_ns).and(added)
                })
                .map(|()| Msg::default()),
            StrayUse::NUMBER => Msg::of(&self.around.borrow().net.strays()),
            _ => Err(Errno::ENOSYS),
        };
        self.settle_net(now_ns);
        match result {
            Ok(reply) => {
                *msg = reply;
                Status::Done
            }
            Err(errno) => Status::Failed(errno),
        }
    }

    fn net_send(&self, from: ServerId, words: [u64; 4], data: &[u8]) -> Result<(), Errno> {
        let (node, lane, urge) = read_send_words(words)?;
        assert_eq!(words[2], from as u64, "a server speaks to its own kind");
        let message = NodeMessage::decode(data).expect("a host encodes well");
        let acted = message.kind == Kind::Reply && message.request & OLD != 0;
        assert!(!acted, "{from} of node {} answered a message of an old epoch", self.id);
        let around = &mut *self.around.borrow_mut();
        around.net.send(node, (lane, urge), from, data.to_vec())?;
        around.links.borrow_mut().sent((self.id, node, lane as u8, from), data);
        Ok(())
    }

    fn net_take(&self, from: ServerId, now_ns: u64, bulk: &mut Bulk<'_>) -> Result<Msg, Errno> {
        let around = &mut *self.around.borrow_mut();
        if let Some((node, data)) = around.old.remove(&from) {
            bulk.set(&data)?;
            let words = [Taken::Message as u64, u64::from(node.get()), 1, 0];
            return Ok(Msg { words, ..Msg::default() });
        }
        let taken = around.net.take(from, bulk.buf.len(), now_ns)?;
        match &taken {
            Some((Item::Message(node, data), _)) => {
                // What a net-server says of a dead server of its own was sent by no server.
                let message = NodeMessage::decode(data);
                if message.is_ok_and(|message| message.kind != Kind::Gone) {
                    let next = around.links.borrow_mut().taken(*node, self.id, from, data);
                    next.unwrap_or_else(|violation| panic!("{violation}"));
                }
                if around.rng.chance(around.old_percent) {
                    around.old.extend(of_an_old_view(data).map(|old| (from, (*node, old))));
                }
            }
            Some((Item::Down(node), _)) => {
                around.links.borrow_mut().broke(*node, self.id, from);
            }
            Some((Item::Up(_), _)) | None => {}
        }
        let words = match taken {
            None => [Taken::Nothing as u64, 0, 0, 0],
            Some((Item::Message(node, data), more)) => {
                bulk.set(&data)?;
                [Taken::Message as u64, u64::from(node.get()), u64::from(more), 0]
            }
            Some((Item::Down(node), more)) => {
                [Taken::Down as u64, u64::from(node.get()), u64::from(more), 0]
            }
            Some((Item::Up(node), more)) => {
                [Taken::Up as u64, u64::from(node.get()), u64::from(more), 0]
            }
        };
        Ok(Msg { words, ..Msg::default() })
    }

    /// Frames that are due leave, and servers are told what waits for them.
    pub(crate) fn settle_net(&self, now_ns: u64) {
        if self.is_dead(ServerId::Net) {
            return;
        }
        let around = &mut *self.around.borrow_mut();
        let mut frame = Vec::new();
        while around.net.next_frame(now_ns, &mut frame) {
            around.outbox.push(frame.clone());
        }
        while let Some(server) = around.net.next_to_tell() {
            let notice = (ServerId::Net, server, CoreId(0));
            if !around.notices.contains(&notice) {
                around.notices.push(notice);
            }
        }
    }
}
