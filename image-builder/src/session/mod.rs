// SPDX-License-Identifier: MIT OR Apache-2.0
//! Types commands at a login shell and finds their output and status in what the console prints,
//! without any I/O.
//!
//! # Model
//! ```text
//! Booting --prompt--> Preparing --prompt--> Idle --start--> Typed --begin--> Running
//!                                            ^                                  |
//!                                            +------prompt------ Done <--status-+
//! ```
//! A command is typed as `printf BEGIN; eval 'COMMAND'; printf STATUS`, as one line for the shell,
//! so that a command that reads the terminal does not read the mark. A prompt while it runs means
//! that the shell gave the line up (a syntax error, `exit`, Ctrl-C); then the status is asked for
//! by a line of its own.
//! The shell may show more prompts while it takes what was typed: one for each 1,023 bytes of a line,
//! and one for each Enter that somebody typed before. They mean nothing.

mod scanner;
pub mod shell;

pub use scanner::{Scanner, Token};

use anyhow::{Result, ensure};

/// Typed first: with the echo off, busybox's shell reads whole lines instead of editing them, which
/// would cut them at 1,024 bytes. Continuation lines get no prompt, as it would be in the output.
const PREPARE: &[u8] = b"stty -echo; PS2=\n";
const ASK_STATUS: &[u8] = b"printf '\\036%d\\036' $?\n";
/// Bytes of a line that a terminal takes, with its end (Linux's canonical mode).
const LINE_BYTES_MAX: usize = 4096;

/// What the caller does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Type this on the console.
    Type(Vec<u8>),
    /// The command printed this.
    Output(Vec<u8>),
    /// The command ended with this status, and the shell is ready for the next.
    Done(u8),
    /// The shell is ready for the first command.
    Ready,
}

enum State {
    Booting,
    Preparing,
    Idle,
    Typed,
    Running,
    Asking,
    Ended { status: u8 },
}

/// A session at a login shell.
pub struct Session {
    scanner: Scanner,
    state: State,
}

impl Default for Session {
    fn default() -> Self {
        Self { scanner: Scanner::default(), state: State::Booting }
    }
}

/// What is typed for a command.
///
/// # Errors
/// A line of it is longer than a terminal takes, or it holds bytes that a terminal acts on.
fn typed_line(command: &str) -> Result<Vec<u8>> {
    let quoted = command.replace('\'', r"'\''");
    let line = format!("printf '\\036B\\036'; eval '{quoted}'; printf '\\036%d\\036' $?\n");
    for part in line.split_inclusive('\n') {
        ensure!(
            part.len() <= LINE_BYTES_MAX,
            "a line of a command needs {} bytes as typed, and a terminal takes {LINE_BYTES_MAX}: \
             put it into a script and bring that with --overlay",
            part.len()
        );
    }
    let control = line.bytes().find(|&byte| (byte < 0x20 && byte != b'\n') || byte == 0x7f);
    ensure!(
        control.is_none(),
        "a command holds the control character {:#04x}, on which a terminal acts: write it as an \
         escape of printf",
        control.unwrap_or_default()
    );
    Ok(line.into_bytes())
}

impl Session {
    /// Starts a command; returns what to type.
    ///
    /// # Errors
    /// The command cannot be typed.
    ///
    /// # Panics
    /// If the last command has not ended.
    pub fn start(&mut self, command: &str) -> Result<Vec<u8>> {
        assert!(matches!(self.state, State::Idle), "the last command has ended");
        let line = typed_line(command)?;
        self.state = State::Typed;
        Ok(line)
    }

    /// True if the shell is ready for a command.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Takes what the console printed; returns what to do, in order.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Action> {
        let tokens = self.scanner.feed(bytes);
        tokens.into_iter().filter_map(|token| self.token(token)).collect()
    }

    fn token(&mut self, token: Token) -> Option<Action> {
        match (&mut self.state, token) {
            (State::Booting, Token::Prompt) => {
                self.state = State::Preparing;
                Some(Action::Type(PREPARE.to_vec()))
            }
            (State::Preparing, Token::Prompt) => {
                self.state = State::Idle;
                Some(Action::Ready)
            }
            (State::Typed, Token::Begin) => {
                self.state = State::Running;
                None
            }
            (State::Running, Token::Output(bytes)) => Some(Action::Output(bytes)),
            (State::Running | State::Asking, Token::Status(status)) => {
                self.state = State::Ended { status };
                None
            }
            (State::Running | State::Asking, Token::Prompt) => {
                self.state = State::Asking;
                Some(Action::Type(ASK_STATUS.to_vec()))
            }
            (State::Ended { status }, Token::Prompt) => {
                let status = *status;
                self.state = State::Idle;
                Some(Action::Done(status))
            }
            // Echo, boot messages, prompts between commands: not a command's output.
            (
                State::Booting
                | State::Preparing
                | State::Idle
                | State::Typed
                | State::Asking
                | State::Ended { .. },
                Token::Output(_) | Token::Begin | Token::Status(_),
            )
            | (State::Idle | State::Typed, Token::Prompt)
            | (State::Running, Token::Begin) => None,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
