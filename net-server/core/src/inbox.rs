// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits for the servers of this node.
//!
//! # Limits
//! Messages are bounded per server, and their links wait. Marks are not lost; a node that came up and
//! went down again before anything else was heard of it leaves one mark, not three.

use crate::limits::{INBOX_BYTES_MAX, INBOX_MESSAGES_MAX};
use abi::{NodeId, ServerId};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// What a server takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A message from this node.
    Message(NodeId, Vec<u8>),
    /// The node stopped answering.
    Down(NodeId),
    /// The node answers.
    Up(NodeId),
}

#[derive(Debug)]
struct Queue {
    server: ServerId,
    items: VecDeque<Item>,
    messages: usize,
    bytes: usize,
    /// The server has not been told of its first item.
    untold: bool,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    queues: Vec<Queue>,
    /// Messages for this server itself; its caller takes them before the next frame.
    own: VecDeque<(NodeId, Vec<u8>)>,
    /// Messages for servers that this node does not run.
    pub(crate) unwanted: u64,
}

impl Inbox {
    pub(crate) fn new(servers: &[ServerId]) -> Self {
        let queue = |server: &ServerId| Queue {
            server: *server,
            items: VecDeque::new(),
            messages: 0,
            bytes: 0,
            untold: false,
        };
        Self { queues: servers.iter().map(queue).collect(), own: VecDeque::new(), unwanted: 0 }
    }

    fn queue(&mut self, server: ServerId) -> Option<&mut Queue> {
        self.queues.iter_mut().find(|queue| queue.server == server)
    }

    /// Whether a message for `server` can be pushed. One for a server that does not run can: it is
    /// dropped.
    pub(crate) fn has_room(&self, server: ServerId) -> bool {
        self.queues.iter().find(|queue| queue.server == server).is_none_or(|queue| {
            queue.messages < INBOX_MESSAGES_MAX && queue.bytes < INBOX_BYTES_MAX
        })
    }

    pub(crate) fn push(&mut self, server: ServerId, from: NodeId, message: Vec<u8>) {
        if server == ServerId::Net {
            self.own.push_back((from, message));
            return;
        }
        let Some(queue) = self.queue(server) else {
            self.unwanted += 1;
            return;
        };
        queue.messages += 1;
        queue.bytes += message.len();
        queue.put(Item::Message(from, message));
    }

    /// A message for this server itself.
    pub(crate) fn take_own(&mut self) -> Option<(NodeId, Vec<u8>)> {
        self.own.pop_front()
    }

    /// The server died: what is for it is dropped from now on.
    pub(crate) fn remove(&mut self, server: ServerId) {
        self.queues.retain(|queue| queue.server != server);
    }

    /// Tells all servers that a node came or went.
    pub(crate) fn mark(&mut self, mark: &Item) {
        for queue in &mut self.queues {
            let up_unseen = match (mark, queue.items.back()) {
                (Item::Down(node), Some(Item::Up(before))) => node == before,
                _ => false,
            };
            if up_unseen {
                queue.items.pop_back();
            } else {
                queue.put(mark.clone());
            }
        }
    }

    /// The next item of a server and whether more follow. An item that needs more than `capacity`
    /// bytes stays, as an error with its length.
    pub(crate) fn take(
        &mut self,
        server: ServerId,
        capacity: usize,
    ) -> Result<Option<(Item, bool)>, usize> {
        let Some(queue) = self.queue(server) else { return Ok(None) };
        if let Some(Item::Message(_, data)) = queue.items.front()
            && data.len() > capacity
        {
            return Err(data.len());
        }
        let Some(item) = queue.items.pop_front() else {
            queue.untold = false;
            return Ok(None);
        };
        if let Item::Message(_, data) = &item {
            queue.messages -= 1;
            queue.bytes -= data.len();
        }
        Ok(Some((item, !queue.items.is_empty())))
    }

    /// A server that must be told that something waits for it; each call names another one.
    pub(crate) fn next_to_tell(&mut self) -> Option<ServerId> {
        let queue = self.queues.iter_mut().find(|queue| queue.untold)?;
        queue.untold = false;
        Some(queue.server)
    }
}

impl Queue {
    fn put(&mut self, item: Item) {
        // The server takes until nothing is left, so only the first item needs telling.
        self.untold |= self.items.is_empty();
        self.items.push_back(item);
    }
}
