// SPDX-License-Identifier: MIT OR Apache-2.0
//! `onnode NODE PROGRAM ARGUMENT...`: moves itself, then becomes the program.

use crate::say;
use std::env;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

pub(crate) const NAME: &str = "onnode";
/// Where a process reads and changes its node.
const NODE: &str = "/proc/self/node";
/// The node cannot be reached.
const UNREACHABLE: u8 = 125;

/// Ends only if the program cannot be started: with the exit status that says why.
pub(crate) fn run() -> u8 {
    // The program's words are passed on byte by byte, so they are taken as the system gave them.
    let mut words = env::args_os().skip_while(|word| !names_us(word)).skip(1);
    let (Some(node), Some(program)) = (words.next(), words.next()) else { return 2 };
    let node = node.to_string_lossy().into_owned();
    let moved = OpenOptions::new().write(true).open(NODE);
    if let Err(error) = moved.and_then(|mut file| file.write_all(node.as_bytes())) {
        say(&format!("onnode: cannot move to node {node}: {error}; `nodes` shows which answer\n"));
        return UNREACHABLE;
    }
    let error = Command::new(&program).args(words).exec();
    say(&format!("onnode: {}: {error}\n", program.to_string_lossy()));
    if error.kind() == ErrorKind::NotFound { 127 } else { 126 }
}

fn names_us(word: &OsString) -> bool {
    word.to_string_lossy().rsplit('/').next() == Some(NAME)
}
