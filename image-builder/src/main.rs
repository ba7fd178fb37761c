// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host tool: builds kernel, servers and boot images; runs and tests QEMU clusters.
//!
//! # Model
//! ```text
//! cluster.toml ─ config ─┐
//! cargo, make ─ guest ───┼─ images (rootfs, archive, elf) ─ cluster (qemu, switch) ─ session
//! Debian ─ busybox ──────┘                                     │  run, exec, test
//!                                                    ctl ─ control
//! ```
//! What decides is apart from what does I/O: `config`, `rootfs`, `archive`, `elf`, `switch::core`
//! and `session` are tested without a cluster.

#![forbid(unsafe_code)]

mod archive;
mod cli;
mod cluster;
mod command;
mod config;
mod conformance;
mod control;
mod disks;
mod elf;
mod guest;
mod images;
mod keys;
mod process;
mod qemu;
mod rootfs;
mod session;
mod switch;
mod terminal;
mod testing;
mod workspace;

use anyhow::Result;
use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;
use workspace::Workspace;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("korrigan: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode> {
    terminal::end_on_signals()?;
    let workspace = Workspace::find()?;
    match command {
        Command::Run(args) => command::run::run(&workspace, args),
        Command::Exec(args) => command::exec::exec(&workspace, args),
        Command::Ctl(args) => command::ctl::ctl(&workspace, args),
        Command::Image(args) => command::image::image(&workspace, args),
        Command::Key(args) => command::key::key(&workspace, args),
        Command::Bench(args) => command::bench::bench(&workspace, args),
        Command::Conformance(args) => conformance::conformance(&workspace, args),
        Command::Sim(args) => command::sim::sim(&workspace, args),
        Command::Test(args) => testing::test(&workspace, args),
    }
}
