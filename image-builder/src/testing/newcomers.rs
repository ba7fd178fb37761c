// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images of a cluster to which nodes were added: those of the first nodes are older, and do not name the others.

use crate::config::{Cluster, ExtraFile};
use crate::guest::Guest;
use crate::images::{self, Images, PrivateKeys};
use crate::keys;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Writes the images into `folder`. In the cluster `join-N` is the command that takes node N in, as `image` says it.
///
/// # Errors
/// As for [`images::write`].
pub fn images(
    workspace: &Workspace,
    cluster: &mut Cluster,
    guest: &Guest,
    folder: &Path,
) -> Result<Images> {
    let keys = keys::load(&keys::folder(workspace, cluster), &cluster.nodes)?;
    for id in cluster.joining.clone() {
        let Some(node) = cluster.nodes.iter().find(|node| node.id == id) else { continue };
        let from = folder.join(format!("join-{id}"));
        let script = format!("#!/bin/sh\n{}\n", keys::line_to_add(node, &keys[&id]));
        fs::write(&from, script).with_context(|| format!("cannot write {}", from.display()))?;
        let path = format!("usr/test/join-{id}");
        cluster.root.files.push(ExtraFile { path, from, mode: Some(0o755) });
    }
    let write = |cluster: &Cluster, folder: &Path| {
        images::write(workspace, cluster, guest, folder, PrivateKeys::Included)
    };
    if cluster.joining.is_empty() {
        return write(cluster, folder);
    }
    let mut images = write(&cluster.without_joining(), folder)?;
    let newer = write(cluster, &folder.join("newer"))?;
    let joins = |(id, _): &(u16, _)| cluster.joining.contains(id);
    images.modules.extend(newer.modules.into_iter().filter(joins));
    // As the cluster's nodes.
    images.modules.sort();
    Ok(images)
}
