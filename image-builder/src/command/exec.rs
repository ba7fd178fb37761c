// SPDX-License-Identifier: MIT OR Apache-2.0
//! `exec`: command lines in, output and status out.

use crate::cli::ExecArgs;
use crate::cluster::Running;
use crate::session::shell::Shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use serde::Serialize;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// One command's outcome, as `--json` prints it.
#[derive(Serialize)]
struct Outcome {
    command: String,
    status: u8,
    output: String,
}

/// Boots the cluster and runs the commands, up to the first that fails.
///
/// # Errors
/// The cluster cannot be built or started, crashes, or is too slow; in the last two cases the ends
/// of the logs have been printed.
pub fn exec(workspace: &Workspace, args: &ExecArgs) -> Result<ExitCode> {
    let mut running = super::boot(workspace, &args.cluster, super::Disks::New)?;
    let mut outcomes = Vec::new();
    let result = commands(&mut running, args, &mut outcomes);
    if args.json {
        let text = serde_json::to_string_pretty(&outcomes).context("cannot print the outcome")?;
        println!("{text}");
    }
    match result {
        Ok(status) => Ok(ExitCode::from(status)),
        Err(error) => {
            eprint!("{}", running.tails());
            Err(error)
        }
    }
}

fn commands(running: &mut Running, args: &ExecArgs, outcomes: &mut Vec<Outcome>) -> Result<u8> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let mut shell = Shell::open(running, 0, deadline)?;
    for command in &args.commands {
        let mut output = Vec::new();
        let status = shell.run(running, command, &mut |bytes| {
            if args.json {
                output.extend_from_slice(bytes);
            } else {
                // Whoever reads our output may stop reading; the commands run all the same.
                let _ = stdout().write_all(bytes).and_then(|()| stdout().flush());
            }
        })?;
        let output = String::from_utf8_lossy(&output).into_owned();
        outcomes.push(Outcome { command: command.clone(), status, output });
        if status != 0 {
            return Ok(status);
        }
    }
    Ok(0)
}
