// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs one scenario on one cluster.

use super::host::HostShell;
use super::newcomers;
use crate::cli::ClusterArgs;
use crate::cluster::{Running, run_folder};
use crate::config::{Cluster, ExtraFile};
use crate::guest::Guest;
use crate::session::shell::{Heard, Shell, next};
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use cluster_tests::{
    Action, Difference, Order, Scenario, Status, Step, Trouble, Troublemaker, Variant, compare,
    compare_exactly,
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

/// Boots the cluster, with these files in it, and takes the steps; returns what was not as it should be.
///
/// # Errors
/// The cluster could not be started; later trouble is among what is returned.
pub fn run(job: &Job<'_>, files: Vec<ExtraFile>) -> Result<Vec<String>> {
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
    let last = cluster.nodes.iter().rev().take(usize::from(header.newcomers)).rev();
    cluster.joining = last.map(|node| node.id).collect();
    cluster.root.files = files;
    let folder = run_folder(job.workspace)?;
    let images = newcomers::images(job.workspace, &mut cluster, job.guest, &folder)?;
    let host = HostShell::start(job.workspace, &folder.join("host"))?;
    let mut running = Running::start(&cluster, &images, &folder)?;
    let deadline = Instant::now() + Duration::from_secs(header.timeout_s);
    let (count, console) = (running.nodes.len(), header.console);
    let (seen, booting) = (vec![Vec::new(); count], vec![false; count]);
    let mut stage =
        Stage { host, console, deadline, seen, booting, story: Vec::new(), wrong: Vec::new() };
    if let Err(error) = stage.play(&mut running, &job.scenario.steps, &cluster.joining) {
        stage.wrong.push(format!("{error:#}\n{}", running.tails()));
    }
    if let (Some(last), false) = (stage.wrong.last_mut(), stage.story.is_empty()) {
        let story = stage.story.join("\n    ");
        last.push_str(&format!("\n  what was done to the cluster:\n    {story}"));
    }
    Ok(stage.wrong)
}

/// A scenario under way.
struct Stage {
    host: HostShell,
    /// The node whose login shell gets the commands.
    console: u16,
    deadline: Instant,
    /// What each console printed since the last wait or command.
    seen: Vec<Vec<u8>>,
    /// Which nodes have started again and not said since that they are ready.
    booting: Vec<bool>,
    /// Random trouble so far.
    story: Vec<String>,
    wrong: Vec<String>,
}

impl Stage {
    fn play(&mut self, running: &mut Running, steps: &[Step], strangers: &[u16]) -> Result<()> {
        let at = running.index(self.console)?;
        let mut shell = Shell::open_without(running, at, self.deadline, strangers)?;
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
            Action::Disturb { seconds, seed } => {
                let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
                self.disturb(running, shell, Duration::from_secs(*seconds), seed)?;
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
            if !self.listen(running, shell, self.deadline)? {
                let text = String::from_utf8_lossy(text);
                bail!("the time is up, and node {node}'s console has not shown {text:?}");
            }
        }
    }

    /// Takes the next that is heard of any node; false if that is nothing until `deadline`.
    fn listen(
        &mut self,
        running: &mut Running,
        shell: &mut Shell,
        deadline: Instant,
    ) -> Result<bool> {
        match next(running, deadline)? {
            Heard::Output(index, bytes) => {
                if shell.is_at(index) {
                    shell.overhear(running, &bytes)?;
                }
                self.seen[index].extend(bytes);
            }
            Heard::Ended(index) => {
                self.booting[index] = true;
                self.seen[index].clear();
            }
            Heard::TimeUp => return Ok(false),
        }
        Ok(true)
    }

    /// One thing after the other goes wrong. A node that had to start again is waited for before the next.
    fn disturb(
        &mut self,
        running: &mut Running,
        shell: &mut Shell,
        time: Duration,
        seed: u64,
    ) -> Result<()> {
        let begun = Instant::now();
        let count = running.nodes.len() as u16;
        self.story.push(format!("`@ disturb {} {seed}`", time.as_secs()));
        for trouble in Troublemaker::new(seed, count, self.console) {
            if begun.elapsed() >= time {
                break;
            }
            let Trouble { begins, lasts, ends, rest } = trouble;
            let at = begun.elapsed().as_secs_f32();
            self.story.push(format!("{at:.1} s: {begins} for {} ms", lasts.as_millis()));
            self.order(running, begins)?;
            self.listen_for(running, shell, lasts)?;
            self.order(running, ends)?;
            self.listen_for(running, shell, rest)?;
            self.await_all(running, shell)?;
        }
        Ok(())
    }

    fn order(&mut self, running: &mut Running, order: Order) -> Result<()> {
        if let Order::Kill { node } = order {
            let index = running.index(node)?;
            self.booting[index] = true;
            self.seen[index].clear();
        }
        // A node that is starting again just now can neither be killed nor paused.
        if let Err(error) = running.obey(order) {
            self.story.push(format!("({error:#})"));
        }
        Ok(())
    }

    fn listen_for(
        &mut self,
        running: &mut Running,
        shell: &mut Shell,
        time: Duration,
    ) -> Result<()> {
        let until = self.deadline.min(Instant::now() + time);
        while self.listen(running, shell, until)? {}
        Ok(())
    }

    /// Waits for the nodes that have started again.
    fn await_all(&mut self, running: &mut Running, shell: &mut Shell) -> Result<()> {
        while let Some(index) = self.booting.iter().position(|booting| *booting) {
            let id = running.nodes[index].id;
            self.wait(running, shell, id, format!("node {id}: ready").as_bytes())?;
            self.booting[index] = false;
        }
        Ok(())
    }
}

fn command(running: &mut Running, shell: &mut Shell, text: &str) -> Result<(String, u8)> {
    let mut printed = Vec::new();
    let status = shell.run(running, text, &mut |bytes| printed.extend_from_slice(bytes))?;
    Ok((String::from_utf8_lossy(&printed).into_owned(), status))
}
