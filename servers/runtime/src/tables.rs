// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables that every server needs beside its core: open tickets, open asks, what waits for
//! `take`, calls to other nodes, timers. Shared by [`crate::Cx`] and [`crate::Host`], under one lock.

use crate::collections::HashMap;
use crate::giving::Gives;
use crate::limits::{COMPLETION_BYTES, EVENTS_MAX, NODE_CALLS_MAX, TICKETS_MAX, TIMERS_MAX};
use crate::limits::{KEPT_CALL_BYTES_MAX, PARKED_BYTES_MAX, PARKED_MAX};
use crate::node::Lane;
use crate::owed::Owed;
use crate::replication::Replication;
use crate::{Client, Msg};
use abi::limits::{CORES_MAX, MESSAGE_BYTES};
use abi::{CoreId, Errno, NodeId, ServerId, SlotNo, Ticket};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// What `take` brings: the end of a ticket, or an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Completion {
    /// A ticket ended.
    Ticket {
        /// Which.
        ticket: Ticket,
        /// How.
        result: Result<Msg, Errno>,
    },
    /// An upcall.
    Event {
        /// Its number in the server's api.
        number: u16,
        /// Its content.
        msg: Msg,
    },
}

/// Bytes of an encoded completion's header: kind, zero, status or number, and the ticket, then the
/// four words.
const HEADER_BYTES: usize = 4 + 8 + 32;

impl Completion {
    /// Packs the completion into the answer of `take`; word 0 of the answer is 1.
    pub(crate) fn pack(&self) -> Msg {
        let (kind, number, ticket, msg) = match self {
            Self::Ticket { ticket, result: Ok(msg) } => (1u8, 0, ticket.to_word(), Some(msg)),
            Self::Ticket { ticket, result: Err(errno) } => {
                (1, errno.number(), ticket.to_word(), None)
            }
            Self::Event { number, msg } => (2, *number, 0, Some(msg)),
        };
        let mut out = Msg { words: [1, 0, 0, 0], ..Msg::default() };
        let mut header = [0; HEADER_BYTES];
        header[0] = kind;
        header[2..4].copy_from_slice(&number.to_le_bytes());
        header[4..12].copy_from_slice(&ticket.to_le_bytes());
        if let Some(msg) = msg {
            for (i, word) in msg.words.iter().enumerate() {
                header[12 + i * 8..20 + i * 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        let body = msg.map_or(&[][..], |msg| &msg.bytes[..]);
        out.bytes.extend_from_slice(&header);
        out.bytes.extend_from_slice(body);
        assert!(out.bytes.len() <= MESSAGE_BYTES, "a completion is bounded where it is queued");
        out
    }

    /// Reads the answer of `take`; `Ok(None)` if nothing waited.
    pub(crate) fn unpack(answer: &Msg) -> Result<Option<Self>, Errno> {
        if answer.words[0] == 0 {
            return Ok(None);
        }
        let header: &[u8; HEADER_BYTES] = answer.bytes.first_chunk().ok_or(Errno::EPROTO)?;
        let number = u16::from_le_bytes([header[2], header[3]]);
        let mut msg = Msg::default();
        for (i, word) in msg.words.iter_mut().enumerate() {
            *word = le_word(header, 12 + i * 8);
        }
        msg.bytes.extend_from_slice(&answer.bytes[HEADER_BYTES..]);
        match header[0] {
            1 => {
                let ticket = Ticket::from_word(le_word(header, 4));
                let result = if number == 0 { Ok(msg) } else { Err(Errno::from_number(number)) };
                Ok(Some(Self::Ticket { ticket, result }))
            }
            2 => Ok(Some(Self::Event { number, msg })),
            _ => Err(Errno::EPROTO),
        }
    }
}

fn le_word(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[derive(Default)]
pub(crate) struct Tickets {
    rows: Vec<(u32, Option<Client>)>,
    free: Vec<u32>,
}

impl Tickets {
    pub(crate) fn open(&mut self, client: Client) -> Result<Ticket, Errno> {
        if let Some(index) = self.free.pop() {
            let row = &mut self.rows[index as usize];
            row.1 = Some(client);
            return Ok(Ticket { index, generation: row.0 });
        }
        if self.rows.len() >= TICKETS_MAX {
            return Err(Errno::EAGAIN);
        }
        self.rows.push((1, Some(client)));
        Ok(Ticket { index: self.rows.len() as u32 - 1, generation: 1 })
    }

    pub(crate) fn client(&self, ticket: Ticket) -> Option<Client> {
        let row = self.rows.get(ticket.index as usize)?;
        if row.0 == ticket.generation { row.1 } else { None }
    }

    pub(crate) fn close(&mut self, ticket: Ticket) -> Option<Client> {
        let client = self.client(ticket)?;
        let row = &mut self.rows[ticket.index as usize];
        *row = (row.0.wrapping_add(1), None);
        self.free.push(ticket.index);
        Some(client)
    }

    /// Ends the tickets of `node` without an answer.
    pub(crate) fn close_of(&mut self, node: NodeId) {
        for index in 0..self.rows.len() {
            let (generation, client) = self.rows[index];
            if matches!(client, Some(Client::Node { node: of, .. }) if of == node) {
                self.close(Ticket { index: index as u32, generation });
            }
        }
    }

    pub(crate) fn find_node_call(&self, node: NodeId, request: u64) -> Option<Ticket> {
        let wanted = Some(Client::Node { node, request });
        let index = self.rows.iter().position(|row| row.1 == wanted)?;
        Some(Ticket { index: index as u32, generation: self.rows[index].0 })
    }
}

/// A call of the core that has not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// About to be asked of a local server, or being asked; remembers a cancel.
    Asking { cancelled: bool },
    /// A local server answered "later".
    Local { server: ServerId, ticket: Ticket },
    /// Another node has it, or gets it by this lane: a cancel must take the same one, or it comes before
    /// the call and finds nothing to cancel.
    Node { node: NodeId, request: u64, lane: Lane },
}

/// What a host still has to do after unlock.
#[derive(Debug)]
pub(crate) enum Action {
    /// Call a local server.
    Ask { server: ServerId, op: u16, msg: Msg, cookie: u64 },
    /// Cancel a call of ours at a local server.
    CancelAsk { server: ServerId, ticket: Ticket },
    /// Something waits for a client.
    Notify { client: ServerId, core: CoreId },
    /// An ask ended without leaving: hand it to the core.
    Complete { cookie: u64, result: Result<crate::NodeReply, Errno> },
    /// Export a slot that could not be exported at once.
    Export { slot: SlotNo },
    /// Run what waits for the next view.
    RunParked,
    /// Perform a call of this node at this node.
    CallOwn { request: u64, op: u16, msg: Msg, bulk: Vec<u8> },
    /// Cancel a request of this node at this node.
    CancelOwn { request: u64 },
    /// Let the timer server know an earlier deadline.
    Arm { deadline_ns: u64 },
}

/// A call to another node.
pub(crate) struct NodeCall {
    cookie: u64,
    /// It is for the home of this slot, whoever that is.
    slot: Option<SlotNo>,
    /// It may have been performed: it was sent before.
    again: bool,
    /// The core wants no more of it than its end: wherever it is sent again, a cancel follows.
    given_up: bool,
    /// Operation, message and bulk data, to be sent to a new home; `None` if there was no room.
    pub(crate) kept: Option<(u16, Msg, Vec<u8>)>,
}

/// A request that waits for the next view.
pub(crate) struct Parked {
    pub(crate) from: Client,
    pub(crate) op: u16,
    pub(crate) msg: Msg,
    pub(crate) bulk: Vec<u8>,
    /// `None` if nobody waits for an answer.
    pub(crate) ticket: Option<Ticket>,
}

pub(crate) struct Tables {
    pub(crate) tickets: Tickets,
    pub(crate) waits: HashMap<u64, Wait>,
    pub(crate) by_ticket: HashMap<(ServerId, Ticket), u64>,
    pub(crate) calls: BTreeMap<u64, NodeCall>,
    kept_bytes: usize,
    pub(crate) parked: VecDeque<Parked>,
    /// The ticket of a parked request that runs again: the next one to be opened.
    pub(crate) reuse: Option<Ticket>,
    /// What a link had no room for.
    pub(crate) owed: Owed,
    pub(crate) gives: Gives,
    pub(crate) replication: Replication,
    pub(crate) next_request: u64,
    queues: HashMap<(ServerId, CoreId), VecDeque<Completion>>,
    pub(crate) events_dropped: u64,
    timers: BTreeMap<(u64, u64), ()>,
    pub(crate) armed_ns: Option<u64>,
    pub(crate) actions: VecDeque<Action>,
    /// Tickets whose time is over, and what they end with: see [`crate::Cx::expire`].
    pub(crate) expired: BTreeMap<Ticket, Errno>,
    /// See [`crate::Cx::note`].
    pub(crate) notes: VecDeque<u64>,
    /// Servers of this node that died.
    dead: BTreeSet<ServerId>,
}

impl Tables {
    pub(crate) fn new() -> Self {
        Self {
            tickets: Tickets::default(),
            waits: HashMap::default(),
            by_ticket: HashMap::default(),
            calls: BTreeMap::new(),
            kept_bytes: 0,
            parked: VecDeque::new(),
            reuse: None,
            owed: Owed::default(),
            gives: Gives::default(),
            replication: Replication::default(),
            next_request: 1,
            queues: HashMap::default(),
            events_dropped: 0,
            timers: BTreeMap::new(),
            armed_ns: None,
            actions: VecDeque::new(),
            expired: BTreeMap::new(),
            notes: VecDeque::new(),
            dead: BTreeSet::new(),
        }
    }

    /// See [`crate::Host::open`].
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn open(&self) -> Vec<alloc::string::String> {
        use alloc::format;
        let op = |request| self.calls.get(&request).and_then(|it| Some(it.kept.as_ref()?.0));
        let wait = |(cookie, wait): (&u64, &Wait)| match wait {
            Wait::Node { request, .. } => format!("{cookie:#x}: {wait:?}, op {:?}", op(*request)),
            Wait::Asking { .. } | Wait::Local { .. } => format!("{cookie:#x}: {wait:?}"),
        };
        let mut lines: Vec<_> = self.waits.iter().map(wait).collect();
        lines.sort();
        let clients = self.tickets.rows.iter().filter_map(|row| row.1);
        lines.extend(clients.map(|it| format!("is to answer {it:?}")));
        lines.extend(self.parked.iter().map(|it| format!("parked: op {} of {:?}", it.op, it.from)));
        lines.extend(self.gives.open());
        lines.extend(self.replication.open());
        lines
    }

    /// Whether a server of this node died.
    pub(crate) fn is_dead(&self, server: ServerId) -> bool {
        self.dead.contains(&server)
    }

    /// A server of this node died: what waits for it, in the order of its tickets.
    pub(crate) fn server_down(&mut self, server: ServerId) -> Vec<u64> {
        self.dead.insert(server);
        self.queues.retain(|(client, _), _| *client != server);
        let mut open: Vec<(Ticket, u64)> = self
            .by_ticket
            .iter()
            .filter(|((at, _), _)| *at == server)
            .map(|((_, ticket), cookie)| (*ticket, *cookie))
            .collect();
        open.sort_unstable();
        self.by_ticket.retain(|(at, _), _| *at != server);
        for (_, cookie) in &open {
            self.waits.remove(cookie);
        }
        open.into_iter().map(|(_, cookie)| cookie).collect()
    }

    /// All timers, as if they had run out.
    pub(crate) fn take_timers(&mut self) -> Vec<u64> {
        core::mem::take(&mut self.timers).into_keys().map(|(_, cookie)| cookie).collect()
    }

    pub(crate) fn wait_local(&mut self, cookie: u64, server: ServerId, ticket: Ticket) {
        if self.is_dead(server) {
            // It answered on another core just before it died, and will not again.
            self.actions.push_back(Action::Complete { cookie, result: Err(Errno::EIO) });
            return;
        }
        let before = self.waits.insert(cookie, Wait::Local { server, ticket });
        if before == Some(Wait::Asking { cancelled: true }) {
            self.actions.push_back(Action::CancelAsk { server, ticket });
        }
        self.by_ticket.insert((server, ticket), cookie);
    }

    pub(crate) fn new_call(
        &mut self,
        (node, lane): (NodeId, Lane),
        slot: Option<SlotNo>,
        cookie: u64,
        (op, msg, bulk): (u16, &Msg, &[u8]),
    ) -> Result<u64, Errno> {
        if self.calls.len() >= NODE_CALLS_MAX {
            return Err(Errno::EAGAIN);
        }
        let request = self.next_request;
        self.next_request += 1;
        let fits = self.kept_bytes + weight(msg, bulk) <= KEPT_CALL_BYTES_MAX;
        let kept = fits.then(|| (op, msg.clone(), bulk.to_vec()));
        self.kept_bytes += kept.as_ref().map_or(0, |(_, msg, bulk)| weight(msg, bulk));
        self.calls.insert(request, NodeCall { cookie, slot, again: false, given_up: false, kept });
        self.waits.insert(cookie, Wait::Node { node, request, lane });
        Ok(request)
    }

    /// The core gave up on a call: if it is of this node to itself and has not begun, it does not begin.
    pub(crate) fn give_up(&mut self, request: u64) {
        if let Some(call) = self.calls.get_mut(&request) {
            call.given_up = true;
        }
    }

    /// Whether an open call was given up.
    pub(crate) fn is_given_up(&self, request: u64) -> bool {
        self.calls.get(&request).is_some_and(|call| call.given_up)
    }

    /// The lane by which an open call goes.
    pub(crate) fn lane_of_call(&self, request: u64) -> Option<Lane> {
        match self.waits.get(&self.calls.get(&request)?.cookie) {
            Some(Wait::Node { lane, .. }) => Some(*lane),
            Some(Wait::Asking { .. } | Wait::Local { .. }) | None => None,
        }
    }

    /// Ends a wait for an answer from `node`; the cookie, if it was ours and from that node.
    pub(crate) fn end_call(&mut self, node: NodeId, request: u64) -> Option<u64> {
        let cookie = self.calls.get(&request)?.cookie;
        match self.waits.get(&cookie) {
            Some(Wait::Node { node: asked, request: number, .. })
                if (*asked, *number) == (node, request) => {}
            Some(_) | None => return None,
        }
        let kept = self.calls.remove(&request).and_then(|call| call.kept);
        self.kept_bytes -= kept.map_or(0, |(_, msg, bulk)| weight(&msg, &bulk));
        self.waits.remove(&cookie);
        Some(cookie)
    }

    /// Whom an open call of ours waits for, and what it asks.
    pub(crate) fn call_to(&self, node: NodeId, request: u64) -> Option<&NodeCall> {
        let call = self.calls.get(&request)?;
        match self.waits.get(&call.cookie) {
            Some(Wait::Node { node: asked, .. }) if *asked == node => Some(call),
            Some(_) | None => None,
        }
    }

    /// All our calls below this number have ended.
    pub(crate) fn floor(&self) -> u64 {
        self.calls.first_key_value().map_or(self.next_request, |(request, _)| *request)
    }

    /// Whether the call was sent before.
    pub(crate) fn is_again(&self, request: u64) -> bool {
        self.calls.get(&request).is_some_and(|call| call.again)
    }

    /// The slot whose home an open call is for, if it was kept to be sent again.
    pub(crate) fn slot_of_call(&self, request: u64) -> Option<SlotNo> {
        let call = self.calls.get(&request)?;
        call.kept.as_ref().and(call.slot)
    }

    /// An open call is sent again, to `to`: what it asks.
    pub(crate) fn call_again(&mut self, request: u64, to: NodeId) -> Option<(u16, Msg, Vec<u8>)> {
        self.redirect(request, to);
        let call = self.calls.get_mut(&request)?;
        call.again = true;
        call.kept.clone()
    }

    /// Open calls to homes of slots, and whom they wait for; in the order in which they were made.
    pub(crate) fn calls_to_homes(&self) -> Vec<(u64, SlotNo, NodeId)> {
        let row = |(request, call): (&u64, &NodeCall)| match self.waits.get(&call.cookie) {
            Some(Wait::Node { node, .. }) => Some((*request, self.slot_of_call(*request)?, *node)),
            Some(Wait::Asking { .. } | Wait::Local { .. }) | None => None,
        };
        self.calls.iter().filter_map(row).collect()
    }

    /// An open call waits for another node from now on.
    pub(crate) fn redirect(&mut self, request: u64, to: NodeId) {
        if let Some(call) = self.calls.get(&request)
            && let Some(Wait::Node { node, .. }) = self.waits.get_mut(&call.cookie)
        {
            *node = to;
        }
    }

    /// Keeps a request for the next view.
    pub(crate) fn park(&mut self, parked: Parked) -> Result<(), Errno> {
        let all = self.parked.iter().chain([&parked]);
        let bytes: usize = all.map(|it| weight(&it.msg, &it.bulk)).sum();
        if self.parked.len() >= PARKED_MAX || bytes > PARKED_BYTES_MAX {
            return Err(Errno::EAGAIN);
        }
        self.parked.push_back(parked);
        Ok(())
    }

    /// Forgets a parked request; whether there was one with this ticket.
    pub(crate) fn unpark(&mut self, ticket: Ticket) -> bool {
        let before = self.parked.len();
        self.parked.retain(|it| it.ticket != Some(ticket));
        self.parked.len() < before
    }

    /// All cookies that wait for `node`, in the order in which the calls were made.
    pub(crate) fn calls_to(&self, node: NodeId) -> Vec<u64> {
        let mut requests: Vec<u64> = self
            .waits
            .values()
            .filter_map(|wait| match wait {
                Wait::Node { node: to, request, .. } if *to == node => Some(*request),
                Wait::Node { .. } | Wait::Local { .. } | Wait::Asking { .. } => None,
            })
            .collect();
        requests.sort_unstable();
        requests
    }

    pub(crate) fn queue(&mut self, client: ServerId, core: CoreId, completion: Completion) {
        assert!(usize::from(core.0) < CORES_MAX, "a core's number is checked where it comes in");
        if self.is_dead(client) {
            return;
        }
        let queue = self.queues.entry((client, core)).or_default();
        let is_event = matches!(completion, Completion::Event { .. });
        if is_event && queue.len() >= EVENTS_MAX {
            self.events_dropped += 1;
            return;
        }
        queue.push_back(completion);
        self.actions.push_back(Action::Notify { client, core });
    }

    pub(crate) fn take(&mut self, client: ServerId, core: CoreId) -> Option<Completion> {
        self.queues.get_mut(&(client, core))?.pop_front()
    }

    pub(crate) fn arm(&mut self, deadline_ns: u64, cookie: u64) -> Result<(), Errno> {
        if self.is_dead(ServerId::Timer) {
            return Err(Errno::EIO);
        }
        if self.timers.len() >= TIMERS_MAX {
            return Err(Errno::EAGAIN);
        }
        self.timers.insert((deadline_ns, cookie), ());
        if self.armed_ns.is_none_or(|armed| deadline_ns < armed) {
            self.armed_ns = Some(deadline_ns);
            self.actions.push_back(Action::Arm { deadline_ns });
        }
        Ok(())
    }

    pub(crate) fn disarm(&mut self, deadline_ns: u64, cookie: u64) {
        self.timers.remove(&(deadline_ns, cookie));
    }

    /// The timer server's notification came: it holds no deadline of this server and core any more,
    /// whichever one it was.
    pub(crate) fn unarmed(&mut self) {
        self.armed_ns = None;
    }

    /// The next timer that has run out; arms for the one after the last.
    pub(crate) fn expired(&mut self, now_ns: u64) -> Option<u64> {
        let (&(deadline_ns, cookie), ()) = self.timers.first_key_value()?;
        if deadline_ns > now_ns {
            if self.armed_ns.is_none_or(|armed| deadline_ns < armed) {
                self.armed_ns = Some(deadline_ns);
                self.actions.push_back(Action::Arm { deadline_ns });
            }
            return None;
        }
        self.timers.pop_first();
        Some(cookie)
    }
}

/// Bytes of a message that is kept.
fn weight(msg: &Msg, bulk: &[u8]) -> usize {
    msg.bytes.len() + bulk.len()
}

/// Cuts a completion's bytes to what `take` can carry.
pub(crate) fn completion_fits(msg: &Msg) -> bool {
    msg.bytes.len() <= COMPLETION_BYTES
}
