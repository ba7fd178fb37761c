// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loop that drives a core: one step under the lock, then what the step asked for.

use crate::cx::local_reply;
use crate::node::{self, Kind, NodeMessage, Taken};
use crate::tables::{Action, Completion, Tables};
use crate::{
    Answer, Bulk, Client, Core, Cx, Event, Lock, Msg, Mutant, NodeReply, Platform, Status, system,
};
use abi::limits::WINDOW_BYTES;
use abi::{CoreId, Errno, NodeId, ServerId, Ticket};
use alloc::boxed::Box;
use alloc::vec;
use cluster::View;

struct Inner<C> {
    core: C,
    tables: Tables,
    /// Where messages from other nodes are taken into; `None` only while one is.
    scratch: Option<Box<[u8]>>,
}

/// A server: its core, its tables, its lock.
pub struct Host<C> {
    me: ServerId,
    node: NodeId,
    view: View,
    inner: Lock<Inner<C>>,
}

impl<C: Core> Host<C> {
    /// The server `me` of `node`.
    pub fn new(me: ServerId, node: NodeId, view: View, core: C) -> Self {
        let inner = Inner { core, tables: Tables::new(), scratch: None };
        Self { me, node, view, inner: Lock::new(inner) }
    }

    /// Which server this is.
    pub fn id(&self) -> ServerId {
        self.me
    }

    /// A request of a server of this node.
    pub fn request(
        &self,
        platform: &mut dyn Platform,
        client: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        let status = self.request_locked(platform, client, op, msg, bulk);
        if op != system::TAKE {
            self.run_actions(platform);
        }
        status
    }

    /// The step of [`Self::request`] without what it asks for.
    pub(crate) fn request_locked(
        &self,
        platform: &mut dyn Platform,
        client: ServerId,
        op: u16,
        msg: &mut Msg,
        bulk: &mut Bulk<'_>,
    ) -> Status {
        let core = platform.core();
        match op {
            system::TAKE => self.answer_take(client, core, msg),
            system::CANCEL => self.answer_cancel(platform, client, msg),
            _ => {
                let from = Client::Server { id: client, core };
                match self.locked(platform, |it, cx| it.request(cx, from, op, msg, bulk)) {
                    Answer::Done(reply) => {
                        *msg = reply;
                        Status::Done
                    }
                    Answer::Pending(ticket) => Status::Pending(ticket),
                    Answer::Failed(errno) => Status::Failed(errno),
                }
            }
        }
    }

    fn answer_take(&self, client: ServerId, core: CoreId, msg: &mut Msg) -> Status {
        let taken = self.inner.lock().tables.take(client, core);
        *msg = taken.map_or_else(Msg::default, |completion| completion.pack());
        Status::Done
    }

    fn answer_cancel(&self, platform: &mut dyn Platform, client: ServerId, msg: &Msg) -> Status {
        let ticket = Ticket::from_word(msg.words[0]);
        self.locked(platform, |it, cx| match cx.tables.tickets.client(ticket) {
            Some(Client::Server { id, .. }) if id == client => it.cancel(cx, ticket),
            Some(_) | None => {}
        });
        Status::Done
    }

    /// Runs one step of the core under the lock, then everything that it asked for.
    pub fn step<R>(
        &self,
        platform: &mut dyn Platform,
        run: impl FnOnce(&mut C, &mut Cx<'_>) -> R,
    ) -> R {
        let result = self.locked(platform, run);
        self.run_actions(platform);
        result
    }

    pub(crate) fn locked<R>(
        &self,
        platform: &mut dyn Platform,
        run: impl FnOnce(&mut C, &mut Cx<'_>) -> R,
    ) -> R {
        let mut inner = self.inner.lock();
        let Inner { core, tables, .. } = &mut *inner;
        run(core, &mut self.cx(platform, tables))
    }

    fn cx<'a>(&'a self, platform: &'a mut dyn Platform, tables: &'a mut Tables) -> Cx<'a> {
        let (now_ns, core) = (platform.now_ns(), platform.core());
        Cx { me: self.me, node: self.node, view: &self.view, now_ns, core, platform, tables }
    }

    fn run_actions(&self, platform: &mut dyn Platform) {
        while let Some(action) = self.next_action() {
            self.perform(platform, action);
        }
    }

    /// The oldest thing that a step asked for and that nobody has begun. Workers of several cores take
    /// turns here, so that what one step asked for may be performed in any order.
    pub(crate) fn next_action(&self) -> Option<Action> {
        self.inner.lock().tables.actions.pop_front()
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn has_actions(&self) -> bool {
        !self.inner.lock().tables.actions.is_empty()
    }

    pub(crate) fn perform(&self, platform: &mut dyn Platform, action: Action) {
        match action {
            Action::Ask { server, op, mut msg, cookie } => {
                let status = platform.call(self.me, server, op, &mut msg, &mut Bulk::none());
                self.asked(platform, server, cookie, status, msg);
            }
            Action::CancelAsk { server, ticket } => {
                let mut msg = Msg { words: [ticket.to_word(), 0, 0, 0], ..Msg::default() };
                platform.call(self.me, server, system::CANCEL, &mut msg, &mut Bulk::none());
            }
            Action::Notify { client, core } => platform.notify(self.me, client, core),
            Action::Complete { cookie, result } => self.finish(platform, cookie, result),
            Action::Arm { deadline_ns } => {
                let mut msg = Msg { words: [deadline_ns, 0, 0, 0], ..Msg::default() };
                let timer = ServerId::Timer;
                platform.call(self.me, timer, node::TIMER_ARM, &mut msg, &mut Bulk::none());
            }
        }
    }

    /// A server answered an ask.
    pub(crate) fn asked(
        &self,
        platform: &mut dyn Platform,
        server: ServerId,
        cookie: u64,
        status: Status,
        msg: Msg,
    ) {
        match status {
            Status::Done => self.finish(platform, cookie, Ok(local_reply(msg))),
            Status::Failed(errno) => self.finish(platform, cookie, Err(errno)),
            Status::Pending(ticket) => self.wait(cookie, server, ticket),
        }
    }

    fn wait(&self, cookie: u64, server: ServerId, ticket: Ticket) {
        self.inner.lock().tables.wait_local(cookie, server, ticket);
    }

    fn finish(&self, platform: &mut dyn Platform, cookie: u64, result: Result<NodeReply, Errno>) {
        self.locked(platform, |core, cx| {
            cx.tables.waits.remove(&cookie);
            core.completion(cx, cookie, result);
        });
    }

    /// Collects everything that `server` holds for this one on this core. Called when its
    /// notification came.
    pub fn collect(&self, platform: &mut dyn Platform, server: ServerId) {
        self.begin_collecting(server);
        while self.collect_one(platform, server) {
            self.run_actions(platform);
        }
        self.run_actions(platform);
    }

    pub(crate) fn begin_collecting(&self, server: ServerId) {
        if server == ServerId::Timer {
            self.inner.lock().tables.unarmed();
        }
    }

    /// Collects one thing and runs it; `false` if there was none.
    pub(crate) fn collect_one(&self, platform: &mut dyn Platform, server: ServerId) -> bool {
        match server {
            ServerId::Net => self.collect_message(platform),
            ServerId::Timer => self.collect_timer(platform),
            _ => self.collect_completion(platform, server),
        }
    }

    fn collect_completion(&self, platform: &mut dyn Platform, server: ServerId) -> bool {
        let mut msg = Msg::default();
        let status = platform.call(self.me, server, system::TAKE, &mut msg, &mut Bulk::none());
        if status != Status::Done {
            return false;
        }
        match Completion::unpack(&msg) {
            Ok(Some(Completion::Ticket { ticket, result })) => {
                self.locked(platform, |core, cx| {
                    let Some(cookie) = cx.tables.by_ticket.remove(&(server, ticket)) else {
                        return;
                    };
                    cx.tables.waits.remove(&cookie);
                    core.completion(cx, cookie, result.map(local_reply));
                });
            }
            Ok(Some(Completion::Event { number, msg })) => {
                let event = Event::Upcall { from: server, number, msg };
                self.locked(platform, |core, cx| core.event(cx, event));
            }
            Ok(None) | Err(_) => return false,
        }
        true
    }

    fn collect_timer(&self, platform: &mut dyn Platform) -> bool {
        self.locked(platform, |core, cx| {
            let Some(cookie) = cx.tables.expired(cx.now_ns) else { return false };
            core.event(cx, Event::Timer(cookie));
            true
        })
    }

    /// Takes a message from another node and runs it: taking and running are one step under the lock,
    /// so that messages are run in the order of arrival.
    fn collect_message(&self, platform: &mut dyn Platform) -> bool {
        let mut inner = self.inner.lock();
        let Inner { core, tables, scratch } = &mut *inner;
        let mut buffer = scratch.take().unwrap_or_else(|| vec![0; WINDOW_BYTES].into_boxed_slice());
        let more = self.take_message(core, &mut self.cx(platform, tables), &mut buffer);
        *scratch = Some(buffer);
        more
    }

    fn take_message(&self, core: &mut C, cx: &mut Cx<'_>, buffer: &mut [u8]) -> bool {
        let mut msg = Msg::default();
        let mut bulk = Bulk { buf: buffer, len: 0, answered: false };
        let net = ServerId::Net;
        if cx.platform.call(self.me, net, node::NET_TAKE, &mut msg, &mut bulk) != Status::Done {
            return false;
        }
        match node::taken(&msg, &bulk) {
            Ok((Taken::Message, Some(from))) => {
                if let Ok(message) = NodeMessage::decode(bulk.data()) {
                    self.run_message(core, cx, from, message);
                }
                true
            }
            Ok((Taken::Down, Some(from))) => {
                Self::node_down(core, cx, from);
                true
            }
            Ok((Taken::Up, Some(from))) => {
                cx.tables.dead_peers.remove(&from);
                core.event(cx, Event::NodeUp(from));
                true
            }
            Ok((Taken::Nothing, _)) | Ok((_, None)) | Err(_) => false,
        }
    }

    fn node_down(core: &mut C, cx: &mut Cx<'_>, node: NodeId) {
        let open =
            if Mutant::CallsOutliveTheirNode.is_on() { vec![] } else { cx.tables.calls_to(node) };
        for request in open {
            if let Some(cookie) = cx.tables.end_call(node, request) {
                core.completion(cx, cookie, Err(Errno::EHOSTDOWN));
            }
        }
        core.event(cx, Event::NodeDown(node));
    }

    /// Another server of this node died: ends what waits for it, and tells the core.
    pub fn server_down(&self, platform: &mut dyn Platform, server: ServerId) {
        self.server_down_locked(platform, server);
        self.run_actions(platform);
    }

    pub(crate) fn server_down_locked(&self, platform: &mut dyn Platform, server: ServerId) {
        self.locked(platform, |core, cx| {
            for cookie in cx.tables.server_down(server) {
                core.completion(cx, cookie, Err(Errno::EIO));
            }
            if server == ServerId::Net {
                let others = self.view.members().iter().copied().filter(|node| *node != self.node);
                for node in others {
                    Self::node_down(core, cx, node);
                }
            }
            if server == ServerId::Timer {
                for cookie in cx.tables.take_timers() {
                    core.event(cx, Event::Timer(cookie));
                }
            }
            core.event(cx, Event::ServerDown(server));
        });
    }

    fn run_message(&self, core: &mut C, cx: &mut Cx<'_>, from: NodeId, message: NodeMessage) {
        // A message of another epoch is refused, never guessed at; what net-servers say has none.
        let any = message.kind == Kind::Gone || Mutant::OldEpochsCount.is_on();
        let wanted = any || message.epoch == self.view.epoch().0;
        if message.server != self.me || !wanted {
            return;
        }
        match message.kind {
            Kind::Call | Kind::Tell => Self::run_request(core, cx, from, message),
            Kind::Reply => {
                let NodeMessage { status, request, msg, bulk, .. } = message;
                if let Some(cookie) = cx.tables.end_call(from, request) {
                    let reply = NodeReply { msg, bulk };
                    let result =
                        if status == 0 { Ok(reply) } else { Err(Errno::from_number(status)) };
                    core.completion(cx, cookie, result);
                }
            }
            Kind::Gone => {
                if cx.tables.dead_peers.insert(from) {
                    Self::node_down(core, cx, from);
                }
            }
            Kind::Cancel => {
                let ticket = cx.tables.tickets.find_node_call(from, message.request);
                if let Some(ticket) = ticket {
                    core.cancel(cx, ticket);
                }
            }
        }
    }

    fn run_request(core: &mut C, cx: &mut Cx<'_>, from: NodeId, message: NodeMessage) {
        let NodeMessage { kind, op, request, msg, bulk, .. } = message;
        let request = if kind == Kind::Call { request } else { 0 };
        let len = bulk.len();
        let mut body = bulk;
        body.resize(crate::limits::NODE_BODY_BYTES, 0);
        let mut bulk = Bulk { buf: &mut body, len, answered: false };
        match core.request(cx, Client::Node { node: from, request }, op, &msg, &mut bulk) {
            Answer::Done(reply) => {
                let data = if bulk.answered { bulk.data().to_vec() } else { vec![] };
                cx.reply_node(from, request, Ok(reply), data);
            }
            Answer::Failed(errno) => cx.reply_node(from, request, Err(errno), vec![]),
            Answer::Pending(_) => {}
        }
    }
}
