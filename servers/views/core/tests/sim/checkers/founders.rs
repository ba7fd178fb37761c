// SPDX-License-Identifier: MIT OR Apache-2.0
//! A node takes a first view only from the start of the decider that it last promised to.

use crate::world::Node;
use abi::Epoch;
use std::collections::BTreeMap;
use views_core::rules::Rules;
use views_core::wire::{Envelope, Message};

#[derive(Default)]
pub struct Founders {
    /// The start of the decider that each node promised to last, in this life.
    promised: BTreeMap<usize, u64>,
}

impl Founders {
    pub fn started(&mut self, node: usize) {
        self.promised.remove(&node);
    }

    pub fn said(&mut self, node: usize, bytes: &[u8]) {
        let message = Envelope::decode(bytes).map(|envelope| envelope.message);
        if let Some(Message::FoundPromise { decider, .. }) = message {
            self.promised.insert(node, decider);
        }
    }

    /// The first node decides.
    pub fn look<R: Rules>(&mut self, at: usize, node: &Node<R>) -> Result<(), String> {
        let Some(view) = node.view().filter(|view| view.epoch() == Epoch(1)) else { return Ok(()) };
        let decider = view.roster()[0].boot;
        // It is looked at once, when it enters the view.
        match self.promised.remove(&at) {
            Some(promised) if promised != decider => {
                Err(format!("founders: node {} takes another view than it promised", node.id))
            }
            Some(_) | None => Ok(()),
        }
    }
}
