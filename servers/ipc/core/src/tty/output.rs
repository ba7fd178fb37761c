// SPDX-License-Identifier: MIT OR Apache-2.0
//! A terminal's output: processing of what programs and echo write, and the queue to the console
//! driver.
//!
//! # Limits
//! Programs fill at most [`OUTPUT_BYTES`]; echo and the rescue prompt have [`ECHO_BYTES`] more, and
//! what does not fit there is dropped and counted.

use super::termios::Termios;
use crate::limits::{CONSOLE_BYTES, ECHO_BYTES, OUTPUT_BYTES};
use abi::Errno;
use abi::linux::general::{OCRNL, ONLCR, ONLRET, ONOCR, OPOST, XTABS};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ipc_api::console::ConsoleWrite;
use runtime::Cx;

/// Columns between tab stops.
const TAB_COLUMNS: usize = 8;

#[derive(Default, Debug)]
pub(crate) struct Output {
    queue: VecDeque<u8>,
    column: usize,
    /// The driver's queue is full; it says when it is not.
    full: bool,
    /// Ctrl-S or TCOOFF.
    pub(crate) stopped: bool,
    dropped: u64,
}

impl Output {
    /// Column of the cursor, from 0.
    pub(crate) fn column(&self) -> usize {
        self.column
    }

    /// Bytes that a program may write now.
    pub(crate) fn room(&self) -> usize {
        OUTPUT_BYTES.saturating_sub(self.queue.len())
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
    }

    /// A program's byte, or one of echo for which there is room.
    pub(crate) fn write(&mut self, termios: &Termios, byte: u8) {
        if !termios.output(OPOST) {
            self.put(byte);
            return;
        }
        match byte {
            b'\n' if termios.output(ONLCR) => {
                self.put(b'\r');
                self.put(b'\n');
            }
            b'\n' if termios.output(ONLRET) => {
                self.put(byte);
                self.column = 0;
            }
            b'\r' if termios.output(ONOCR) && self.column == 0 => {}
            b'\r' if termios.output(OCRNL) => self.put(b'\n'),
            b'\t' if termios.output(XTABS) => {
                for _ in 0..tab_width(self.column) {
                    self.put(b' ');
                }
            }
            _ => self.put(byte),
        }
    }

    /// A byte of echo.
    pub(crate) fn echo(&mut self, termios: &Termios, byte: u8) {
        if self.queue.len() >= OUTPUT_BYTES + ECHO_BYTES {
            self.dropped += 1;
        } else {
            self.write(termios, byte);
        }
    }

    /// Text of the rescue prompt: past the settings, with line ends made right.
    pub(crate) fn rescue(&mut self, text: &[u8]) -> Result<(), Errno> {
        if self.queue.len() + text.len() > OUTPUT_BYTES + ECHO_BYTES {
            return Err(Errno::EAGAIN);
        }
        for byte in text {
            if *byte == b'\n' {
                self.put(b'\r');
            }
            self.put(*byte);
        }
        Ok(())
    }

    fn put(&mut self, byte: u8) {
        match byte {
            b'\r' => self.column = 0,
            b'\x08' => self.column = self.column.saturating_sub(1),
            b'\t' => self.column += tab_width(self.column),
            // Control characters and the later bytes of a UTF-8 character take no column.
            0..0x20 | 0x7f | 0x80..0xc0 => {}
            _ => self.column += 1,
        }
        self.queue.push_back(byte);
    }

    /// The driver has room again.
    pub(crate) fn room_again(&mut self) {
        self.full = false;
    }

    /// Hands the queue to the driver, as far as it takes it.
    pub(crate) fn drain(&mut self, cx: &mut Cx<'_>) {
        while !self.queue.is_empty() && !self.full && !self.stopped {
            let len = self.queue.len().min(CONSOLE_BYTES);
            let part: Vec<u8> = self.queue.iter().take(len).copied().collect();
            match cx.leaf(&ConsoleWrite(part)) {
                Ok(()) => {
                    self.queue.drain(..len);
                }
                Err(Errno::EAGAIN) => self.full = true,
                Err(_) => {
                    // No console any more: nobody can see it, and writers must not hang.
                    self.dropped += self.queue.len() as u64;
                    self.queue.clear();
                }
            }
        }
    }
}

/// Columns from `column` to the next tab stop.
pub(crate) fn tab_width(column: usize) -> usize {
    TAB_COLUMNS - column % TAB_COLUMNS
}
