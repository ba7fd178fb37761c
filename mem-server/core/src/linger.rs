// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page that was fetched for a fault stays a moment: the access that wanted it must come first, or
//! two nodes that write to one page would take it from each other for ever.

use crate::MemCore;
use crate::fetch::Key;
use crate::limits::{LINGER_NS, LINGERING_MAX};
use crate::machine::Machine;
use crate::post::Note;
use abi::NodeId;
use alloc::collections::VecDeque;
use runtime::Cx;
use runtime::collections::HashMap;

/// Cookie of the timer that carries out what was put off.
pub(crate) const TIMER_LINGER: u64 = 2;

/// Pages that stay, and what was put off for them.
#[derive(Default)]
pub(crate) struct Linger {
    until_ns: HashMap<Key, u64>,
    delayed: VecDeque<(u64, NodeId, Note)>,
}

impl Linger {
    /// A page has just come for a fault.
    pub(crate) fn begin(&mut self, now_ns: u64, key: Key) {
        if self.until_ns.len() >= LINGERING_MAX {
            self.until_ns.retain(|_, until_ns| *until_ns > now_ns);
        }
        if self.until_ns.len() < LINGERING_MAX {
            self.until_ns.insert(key, now_ns + LINGER_NS);
        }
    }

    /// What a dead node wanted is wanted no more.
    pub(crate) fn node_down(&mut self, dead: NodeId) {
        self.delayed.retain(|(_, home, note)| {
            let to = match note {
                Note::Fwd(op) => op.delivery.to,
                Note::Inv(op) => op.to,
                _ => *home,
            };
            to != dead && *home != dead
        });
    }
}

impl<M: Machine> MemCore<M> {
    /// Puts a message of the home off if the page came just now; true if it did.
    pub(crate) fn put_off(&mut self, cx: &mut Cx<'_>, from: NodeId, key: Key, note: &Note) -> bool {
        let Some(until_ns) = self.linger.until_ns.get(&key).copied() else { return false };
        if until_ns <= cx.now_ns() || cx.arm(until_ns, TIMER_LINGER).is_err() {
            self.linger.until_ns.remove(&key);
            return false;
        }
        self.linger.delayed.push_back((until_ns, from, note.clone()));
        true
    }

    /// Carries out what has been put off long enough.
    pub(crate) fn end_linger(&mut self, cx: &mut Cx<'_>) {
        while let Some((until_ns, _, _)) = self.linger.delayed.front()
            && *until_ns <= cx.now_ns()
            && let Some((_, from, note)) = self.linger.delayed.pop_front()
        {
            self.note(cx, from, note);
        }
    }
}
