// SPDX-License-Identifier: MIT OR Apache-2.0
//! Line editing of the rescue prompt: as little as works when nothing else does.

use super::output::Output;
use crate::limits::RESCUE_LINE_BYTES;
use alloc::vec::Vec;

/// Ctrl-], the key that asks for the rescue prompt.
pub(crate) const RESCUE_KEY: u8 = 0x1d;

#[derive(Default, Debug)]
pub(crate) struct Rescue {
    line: Vec<u8>,
}

impl Rescue {
    /// A typed byte; a whole line, without its end, when it is finished.
    pub(crate) fn input(&mut self, output: &mut Output, byte: u8) -> Option<Vec<u8>> {
        // A full queue only costs the echo.
        let mut show = |text: &[u8]| _ = output.rescue(text);
        match byte {
            b'\r' | b'\n' => {
                show(b"\n");
                return Some(core::mem::take(&mut self.line));
            }
            0x08 | 0x7f => {
                if self.line.pop().is_some() {
                    show(b"\x08 \x08");
                }
            }
            0x15 => {
                for _ in self.line.drain(..) {
                    show(b"\x08 \x08");
                }
            }
            0x20..0x7f if self.line.len() < RESCUE_LINE_BYTES => {
                self.line.push(byte);
                show(&[byte]);
            }
            _ => show(b"\x07"),
        }
        None
    }
}
