// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line, as people see it with `--help`.

use clap::{Args, Parser, Subcommand};
use cluster_tests::SLOW_MS_MAX;
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
    /// Act on a cluster that runs: end, stop and boot nodes, cut and slow links, see consoles.
    Ctl(CtlArgs),
    /// Write the boot images, one per node, and say how to boot them by hand.
    Image(ImageArgs),
    /// Change the keys of a cluster's nodes, and say what to do with them.
    Key(KeyArgs),
    /// Run the checks and tests: what CI runs.
    Test(TestArgs),
    /// Measure the figures of docs/bench.md.
    Bench(BenchArgs),
    /// Run test suites that others wrote, and compare with Linux: docs/conformance.md.
    Conformance(ConformanceArgs),
    /// Run whole clusters in the simulator, with faults, from seeds.
    #[command(disable_help_flag = true)]
    Sim(SimArgs),
}

/// A test suite that others wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Suite {
    /// busybox's own.
    Busybox,
    /// The Open POSIX Test Suite.
    Posix,
}

impl Suite {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busybox => "busybox",
            Self::Posix => "posix",
        }
    }
}

/// `conformance`'s arguments.
#[derive(Args, Debug)]
pub struct ConformanceArgs {
    /// The suite.
    pub suite: Suite,
    /// The cluster [default: one node of 512 MiB]; with several nodes, the cases run by turns on all of them.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Run it on Linux in QEMU instead, and record what it does there in tests/conformance.
    #[arg(long, conflicts_with = "only")]
    pub on_linux: bool,
    /// Only cases that this regular expression finds; a busybox case is found by its applet's whole name.
    #[arg(long, value_name = "REGEX")]
    pub only: Option<String>,
    /// Show what the suite prints.
    #[arg(long)]
    pub verbose: bool,
    /// Seconds for the whole run.
    #[arg(long, value_name = "S", default_value_t = 7200)]
    pub timeout: u64,
}

/// `sim`'s arguments.
#[derive(Args, Debug)]
pub struct SimArgs {
    /// What the simulator takes: `sim --help` lists it.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    pub arguments: Vec<String>,
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
    /// How nodes know who is a member: `static`, the configured ones for good, or `agreed`: those that a
    /// majority agrees on, so that nodes can come, go and crash [default: agreed, or what the configuration
    /// says].
    #[arg(long, value_name = "HOW")]
    pub views: Option<String>,
    /// Folder of the nodes' disks, which are made when they are missing [default: for `run` one in
    /// target/disks/CLUSTER for each set of nodes, for `image` its folder, else new ones for each run].
    #[arg(long, value_name = "DIR")]
    pub disks: Option<PathBuf>,
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
    /// Begin anew: delete the disks that this cluster's nodes had, without asking. Other files, and
    /// disks of other clusters, are left alone.
    #[arg(long)]
    pub new_disks: bool,
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

/// What `ctl --help` ends with.
const CTL_HELP: &str = "\
Start a cluster with `./korrigan run` (or `exec`, or `test`) in one terminal, and break it from another:

    ./korrigan ctl                   what runs
    ./korrigan ctl kill 3            as a power cut would; `boot 3` brings it back
    ./korrigan ctl pause 2           `resume 2` within 1.5 s, or the others take it for lost
    ./korrigan ctl cut 1 2 --one-way what 1 sends to 2 is lost, not what 2 sends to 1
    ./korrigan ctl slow 1 2 25       25 ms each way; with `lose 1 2 10`, both
    ./korrigan ctl heal              all links are good again
    ./korrigan ctl console 2         Ctrl-A q leaves it";

/// `ctl`'s arguments.
#[derive(Args, Debug)]
#[command(after_help = CTL_HELP)]
pub struct CtlArgs {
    /// Which cluster, if several run: its ID, or the end of it.
    #[arg(long, value_name = "ID", global = true)]
    pub run: Option<String>,
    /// What to do [default: list].
    #[command(subcommand)]
    pub command: Option<CtlCommand>,
}

/// What `ctl` does.
#[derive(Subcommand, Debug)]
pub enum CtlCommand {
    /// Show nodes and links.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// End a node at once, as a power cut would.
    Kill {
        /// The node's number.
        node: u16,
    },
    /// Boot a node again that was killed or has ended: same image, same command line, same log.
    Boot {
        /// The node's number.
        node: u16,
    },
    /// Stop a node in its tracks, as a debugger would. After 1.5 s the others take it for lost.
    Pause {
        /// The node's number.
        node: u16,
    },
    /// Let a paused node go on.
    Resume {
        /// The node's number.
        node: u16,
    },
    /// Cut a link: nothing passes.
    Cut {
        /// Which link.
        #[command(flatten)]
        link: LinkArgs,
    },
    /// Make everything on a link take longer.
    Slow {
        /// Which link.
        #[command(flatten)]
        link: LinkArgs,
        /// Milliseconds, one way; 0 for as quick as it is.
        #[arg(value_parser = clap::value_parser!(u64).range(..=SLOW_MS_MAX))]
        ms: u64,
    },
    /// Lose frames of a link.
    Lose {
        /// Which link.
        #[command(flatten)]
        link: LinkArgs,
        /// How many of a hundred are lost.
        #[arg(value_parser = clap::value_parser!(u8).range(..=100))]
        percent: u8,
    },
    /// Make the link between two nodes good again, or all links.
    Heal {
        /// The two nodes' numbers; every link if there are none.
        #[arg(num_args = 2, value_names = ["A", "B"])]
        nodes: Vec<u16>,
    },
    /// Show a node's console on this terminal and type on it; Ctrl-A q leaves it. What is typed at
    /// node 1 while `exec` or `test` runs mixes with their commands.
    Console {
        /// The node's number.
        node: u16,
    },
}

/// A link.
#[derive(Args, Debug)]
pub struct LinkArgs {
    /// One node's number.
    pub a: u16,
    /// The other's.
    pub b: u16,
    /// Only what goes from A to B.
    #[arg(long)]
    pub one_way: bool,
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

/// `key`'s arguments.
#[derive(Args, Debug)]
pub struct KeyArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What `key` does.
#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Make a new key pair for a node, keep the old one beside it, and say how a cluster that runs is told.
    New {
        /// The node's number.
        node: u16,
        /// Configuration of the cluster [default: that of `run`].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Nodes of the cluster, if no configuration names them [default: 3].
        #[arg(long, value_name = "N")]
        nodes: Option<u16>,
    },
}

/// `test`'s arguments.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Run only steps and scenarios whose name contains this; with a slash (shell/fast/1-core) also on clusters
    /// that otherwise only --full boots.
    pub filter: Option<String>,
    /// Everything, also what takes hours, with each composition on each number of cores.
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
