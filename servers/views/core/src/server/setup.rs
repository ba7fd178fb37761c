// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the server is told at its start.

use crate::views::Config;
use abi::image::NodeConfig;
use abi::{NodeId, ServerId};
use alloc::vec::Vec;
use cluster::{Policy, View};

/// What the server is told at its start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// The servers of this node that are to know views.
    pub servers: Vec<ServerId>,
    /// Those of them that keep things in slots.
    pub keepers: Vec<ServerId>,
    /// How many times slower this cluster's time runs; at least 1.
    pub patience: u64,
    /// Differs from start to start.
    pub seed: u64,
    /// What the core is told.
    pub config: Config,
}

/// The servers that keep things in slots.
const KEEPERS: [ServerId; 4] = [ServerId::Mem, ServerId::Fs, ServerId::Ipc, ServerId::Proc];

impl Setup {
    /// What an image tells; `seed` are random bytes of this start.
    pub fn new(config: &NodeConfig, seed: &[u8; 32]) -> Self {
        let hosted = config.domains.iter().flat_map(|domain| &domain.servers);
        let hosted: Vec<ServerId> =
            hosted.filter_map(|number| ServerId::from_number(*number)).collect();
        let here = |server: &ServerId| hosted.contains(server);
        let keepers: Vec<ServerId> = KEEPERS.into_iter().filter(here).collect();
        let shell = Some(ServerId::Shell).filter(here);
        let servers = keepers.iter().copied().chain(shell).collect();
        let nodes = config.nodes.iter().filter_map(|node| {
            let joins = config.joining.contains(&node.id);
            Some((NodeId::new(node.id)?, joins))
        });
        let nodes = nodes.collect();
        let seed = seed.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self::of(servers, keepers, nodes, u64::from(config.patience), seed)
    }

    /// The same, from its parts. Of each node: whether it joins a cluster that runs, and never founds one.
    pub fn of(
        servers: Vec<ServerId>,
        keepers: Vec<ServerId>,
        nodes: Vec<(NodeId, bool)>,
        patience: u64,
        seed: u64,
    ) -> Self {
        let first = nodes.iter().filter(|(_, joins)| !joins).map(|(node, _)| *node).collect();
        let voters = View::fixed(first);
        let voters = voters.iter().flat_map(|view| view.voters()).map(|voter| voter.node);
        let founders: Vec<NodeId> = voters.collect();
        let nodes = nodes.into_iter().map(|(node, _)| node);
        let others = nodes.filter(|node| !founders.contains(node)).collect();
        let (contacts, policy) = (founders.clone(), Policy { backups: true });
        Self {
            servers,
            keepers,
            patience: patience.max(1),
            seed,
            config: Config { contacts, founders, others, policy, keeps: false },
        }
    }
}
