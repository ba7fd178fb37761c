// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits for the servers of this node.
//!
//! # Limits
//! Messages are bounded per server and lane, and their links wait: a server that is slow to take pages
//! gets control all the same, and before the pages that wait. Marks are not lost; a node that came up and
//! went down again before anything else was heard of it leaves one mark, not three.

use crate::limits::{INBOX_CONTROL_BYTES_MAX, INBOX_MESSAGES_MAX, INBOX_PAGES_BYTES_MAX};
use abi::{NodeId, ServerId};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use runtime::node::Lane;

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

/// Messages of one lane that wait.
#[derive(Clone, Copy, Default, Debug)]
struct Load {
    messages: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Queue {
    server: ServerId,
    /// Each with the lane of a message, or none for a mark.
    items: VecDeque<(Option<Lane>, Item)>,
    loads: [Load; 2],
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
            loads: [Load::default(); 2],
            untold: false,
        };
        Self { queues: servers.iter().map(queue).collect(), own: VecDeque::new(), unwanted: 0 }
    }

    fn queue(&mut self, server: ServerId) -> Option<&mut Queue> {
        self.queues.iter_mut().find(|queue| queue.server == server)
    }

    /// Whether a message for `server` can be pushed. One for a server that does not run can: it is
    /// dropped.
    pub(crate) fn has_room(&self, server: ServerId, lane: Lane) -> bool {
        let bytes_max = match lane {
            Lane::Control => INBOX_CONTROL_BYTES_MAX,
            Lane::Pages => INBOX_PAGES_BYTES_MAX,
        };
        self.queues.iter().find(|queue| queue.server == server).is_none_or(|queue| {
            let load = queue.loads[lane as usize];
            load.messages < INBOX_MESSAGES_MAX && load.bytes < bytes_max
        })
    }

    pub(crate) fn push(&mut self, server: ServerId, lane: Lane, from: NodeId, message: Vec<u8>) {
        if server == ServerId::Net {
            self.own.push_back((from, message));
            return;
        }
        let Some(queue) = self.queue(server) else {
            self.unwanted += 1;
            return;
        };
        let load = &mut queue.loads[lane as usize];
        load.messages += 1;
        load.bytes += message.len();
        queue.put(Some(lane), Item::Message(from, message));
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
                (Item::Down(node), Some((None, Item::Up(before)))) => node == before,
                _ => false,
            };
            if up_unseen {
                queue.items.pop_back();
            } else {
                queue.put(None, mark.clone());
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
        if let Some((_, Item::Message(_, data))) = queue.items.front()
            && data.len() > capacity
        {
            return Err(data.len());
        }
        let Some((lane, item)) = queue.items.pop_front() else {
            queue.untold = false;
            return Ok(None);
        };
        if let (Some(lane), Item::Message(_, data)) = (lane, &item) {
            let load = &mut queue.loads[lane as usize];
            load.messages -= 1;
            load.bytes -= data.len();
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
    /// Control goes before the pages that wait, but no message past a mark.
    fn put(&mut self, lane: Option<Lane>, item: Item) {
        // The server takes until nothing is left, so only the first item needs telling.
        self.untold |= self.items.is_empty();
        let pages = self.items.iter().rev().take_while(|(lane, _)| *lane == Some(Lane::Pages));
        let place = match lane {
            Some(Lane::Control) => self.items.len() - pages.count(),
            Some(Lane::Pages) | None => self.items.len(),
        };
        self.items.insert(place, (lane, item));
    }
}
