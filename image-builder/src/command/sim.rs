// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sim`: builds the simulator and passes its arguments on.

use crate::cli::SimArgs;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::process::{Command, ExitCode};

/// Runs the simulator; its status is the tool's.
///
/// # Errors
/// cargo cannot be started.
pub fn sim(workspace: &Workspace, args: &SimArgs) -> Result<ExitCode> {
    let mut command = Command::new("cargo");
    command.current_dir(workspace.root());
    command.args(["run", "--locked", "--quiet", "--package", "sim", "--bin", "sim", "--"]);
    let status = command.args(&args.arguments).status().context("cannot start cargo")?;
    // A status above 255 does not exist; none at all means that a signal ended it.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
