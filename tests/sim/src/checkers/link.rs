// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links between nodes: each lane hands over what was sent, in order and once; and after a break, which
//! the receiver hears of, nothing of what was sent before.

use abi::{NodeId, ServerId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Messages of one server that go one way in one lane: from, to, lane, server.
pub type Way = (NodeId, NodeId, u8, ServerId);

#[derive(Debug, Default)]
struct Queue {
    /// Messages that are on their way.
    waiting: VecDeque<Vec<u8>>,
    /// The receiver heard of a break: what waits is lost, but for what was sent after it.
    broken: bool,
}

/// All links.
#[derive(Debug, Default)]
pub struct Links {
    ways: BTreeMap<Way, Queue>,
    /// Nodes that died once: the others may have gone on sending to their former lives, also what they
    /// had never sent before.
    died: BTreeSet<NodeId>,
    /// Messages that were sent.
    pub sent: u64,
    /// The same, of each server.
    pub sent_by: BTreeMap<ServerId, u64>,
}

impl Links {
    /// A server sent a message.
    pub fn sent(&mut self, way: Way, data: &[u8]) {
        self.sent += 1;
        *self.sent_by.entry(way.3).or_default() += 1;
        let broken = self.died.contains(&way.0) || self.died.contains(&way.1);
        let new = Queue { waiting: VecDeque::new(), broken };
        self.ways.entry(way).or_insert(new).waiting.push_back(data.to_vec());
    }

    /// A server heard that a node is down: what was on its way from there is lost.
    pub fn broke(&mut self, from: NodeId, to: NodeId, server: ServerId) {
        for lane in [0, 1] {
            self.ways.entry((from, to, lane, server)).or_default().broken = true;
        }
    }

    /// A node died: all its links break.
    pub fn died(&mut self, node: NodeId) {
        self.died.insert(node);
        for ((from, to, ..), queue) in &mut self.ways {
            queue.broken |= *from == node || *to == node;
        }
    }

    /// A server took a message.
    ///
    /// # Errors
    /// A sentence: it is not the next one.
    pub fn taken(
        &mut self,
        from: NodeId,
        to: NodeId,
        server: ServerId,
        data: &[u8],
    ) -> Result<(), String> {
        let mut next = Vec::new();
        // To and from a node that died there may be sessions of which it never heard: that messages are
        // missing is no violation there, that they overtake or come twice is.
        let again = self.died.contains(&from) || self.died.contains(&to);
        for lane in [0, 1] {
            let Some(queue) = self.ways.get_mut(&(from, to, lane, server)) else { continue };
            if queue.waiting.front().is_some_and(|it| it == data) {
                queue.waiting.pop_front();
                queue.broken = again;
                return Ok(());
            }
            if queue.broken
                && let Some(at) = queue.waiting.iter().position(|it| it == data)
            {
                queue.waiting.drain(..=at);
                // What is behind it was sent in the same session.
                queue.broken = again;
                return Ok(());
            }
            next.extend(queue.waiting.front().map(Vec::len));
        }
        let bytes = data.len();
        Err(format!("{server} of node {to} took {bytes} bytes from node {from}; next are {next:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).expect("a node")
    }

    fn links() -> Links {
        let mut links = Links::default();
        for data in [b"one", b"two", b"six"] {
            links.sent((node(1), node(2), 0, ServerId::Fs), data);
        }
        links
    }

    fn taken(links: &mut Links, data: &[u8]) -> Result<(), String> {
        links.taken(node(1), node(2), ServerId::Fs, data)
    }

    #[test]
    fn messages_in_order_pass() {
        let links = &mut links();
        for data in [b"one", b"two", b"six"] {
            assert_eq!(taken(links, data), Ok(()));
        }
    }

    #[test]
    fn message_that_overtook_is_found() {
        assert!(taken(&mut links(), b"two").is_err());
    }

    #[test]
    fn message_that_comes_twice_is_found() {
        let links = &mut links();
        assert_eq!(taken(links, b"one"), Ok(()));
        assert!(taken(links, b"one").is_err());
    }

    #[test]
    fn message_that_was_lost_is_found_unless_the_link_broke() {
        let links = &mut links();
        assert_eq!(taken(links, b"one"), Ok(()));
        assert!(taken(links, b"six").is_err());
        links.broke(node(1), node(2), ServerId::Fs);
        assert_eq!(taken(links, b"six"), Ok(()));
        assert!(taken(links, b"two").is_err(), "it was sent before the break");
    }
}
