// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line, as people see it with `--help`.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// A cluster of machines that looks like one machine: build it, run it in QEMU, test it.
#[derive(Parser, Debug)]
#[command(name = "korrigan", bin_name = "./korrigan", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The tool's commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Boot one QEMU per node and connect this terminal to node 1's console.
    Run(RunArgs),
    /// Run command lines at node 1's login shell, print their output and end with the first
    /// failing status.
    Exec(ExecArgs),
    /// Write the boot images, one per node, and say how to boot them by hand.
    Image(ImageArgs),
    /// Run the checks and tests: what CI runs.
    Test(TestArgs),
    /// Measure the figures of docs/bench.md.
    Bench(BenchArgs),
}

/// Which cluster: every command that boots or builds one takes these.
#[derive(Args, Debug, Clone, Default)]
pub struct ClusterArgs {
    /// Nodes of the cluster [default: 3, or what the configuration names].
    #[arg(long, value_name = "N")]
    pub nodes: Option<u16>,
    /// CPU cores of every node [default: 1, or what the configuration says].
    #[arg(long, value_name = "N")]
    pub cores: Option<u8>,
    /// Memory of every node in MiB [default: 256, or what the configuration says].
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u32>,
    /// Configuration of the cluster; cluster.example.toml explains it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder that is copied over the root file system; may be given more than once.
    #[arg(long, value_name = "DIR")]
    pub overlay: Vec<PathBuf>,
    /// Which servers share a domain: `isolated` (each its own) or `fast` [default: isolated].
    #[arg(long, value_name = "NAME")]
    pub composition: Option<String>,
    /// Boot the kernel's debug build, which prints what it refuses.
    #[arg(long)]
    pub debug_kernel: bool,
}

/// `run`'s arguments.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// `exec`'s arguments.
#[derive(Args, Debug)]
pub struct ExecArgs {
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Seconds for boot and all commands together, once the images are built.
    #[arg(long, value_name = "S", default_value_t = 120)]
    pub timeout: u64,
    /// Print one JSON array of {command, status, output} instead of the output as it comes.
    #[arg(long)]
    pub json: bool,
    /// Command lines, each typed in turn at node 1's login shell.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub commands: Vec<String>,
}

/// `image`'s arguments.
#[derive(Args, Debug)]
pub struct ImageArgs {
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Folder for the images; it is made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    pub out: PathBuf,
    /// Leave the nodes' private keys out, for images that travel over a network.
    #[arg(long)]
    pub without_keys: bool,
}

/// `test`'s arguments.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Run only steps and scenarios whose name contains this.
    pub filter: Option<String>,
    /// Everything, also what takes hours.
    #[arg(long)]
    pub full: bool,
    /// Boot clusters with this composition only.
    #[arg(long, value_name = "NAME")]
    pub composition: Option<String>,
    /// Name the steps and scenarios and stop.
    #[arg(long)]
    pub list: bool,
}

/// A part of `bench`.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum BenchPart {
    /// From QEMU's start to the prompt.
    Prompt,
    /// Instructions of operations on one node.
    Node,
    /// Instructions of a null request between two nodes.
    Requests,
    /// Page fetches and migrations between three nodes, in round trips.
    Nodes,
}

/// `bench`'s arguments.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Measure this part only.
    pub part: Option<BenchPart>,
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}
