// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ctl`: acts on a cluster that runs in another terminal.

use super::keys::{Key, Keys};
use crate::cli::{CtlArgs, CtlCommand, LinkArgs};
use crate::control::{Answer, Call, Request, client, find};
use crate::terminal::Raw;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use cluster_tests::{ONE_WAY, Order};
use std::io::{Read, Write, stdin, stdout};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Bytes of a console, or of what is typed, at a time.
const PIECE_BYTES: usize = 4096;
const HELP: &str = "Ctrl-A then: q leave this console, a Ctrl-A itself, ? this help";

/// Finds the cluster and does it.
///
/// # Errors
/// There is no such cluster, or it refuses: why, and what to do.
pub fn ctl(workspace: &Workspace, args: &CtlArgs) -> Result<ExitCode> {
    let command = args.command.as_ref().unwrap_or(&CtlCommand::List { json: false });
    // First, because a mistake should be told whether a cluster runs or not.
    let wanted = wanted(command)?;
    let run = find::one(&workspace.target().join("run"), args.run.as_deref())?;
    let (answer, stream) = client::call(&run.folder, &wanted)?;
    match answer {
        Answer::Done(what) => print(&what),
        Answer::Refused(why) => bail!("{why}"),
        Answer::Cluster(status) if matches!(command, CtlCommand::List { json: true }) => {
            print(&serde_json::to_string_pretty(&status).context("cannot print the list")?);
        }
        Answer::Cluster(status) => print(&format!("run {}: {status}", run.id)),
        Answer::Console => console(&stream)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a line; whoever reads our output may stop reading.
fn print(text: &str) {
    let _ = writeln!(stdout(), "{text}");
}

fn wanted(command: &CtlCommand) -> Result<Call> {
    let way = |link: &LinkArgs| if link.one_way { ONE_WAY } else { "" };
    let order = match command {
        CtlCommand::List { .. } => return Ok(Call::Request(Request::List)),
        CtlCommand::Console { node } => return Ok(Call::Console(*node)),
        CtlCommand::Kill { node } => format!("kill {node}"),
        CtlCommand::Boot { node } => format!("boot {node}"),
        CtlCommand::Pause { node } => format!("pause {node}"),
        CtlCommand::Resume { node } => format!("resume {node}"),
        CtlCommand::Cut { link } => format!("cut {} {} {}", link.a, link.b, way(link)),
        CtlCommand::Slow { link, ms } => format!("slow {} {} {ms} {}", link.a, link.b, way(link)),
        CtlCommand::Lose { link, percent } => {
            format!("lose {} {} {percent} {}", link.a, link.b, way(link))
        }
        CtlCommand::Heal { nodes } => {
            let nodes: Vec<String> = nodes.iter().map(u16::to_string).collect();
            format!("heal {}", nodes.join(" "))
        }
    };
    match Order::parse(&order) {
        Ok(order) => Ok(Call::Request(Request::Order(order))),
        Err(why) => bail!("{why}; `./korrigan ctl --help` shows all orders"),
    }
}

/// Shows a console until the person leaves it or the cluster ends.
fn console(mut stream: &UnixStream) -> Result<()> {
    println!("{HELP}");
    stream.set_read_timeout(None).context("cannot wait for the console")?;
    let raw = Raw::enter()?;
    let typing = stream.try_clone().context("cannot share a connection")?;
    std::thread::Builder::new()
        .name("terminal".to_owned())
        .spawn(move || type_on(typing))
        .context("cannot start the terminal's thread")?;
    let (mut buffer, mut out) = (vec![0; PIECE_BYTES], stdout());
    // A connection that breaks is one that ends: the cluster is gone.
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        out.write_all(&buffer[..len])
            .and_then(|()| out.flush())
            .context("cannot write to the terminal")?;
    }
    drop(raw);
    println!("\nleft the console");
    Ok(())
}

/// Takes what is typed until the person leaves, then closes the connection.
fn type_on(mut stream: UnixStream) {
    let mut keys = Keys::default();
    let mut buffer = vec![0; PIECE_BYTES];
    'typing: while let Ok(len @ 1..) = stdin().read(&mut buffer) {
        for key in keys.feed(&buffer[..len]) {
            let sent = match key {
                Key::Text(bytes) => stream.write_all(&bytes),
                Key::Quit => break 'typing,
                Key::Node(_) | Key::Next | Key::Help => {
                    stdout().write_all(format!("\r\n--- {HELP} ---\r\n").as_bytes())
                }
            };
            if sent.is_err() {
                break 'typing;
            }
        }
    }
    // The other end may have closed it before.
    let _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn asked(words: &str) -> Result<Call> {
        let words = ["korrigan", "ctl"].into_iter().chain(words.split_whitespace());
        let Command::Ctl(args) = Cli::try_parse_from(words)?.command else { bail!("not ctl") };
        wanted(args.command.as_ref().unwrap_or(&CtlCommand::List { json: false }))
    }

    #[test]
    fn command_line_is_what_the_cluster_is_asked() {
        for (words, line) in [
            ("", "list"),
            ("list --json", "list"),
            ("console 2", "console 2"),
            ("kill 3", "kill 3"),
            ("boot 3 --run 7", "boot 3"),
            ("pause 2", "pause 2"),
            ("resume 2", "resume 2"),
            ("cut 1 2", "cut 1 2"),
            ("cut 1 2 --one-way", "cut 1 2 --one-way"),
            ("slow --one-way 2 1 25", "slow 2 1 25 --one-way"),
            ("lose 1 2 10", "lose 1 2 10"),
            ("heal", "heal"),
            ("heal 1 2", "heal 1 2"),
        ] {
            let call = asked(words).expect("it is right");
            assert_eq!(call.line(), format!("korrigan 1 {line}\n"), "{words}");
        }
    }

    #[test]
    fn mistakes_are_told_before_a_cluster_is_looked_for() {
        for words in
            ["kill", "kill x", "cut 1", "slow 1 2 60001", "lose 1 2 101", "heal 1", "dance"]
        {
            let error = asked(words).expect_err("it is not right").to_string();
            assert!(error.contains("--help"), "{words}: {error}");
        }
        let error = asked("cut 2 2").expect_err("it is not right").to_string();
        assert!(error.contains("two nodes") && error.contains("--help"), "{error}");
    }
}
