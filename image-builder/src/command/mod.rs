// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tool's commands, one file each.

pub mod bench;
pub mod ctl;
pub mod exec;
pub mod image;
pub mod key;
pub mod keys;
pub mod run;
pub mod sim;

use crate::cli::ClusterArgs;
use crate::cluster::{Running, run_folder};
use crate::config::Cluster;
use crate::disks;
use crate::guest;
use crate::images::{self, PrivateKeys};
use crate::workspace::Workspace;
use anyhow::Result;
use std::time::Instant;

/// Builds what runs in the cluster and says on standard error what goes on.
///
/// # Errors
/// A part does not build.
pub fn build_guest(workspace: &Workspace, debug: bool) -> Result<guest::Guest> {
    let start = Instant::now();
    guest::build(workspace, debug, &mut |line| {
        eprintln!("[{:4.0} s] building: {line}", start.elapsed().as_secs_f32());
    })
}

/// What becomes of the nodes' disks when the command line does not say where they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disks {
    /// They are there at the next run of a cluster with the same nodes.
    Kept,
    /// The same, but this run begins with empty ones.
    KeptAnew,
    /// Each run has new ones.
    New,
}

/// Builds everything and boots the cluster that the arguments describe.
///
/// # Errors
/// The configuration has mistakes, a disk is another one's, a part does not build, or QEMU does not start.
pub fn boot(workspace: &Workspace, args: &ClusterArgs, disks: Disks) -> Result<Running> {
    // First, because a mistake in the configuration or a wrong disk should be told at once.
    let mut cluster = Cluster::load(args)?;
    if disks != Disks::New && cluster.disks.is_none() {
        cluster.disks = Some(disks::own_folder(&workspace.target().join("disks"), &cluster));
    }
    if let (Disks::KeptAnew, Some(folder)) = (disks, &cluster.disks) {
        disks::remove(folder, &cluster)?;
    }
    if let Some(disks) = &cluster.disks {
        disks::prepare(disks, &cluster)?;
    }
    let guest = build_guest(workspace, args.debug_kernel)?;
    let folder = run_folder(workspace)?;
    let images = images::write(workspace, &cluster, &guest, &folder, PrivateKeys::Included)?;
    Running::start(&cluster, &images, &folder)
}
