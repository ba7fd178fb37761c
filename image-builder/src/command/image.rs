// SPDX-License-Identifier: MIT OR Apache-2.0
//! `image`: the boot images, and how to boot them by hand.

use crate::cli::ImageArgs;
use crate::config::Cluster;
use crate::disks;
use crate::images::{self, PrivateKeys};
use crate::keys::{self, NodeKey};
use crate::process::typed;
use crate::qemu::{Accelerator, Machine};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;

const LICENCES: &str = "\
kernel.elf is the seL4 microkernel with Korrigan's edits, under the GNU General Public License,
version 2. Its source is the package sel4-sys of the Rust registry, and the edits are in
microkernel/kernel/edits of Korrigan's source; whoever passes the image on must offer both.

node-*.module hold Korrigan's servers (MIT or Apache-2.0, at your choice) and, as data, the root
file system: Debian's busybox (GNU General Public License, version 2; its source is Debian's source
package busybox), Korrigan's tools (as the servers), and whatever the configuration added.
";

/// Writes kernel, modules and licences, and prints how to boot them.
///
/// # Errors
/// The configuration has mistakes, a part does not build, or the folder cannot be written.
pub fn image(workspace: &Workspace, args: &ImageArgs) -> Result<ExitCode> {
    let cluster = Cluster::load(&args.cluster)?;
    let guest = super::build_guest(workspace, args.cluster.debug_kernel)?;
    let private = if args.without_keys { PrivateKeys::LeftOut } else { PrivateKeys::Included };
    let images = images::write(workspace, &cluster, &guest, &args.out, private)?;
    let disks = disks::prepare(cluster.disks.as_ref().unwrap_or(&args.out), &cluster)?;
    let licences = args.out.join("LICENCES");
    fs::write(&licences, LICENCES)
        .with_context(|| format!("cannot write {}", licences.display()))?;

    println!(
        "{} holds the kernel (GPLv2, see LICENCES) and a module for each node. Disks that were there \
         are as they were.",
        args.out.display()
    );
    println!("{}", keys_sentence(private));
    println!("Boot a node on hardware with any Multiboot 1 loader: the kernel, and one module.");
    println!("Boot it in QEMU (Ctrl-C ends it) with:");
    for ((entry, (id, module)), disk) in cluster.nodes.iter().zip(&images.modules).zip(disks) {
        let machine = Machine {
            node: entry.clone(),
            kernel: images.kernel.clone(),
            module: module.clone(),
            accelerator: Accelerator::find(),
            netdev: Some(netdev(*id)),
            disk,
            counting: None,
        };
        println!("\n# node {id}\n{}", typed(&machine.command()));
    }
    if !cluster.joining.is_empty() {
        let keys = keys::load(&keys::folder(workspace, &cluster), &cluster.nodes)?;
        println!("\n{}", how_they_join(&cluster, &keys));
    }
    println!(
        "\nThe nodes' links end at UDP ports on 127.0.0.1 where a switch must be; `./korrigan run` brings one."
    );
    Ok(ExitCode::SUCCESS)
}

/// What to say to a cluster that runs with older images.
fn how_they_join(cluster: &Cluster, keys: &BTreeMap<u16, NodeKey>) -> String {
    let mut text = "A cluster that runs with images that do not name the nodes that join takes them in when somebody \
                    says there, as root on a node that votes:"
        .to_owned();
    for node in cluster.nodes.iter().filter(|node| cluster.joining.contains(&node.id)) {
        text = format!("{text}\n  {}", keys::line_to_add(node, &keys[&node.id]));
    }
    text
}

/// What the images' keys ask of who passes them on.
fn keys_sentence(private: PrivateKeys) -> &'static str {
    match private {
        PrivateKeys::Included => {
            "Each module holds its node's private key: who can read it can speak as that node. Do not \
             boot it over a network that others can listen to."
        }
        PrivateKeys::LeftOut => {
            "The modules hold no private keys: each node's links stay down until its key is typed at \
             its console."
        }
    }
}

/// A link for booting by hand: QEMU's end and the switch's, numbered after the node.
fn netdev(id: u16) -> String {
    /// First port of QEMU's ends, and of the switch's.
    const PORTS: (u16, u16) = (20_000, 30_000);
    let (qemu, switch) = (PORTS.0 + id, PORTS.1 + id);
    format!(
        "dgram,id=n0,local.type=inet,local.host=127.0.0.1,local.port={qemu},\
         remote.type=inet,remote.host=127.0.0.1,remote.port={switch}"
    )
}
