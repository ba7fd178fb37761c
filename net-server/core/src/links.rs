// SPDX-License-Identifier: MIT OR Apache-2.0
//! The links of a node, and which of them have something to do: where one has work, nothing looks at the others.
//!
//! # Model
//! ```text
//! asleep --touched (a frame, a message, its time)--> awake --it has nothing more to send--> asleep
//! ```
//! Who is awake is in `awake`, once; they send by turns. Who is asleep has one entry in `alarms`, at the time when it
//! wants to be woken or before.
//!
//! # Invariants
//! Who changes a link so that it may have something to send, or to wait for, wakes it.

use crate::link::{Link, Local};
use crate::notice::Notice;
use abi::NodeId;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use runtime::collections::HashMap;

#[derive(Debug)]
struct Entry {
    link: Link,
    awake: bool,
    /// The time of its entry in `alarms`; `u64::MAX`: it has none.
    alarm_ns: u64,
}

/// The links of a node.
#[derive(Default, Debug)]
pub(crate) struct Links {
    all: HashMap<NodeId, Entry>,
    awake: VecDeque<NodeId>,
    /// Earliest first, one for a link at most.
    alarms: BTreeSet<(u64, NodeId)>,
    /// Of links that are asleep, for the log.
    notices: VecDeque<Notice>,
}

impl Links {
    pub(crate) fn get(&self, node: NodeId) -> Option<&Link> {
        self.all.get(&node).map(|entry| &entry.link)
    }

    /// The link to a node, to be changed.
    pub(crate) fn wake(&mut self, node: NodeId) -> Option<&mut Link> {
        let entry = self.all.get_mut(&node)?;
        if !core::mem::replace(&mut entry.awake, true) {
            self.awake.push_back(node);
        }
        Some(&mut entry.link)
    }

    /// All of them, to be changed.
    pub(crate) fn wake_all(&mut self) -> impl Iterator<Item = &mut Link> {
        let mut nodes: Vec<NodeId> = self.all.keys().copied().collect();
        nodes.sort_unstable();
        for node in nodes {
            self.wake(node);
        }
        self.all.values_mut().map(|entry| &mut entry.link)
    }

    /// A frame that claims to come from a node; `used` has it that the link has taken it for true.
    pub(crate) fn received(&mut self, node: NodeId, used: impl FnOnce(&mut Link) -> bool) -> bool {
        let Some(entry) = self.all.get_mut(&node) else { return false };
        let used = used(&mut entry.link);
        self.notices.extend(entry.link.take_notice());
        if used {
            self.wake(node);
        }
        true
    }

    pub(crate) fn insert(&mut self, link: Link) {
        let node = link.node;
        self.remove(node);
        self.all.insert(node, Entry { link, awake: false, alarm_ns: u64::MAX });
        self.wake(node);
    }

    pub(crate) fn remove(&mut self, node: NodeId) {
        if let Some(mut entry) = self.all.remove(&node) {
            self.alarms.remove(&(entry.alarm_ns, node));
            self.awake.retain(|it| *it != node);
            self.notices.extend(entry.link.take_notice());
        }
    }

    /// Time has passed: for the links that wait for it, and those that are awake.
    pub(crate) fn tick(&mut self, now_ns: u64, mut tick: impl FnMut(&mut Link)) {
        while let Some((alarm_ns, node)) = self.alarms.first().copied()
            && alarm_ns <= now_ns
        {
            self.alarms.pop_first();
            if let Some(entry) = self.all.get_mut(&node) {
                entry.alarm_ns = u64::MAX;
            }
            self.wake(node);
        }
        for node in &self.awake {
            if let Some(entry) = self.all.get_mut(node) {
                tick(&mut entry.link);
            }
        }
    }

    /// Writes the next frame of any link.
    pub(crate) fn next_frame(&mut self, local: &mut Local, now_ns: u64, out: &mut Vec<u8>) -> bool {
        while let Some(node) = self.awake.pop_front() {
            let Some(entry) = self.all.get_mut(&node) else { continue };
            if entry.link.next_frame(local, now_ns, out) {
                self.awake.push_back(node);
                return true;
            }
            entry.awake = false;
            self.notices.extend(entry.link.take_notice());
            let due_ns = entry.link.deadline_ns();
            // An alarm that is too early wakes it for nothing, once.
            if due_ns < entry.alarm_ns {
                self.alarms.remove(&(entry.alarm_ns, node));
                entry.alarm_ns = due_ns;
                self.alarms.insert((due_ns, node));
            }
        }
        false
    }

    /// When to call [`Self::tick`] and [`Self::next_frame`] again; `None`: never.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        let first = self.alarms.first().map(|(alarm_ns, _)| *alarm_ns);
        let awake = self.awake.iter().filter_map(|node| self.get(*node)).map(Link::deadline_ns);
        awake.chain(first).min()
    }

    /// Something for the log.
    pub(crate) fn next_notice(&mut self) -> Option<Notice> {
        let Self { all, awake, notices, .. } = self;
        let mut awake = awake.iter();
        let told = || awake.find_map(|node| all.get_mut(node)?.link.take_notice());
        notices.pop_front().or_else(told)
    }

    /// What the log was told and what was counted, for tests that compare all else.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn forget_counts(&mut self) {
        self.notices.clear();
        self.all.values_mut().for_each(|entry| entry.link.forget_counts());
    }
}
