// SPDX-License-Identifier: MIT OR Apache-2.0
//! Calls of this node's programs on files whose home is another node.
//!
//! # Model
//! ```text
//! read:  Prepare (memory) -> ReadFrom -> CopyOut -> ticket ends
//!                                          | the page went away meanwhile
//!                                          v
//!                                        PutBack -> ticket ends with ERESTART
//! write: CopyIn -> WriteTo -> ticket ends
//! messages of sockets: the same with ReceiveFor, Return and SendFrom
//! other: the operation as it is -> ticket ends
//! ```

use crate::socket::memory::Ranges;
use crate::{Ipc, sysv};
use abi::linux::net::MSG_PEEK;
use abi::{Errno, FileId, NodeId, SpaceId, Ticket};
use alloc::vec;
use alloc::vec::Vec;
use ipc_api::between::Return;
use ipc_api::file::{Caller, Moved};
use ipc_api::peer::{PutBack, REMOTE_BYTES, ReadFrom, WriteTo};
use ipc_api::socket::Received;
use ipc_api::sysv::peer::{GiveBack, ListHere, ReceiveText};
use ipc_api::sysv::{Attach, Attached, Ids};
use mem_api::{Access, CopyIn, CopyOut, ObjectAdopt, Prepare};
use runtime::{Answer, Bulk, Client, Cx, Msg, Mutant, NodeReply, Operation, Wire};

/// A call at another node.
#[derive(Debug)]
pub(crate) enum Forward {
    /// Its answer is the ticket's.
    Plain { ticket: Ticket, home: NodeId },
    /// Its bytes go to a program first.
    Read { ticket: Ticket, file: FileId, home: NodeId, space: SpaceId, addr: u64 },
    /// Its message goes to a program first.
    Receive { ticket: Ticket, file: FileId, home: NodeId, ranges: Ranges, flags: u32 },
    /// Bytes go back; then the ticket ends with this.
    PutBack { ticket: Ticket, errno: Errno },
    /// A message of this queue goes to a program first.
    Message { ticket: Ticket, queue: u32, home: NodeId, space: SpaceId, addr: u64 },
    /// The object of the attachment is taken over first.
    Attach { ticket: Ticket, home: NodeId },
    /// One of several answers.
    List { ticket: Ticket, gather: u64 },
}

/// Answers of several nodes that become one.
#[derive(Debug)]
pub(crate) struct Gather {
    /// Answers that are still to come.
    left: usize,
    ids: Vec<u32>,
}

impl Forward {
    fn ticket(&self) -> Ticket {
        match self {
            Self::Plain { ticket, .. }
            | Self::Read { ticket, .. }
            | Self::Receive { ticket, .. }
            | Self::PutBack { ticket, .. }
            | Self::Message { ticket, .. }
            | Self::Attach { ticket, .. }
            | Self::List { ticket, .. } => *ticket,
        }
    }
}

/// An answer that is passed on undecoded: the client knows its type.
struct Same(Msg);

impl Wire for Same {
    fn put(&self, msg: &mut Msg) -> Result<(), Errno> {
        msg.clone_from(&self.0);
        Ok(())
    }

    fn get(msg: &Msg) -> Result<Self, Errno> {
        Ok(Self(msg.clone()))
    }
}

impl Ipc {
    pub(crate) fn open_forward(&mut self, forward: Forward) -> u64 {
        self.next_cookie += 1;
        self.forwards.insert(self.next_cookie, forward);
        self.next_cookie
    }

    /// Opens the ticket of a call that another node performs. A node asks a home only, so its
    /// requests are never passed on.
    pub(crate) fn forward_ticket(cx: &mut Cx<'_>, from: Client) -> Result<Ticket, Errno> {
        match from {
            Client::Server { .. } => cx.open_ticket(from),
            Client::Node { .. } => Err(Errno::ESTALE),
        }
    }

    /// Passes an operation on as it is.
    pub(crate) fn forward<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        home: NodeId,
        op: &O,
    ) -> Result<Answer, Errno> {
        self.forward_with(cx, from, home, op, Vec::new())
    }

    /// The same with bulk data.
    pub(crate) fn forward_with<O: Operation>(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        home: NodeId,
        op: &O,
        data: Vec<u8>,
    ) -> Result<Answer, Errno> {
        let ticket = Self::forward_ticket(cx, from)?;
        let cookie = self.open_forward(Forward::Plain { ticket, home });
        cx.call_node(home, op, data, cookie);
        Ok(Answer::Pending(ticket))
    }

    pub(crate) fn forward_receive(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        home: NodeId,
        op: &ReceiveText,
        (space, addr): (SpaceId, u64),
    ) -> Result<Answer, Errno> {
        let ticket = Self::forward_ticket(cx, from)?;
        let queue = op.id;
        let cookie = self.open_forward(Forward::Message { ticket, queue, home, space, addr });
        cx.call_node(home, op, Vec::new(), cookie);
        Ok(Answer::Pending(ticket))
    }

    pub(crate) fn forward_attach(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        home: NodeId,
        op: Attach,
    ) -> Result<Answer, Errno> {
        let ticket = Self::forward_ticket(cx, from)?;
        let cookie = self.open_forward(Forward::Attach { ticket, home });
        cx.call_node(home, &op, Vec::new(), cookie);
        Ok(Answer::Pending(ticket))
    }

    /// Asks other nodes what they have, beside what is here.
    pub(crate) fn gather(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        others: &[NodeId],
        op: &ListHere,
        ids: Vec<u32>,
    ) -> Result<Answer, Errno> {
        let ticket = Self::forward_ticket(cx, from)?;
        self.next_cookie += 1;
        let gather = self.next_cookie;
        self.gathers.insert(gather, Gather { left: others.len(), ids });
        for node in others {
            let cookie = self.open_forward(Forward::List { ticket, gather });
            cx.call_node(*node, op, Vec::new(), cookie);
        }
        Ok(Answer::Pending(ticket))
    }

    pub(crate) fn forward_read(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        home: NodeId,
        (file, caller): (FileId, Option<Caller>),
        (space, addr, len): (SpaceId, u64, u64),
    ) -> Result<Answer, Errno> {
        let len = len.min(REMOTE_BYTES);
        if len > 0 {
            cx.leaf(&Prepare { space, addr, len, access: Access::Write })?;
        }
        let ticket = Self::forward_ticket(cx, from)?;
        let cookie = self.open_forward(Forward::Read { ticket, file, home, space, addr });
        cx.call_node(home, &ReadFrom { file, len, caller }, Vec::new(), cookie);
        Ok(Answer::Pending(ticket))
    }

    pub(crate) fn forward_write(
        &mut self,
        cx: &mut Cx<'_>,
        from: Client,
        home: NodeId,
        file: FileId,
        (space, addr, len): (SpaceId, u64, u64),
    ) -> Result<Answer, Errno> {
        let len = len.min(REMOTE_BYTES);
        let mut data = vec![0; len as usize];
        if len > 0 {
            cx.leaf_bulk(&CopyIn { space, addr, len }, &mut Bulk::new(&mut data))?;
        }
        self.forward_with(cx, from, home, &WriteTo { file }, data)
    }

    /// The answer of another node came, or the node is down.
    pub(crate) fn forwarded(
        &mut self,
        cx: &mut Cx<'_>,
        cookie: u64,
        result: Result<NodeReply, Errno>,
    ) {
        match self.forwards.remove(&cookie) {
            Some(Forward::Plain { ticket, home }) => {
                let result = result.map_err(|errno| lost_with(cx, home, errno));
                cx.complete(ticket, result.map(|reply| Same(reply.msg)));
            }
            Some(Forward::PutBack { ticket, errno }) => cx.complete::<()>(ticket, Err(errno)),
            Some(Forward::Read { ticket, file, home, space, addr }) => {
                let reply = match result {
                    Ok(reply) => reply,
                    Err(errno) => {
                        let errno = lost_with(cx, home, errno);
                        return cx.complete::<()>(ticket, Err(errno));
                    }
                };
                let mut data = reply.bulk;
                match deliver(cx, space, addr, &reply.msg, &mut data) {
                    Ok(moved) if Mutant::PipeBytesComeTwice.is_on() => {
                        let _ = cx.tell_node(home, &PutBack { file }, data);
                        cx.complete(ticket, Ok(moved));
                    }
                    Ok(moved) => cx.complete(ticket, Ok(moved)),
                    Err(errno) if data.is_empty() => cx.complete::<()>(ticket, Err(errno)),
                    Err(errno) => {
                        let cookie = self.open_forward(Forward::PutBack { ticket, errno });
                        cx.call_node(home, &PutBack { file }, data, cookie);
                    }
                }
            }
            Some(Forward::Receive { ticket, file, home, ranges, flags }) => match result {
                Ok(reply) => self.received(cx, ticket, (file, home, flags), &ranges, reply),
                Err(errno) => {
                    let errno = lost_with(cx, home, errno);
                    cx.complete::<()>(ticket, Err(errno));
                }
            },
            Some(Forward::Message { ticket, queue, home, space, addr }) => {
                self.message_came(cx, (ticket, home), queue, (space, addr), result);
            }
            Some(Forward::Attach { ticket, home }) => {
                let attached = result.map_err(|errno| lost_with(cx, home, errno));
                let attached = attached.and_then(|reply| adopt(cx, &reply.msg));
                cx.complete(ticket, attached);
            }
            Some(Forward::List { ticket, gather }) => self.listed(cx, ticket, gather, result),
            None => {}
        }
    }

    fn message_came(
        &mut self,
        cx: &mut Cx<'_>,
        (ticket, home): (Ticket, NodeId),
        queue: u32,
        (space, addr): (SpaceId, u64),
        result: Result<NodeReply, Errno>,
    ) {
        let NodeReply { msg, mut bulk } = match result {
            Ok(reply) => reply,
            Err(errno) => return cx.complete::<()>(ticket, Err(lost_with(cx, home, errno))),
        };
        let copied = Moved::get(&msg).and_then(|moved| {
            cx.leaf_bulk(&CopyOut { space, addr }, &mut Bulk::new(&mut bulk)).map(|()| moved)
        });
        match copied {
            Ok(moved) => cx.complete(ticket, Ok(moved)),
            Err(errno) => {
                let cookie = self.open_forward(Forward::PutBack { ticket, errno });
                cx.call_node(home, &GiveBack { id: queue }, bulk, cookie);
            }
        }
    }

    /// Copies a message into the program. If it cannot be it goes back, unless it was only looked at.
    fn received(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        (file, home, flags): (FileId, NodeId, u32),
        ranges: &Ranges,
        reply: NodeReply,
    ) {
        let mut data = reply.bulk;
        let received = match Received::get(&reply.msg) {
            Ok(it) if it.bytes == data.len() as u64 && it.bytes <= ranges.len() => it,
            // Not what a peer of ours answers, so there is nothing to give back.
            Ok(_) | Err(_) => return cx.complete::<()>(ticket, Err(Errno::EPROTO)),
        };
        match ranges.put(cx, &mut data) {
            Ok(()) => cx.complete(ticket, Ok(received)),
            Err(errno) if flags & MSG_PEEK != 0 => cx.complete::<()>(ticket, Err(errno)),
            Err(errno) => {
                let cookie = self.open_forward(Forward::PutBack { ticket, errno });
                cx.call_node(home, &Return { file, received }, data, cookie);
            }
        }
    }

    /// A node has said what it has. One that does not answer has nothing.
    fn listed(
        &mut self,
        cx: &mut Cx<'_>,
        ticket: Ticket,
        gather: u64,
        result: Result<NodeReply, Errno>,
    ) {
        let Some(it) = self.gathers.get_mut(&gather) else { return };
        it.left -= 1;
        if let Ok(Ids(ids)) = result.and_then(|reply| Ids::get(&reply.msg)) {
            it.ids.extend(ids);
        }
        if it.left > 0 {
            return;
        }
        if let Some(Gather { ids, .. }) = self.gathers.remove(&gather) {
            cx.complete(ticket, Ok(sysv::merged(ids)));
        }
    }

    /// Gives up on a call at another node. Bytes on their way back are waited for.
    pub(crate) fn cancel_forward(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        let found = self.forwards.iter().find(|(_, forward)| forward.ticket() == ticket);
        let Some((cookie, forward)) = found else { return false };
        match forward {
            Forward::Plain { .. }
            | Forward::Read { .. }
            | Forward::Receive { .. }
            | Forward::Message { .. } => cx.cancel(*cookie),
            // These end soon by themselves.
            Forward::PutBack { .. } | Forward::Attach { .. } | Forward::List { .. } => {}
        }
        true
    }
}

/// Why a call at a home failed: one that left the cluster does not only not answer, what it had is gone.
fn lost_with(cx: &Cx<'_>, home: NodeId, errno: Errno) -> Errno {
    if errno == Errno::EHOSTDOWN && !cx.view().contains(home) { Errno::EIO } else { errno }
}

/// Takes over the object of an attachment that its home has counted for this node.
fn adopt(cx: &mut Cx<'_>, msg: &Msg) -> Result<Attached, Errno> {
    let attached = Attached::get(msg)?;
    cx.leaf(&ObjectAdopt { object: attached.object })?;
    Ok(attached)
}

/// Copies what a read brought into the program.
fn deliver(
    cx: &mut Cx<'_>,
    space: SpaceId,
    addr: u64,
    msg: &Msg,
    data: &mut Vec<u8>,
) -> Result<Moved, Errno> {
    let moved = Moved::get(msg)?;
    if moved.bytes != data.len() as u64 || moved.bytes > REMOTE_BYTES {
        // Not what a peer of ours answers, so there is nothing to give back.
        data.clear();
        return Err(Errno::EPROTO);
    }
    if !data.is_empty() {
        cx.leaf_bulk(&CopyOut { space, addr }, &mut Bulk::new(data))?;
    }
    Ok(moved)
}
