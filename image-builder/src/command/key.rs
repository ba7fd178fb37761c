// SPDX-License-Identifier: MIT OR Apache-2.0
//! `key`: another key pair for a node, and how a cluster that runs is told.

use crate::cli::{ClusterArgs, KeyArgs, KeyCommand};
use crate::config::Cluster;
use crate::keys::{self, Renewed};
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use std::process::ExitCode;

/// Makes the pair and prints what to do with it.
///
/// # Errors
/// The configuration has mistakes or does not name the node, or its keys cannot be used or written.
pub fn key(workspace: &Workspace, args: &KeyArgs) -> Result<ExitCode> {
    let KeyCommand::New { node, config, nodes } = &args.command;
    let which = ClusterArgs { config: config.clone(), nodes: *nodes, ..ClusterArgs::default() };
    let cluster = Cluster::load(&which)?;
    ensure!(
        cluster.nodes.iter().any(|entry| entry.id == *node),
        "cluster {:?} has no node {node}",
        cluster.name
    );
    let renewed = keys::renew(&keys::folder(workspace, &cluster), *node)?;
    println!("{}", what_to_do(*node, &renewed));
    Ok(ExitCode::SUCCESS)
}

fn what_to_do(node: u16, renewed: &Renewed) -> String {
    let Renewed { public, private, before } = renewed;
    let (private, before, public) = (private.display(), before.display(), keys::digits(public));
    format!(
        "\
Node {node} has a new key pair; the old one is kept as {before}.
The next images name the new one. A cluster that runs is told in this order, and nothing is lost:

  1. On the console of node {node}: Ctrl-], then `linkkey` and the 64 digits of
     {private}, then `exit`. Its disk keeps the key.
  2. On another node that votes, as root:
         node key {node} {public}
  3. Soon: new images for all nodes. A node that starts with nothing but an old image
     believes that until it has heard the cluster.

If somebody else may have the old key, begin with `node revoke {node}` on another node, which lets
the node go at once; then 1, 2, 3, and start the node again. A key that was changed while the
cluster ran must be changed so the next time, too: what the cluster remembers counts more than images."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_names_the_public_key_and_no_private_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let entry =
            |id| abi::image::NodeEntry { id, cores: 1, memory_mib: 64, disk_mib: 0, mac: [0; 6] };
        let old = keys::load(folder.path(), &[entry(3)]).expect("made");
        let renewed = keys::renew(folder.path(), 3).expect("made");
        let new = keys::load(folder.path(), &[entry(3)]).expect("read");
        let text = what_to_do(3, &renewed);
        assert!(
            text.contains(&format!("node key 3 {}\n", keys::digits(&renewed.public))),
            "{text}"
        );
        for key in [&old[&3], &new[&3]] {
            let private = key.private().expect("it is here");
            assert!(!text.contains(&keys::digits(&private)), "{text}");
        }
    }
}
