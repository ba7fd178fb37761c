// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bench`: the figures of docs/bench.md.

use crate::cli::BenchArgs;
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::process::ExitCode;

/// Measures nothing yet.
///
/// # Errors
/// Always: the bench program is not there yet.
pub fn bench(_workspace: &Workspace, _args: &BenchArgs) -> Result<ExitCode> {
    bail!("there is nothing to measure with yet: the bench program is missing from tests/")
}
