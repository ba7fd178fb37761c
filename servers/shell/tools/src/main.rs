// SPDX-License-Identifier: MIT OR Apache-2.0
//! The administration programs that run as Linux programs: nodes, node, ps, migrate, mem, net, disks, klog, halt,
//! reboot, crash, onnode, ipcs and ipcrm. One program, which acts by the name that it is called by.
//!
//! # Model
//! All but `onnode`, `ipcs` and `ipcrm` pass their words on to the shell server through `/sys/cluster/admin` and show its
//! answer. `onnode` moves itself to another node and becomes the wanted program there, so that the
//! program has the caller's terminal, directory and environment.
//!
//! # Failure
//! Exit status 2: the command line is wrong. 1: the command failed, or the cluster cannot be asked.
//! `onnode`: 127 if there is no such program, 126 if it cannot be run, 125 if the node cannot be
//! reached, else the program's own.

#![deny(unsafe_code)]

mod admin;
mod applet;
mod objects;
mod onnode;

use applet::{APPLETS, Applet};
use std::env;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words: Vec<String> =
        env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let applet = words.first().and_then(|name| applet::find(name)).or_else(|| {
        // Called by its own name: the applet is the first argument.
        words.remove(0);
        words.first().and_then(|name| applet::find(name))
    });
    match applet {
        Some(applet) => ExitCode::from(run(applet, &words[1..])),
        None => {
            say(&overview());
            ExitCode::from(2)
        }
    }
}

fn run(applet: &Applet, arguments: &[String]) -> u8 {
    if arguments.first().is_some_and(|word| word == "--help" || word == "-h") {
        show(&applet.help());
        return 0;
    }
    if let Err(mistake) = applet.check(arguments) {
        say(&format!("{}: {mistake}\nUsage: {}\n", applet.name, applet.usage));
        return 2;
    }
    match applet.name {
        onnode::NAME => onnode::run(),
        objects::LIST => objects::list(arguments),
        objects::REMOVE => objects::remove(arguments),
        name => admin::run(name, arguments),
    }
}

fn overview() -> String {
    let mut text = String::from("The cluster's administration programs; each has --help:\n");
    for applet in APPLETS {
        text.push_str(&format!("  {:<28} {}\n", applet.usage, applet.about));
    }
    text
}

/// Prints what was asked for. If nobody reads it any more there is nobody to tell.
fn show(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints what is wrong.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
