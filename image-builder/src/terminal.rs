// SPDX-License-Identifier: MIT OR Apache-2.0
//! The person's terminal: raw while a console is shown on it, and put back whatever happens.

use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::sync::{Mutex, PoisonError};

/// How the terminal was before; kept here because a signal's handler must put it back too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal in raw mode; it is put back when this is dropped.
pub struct Raw(());

impl Raw {
    /// Makes standard input raw; `None` if it is no terminal.
    ///
    /// # Errors
    /// The terminal refuses.
    pub fn enter() -> Result<Option<Self>> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(None);
        }
        let before = tcgetattr(stdin).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(stdin, OptionalActions::Now, &raw).context("cannot make the terminal raw")?;
        Ok(Some(Self(())))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back; nothing happens if it is not raw.
pub fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before);
    }
}

/// Ends the tool on Ctrl-C, SIGTERM and SIGHUP with the terminal put back. The nodes end with the
/// tool (see [`crate::qemu::tied_to_us`]).
///
/// # Errors
/// The system refuses the handler.
pub fn end_on_signals() -> Result<()> {
    /// What a shell reports for a program that Ctrl-C ended.
    const INTERRUPTED: i32 = 130;
    ctrlc::set_handler(|| {
        restore();
        std::process::exit(INTERRUPTED);
    })
    .context("cannot catch Ctrl-C")
}
