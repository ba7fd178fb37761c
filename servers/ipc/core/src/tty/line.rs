// SPDX-License-Identifier: MIT OR Apache-2.0
//! The line discipline: from typed bytes to lines, echo and signals.
//!
//! # Model
//! `ready` holds what a read can take. In canonical mode it is cut into `lines`; a line that ends by
//! the end-of-file character holds no such character, so an empty one reads as end of file. `edit` is
//! the line being typed. In raw mode all of `ready` is one run.
//!
//! # Limits
//! `ready` and `edit` together hold [`INPUT_BYTES`]; the last byte is kept for a line's end. Beyond
//! it the bell rings and the byte is lost, as on Linux.
//!
//! # Source
//! termios(3).

use super::output::{Output, tab_width};
use super::termios::Termios;
use crate::limits::INPUT_BYTES;
use crate::transfer::Buffer;
use abi::linux::general::{
    ECHO, ECHOCTL, ECHOE, ECHOK, ECHOKE, ECHONL, ICANON, ICRNL, IEXTEN, IGNCR, INLCR, ISIG, ISTRIP,
    IXANY, IXON, NOFLSH, SIGINT, SIGQUIT, SIGTSTP, VEOF, VEOL, VEOL2, VERASE, VINTR, VKILL, VLNEXT,
    VQUIT, VREPRINT, VSTART, VSTOP, VSUSP, VWERASE,
};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

const BELL: u8 = 0x07;

#[derive(Default, Debug)]
pub(crate) struct Line {
    pub(crate) termios: Termios,
    pub(crate) ready: Buffer,
    lines: VecDeque<usize>,
    edit: Vec<u8>,
    /// Column where the edited line began, for erasing tabs.
    edit_column: usize,
    literal_next: bool,
}

impl Line {
    fn canonical(&self) -> bool {
        self.termios.local(ICANON)
    }

    /// Bytes that a read may take at once; `None` if it has to wait. In raw mode a run counts from
    /// `minimum` bytes on.
    pub(crate) fn readable(&self, minimum: usize) -> Option<usize> {
        if self.canonical() {
            return self.lines.front().copied();
        }
        (self.ready.len() >= minimum).then(|| self.ready.len())
    }

    /// `bytes` of the front have been read.
    pub(crate) fn consumed(&mut self, bytes: usize) {
        if let Some(front) = self.lines.front_mut() {
            *front = front.saturating_sub(bytes);
            if *front == 0 {
                self.lines.pop_front();
            }
        }
    }

    /// Bytes that were read and could not be delivered.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.ready.put_back(bytes);
        if self.canonical() {
            // The end of the line was read with them, or the rest of it still stands in front.
            match self.lines.front_mut() {
                Some(front) if bytes.last() != Some(&b'\n') => *front += bytes.len(),
                Some(_) | None => self.lines.push_front(bytes.len()),
            }
        }
    }

    pub(crate) fn set(&mut self, termios: Termios) {
        let before = core::mem::replace(&mut self.termios, termios);
        match (before.local(ICANON), self.canonical()) {
            (true, false) => {
                let edit = core::mem::take(&mut self.edit);
                self.ready.extend(&edit);
                self.lines.clear();
            }
            (false, true) if !self.ready.is_empty() => self.lines.push_back(self.ready.len()),
            (true, true) | (false, false) | (false, true) => {}
        }
        self.literal_next = false;
    }

    pub(crate) fn flush(&mut self) {
        self.ready.clear();
        self.lines.clear();
        self.edit.clear();
        self.literal_next = false;
    }

    /// A typed byte. Returns the signal that it means.
    pub(crate) fn input(&mut self, output: &mut Output, byte: u8) -> Option<u32> {
        let byte = if self.termios.input(ISTRIP) { byte & 0x7f } else { byte };
        if core::mem::take(&mut self.literal_next) {
            self.insert(output, byte);
            return None;
        }
        if self.flow(output, byte) {
            return None;
        }
        if let Some(signal) = self.signal(byte) {
            self.signalled(output, byte);
            return Some(signal);
        }
        let byte = match byte {
            b'\r' if self.termios.input(IGNCR) => return None,
            b'\r' if self.termios.input(ICRNL) => b'\n',
            b'\n' if self.termios.input(INLCR) => b'\r',
            _ => byte,
        };
        if self.canonical() {
            self.edit_byte(output, byte);
        } else {
            self.insert(output, byte);
        }
        None
    }

    /// Ctrl-S and Ctrl-Q.
    fn flow(&self, output: &mut Output, byte: u8) -> bool {
        if !self.termios.input(IXON) {
            return false;
        }
        if self.termios.is(VSTART, byte) {
            output.stopped = false;
            return true;
        }
        if self.termios.is(VSTOP, byte) {
            output.stopped = true;
            return true;
        }
        if self.termios.input(IXANY) {
            output.stopped = false;
        }
        false
    }

    fn signal(&self, byte: u8) -> Option<u32> {
        if !self.termios.local(ISIG) {
            return None;
        }
        [(VINTR, SIGINT), (VQUIT, SIGQUIT), (VSUSP, SIGTSTP)]
            .into_iter()
            .find(|(index, _)| self.termios.is(*index, byte))
            .map(|(_, signal)| signal)
    }

    fn signalled(&mut self, output: &mut Output, byte: u8) {
        output.stopped = false;
        if !self.termios.local(NOFLSH) {
            self.flush();
            output.clear();
        }
        if self.termios.local(ECHO) {
            self.echo_byte(output, byte);
        }
    }

    /// One byte in canonical mode.
    fn edit_byte(&mut self, output: &mut Output, byte: u8) {
        let extended = self.termios.local(IEXTEN);
        if self.termios.is(VERASE, byte) {
            self.erase(output);
        } else if extended && self.termios.is(VWERASE, byte) {
            self.erase_word(output);
        } else if self.termios.is(VKILL, byte) {
            self.kill(output, byte);
        } else if extended && self.termios.is(VREPRINT, byte) {
            self.reprint(output, byte);
        } else if extended && self.termios.is(VLNEXT, byte) {
            self.literal_next = true;
            if self.termios.local(ECHO) && self.termios.local(ECHOCTL) {
                output.echo(&self.termios, b'^');
                output.echo(&self.termios, 0x08);
            }
        } else if self.termios.is(VEOF, byte) {
            self.end_line();
        } else if byte == b'\n' {
            self.finish(output, byte, self.termios.local(ECHO) || self.termios.local(ECHONL));
        } else if self.termios.is(VEOL, byte) || (extended && self.termios.is(VEOL2, byte)) {
            self.finish(output, byte, self.termios.local(ECHO));
        } else {
            self.insert(output, byte);
        }
    }

    /// A byte that ends a line and belongs to it.
    fn finish(&mut self, output: &mut Output, byte: u8, echo: bool) {
        if self.ready.len() + self.edit.len() >= INPUT_BYTES {
            output.echo(&self.termios, BELL);
            return;
        }
        if echo {
            output.echo(&self.termios, byte);
        }
        self.edit.push(byte);
        self.end_line();
    }

    fn end_line(&mut self) {
        let edit = core::mem::take(&mut self.edit);
        // A line of no bytes takes no room in `ready`; this bounds how many there can be.
        if edit.is_empty() && self.lines.len() >= INPUT_BYTES {
            return;
        }
        self.ready.extend(&edit);
        self.lines.push_back(edit.len());
    }

    /// A byte that is data.
    fn insert(&mut self, output: &mut Output, byte: u8) {
        if self.ready.len() + self.edit.len() >= INPUT_BYTES - 1 {
            output.echo(&self.termios, BELL);
            return;
        }
        if self.edit.is_empty() {
            self.edit_column = output.column();
        }
        if self.termios.local(ECHO) {
            self.echo_byte(output, byte);
        }
        if self.canonical() {
            self.edit.push(byte);
        } else {
            self.ready.push(byte);
        }
    }

    fn shown_as_control(&self, byte: u8) -> bool {
        let control = (byte < 0x20 && byte != b'\t' && byte != b'\n') || byte == 0x7f;
        control && self.termios.local(ECHOCTL)
    }

    fn echo_byte(&self, output: &mut Output, byte: u8) {
        if self.shown_as_control(byte) {
            output.echo(&self.termios, b'^');
            output.echo(&self.termios, byte ^ 0x40);
        } else {
            output.echo(&self.termios, byte);
        }
    }

    /// Columns that `byte` takes on the screen when it stands at `column`.
    fn width(&self, byte: u8, column: usize) -> usize {
        match byte {
            b'\t' => tab_width(column),
            _ if self.shown_as_control(byte) => 2,
            // Control characters that are not shown, and the later bytes of a UTF-8 character.
            0..0x20 | 0x7f | 0x80..0xc0 => 0,
            _ => 1,
        }
    }

    fn width_of_edit(&self) -> usize {
        let end = self
            .edit
            .iter()
            .fold(self.edit_column, |column, byte| column + self.width(*byte, column));
        end - self.edit_column
    }

    /// Takes one character off the line: a byte, or all bytes of a UTF-8 character.
    fn pop(&mut self) -> bool {
        loop {
            match self.edit.pop() {
                Some(0x80..0xc0) if !self.edit.is_empty() => {}
                Some(_) => return true,
                None => return false,
            }
        }
    }

    /// Erases from the screen what the line has lost since it was `before` columns wide.
    fn show_erased(&self, output: &mut Output, before: usize) {
        if !self.termios.local(ECHO) {
            return;
        }
        if !self.termios.local(ECHOE) {
            self.echo_byte(output, self.termios.character(VERASE));
            return;
        }
        for _ in self.width_of_edit()..before {
            for byte in [0x08, b' ', 0x08] {
                output.echo(&self.termios, byte);
            }
        }
    }

    fn erase(&mut self, output: &mut Output) {
        let before = self.width_of_edit();
        if self.pop() {
            self.show_erased(output, before);
        }
    }

    fn erase_word(&mut self, output: &mut Output) {
        let before = self.width_of_edit();
        let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
        let mut popped = false;
        while self.edit.last().is_some_and(|byte| !in_word(byte)) {
            popped |= self.pop();
        }
        while self.edit.last().is_some_and(in_word) {
            popped |= self.pop();
        }
        if popped {
            self.show_erased(output, before);
        }
    }

    fn kill(&mut self, output: &mut Output, byte: u8) {
        let before = self.width_of_edit();
        self.edit.clear();
        if self.termios.local(ECHOKE) && self.termios.local(ECHOK) && self.termios.local(ECHOE) {
            self.show_erased(output, before);
        } else if self.termios.local(ECHO) {
            self.echo_byte(output, byte);
            if self.termios.local(ECHOK) {
                output.echo(&self.termios, b'\n');
            }
        }
    }

    fn reprint(&mut self, output: &mut Output, byte: u8) {
        if !self.termios.local(ECHO) {
            return;
        }
        self.echo_byte(output, byte);
        output.echo(&self.termios, b'\n');
        self.edit_column = output.column();
        for byte in &self.edit {
            self.echo_byte(output, *byte);
        }
    }
}
