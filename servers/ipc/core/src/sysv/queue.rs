// SPDX-License-Identifier: MIT OR Apache-2.0
//! A message queue.
//!
//! # Invariants
//! A receiver waits only while no message is for it, a sender only while there is no room.
//!
//! # Source
//! msgsnd(2), msgrcv(2).

use crate::limits::{MESSAGE_BYTES_MAX, MESSAGES_MAX, QUEUE_BYTES, RETURNED_MESSAGES_MAX};
use abi::{Errno, NodeId, SpaceId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ipc_api::file::Moved;
use ipc_api::sysv::{By, Wanted};
use mem_api::CopyOut;
use runtime::{Bulk, Cx};
use serde::{Deserialize, Serialize};

/// IPC_NOWAIT.
pub(super) const NOWAIT: u32 = 0o4000;
/// MSG_NOERROR: a longer text is cut off.
const NOERROR: u32 = 0o10000;
/// MSG_EXCEPT: any type but this.
const EXCEPT: u32 = 0o20000;
/// Bytes of a message's type before its text.
const TYPE_BYTES: usize = 8;

/// A message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) kind: i64,
    pub(super) text: Vec<u8>,
}

impl Message {
    /// As a program has it in memory, and as it goes between nodes.
    fn bytes(&self, most: usize) -> Vec<u8> {
        let mut bytes = self.kind.to_le_bytes().to_vec();
        bytes.extend(&self.text[..self.text.len().min(most)]);
        bytes
    }

    /// # Errors
    /// EPROTO: that is none.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Errno> {
        let (kind, text) = bytes.split_first_chunk::<TYPE_BYTES>().ok_or(Errno::EPROTO)?;
        let kind = i64::from_le_bytes(*kind);
        let sound = kind > 0 && text.len() <= MESSAGE_BYTES_MAX;
        if sound { Ok(Self { kind, text: text.to_vec() }) } else { Err(Errno::EPROTO) }
    }
}

/// Where a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// Into a program of this node.
    Program { space: SpaceId, addr: u64 },
    /// Into the answer to another node.
    Message,
}

#[derive(Debug)]
struct Sender {
    ticket: Ticket,
    from: NodeId,
    message: Message,
    pid: u32,
}

#[derive(Debug)]
struct Receiver {
    ticket: Ticket,
    from: NodeId,
    wanted: Wanted,
    target: Target,
    pid: u32,
}

/// A message that was received: bytes of its text, and all of it if it goes to another node.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Taken {
    pub(super) text: u64,
    pub(super) data: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    /// Most bytes of all texts.
    pub(super) room: u64,
    senders: VecDeque<Sender>,
    receivers: VecDeque<Receiver>,
    /// Last msgsnd(2), last msgrcv(2): seconds since 1970.
    pub(super) times_s: [i64; 2],
    /// Who called them.
    pub(super) pids: [u32; 2],
}

/// A queue on its way to another home.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    messages: VecDeque<Message>,
    room: u64,
    times_s: [i64; 2],
    pids: [u32; 2],
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            room: QUEUE_BYTES,
            senders: VecDeque::new(),
            receivers: VecDeque::new(),
            times_s: [0; 2],
            pids: [0; 2],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn waiting(&self) -> usize {
        self.senders.len() + self.receivers.len()
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.senders.iter().map(|sender| sender.message.text.len()).sum()
    }

    fn has_room(&self, len: usize) -> bool {
        let (bytes, count) = (self.bytes + len, self.messages.len() + 1);
        bytes as u64 <= self.room && count as u64 <= self.room && count <= MESSAGES_MAX
    }

    /// Sends now, or gives the message back: there is no room.
    pub(super) fn send(
        &mut self,
        cx: &mut Cx<'_>,
        message: Message,
        nowait: bool,
        by: By,
    ) -> Option<Message> {
        // Who does not wait need not wait for others.
        let behind = !nowait && !self.senders.is_empty();
        if behind || !self.has_room(message.text.len()) {
            return Some(message);
        }
        self.put(message, by.pid);
        self.times_s[0] = by.now_s;
        self.pump(cx);
        None
    }

    fn put(&mut self, message: Message, pid: u32) {
        self.bytes += message.text.len();
        self.messages.push_back(message);
        self.pids[0] = pid;
    }

    pub(super) fn wait_to_send(
        &mut self,
        (ticket, from): (Ticket, NodeId),
        message: Message,
        pid: u32,
    ) {
        self.senders.push_back(Sender { ticket, from, message, pid });
    }

    /// Receives now; `None` if there is no message for it.
    ///
    /// # Errors
    /// E2BIG: it is longer than wanted. What the copy answers. The message is still there.
    pub(super) fn receive(
        &mut self,
        cx: &mut Cx<'_>,
        (wanted, target): (Wanted, Target),
        by: By,
    ) -> Result<Option<Taken>, Errno> {
        let Some(at) = self.find(wanted) else { return Ok(None) };
        let taken = self.take(cx, at, wanted, target)?;
        (self.times_s[1], self.pids[1]) = (by.now_s, by.pid);
        self.pump(cx);
        Ok(Some(taken))
    }

    pub(super) fn wait_to_receive(
        &mut self,
        (ticket, from): (Ticket, NodeId),
        (wanted, target): (Wanted, Target),
        pid: u32,
    ) {
        self.receivers.push_back(Receiver { ticket, from, wanted, target, pid });
    }

    /// The message that is wanted.
    fn find(&self, wanted: Wanted) -> Option<usize> {
        let all = self.messages.iter().enumerate();
        match wanted.kind {
            0 => (!self.messages.is_empty()).then_some(0),
            kind if kind > 0 => {
                let except = wanted.flags & EXCEPT != 0;
                all.into_iter().find(|(_, it)| (it.kind == kind) != except).map(|(at, _)| at)
            }
            kind => {
                let most = kind.saturating_neg();
                let least = all.filter(|(_, it)| it.kind <= most);
                least.min_by_key(|(at, it)| (it.kind, *at)).map(|(at, _)| at)
            }
        }
    }

    fn take(
        &mut self,
        cx: &mut Cx<'_>,
        at: usize,
        wanted: Wanted,
        target: Target,
    ) -> Result<Taken, Errno> {
        let message = &self.messages[at];
        let most = usize::try_from(wanted.len).unwrap_or(usize::MAX);
        if message.text.len() > most && wanted.flags & NOERROR == 0 {
            return Err(Errno::E2BIG);
        }
        let mut data = message.bytes(most);
        let text = (data.len() - TYPE_BYTES) as u64;
        if let Target::Program { space, addr } = target {
            cx.leaf_bulk(&CopyOut { space, addr }, &mut Bulk::new(&mut data))?;
            data = Vec::new();
        }
        self.bytes -= message.text.len();
        self.messages.remove(at);
        Ok(Taken { text, data })
    }

    /// Gives a message back that could not be delivered.
    pub(super) fn give_back(&mut self, cx: &mut Cx<'_>, message: Message) -> Result<(), Errno> {
        let most = self.room.saturating_add((RETURNED_MESSAGES_MAX * MESSAGE_BYTES_MAX) as u64);
        if (self.bytes + message.text.len()) as u64 > most || self.messages.len() > MESSAGES_MAX {
            return Err(Errno::ENOSPC);
        }
        self.bytes += message.text.len();
        self.messages.push_front(message);
        self.pump(cx);
        Ok(())
    }

    /// Serves whoever can be served now.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>) {
        loop {
            let found = self.receivers.iter().position(|it| self.find(it.wanted).is_some());
            if let Some(receiver) = found.and_then(|at| self.receivers.remove(at)) {
                self.serve(cx, &receiver);
            } else if self.senders.front().is_some_and(|it| self.has_room(it.message.text.len())) {
                let Some(sender) = self.senders.pop_front() else { return };
                self.put(sender.message, sender.pid);
                cx.complete(sender.ticket, Ok(()));
            } else {
                return;
            }
        }
    }

    fn serve(&mut self, cx: &mut Cx<'_>, receiver: &Receiver) {
        let Some(at) = self.find(receiver.wanted) else { return };
        match self.take(cx, at, receiver.wanted, receiver.target) {
            Ok(Taken { text, data }) => {
                self.pids[1] = receiver.pid;
                cx.complete_bulk(receiver.ticket, Ok(Moved { bytes: text }), data);
            }
            Err(errno) => cx.complete::<()>(receiver.ticket, Err(errno)),
        }
    }

    fn end_all(&mut self, cx: &mut Cx<'_>, errno: Errno) {
        let senders = self.senders.drain(..).map(|it| it.ticket);
        for ticket in senders.chain(self.receivers.drain(..).map(|it| it.ticket)) {
            cx.complete::<()>(ticket, Err(errno));
        }
    }

    /// It is removed.
    pub(super) fn remove(&mut self, cx: &mut Cx<'_>) {
        self.end_all(cx, Errno::EIDRM);
    }

    /// It is about to move: what waits comes again and waits for the next view.
    pub(super) fn send_away(&mut self, cx: &mut Cx<'_>) {
        self.end_all(cx, Errno::ERESTART);
    }

    pub(super) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let before = self.waiting();
        self.senders.retain(|it| it.ticket != ticket);
        self.receivers.retain(|it| it.ticket != ticket);
        if self.waiting() == before {
            return false;
        }
        cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        // Who stood behind it may have room.
        self.pump(cx);
        true
    }

    pub(super) fn forget_node(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        let senders = self.senders.iter().filter(|it| it.from == node).map(|it| it.ticket);
        let receivers = self.receivers.iter().filter(|it| it.from == node).map(|it| it.ticket);
        for ticket in senders.chain(receivers).collect::<Vec<_>>() {
            self.cancel(cx, ticket);
        }
    }

    pub(super) fn saved(&self) -> Saved {
        let Self { messages, room, times_s, pids, .. } = self;
        Saved { messages: messages.clone(), room: *room, times_s: *times_s, pids: *pids }
    }
}

impl Saved {
    pub(super) fn is_sound(&self) -> bool {
        let sound = |it: &Message| it.kind > 0 && it.text.len() <= MESSAGE_BYTES_MAX;
        self.messages.len() <= MESSAGES_MAX + RETURNED_MESSAGES_MAX
            && self.messages.iter().all(sound)
    }

    pub(super) fn restored(self) -> Queue {
        let Self { messages, room, times_s, pids } = self;
        let bytes = messages.iter().map(|it| it.text.len()).sum();
        Queue { messages, bytes, room, times_s, pids, ..Queue::new() }
    }
}
