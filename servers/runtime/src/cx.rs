// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a core acts through, during one step.

use crate::limits::NODE_BODY_BYTES;
use crate::membership::Membership;
use crate::node::{self, Kind, Lane, NodeMessage, Urge};
use crate::replication::{Outbound, Output};
use crate::tables::{Action, Completion, Tables, Wait, completion_fits};
use crate::{Bulk, Client, Lease, Msg, NodeReply, Operation, Platform, Status, Wire, system};
use abi::limits::MESSAGE_BYTES;
use abi::{CoreId, Errno, NodeId, ServerId, SlotNo, Ticket};
use alloc::vec::Vec;
use cluster::View;
use core::task::Poll;

/// The surroundings of one step of a core.
pub struct Cx<'a> {
    pub(crate) me: ServerId,
    pub(crate) node: NodeId,
    pub(crate) membership: &'a Membership,
    pub(crate) now_ns: u64,
    pub(crate) core: CoreId,
    pub(crate) platform: &'a mut dyn Platform,
    pub(crate) tables: &'a mut Tables,
}

impl Cx<'_> {
    /// Nanoseconds since boot.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Bytes of the heap that are free. Other servers of the domain use it too.
    pub fn heap_left(&self) -> usize {
        self.platform.heap_left()
    }

    /// The view.
    pub fn view(&self) -> &View {
        &self.membership.view
    }

    /// The slot in which this node makes new things; `None` if it is home to none, or no member yet.
    pub fn slot_for_new(&self) -> Option<SlotNo> {
        self.membership.slot_for_new()
    }

    /// Whether the slot, of this node, may be given away with the next view: nothing may begin there.
    pub fn is_frozen(&self, slot: SlotNo) -> bool {
        self.membership.is_frozen(slot)
    }

    /// Whether the node may act on what others could take over: it is a member and its lease is good.
    /// Where it may not, [`crate::Core::acting`] says when it may again.
    pub fn may_act(&self) -> bool {
        self.membership.may_act(self.now_ns)
    }

    /// Whether this server died on `node`: it does not come back before that node boots again.
    pub fn is_peer_dead(&self, node: NodeId) -> bool {
        self.membership.dead_peers.contains(&node)
    }

    /// Lets a server of this node enter a view. For the views server, which nobody asks under a lock.
    ///
    /// # Errors
    /// What the server's host answers; EIO if the server died.
    pub fn push_view(&mut self, server: ServerId, view: &[u8]) -> Result<(), Errno> {
        // In pieces, as not every server sees the windows of others.
        for (at, piece) in view.chunks(MESSAGE_BYTES).enumerate() {
            let words = [(at * MESSAGE_BYTES) as u64, view.len() as u64, 0, 0];
            let mut msg = Msg { words, bytes: piece.to_vec() };
            let bulk = &mut Bulk::none();
            match self.platform.call(self.me, server, system::ENTER, &mut msg, bulk) {
                Status::Done => {}
                Status::Failed(errno) => return Err(errno),
                Status::Pending(_) => return Err(Errno::EPROTO),
            }
        }
        Ok(())
    }

    /// Tells a server of this node until when it may act. As [`Self::push_view`].
    ///
    /// # Errors
    /// EIO if the server died.
    pub fn push_lease(&mut self, server: ServerId, lease: &Lease) -> Result<(), Errno> {
        let mut msg = Msg::of(lease)?;
        match self.platform.call(self.me, server, system::LEASE, &mut msg, &mut Bulk::none()) {
            Status::Done => Ok(()),
            Status::Failed(errno) => Err(errno),
            Status::Pending(_) => Err(Errno::EPROTO),
        }
    }

    /// Whom the last lease named as the one who gives them.
    pub fn leader(&self) -> Option<NodeId> {
        self.membership.leader
    }

    /// The CPU core that runs this step.
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// Calls a leaf operation of a server below, now.
    ///
    /// # Errors
    /// What the server answers; EPROTO if it answers "later".
    pub fn leaf<O: Operation>(&mut self, op: &O) -> Result<O::Reply, Errno> {
        self.leaf_bulk(op, &mut Bulk::none())
    }

    /// The same, with bulk data both ways.
    ///
    /// # Errors
    /// As [`Self::leaf`].
    pub fn leaf_bulk<O: Operation>(
        &mut self,
        op: &O,
        bulk: &mut Bulk<'_>,
    ) -> Result<O::Reply, Errno> {
        const { assert!(O::LEAF, "only leaf operations are called under the lock") };
        let mut msg = Msg::of(op)?;
        match self.platform.call(self.me, O::SERVER, O::NUMBER, &mut msg, bulk) {
            Status::Done => O::Reply::get(&msg),
            Status::Failed(errno) => Err(errno),
            Status::Pending(_) => Err(Errno::EPROTO),
        }
    }

    /// Calls a leaf operation that may end later: then [`crate::Core::completion`] brings its answer
    /// under `cookie`.
    ///
    /// # Errors
    /// What the server answers.
    pub fn leaf_or_wait<O: Operation>(
        &mut self,
        op: &O,
        cookie: u64,
    ) -> Result<Poll<O::Reply>, Errno> {
        const { assert!(O::LEAF, "only leaf operations are called under the lock") };
        let mut msg = Msg::of(op)?;
        match self.platform.call(self.me, O::SERVER, O::NUMBER, &mut msg, &mut Bulk::none()) {
            Status::Done => Ok(Poll::Ready(O::Reply::get(&msg)?)),
            Status::Failed(errno) => Err(errno),
            Status::Pending(ticket) => {
                self.tables.wait_local(cookie, O::SERVER, ticket);
                Ok(Poll::Pending)
            }
        }
    }

    /// Calls a server below after this step; the answer comes to [`crate::Core::completion`] under
    /// `cookie`, which must be unique among this core's open calls.
    pub fn ask<O: Operation>(&mut self, op: &O, cookie: u64) {
        self.ask_server(O::SERVER, op, cookie);
    }

    /// The same, at another server that performs the operation too (files: fs and ipc).
    pub fn ask_server<O: Operation>(&mut self, server: ServerId, op: &O, cookie: u64) {
        let action = match Msg::of(op) {
            Ok(msg) => {
                self.tables.waits.insert(cookie, Wait::Asking { cancelled: false });
                Action::Ask { server, op: O::NUMBER, msg, cookie }
            }
            Err(errno) => Action::Complete { cookie, result: Err(errno) },
        };
        self.tables.actions.push_back(action);
    }

    /// Gives up on the call with this cookie: its completion comes soon, once, with ECANCELED or with
    /// its real end. Without such a call nothing happens.
    pub fn cancel(&mut self, cookie: u64) {
        match self.tables.waits.get(&cookie).copied() {
            Some(Wait::Asking { .. }) => {
                self.tables.waits.insert(cookie, Wait::Asking { cancelled: true });
            }
            Some(Wait::Local { server, ticket }) => {
                self.tables.actions.push_back(Action::CancelAsk { server, ticket });
            }
            Some(Wait::Node { node, request, .. }) if node == self.node => {
                self.tables.actions.push_back(Action::CancelOwn { request });
            }
            Some(Wait::Node { node, request, .. }) => {
                self.tables.give_up(request);
                // One that has not left yet ends when its turn comes.
                if !self.tables.owed.has_call(node, request) {
                    self.send_cancel(node, request);
                }
            }
            None => {}
        }
    }

    /// Tells a node that a call which it got, or gets before this, was given up.
    pub(crate) fn send_cancel(&mut self, node: NodeId, request: u64) {
        let Some(lane) = self.tables.lane_of_call(request) else { return };
        let header = (Kind::Cancel, 0, 0, request);
        // A dead link fails the call itself, or brings it again: no loss if this cannot leave.
        let _ = self.send_by((lane, Urge::Owed), node, header, Msg::default(), Vec::new());
    }

    /// Calls the same server on another node, or on this one after this step; the answer comes to
    /// [`crate::Core::completion`].
    pub fn call_node<O: Operation>(&mut self, node: NodeId, op: &O, bulk: Vec<u8>, cookie: u64) {
        self.call((node, None), op, bulk, cookie);
    }

    /// Calls the same server at the home of a slot, which is another node. If that is gone, and the slot's
    /// backup has taken over, the call goes there, and is performed once.
    pub fn call_home<O: Operation>(&mut self, slot: SlotNo, op: &O, bulk: Vec<u8>, cookie: u64) {
        self.call((self.view().home(slot), Some(slot)), op, bulk, cookie);
    }

    fn call<O: Operation>(
        &mut self,
        (node, slot): (NodeId, Option<SlotNo>),
        op: &O,
        bulk: Vec<u8>,
        cookie: u64,
    ) {
        let sent = Msg::of(op).and_then(|msg| {
            let to = (node, NodeMessage::lane_of(&bulk));
            let request = self.tables.new_call(to, slot, cookie, (O::NUMBER, &msg, &bulk))?;
            if node == self.node {
                let op = O::NUMBER;
                self.tables.actions.push_back(Action::CallOwn { request, op, msg, bulk });
                return Ok(());
            }
            let header = (Kind::Call, O::NUMBER, 0, request);
            let sent = self.send(Urge::New, node, header, msg, bulk);
            match sent {
                Err(Errno::EHOSTDOWN) if self.may_follow(node, request, false) => return Ok(()),
                Err(Errno::EAGAIN) if self.call_waits(node, request) => return Ok(()),
                Ok(()) | Err(_) => {}
            }
            sent.inspect_err(|_| {
                self.tables.end_call(node, request);
            })
        });
        if let Err(errno) = sent {
            self.tables.actions.push_back(Action::Complete { cookie, result: Err(errno) });
        }
    }

    /// Whether a call to a node that cannot be reached goes on: its slot has another home that has all of it, or
    /// may get one; not from a node whose life has ended (`over`) in this view.
    pub(crate) fn may_follow(&self, node: NodeId, request: u64, over: bool) -> bool {
        let Some(slot) = self.tables.slot_of_call(request) else { return false };
        // A server that died stays the home of its slots: nobody takes over from it.
        if self.is_peer_dead(self.view().home(slot)) {
            return false;
        }
        let row = self.view().slot(slot);
        if row.primary == node && !over { row.backup.is_some() } else { row.lost < row.since }
    }

    /// Tells the same server on another node something, without an answer. Messages to one node and
    /// lane arrive in order, or the node counts as down.
    ///
    /// # Errors
    /// EHOSTDOWN: the node does not answer. EAGAIN: the link's queue is full. EMSGSIZE.
    pub fn tell_node<O: Operation>(
        &mut self,
        node: NodeId,
        op: &O,
        bulk: Vec<u8>,
    ) -> Result<(), Errno> {
        self.tell(Urge::New, node, op, bulk)
    }

    /// The same for what is told only once: a full queue takes it all the same, or the link goes down.
    ///
    /// # Errors
    /// EHOSTDOWN: the node does not answer. EMSGSIZE.
    pub fn inform_node<O: Operation>(
        &mut self,
        node: NodeId,
        op: &O,
        bulk: Vec<u8>,
    ) -> Result<(), Errno> {
        self.tell(Urge::Owed, node, op, bulk)
    }

    fn tell<O: Operation>(
        &mut self,
        urge: Urge,
        node: NodeId,
        op: &O,
        bulk: Vec<u8>,
    ) -> Result<(), Errno> {
        let msg = Msg::of(op)?;
        self.send(urge, node, (Kind::Tell, O::NUMBER, 0, 0), msg, bulk)
    }

    /// Opens a ticket for a request that ends later.
    ///
    /// # Errors
    /// EAGAIN: too many are open.
    pub fn open_ticket(&mut self, client: Client) -> Result<Ticket, Errno> {
        let again = |ticket: &Ticket| self.tables.tickets.client(*ticket) == Some(client);
        if self.tables.reuse.as_ref().is_some_and(again)
            && let Some(ticket) = self.tables.reuse.take()
        {
            return Ok(ticket);
        }
        self.tables.tickets.open(client)
    }

    /// Something deep inside the core has changed that concerns the core as a whole: [`crate::Core::noted`] hears of it at
    /// the end of this step. What was noted last is not noted twice.
    pub fn note(&mut self, what: u64) {
        if self.tables.notes.back() != Some(&what) {
            self.tables.notes.push_back(what);
        }
    }

    /// Whether a ticket has not ended.
    pub fn is_open(&self, ticket: Ticket) -> bool {
        self.tables.tickets.client(ticket).is_some()
    }

    /// The time of a call is over: if giving it up ends it with ECANCELED, its client gets this error instead. The core gives
    /// it up itself, after this.
    pub fn expire(&mut self, ticket: Ticket, errno: Errno) {
        if self.is_open(ticket) {
            self.tables.expired.insert(ticket, errno);
        }
    }

    /// Ends a ticket. A ticket that has ended already is left alone.
    pub fn complete<T: Wire>(&mut self, ticket: Ticket, result: Result<T, Errno>) {
        self.complete_bulk(ticket, result, Vec::new());
    }

    /// Ends a ticket with bulk data, which only a client on another node can receive.
    pub fn complete_bulk<T: Wire>(
        &mut self,
        ticket: Ticket,
        result: Result<T, Errno>,
        bulk: Vec<u8>,
    ) {
        self.complete_msg(ticket, result.and_then(|value| Msg::of(&value)), bulk);
    }

    pub(crate) fn complete_msg(
        &mut self,
        ticket: Ticket,
        result: Result<Msg, Errno>,
        bulk: Vec<u8>,
    ) {
        let expired = self.tables.expired.remove(&ticket);
        let Some(client) = self.tables.tickets.close(ticket) else { return };
        let result = match (result, expired) {
            (Err(Errno::ECANCELED), Some(errno)) => Err(errno),
            (result, _) => result,
        };
        let result = result
            .and_then(|msg| if completion_fits(&msg) { Ok(msg) } else { Err(Errno::EMSGSIZE) });
        match client {
            Client::Server { id, core } => {
                self.complete_local(id, core, Completion::Ticket { ticket, result });
            }
            Client::Node { node, request } => self.reply_node(node, request, result, bulk),
        }
    }

    fn complete_local(&mut self, client: ServerId, core: CoreId, completion: Completion) {
        if self.tables.replication.on {
            self.tables.replication.tell(Output::Completion { client, core, completion });
        } else {
            self.tables.queue(client, core, completion);
        }
    }

    /// Sends the node that waits for a ticket to the home that the slot has now. Nothing has been done
    /// for it. A ticket of this node ends with ERESTART.
    pub fn moved(&mut self, ticket: Ticket, slot: SlotNo) {
        match self.tables.tickets.client(ticket) {
            Some(Client::Node { node, request }) => {
                self.tables.tickets.close(ticket);
                self.reply_moved(node, request, slot);
            }
            Some(Client::Server { .. }) => self.complete::<()>(ticket, Err(Errno::ERESTART)),
            None => {}
        }
    }

    /// A slot that could not be exported at once can be now: [`crate::Core::export`] is asked again after
    /// this step.
    pub fn export_now(&mut self, slot: SlotNo) {
        self.tables.actions.push_back(Action::Export { slot });
    }

    /// Raises an upcall to a server above; it collects it with `take` on its first core.
    pub fn raise<T: Wire>(&mut self, client: ServerId, number: u16, event: &T) {
        match Msg::of(event) {
            Ok(msg) if completion_fits(&msg) => {
                self.complete_local(client, CoreId(0), Completion::Event { number, msg });
            }
            Ok(_) | Err(_) => self.tables.events_dropped += 1,
        }
    }

    /// The same, whatever backups have not applied yet.
    pub(crate) fn raise_now<T: Wire>(&mut self, client: ServerId, number: u16, event: &T) {
        if let Ok(msg) = Msg::of(event) {
            self.tables.queue(client, CoreId(0), Completion::Event { number, msg });
        }
    }

    /// Arms a timer: [`crate::Event::Timer`] comes at or after `deadline_ns`.
    ///
    /// # Errors
    /// EAGAIN: too many timers. EIO: the timer server died.
    pub fn arm(&mut self, deadline_ns: u64, cookie: u64) -> Result<(), Errno> {
        self.tables.arm(deadline_ns, cookie)
    }

    /// Forgets a timer armed with exactly these arguments.
    pub fn disarm(&mut self, deadline_ns: u64, cookie: u64) {
        self.tables.disarm(deadline_ns, cookie);
    }

    pub(crate) fn reply_node(
        &mut self,
        node: NodeId,
        request: u64,
        result: Result<Msg, Errno>,
        bulk: Vec<u8>,
    ) {
        if request == 0 {
            return;
        }
        if node == self.node {
            if let Some(cookie) = self.tables.end_call(node, request) {
                let result = result.map(|msg| NodeReply { msg, bulk });
                self.tables.actions.push_back(Action::Complete { cookie, result });
            }
            return;
        }
        let (status, msg, bulk) = match result {
            Ok(msg) => (0, msg, bulk),
            Err(errno) => (errno.number(), Msg::default(), Vec::new()),
        };
        let urge = if bulk.is_empty() { Urge::Owed } else { Urge::New };
        let how = (NodeMessage::lane_of(&bulk), urge);
        let it = Outbound { how, to: node, header: (Kind::Reply, 0, status, request), msg, bulk };
        if self.tables.replication.on && self.membership.speaks_to(node) {
            self.tables.replication.tell(Output::Message(it));
        } else {
            self.transmit_or_end(it);
        }
    }

    /// Tells a node that what it asks for is at the slot's home, which is not here.
    pub(crate) fn reply_moved(&mut self, node: NodeId, request: u64, slot: SlotNo) {
        if node == self.node {
            return self.reply_node(node, request, Err(Errno::ESTALE), Vec::new());
        }
        if request != 0 {
            let msg = Msg { words: [slot.index() as u64, 0, 0, 0], ..Msg::default() };
            let header = (Kind::Reply, 0, node::MOVED, request);
            let _ = self.send(Urge::Owed, node, header, msg, Vec::new());
        }
    }

    pub(crate) fn send(
        &mut self,
        urge: Urge,
        node: NodeId,
        header: (Kind, u16, u16, u64),
        msg: Msg,
        bulk: Vec<u8>,
    ) -> Result<(), Errno> {
        let lane = NodeMessage::lane_of(&bulk);
        self.send_by((lane, urge), node, header, msg, bulk)
    }

    pub(crate) fn send_by(
        &mut self,
        how: (Lane, Urge),
        node: NodeId,
        header: (Kind, u16, u16, u64),
        msg: Msg,
        bulk: Vec<u8>,
    ) -> Result<(), Errno> {
        if !self.membership.speaks_to(node) {
            return Err(Errno::EHOSTDOWN);
        }
        let mut it = Outbound { how, to: node, header, msg, bulk };
        if !self.tables.replication.on {
            return transmit(self, &mut it);
        }
        if it.bulk.len() > NODE_BODY_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        self.tables.replication.tell(Output::Message(it));
        Ok(())
    }

    /// Sends what a step told earlier. If it cannot be sent, who waits for it hears so.
    pub(crate) fn transmit_or_end(&mut self, mut it: Outbound) {
        let (to, (kind, _, _, request)) = (it.to, it.header);
        if kind == Kind::Reply && !it.bulk.is_empty() {
            return self.answer_with_bytes(it);
        }
        let Err(errno) = transmit(self, &mut it) else { return };
        match kind {
            Kind::Call if errno == Errno::EHOSTDOWN && self.may_follow(to, request, false) => {
                self.tables.replication.stranded = true;
            }
            Kind::Call if errno == Errno::EAGAIN && self.call_waits(to, request) => {}
            Kind::Call => {
                if let Some(cookie) = self.tables.end_call(to, request) {
                    self.tables.actions.push_back(Action::Complete { cookie, result: Err(errno) });
                }
            }
            // If the link is down the other side has noticed, or is told again.
            Kind::Reply | Kind::Tell | Kind::Cancel | Kind::Gone => {}
        }
    }

    /// Answers a call with what was answered before.
    pub(crate) fn reply_as(
        &mut self,
        node: NodeId,
        request: u64,
        status: u16,
        msg: Msg,
        bulk: Vec<u8>,
    ) {
        if node == self.node {
            let result = if status == 0 { Ok(msg) } else { Err(Errno::from_number(status)) };
            return self.reply_node(node, request, result, bulk);
        }
        let _ = self.send(Urge::Owed, node, (Kind::Reply, 0, status, request), msg, bulk);
    }
}

/// Sends a message to another node, now.
/// Hands a message to net-server, which refuses it for want of room: EAGAIN.
pub(crate) fn transmit(cx: &mut Cx<'_>, it: &mut Outbound) -> Result<(), Errno> {
    let (how, to, (kind, op, status, request)) = (it.how, it.to, it.header);
    if !cx.membership.speaks_to(to) {
        return Err(Errno::EHOSTDOWN);
    }
    let server = cx.me;
    let epoch = cx.membership.view.epoch().0;
    let (floor, again) = match kind {
        Kind::Call => (cx.tables.floor(), cx.tables.is_again(request)),
        Kind::Reply | Kind::Tell | Kind::Cancel | Kind::Gone => (0, false),
    };
    let life = cx.membership.life_of(to);
    let (msg, bulk) = (core::mem::take(&mut it.msg), core::mem::take(&mut it.bulk));
    let message =
        NodeMessage { kind, server, op, status, epoch, request, floor, again, life, msg, bulk };
    let data = message.encode();
    (it.msg, it.bulk) = (message.msg, message.bulk);
    let mut data = data?;
    let words = node::send_words(to, how, server, data.len());
    let mut msg = Msg { words, ..Msg::default() };
    let mut bulk = Bulk::new(&mut data);
    match cx.platform.call(cx.me, ServerId::Net, node::NET_SEND, &mut msg, &mut bulk) {
        Status::Done => Ok(()),
        // Without net-server no node can be reached.
        Status::Failed(Errno::EIO) => Err(Errno::EHOSTDOWN),
        Status::Failed(errno) => Err(errno),
        Status::Pending(_) => Err(Errno::EPROTO),
    }
}

/// The reply of a local server as [`crate::Core::completion`] gets it.
pub(crate) fn local_reply(msg: Msg) -> NodeReply {
    NodeReply { msg, bulk: Vec::new() }
}
