// SPDX-License-Identifier: MIT OR Apache-2.0
//! Busybox's shell on this machine, on a pseudo-terminal: what Linux prints for a command.

use crate::rootfs::{Busybox, PROMPT};
use crate::session::{Action, Session};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// Time for one command on this machine.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// Bytes read from the shell at a time.
const READ_BYTES: usize = 4096;
/// Pieces of output that wait.
const PIECES_MAX: usize = 64;

/// A shell on this machine; it ends when this is dropped.
pub struct HostShell {
    child: Child,
    stdin: ChildStdin,
    output: Receiver<Vec<u8>>,
    session: Session,
}

impl HostShell {
    /// Starts it in an empty folder below `scratch`, with busybox's programs in its PATH.
    ///
    /// # Errors
    /// There is no busybox or no `script`, or the folder cannot be made.
    pub fn start(workspace: &Workspace, scratch: &Path) -> Result<Self> {
        let busybox = Busybox::path(workspace)?;
        let (folder, profile) = prepare(workspace, scratch)?;
        let shell = format!("{} sh", busybox.display());
        // `script` gives the shell a terminal, so that programs print as they do on a console.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "script", "-qfc", &shell, "/dev/null"])
            .current_dir(&folder)
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/root"), ("TERM", "vt100")])
            .env("SHELL", "/bin/sh")
            .env("ENV", &profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start script (Debian package bsdutils): is it installed?")?;
        let stdin = child.stdin.take().context("a piped input is there")?;
        let mut stdout = child.stdout.take().context("a piped output is there")?;
        let (sender, output) = sync_channel(PIECES_MAX);
        std::thread::spawn(move || {
            let mut buffer = [0; READ_BYTES];
            while let Ok(len @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut shell = Self { child, stdin, output, session: Session::default() };
        shell.until_done()?;
        Ok(shell)
    }

    /// What a command prints, and its status.
    ///
    /// # Errors
    /// It cannot be typed, or takes too long.
    pub fn run(&mut self, command: &str) -> Result<(Vec<u8>, u8)> {
        let line = self.session.start(command)?;
        self.stdin.write_all(&line).context("busybox's shell has ended")?;
        self.until_done().with_context(|| format!("on this machine: {command}"))
    }

    fn until_done(&mut self) -> Result<(Vec<u8>, u8)> {
        let deadline = Instant::now() + COMMAND_TIME;
        let mut printed = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self.output.recv_timeout(left).context("busybox's shell says nothing")?;
            for action in self.session.feed(&bytes) {
                match action {
                    Action::Type(line) => {
                        self.stdin.write_all(&line).context("busybox's shell has ended")?;
                    }
                    Action::Output(bytes) => printed.extend(bytes),
                    Action::Done(status) => return Ok((printed, status)),
                    Action::Ready => return Ok((printed, 0)),
                }
            }
        }
    }
}

impl Drop for HostShell {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes the folder to work in, one of links for PATH, and what the shell reads first.
fn prepare(workspace: &Workspace, scratch: &Path) -> Result<(PathBuf, PathBuf)> {
    let busybox = Busybox::find(workspace)?;
    let (folder, bin) = (scratch.join("work"), scratch.join("bin"));
    for path in [&folder, &bin] {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let program = fs::canonicalize(Busybox::path(workspace)?).context("busybox has gone")?;
    for applet in busybox.names() {
        let link = bin.join(applet);
        if !link.exists() {
            std::os::unix::fs::symlink(&program, &link)
                .with_context(|| format!("cannot make {}", link.display()))?;
        }
    }
    let profile = scratch.join("profile");
    let programs = super::programs::folder(workspace);
    let path = format!("{}:{}", bin.display(), programs.display());
    let text = format!("export PATH={path}\nunset ENV\n{PROMPT}\n");
    fs::write(&profile, text).with_context(|| format!("cannot write {}", profile.display()))?;
    Ok((folder, profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_shell_answers_from_its_folder() {
        let workspace = Workspace::find().expect("the tests run in it");
        let scratch = tempfile::tempdir().expect("a folder");
        let mut shell = HostShell::start(&workspace, scratch.path()).expect("it starts");
        let (printed, status) = shell.run("echo x >f; ls; (exit 3)").expect("it runs");
        assert_eq!((printed.as_slice(), status), (&b"f\n"[..], 3));
        assert_eq!(shell.run("echo $?$(cat f)").expect("it runs").0, b"0x\n");
    }

    /// A command whose output changes from run to run can never be compared with Linux's.
    #[test]
    fn commands_compared_with_linux_print_the_same_every_time() {
        let workspace = Workspace::find().expect("the tests run in it");
        let folder = workspace.root().join("tests/cluster");
        for entry in fs::read_dir(folder).expect("it is there").flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "test") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("it can be read");
            let scenario = cluster_tests::parse(&text).expect("it is right");
            super::super::programs::build(&workspace, &scenario.header.programs)
                .expect("it builds");
            let scratch = tempfile::tempdir().expect("a folder");
            let mut shells = ["a", "b"].map(|name| {
                HostShell::start(&workspace, &scratch.path().join(name)).expect("it starts")
            });
            for step in scenario.steps {
                let cluster_tests::Action::AsOnLinux { text } = step.action else { continue };
                let [a, b] = shells.each_mut().map(|shell| shell.run(&text).expect("it runs"));
                assert_eq!(a, b, "{}:{}: {text}", path.display(), step.line);
                assert_ne!(a.1, 127, "{}:{}: {text}: not found", path.display(), step.line);
            }
        }
    }
}
