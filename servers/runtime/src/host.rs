// SPDX-License-Identifier: MIT OR Apache-2.0
//! The loop that drives a core: one step under the lock, then what the step asked for.

use crate::cx::local_reply;
use crate::giving;
use crate::membership::{Judged, Membership};
use crate::node::{self, Kind, NodeMessage, Taken};
use crate::owed::CROWDED;
use crate::tables::{Action, Completion, Tables};
use crate::{
    Answer, Bulk, Client, Core, Cx, Event, Lease, Lock, Msg, Mutant, NodeReply, Platform, Status,
    Wire, system,
};
use abi::limits::WINDOW_BYTES;
use abi::{CoreId, Errno, NodeId, ServerId, Ticket};
use alloc::boxed::Box;
use alloc::vec;
use cluster::View;

pub(crate) struct Inner<C> {
    pub(crate) core: C,
    pub(crate) tables: Tables,
    pub(crate) membership: Membership,
    /// Where messages from other nodes are taken into; `None` only while one is.
    scratch: Option<Box<[u8]>>,
}

/// A server: its core, its tables, its lock.
pub struct Host<C> {
    me: ServerId,
    pub(crate) node: NodeId,
    pub(crate) inner: Lock<Inner<C>>,
}

impl<C> Inner<C> {
    /// Its parts, to be used at the same time.
    pub(crate) fn parts(&mut self) -> (&mut C, &mut Tables, &mut Membership) {
        (&mut self.core, &mut self.tables, &mut self.membership)
    }
}

impl<C: Core> Host<C> {
    /// The server `me` of `node`, in a view that holds for good: for tests.
    pub fn new(me: ServerId, node: NodeId, view: View, core: C) -> Self {
        Self::with(core, Membership::new(node, me, view, u64::MAX), (me, node))
    }

    /// The server `me` of `node`, which is no member of a cluster yet.
    pub fn outside(me: ServerId, node: NodeId, core: C) -> Self {
        Self::with(core, Membership::new(node, me, View::outside(node), 0), (me, node))
    }

    fn with(core: C, membership: Membership, (me, node): (ServerId, NodeId)) -> Self {
        let mut tables = Tables::new();
        tables.replication.on = core.is_replicated();
        tables.owed.waits = core.waits_for_room();
        let inner = Inner { core, tables, membership, scratch: None };
        Self { me, node, inner: Lock::new(inner) }
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
            system::ENTER | system::LEASE | system::GIVE if client != ServerId::Views => {
                Status::Failed(Errno::EPERM)
            }
            system::ENTER => self.answer_enter(platform, msg),
            system::LEASE => self.answer_lease(platform, msg),
            system::GIVE => self.answer_give(platform, msg),
            _ => {
                let from = Client::Server { id: client, core };
                match self.locked(platform, |it, cx| Self::run_local(it, cx, from, op, msg, bulk)) {
                    Answer::Done(reply) => {
                        *msg = reply;
                        Status::Done
                    }
                    Answer::Pending(ticket) => Status::Pending(ticket),
                    Answer::Failed(errno) => Status::Failed(errno),
                    Answer::NextView => {
                        let (msg, bulk) = (msg.clone(), bulk.data().to_vec());
                        let ticket = self
                            .locked(platform, |_, cx| Self::park(cx, from, (op, msg, bulk), true));
                        ticket.map_or_else(Status::Failed, Status::Pending)
                    }
                    // Who asks is here, so the core itself asks the home.
                    Answer::Moved(_) => Status::Failed(Errno::ESTALE),
                }
            }
        }
    }

    /// Runs a request of a server of this node. Its answer waits while a backup has not applied what it changed;
    /// but for bulk data, which cannot be given later.
    fn run_local(
        core: &mut C,
        cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        bulk: &mut Bulk<'_>,
    ) -> Answer {
        if !cx.tables.replication.on {
            return core.request(cx, from, op, msg, bulk);
        }
        if cx.tables.replication.is_full() {
            return Answer::NextView;
        }
        cx.tables.replication.begin();
        let answer = core.request(cx, from, op, msg, bulk);
        Self::end_step(core, cx);
        let msg = match answer {
            Answer::Done(msg) if cx.tables.replication.holds() && !bulk.answered => msg,
            Answer::Done(_)
            | Answer::Failed(_)
            | Answer::Pending(_)
            | Answer::NextView
            | Answer::Moved(_) => return answer,
        };
        match cx.open_ticket(from) {
            Ok(ticket) => {
                cx.complete_msg(ticket, Ok(msg), vec![]);
                Answer::Pending(ticket)
            }
            Err(_) => Answer::Done(msg),
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
            Some(Client::Server { id, .. }) if id == client => Self::give_up(it, cx, ticket),
            Some(_) | None => {}
        });
        Status::Done
    }

    fn answer_enter(&self, platform: &mut dyn Platform, msg: &mut Msg) -> Status {
        let mut inner = self.inner.lock();
        let Inner { core, tables, membership, .. } = &mut *inner;
        let piece = membership.piece(msg);
        *msg = Msg::default();
        let view = match piece {
            Ok(Some(view)) => view,
            Ok(None) => return Status::Done,
            Err(errno) => return Status::Failed(errno),
        };
        let Some(turn) = membership.enter(view) else { return Status::Done };
        let cx = &mut self.cx(platform, tables, membership);
        for node in &turn.lost {
            Self::node_down(core, cx, *node, true);
        }
        for node in &turn.left {
            Self::end_calls(core, cx, *node, true);
        }
        Self::slots_turned(core, cx, &turn);
        Self::copies_turned(core, cx, &turn);
        Self::ask_alone_again(cx);
        core.entered(cx, &turn.old);
        for node in &turn.found {
            core.event(cx, Event::NodeUp(*node));
        }
        Self::run_parked(core, cx);
        Self::release_held(core, cx);
        Self::follow_homes(core, cx, |node| turn.is_over(node));
        Self::end_step(core, cx);
        for node in turn.overrun {
            self.peer_died(&mut inner, platform, node);
        }
        self.run_released(&mut inner, platform);
        Status::Done
    }

    fn answer_lease(&self, platform: &mut dyn Platform, msg: &mut Msg) -> Status {
        let Ok(lease) = Lease::get(msg) else { return Status::Failed(Errno::EINVAL) };
        *msg = Msg::default();
        let mut inner = self.inner.lock();
        let Inner { core, tables, membership, .. } = &mut *inner;
        if membership.lease(platform.now_ns(), lease) {
            let cx = &mut self.cx(platform, tables, membership);
            core.acting(cx);
            Self::end_step(core, cx);
            self.run_released(&mut inner, platform);
        }
        Status::Done
    }

    /// Runs the messages that waited for a view or a lease and do not any more.
    fn run_released(&self, inner: &mut Inner<C>, platform: &mut dyn Platform) {
        let Inner { core, tables, membership, .. } = inner;
        while let Some((from, message)) = membership.release(platform.now_ns()) {
            let cx = &mut self.cx(platform, tables, membership);
            self.run_message(core, cx, from, message);
            Self::end_step(core, cx);
        }
    }

    /// Runs one step of the core under the lock, then everything that it asked for.
    pub fn step<R>(
        &self,
        platform: &mut dyn Platform,
        run: impl FnOnce(&mut C, &mut Cx<'_>) -> R,
    ) -> R {
        // Most steps ask for nothing: then the lock is not taken again to find that out.
        let (result, begun) = self.locked_begun(platform, run);
        if begun {
            self.run_actions(platform);
        }
        result
    }

    pub(crate) fn locked<R>(
        &self,
        platform: &mut dyn Platform,
        run: impl FnOnce(&mut C, &mut Cx<'_>) -> R,
    ) -> R {
        self.locked_begun(platform, run).0
    }

    /// A step; and whether it asked for anything.
    fn locked_begun<R>(
        &self,
        platform: &mut dyn Platform,
        run: impl FnOnce(&mut C, &mut Cx<'_>) -> R,
    ) -> (R, bool) {
        let mut inner = self.inner.lock();
        let Inner { core, tables, membership, .. } = &mut *inner;
        let cx = &mut self.cx(platform, tables, membership);
        let result = run(core, cx);
        Self::end_step(core, cx);
        let begun = !cx.tables.actions.is_empty();
        (result, begun)
    }

    pub(crate) fn cx<'a>(
        &'a self,
        platform: &'a mut dyn Platform,
        tables: &'a mut Tables,
        membership: &'a Membership,
    ) -> Cx<'a> {
        let (now_ns, core) = (platform.now_ns(), platform.core());
        Cx { me: self.me, node: self.node, membership, now_ns, core, platform, tables }
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
            Action::Export { slot } => self.export_now(platform, slot),
            Action::RunParked => self.locked(platform, Self::run_parked),
            Action::CallOwn { request, op, msg, bulk } => self.locked(platform, |core, cx| {
                Self::call_own(core, cx, request, (op, msg, bulk));
            }),
            Action::CancelOwn { request } => self.locked(platform, |core, cx| {
                match cx.tables.tickets.find_node_call(cx.node, request) {
                    Some(ticket) => Self::give_up(core, cx, ticket),
                    None => cx.tables.give_up(request),
                }
            }),
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
            if cookie == CROWDED {
                cx.send_owed();
            } else {
                core.event(cx, Event::Timer(cookie));
            }
            true
        })
    }

    /// Takes a message from another node and runs it: taking and running are one step under the lock,
    /// so that messages are run in the order of arrival.
    fn collect_message(&self, platform: &mut dyn Platform) -> bool {
        let mut inner = self.inner.lock();
        let mut buffer =
            inner.scratch.take().unwrap_or_else(|| vec![0; WINDOW_BYTES].into_boxed_slice());
        let more = self.take_message(&mut inner, platform, &mut buffer);
        inner.scratch = Some(buffer);
        let (core, tables, membership) = inner.parts();
        Self::end_step(core, &mut self.cx(platform, tables, membership));
        more
    }

    fn take_message(
        &self,
        inner: &mut Inner<C>,
        platform: &mut dyn Platform,
        buffer: &mut [u8],
    ) -> bool {
        let mut msg = Msg::default();
        let mut bulk = Bulk { buf: buffer, len: 0, answered: false };
        let net = ServerId::Net;
        if platform.call(self.me, net, node::NET_TAKE, &mut msg, &mut bulk) != Status::Done {
            return false;
        }
        let Inner { core, tables, membership, .. } = inner;
        let (what, Some(from)) = node::taken(&msg, &bulk).unwrap_or((Taken::Nothing, None)) else {
            return false;
        };
        match what {
            Taken::Message => {
                if let Ok(message) = NodeMessage::decode(bulk.data())
                    && message.server == self.me
                {
                    self.judge_message(inner, platform, from, message);
                }
            }
            Taken::Down => {
                if membership.link_down(from) {
                    let cx = &mut self.cx(platform, tables, membership);
                    Self::node_down(core, cx, from, false);
                    Self::follow_homes(core, cx, |_| false);
                }
            }
            Taken::Up => {
                if membership.link_up(from) {
                    let cx = &mut self.cx(platform, tables, membership);
                    Self::send_again(cx, from);
                    Self::call_again(core, cx, from);
                    core.event(cx, Event::NodeUp(from));
                }
            }
            Taken::Nothing => return false,
        }
        true
    }

    fn judge_message(
        &self,
        inner: &mut Inner<C>,
        platform: &mut dyn Platform,
        from: NodeId,
        message: NodeMessage,
    ) {
        let Inner { core, tables, membership, .. } = inner;
        let judged = membership.judge(platform.now_ns(), from, &message);
        if message.kind == Kind::Gone {
            return self.peer_died(inner, platform, from);
        }
        if judged == Judged::Hold {
            for node in membership.hold(from, message) {
                self.peer_died(inner, platform, node);
            }
            return;
        }
        if judged == Judged::Run || judged == Judged::Drop && Mutant::OldEpochsCount.is_on() {
            self.run_message(core, &mut self.cx(platform, tables, membership), from, message);
        }
    }

    /// The same server of another node died, or sends more than there is room for.
    fn peer_died(&self, inner: &mut Inner<C>, platform: &mut dyn Platform, node: NodeId) {
        let Inner { core, tables, membership, .. } = inner;
        if membership.peer_died(node) {
            let cx = &mut self.cx(platform, tables, membership);
            Self::backup_died(cx, node);
            Self::node_down(core, cx, node, false);
        }
    }

    fn node_down(core: &mut C, cx: &mut Cx<'_>, node: NodeId, over: bool) {
        Self::end_calls(core, cx, node, over);
        core.event(cx, Event::NodeDown(node));
    }

    /// Nothing comes from `node` any more, and nothing goes there; whether its life is over, or only a link down.
    fn end_calls(core: &mut C, cx: &mut Cx<'_>, node: NodeId, over: bool) {
        let open =
            if Mutant::CallsOutliveTheirNode.is_on() { vec![] } else { cx.tables.calls_to(node) };
        for request in open {
            if cx.may_follow(node, request, over) {
                continue;
            }
            if let Some(cookie) = cx.tables.end_call(node, request) {
                core.completion(cx, cookie, Err(Errno::EHOSTDOWN));
            }
        }
        Self::forget_parked_of(cx, node);
        giving::gives_node_down(core, cx, node);
        cx.tables.replication.link_down(node);
        cx.tables.owed.node_down(node);
        // Another life of it counts its calls from 1 again: no answer to this one must reach it.
        cx.tables.tickets.close_of(node);
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
                let members = cx.view().members().to_vec();
                for node in members.into_iter().filter(|node| *node != self.node) {
                    Self::node_down(core, cx, node, false);
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
        match message.kind {
            Kind::Call | Kind::Tell => Self::run_request(core, cx, from, message),
            Kind::Reply => {
                let NodeMessage { status, request, msg, bulk, .. } = message;
                if let Some(slot) = cx.tables.gives.part_of(from, request) {
                    return giving::part_answered(core, cx, slot, status);
                }
                if status == node::MOVED {
                    return Self::follow(core, cx, (from, request), msg.words[0]);
                }
                if let Some(cookie) = cx.tables.end_call(from, request) {
                    let reply = NodeReply { msg, bulk };
                    let result =
                        if status == 0 { Ok(reply) } else { Err(Errno::from_number(status)) };
                    core.completion(cx, cookie, result);
                }
            }
            Kind::Gone => {}
            Kind::Cancel => {
                let ticket = cx.tables.tickets.find_node_call(from, message.request);
                if let Some(ticket) = ticket {
                    Self::give_up(core, cx, ticket);
                }
            }
        }
    }

    pub(crate) fn run_request(core: &mut C, cx: &mut Cx<'_>, from: NodeId, message: NodeMessage) {
        let NodeMessage { kind, op, request, epoch, floor, again, msg, bulk, .. } = message;
        let request = if kind == Kind::Call { request } else { 0 };
        match op {
            // What is wrong with it changes nothing; the sender waits for it, as for who does not answer.
            system::CHANGES if kind == Kind::Tell => {
                let _ = Self::take_changes(core, cx, from, &msg, &bulk);
                return;
            }
            system::APPLIED if kind == Kind::Tell => {
                Self::changes_applied(cx, from, &msg);
                return Self::release_held(core, cx);
            }
            _ => {}
        }
        if kind == Kind::Call
            && Self::answered_before(cx, (from, request), (floor, again)) != Ok(false)
        {
            return;
        }
        if op == system::PART {
            let taken = Self::take_part(core, cx, from, (epoch, &msg), &bulk);
            return cx.reply_node(from, request, taken.map(|()| Msg::default()), vec![]);
        }
        let len = bulk.len();
        let mut body = bulk;
        body.resize(crate::limits::NODE_BODY_BYTES, 0);
        let mut bulk = Bulk { buf: &mut body, len, answered: false };
        let client = Client::Node { node: from, request };
        let answer = if cx.tables.replication.is_full() {
            Answer::NextView
        } else {
            core.request(cx, client, op, &msg, &mut bulk)
        };
        match answer {
            Answer::Done(reply) => {
                let data = if bulk.answered { bulk.data().to_vec() } else { vec![] };
                cx.reply_node(from, request, Ok(reply), data);
            }
            Answer::Failed(errno) => cx.reply_node(from, request, Err(errno), vec![]),
            Answer::Pending(_) => {}
            Answer::NextView => {
                let kept = (op, msg, bulk.data().to_vec());
                if let Err(errno) = Self::park(cx, client, kept, request != 0) {
                    cx.reply_node(from, request, Err(errno), vec![]);
                }
            }
            Answer::Moved(slot) => cx.reply_moved(from, request, slot),
        }
    }
}
