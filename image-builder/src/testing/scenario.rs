// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs one scenario on one cluster.

use super::host::HostShell;
use super::programs;
use crate::cli::ClusterArgs;
use crate::cluster::{Running, run_folder};
use crate::config::Cluster;
use crate::guest::Guest;
use crate::images::{self, PrivateKeys};
use crate::session::shell::{Heard, Shell, next};
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use cluster_tests::{
    Action, Difference, Scenario, Status, Step, Variant, compare, compare_exactly,
};
use std::time::{Duration, Instant};

/// Goes to the empty folder in the cluster where commands run, with the test programs in PATH.
const WORK: &str = "mkdir -p /tmp/test && cd /tmp/test && PATH=$PATH:/usr/test";

/// A scenario with what it needs to run.
pub struct Job<'a> {
    /// The project.
    pub workspace: &'a Workspace,
    /// What runs in the cluster.
    pub guest: &'a Guest,
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The cluster it runs on.
    pub variant: &'a Variant,
}

/// Boots the cluster and takes the steps; returns what was not as it should be.
///
/// # Errors
/// The cluster could not be started; later trouble is among what is returned.
pub fn run(job: &Job<'_>) -> Result<Vec<String>> {
    let header = &job.scenario.header;
    let args = ClusterArgs {
        nodes: Some(header.nodes),
        cores: Some(job.variant.cores),
        memory: Some(header.memory_mib),
        views: header.views.clone(),
        composition: Some(job.variant.composition.clone()),
        ..ClusterArgs::default()
    };
    let mut cluster = Cluster::load(&args)?;
    cluster.root.files = programs::build(job.workspace, &header.programs)?;
    let folder = run_folder(job.workspace)?;
    let images = images::write(job.workspace, &cluster, job.guest, &folder, PrivateKeys::Included)?;
    let host = HostShell::start(job.workspace, &folder.join("host"))?;
    let mut running = Running::start(&cluster, &images, &folder)?;
    let deadline = Instant::now() + Duration::from_secs(header.timeout_s);
    let mut stage =
        Stage { host, deadline, seen: vec![Vec::new(); running.nodes.len()], wrong: Vec::new() };
    if let Err(error) = stage.play(&mut running, header.console, &job.scenario.steps) {
        stage.wrong.push(format!("{error:#}\n{}", running.tails()));
    }
    Ok(stage.wrong)
}

/// A scenario under way.
struct Stage {
    host: HostShell,
    deadline: Instant,
    /// What each console printed since the last wait or command.
    seen: Vec<Vec<u8>>,
    wrong: Vec<String>,
}

impl Stage {
    fn play(&mut self, running: &mut Running, console: u16, steps: &[Step]) -> Result<()> {
        let at = running.index(console)?;
        let mut shell = Shell::open(running, at, self.deadline)?;
        shell.run(running, WORK, &mut |_| {})?;
        for step in steps {
            self.step(running, &mut shell, step)
                .map_err(|error| error.context(format!("line {}", step.line)))?;
        }
        Ok(())
    }

    fn step(&mut self, running: &mut Running, shell: &mut Shell, step: &Step) -> Result<()> {
        match &step.action {
            Action::Command { text, output, status } => {
                let (printed, ended) = command(running, shell, text)?;
                self.check(step.line, text, compare(output, &printed), *status, ended);
            }
            Action::AsOnLinux { text } => {
                let (wanted, status) = self.host.run(text)?;
                let wanted = String::from_utf8_lossy(&wanted);
                let (printed, ended) = command(running, shell, text)?;
                let difference = compare_exactly(&wanted, &printed);
                self.check(step.line, text, difference, Status::Is(status), ended);
            }
            Action::Type { node, bytes } => {
                let index = running.index(*node)?;
                self.seen[index].clear();
                running.nodes[index].write(bytes)?;
            }
            Action::Wait { node, text } => self.wait(running, shell, *node, text)?,
            Action::Order(order) => {
                running.obey(*order)?;
            }
        }
        Ok(())
    }

    fn check(
        &mut self,
        line: usize,
        text: &str,
        difference: Option<Difference>,
        status: Status,
        ended: u8,
    ) {
        if let Some(difference) = difference {
            self.wrong.push(format!("line {line}: `{text}` printed something else, {difference}"));
        }
        if !status.admits(ended) {
            let wanted = match status {
                Status::Is(wanted) => wanted.to_string(),
                Status::Failure => "a failure".to_owned(),
                Status::Any => "anything".to_owned(),
            };
            self.wrong
                .push(format!("line {line}: `{text}` ended with {ended} instead of {wanted}"));
        }
    }

    /// Waits until a console has shown `text`; nothing may have been read past it before.
    fn wait(
        &mut self,
        running: &mut Running,
        shell: &mut Shell,
        node: u16,
        text: &[u8],
    ) -> Result<()> {
        let wanted = running.index(node)?;
        loop {
            let seen = &mut self.seen[wanted];
            if let Some(at) = seen.windows(text.len().max(1)).position(|window| window == text) {
                seen.drain(..at + text.len());
                return Ok(());
            }
            match next(running, self.deadline)? {
                Heard::Output(index, bytes) => {
                    if shell.is_at(index) {
                        shell.overhear(running, &bytes)?;
                    }
                    self.seen[index].extend(bytes);
                }
                Heard::Ended(_) => {}
                Heard::TimeUp => {
                    let text = String::from_utf8_lossy(text);
                    bail!("the time is up, and node {node}'s console has not shown {text:?}");
                }
            }
        }
    }
}

fn command(running: &mut Running, shell: &mut Shell, text: &str) -> Result<(String, u8)> {
    let mut printed = Vec::new();
    let status = shell.run(running, text, &mut |bytes| printed.extend_from_slice(bytes))?;
    Ok((String::from_utf8_lossy(&printed).into_owned(), status))
}
