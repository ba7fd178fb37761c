// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a cluster is made of: cluster.toml and the command line, checked, with the defaults filled
//! in.
//!
//! # Model
//! `parse` reads the file into a [`Cluster`]; `with_args` lays the command line over it. What is
//! left is complete: nothing later asks for a default.
//!
//! # Failure
//! Every mistake of a file is collected and reported at once, with its line and what would be right.

mod composition;
mod fields;
mod mistakes;
mod parse;

use crate::cli::ClusterArgs;
use crate::qemu::Accelerator;
use abi::ServerId;
use abi::image::{DomainEntry, MemberKey, NodeConfig, NodeEntry};
use abi::limits::{CORES_MAX, NODES_CONFIGURED_MAX};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Nodes of a cluster that no file describes.
const NODES_DEFAULT: u16 = 3;
/// Cores of a node that says nothing else.
pub const CORES_DEFAULT: u8 = 1;
/// Memory of a node that says nothing else, in MiB.
pub const MEMORY_MIB_DEFAULT: u32 = 256;
/// Least memory that a node can boot with, in MiB: the module and its copy, and the servers.
pub const MEMORY_MIB_MIN: u32 = 64;
/// Most memory of a node, in MiB: what the kernel maps.
pub const MEMORY_MIB_MAX: u32 = 512 * 1024;
/// Disk of a node that says nothing else, in MiB.
pub const DISK_MIB_DEFAULT: u32 = 64;
/// Bytes of an Ethernet payload between QEMU nodes: the host tool's switch carries jumbo frames.
pub const MTU_DEFAULT: u16 = 9000;
/// What the console's login runs when the configuration says nothing else.
pub const LOGIN_DEFAULT: [&str; 2] = ["/bin/sh", "-l"];

/// A cluster, complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Bytes of an Ethernet frame's payload between nodes.
    pub mtu: u16,
    /// Whether nodes agree on views, or go by the configured one for good.
    pub agreed_views: bool,
    /// How many times longer than fast machines nodes wait for each other; `None`: as the accelerator
    /// needs it.
    pub patience: Option<u8>,
    /// Its nodes, in ascending order of id; at least one.
    pub nodes: Vec<NodeEntry>,
    /// Those of them that join a cluster which runs, ascending: the others may have older images.
    pub joining: Vec<u16>,
    /// The domains of every node, in the order in which they start.
    pub domains: Vec<DomainEntry>,
    /// What the console's login runs.
    pub login: Vec<String>,
    /// What is laid over the root file system.
    pub root: RootContent,
    /// Where the nodes' keys are; `None` is a folder of the cluster's name in the build folder.
    pub keys: Option<PathBuf>,
    /// Where the nodes' disks are; `None` is a place of the run's own.
    pub disks: Option<PathBuf>,
}

/// What is laid over the root file system.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RootContent {
    /// Folders, copied in this order.
    pub overlays: Vec<PathBuf>,
    /// Single files, copied after the folders.
    pub files: Vec<ExtraFile>,
}

/// A single file of the root file system.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtraFile {
    /// Path in the cluster, without a leading slash.
    pub path: String,
    /// Path on the host.
    pub from: PathBuf,
    /// Permission bits; `None` keeps those of the host.
    pub mode: Option<u16>,
}

impl Cluster {
    /// The cluster that the arguments describe.
    ///
    /// # Errors
    /// The configuration cannot be read or has mistakes, or the arguments are out of range.
    pub fn load(args: &ClusterArgs) -> Result<Self> {
        let base = match &args.config {
            Some(path) => Self::read(path)?,
            None => Self::standard(),
        };
        base.with_args(args)
    }

    /// The cluster that the file describes.
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "cannot read {}: give --config a file like cluster.example.toml",
                path.display()
            )
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(parse::parse(&path.to_string_lossy(), &text, folder)?)
    }

    /// The cluster without any configuration.
    pub fn standard() -> Self {
        let nodes = (1..=NODES_DEFAULT).map(default_node).collect();
        Self {
            name: "korrigan".to_owned(),
            mtu: MTU_DEFAULT,
            agreed_views: true,
            patience: None,
            nodes,
            joining: Vec::new(),
            domains: composition::isolated(),
            login: LOGIN_DEFAULT.map(str::to_owned).to_vec(),
            root: RootContent::default(),
            keys: None,
            disks: None,
        }
    }

    /// This cluster with the command line laid over it.
    fn with_args(mut self, args: &ClusterArgs) -> Result<Self> {
        if let Some(count) = args.nodes {
            self.resize(count)?;
        }
        for node in &mut self.nodes {
            node.cores = args.cores.unwrap_or(node.cores);
            node.memory_mib = args.memory.unwrap_or(node.memory_mib);
        }
        if let Some(cores) = args.cores
            && !(1..=CORES_MAX).contains(&usize::from(cores))
        {
            bail!("--cores {cores}: a node has 1 to {CORES_MAX} cores");
        }
        if let Some(memory) = args.memory
            && !(MEMORY_MIB_MIN..=MEMORY_MIB_MAX).contains(&memory)
        {
            bail!("--memory {memory}: a node has {MEMORY_MIB_MIN} to {MEMORY_MIB_MAX} MiB");
        }
        if let Some(name) = &args.composition {
            self.domains = composition::named(name).ok_or_else(|| {
                anyhow::anyhow!("--composition {name}: it is `isolated` or `fast`")
            })?;
        }
        self.disks = args.disks.clone();
        if let Some(views) = &args.views {
            self.agreed_views = parse::agreed(views)
                .ok_or_else(|| anyhow::anyhow!("--views {views}: it is `static` or `agreed`"))?;
        }
        self.root.overlays.extend(args.overlay.iter().cloned());
        Ok(self)
    }

    /// Keeps the first `count` nodes, or adds standard ones up to it.
    fn resize(&mut self, count: u16) -> Result<()> {
        if count == 0 || usize::from(count) > NODES_CONFIGURED_MAX {
            bail!("--nodes {count}: a cluster has 1 to {NODES_CONFIGURED_MAX} nodes");
        }
        self.nodes.truncate(usize::from(count));
        self.joining.retain(|id| self.nodes.iter().any(|node| node.id == *id));
        let mut next = self.nodes.last().map_or(1, |node| node.id + 1);
        while self.nodes.len() < usize::from(count) {
            self.nodes.push(default_node(next));
            next += 1;
        }
        Ok(())
    }

    /// This cluster before the nodes that join were thought of.
    pub fn without_joining(&self) -> Self {
        let mut first = self.clone();
        first.nodes.retain(|node| !self.joining.contains(&node.id));
        first.joining.clear();
        first
    }

    /// The domains, without the views server where nobody agrees.
    fn domains(&self) -> Vec<DomainEntry> {
        let mut domains = self.domains.clone();
        if !self.agreed_views {
            for domain in &mut domains {
                domain.servers.retain(|server| *server != ServerId::Views as u8);
            }
            domains.retain(|domain| !domain.servers.is_empty());
        }
        domains
    }

    /// What the image of `node` tells it at boot; `keys` are the members' public keys.
    pub fn node_config(&self, node: u16, keys: Vec<MemberKey>) -> NodeConfig {
        // Nodes that were added later must be as patient as those that were there.
        let first = self.nodes.iter().filter(|node| !self.joining.contains(&node.id));
        let cores = first.map(|node| usize::from(node.cores)).sum();
        NodeConfig {
            cluster: self.name.clone(),
            node,
            nodes: self.nodes.clone(),
            joining: self.joining.clone(),
            keys,
            domains: self.domains(),
            mtu: self.mtu,
            patience: self.patience.unwrap_or_else(|| Accelerator::find().patience(cores)),
            login: self.login.clone(),
        }
    }
}

fn default_node(id: u16) -> NodeEntry {
    NodeEntry {
        id,
        cores: CORES_DEFAULT,
        memory_mib: MEMORY_MIB_DEFAULT,
        disk_mib: DISK_MIB_DEFAULT,
        mac: default_mac(id),
    }
}

/// The Ethernet address of a node that names none: QEMU's prefix, then the node's number.
fn default_mac(id: u16) -> [u8; 6] {
    let [high, low] = id.to_be_bytes();
    [0x52, 0x54, 0x00, 0x4b, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_cluster_has_three_nodes() {
        let cluster = Cluster::load(&ClusterArgs::default()).expect("no arguments are right");
        assert_eq!(cluster.nodes.len(), 3);
        assert_eq!(cluster.domains.len(), 10);
    }

    #[test]
    fn arguments_override_every_node() {
        let args = ClusterArgs {
            nodes: Some(2),
            cores: Some(2),
            memory: Some(512),
            composition: Some("fast".into()),
            ..ClusterArgs::default()
        };
        let cluster = Cluster::load(&args).expect("the arguments are right");
        assert_eq!(cluster.nodes.len(), 2);
        assert!(cluster.nodes.iter().all(|node| node.cores == 2 && node.memory_mib == 512));
        assert_eq!(cluster.domains.len(), 7);
    }

    #[test]
    fn nodes_that_join_change_nothing_for_the_first() {
        let mut cluster = Cluster::standard();
        cluster.resize(5).expect("so many can be");
        cluster.joining = vec![4, 5];
        let first = cluster.without_joining();
        assert_eq!(first, Cluster::standard());
        let [old, new] = [&first, &cluster].map(|cluster| cluster.node_config(1, Vec::new()));
        assert_eq!((old.patience, &new.joining[..]), (new.patience, &[4, 5][..]));
        assert_eq!((old.nodes.len(), new.nodes.len()), (3, 5));
    }

    #[test]
    fn arguments_out_of_range_are_refused() {
        for args in [
            ClusterArgs { nodes: Some(0), ..ClusterArgs::default() },
            ClusterArgs { cores: Some(9), ..ClusterArgs::default() },
            ClusterArgs { memory: Some(1), ..ClusterArgs::default() },
            ClusterArgs { composition: Some("slow".into()), ..ClusterArgs::default() },
        ] {
            assert!(Cluster::load(&args).is_err());
        }
    }

    #[test]
    fn example_configuration_has_no_mistakes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster.example.toml");
        let cluster = Cluster::read(&path).expect("the example parses");
        assert_eq!(cluster.nodes.len(), 3);
        assert_eq!(cluster.domains, composition::isolated());
    }
}
