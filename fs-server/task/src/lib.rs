// SPDX-License-Identifier: MIT OR Apache-2.0
//! fs-server on seL4: it touches no kernel object, so all that is left is to read what root gives.

#![no_std]
#![forbid(unsafe_code)]

use abi::NodeId;
use abi::startup::Startup;
use cluster::View;
use fs_core::{Config, FsCore};

/// The share of a node's memory that its writable files may take: a half.
const TREE_SHARE: u64 = 2;

/// The core, with `index`, the boot image's RootIndex.
///
/// # Errors
/// A sentence that says what is wrong with the image.
pub fn new(
    startup: &Startup,
    node: NodeId,
    view: View,
    index: &[u8],
) -> Result<FsCore, &'static str> {
    let root =
        postcard::from_bytes(index).map_err(|_| "the image's root index cannot be decoded")?;
    let entry = startup.config.nodes.iter().find(|entry| entry.id == node.get());
    let memory_bytes = entry.map_or(0, |entry| u64::from(entry.memory_mib) << 20);
    let config = Config {
        root,
        wall_ns: startup.wall_base_ns,
        seed: startup.seed,
        bytes_max: memory_bytes / TREE_SHARE,
    };
    FsCore::new(node, view, config)
}
