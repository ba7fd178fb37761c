// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rescue prompt: line editing, as little as works when nothing else does.

use crate::limits::RESCUE_LINE_BYTES;
use crate::{Machine, Origin, Shell, console};
use alloc::string::String;
use alloc::vec::Vec;
use ipc_api::RESCUE_KEY;
use runtime::Cx;

#[derive(Default, Debug)]
pub(crate) struct Line(Vec<u8>);

impl Line {
    /// A typed byte: what to show, and a whole line, without its end, when it is finished.
    fn input(&mut self, byte: u8) -> (String, Option<Vec<u8>>) {
        const ERASE: &str = "\x08 \x08";
        match byte {
            b'\r' | b'\n' => ("\n".into(), Some(core::mem::take(&mut self.0))),
            0x08 | 0x7f => (self.0.pop().map_or("", |_| ERASE).into(), None),
            0x15 => (ERASE.repeat(self.0.drain(..).count()), None),
            0x20..0x7f if self.0.len() < RESCUE_LINE_BYTES => {
                self.0.push(byte);
                (char::from(byte).into(), None)
            }
            _ => ("\x07".into(), None),
        }
    }
}

impl<M: Machine> Shell<M> {
    /// Shows the prompt.
    pub(crate) fn begin_rescue(&mut self, cx: &mut Cx<'_>) {
        self.rescue = Some(Line::default());
        self.print_console(cx, console::GREETING);
        self.print_console(cx, console::PROMPT);
    }

    /// Bytes were typed at the prompt.
    pub(crate) fn rescue_input(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        for byte in bytes {
            let Some(line) = &mut self.rescue else { return };
            let (echo, ended) = line.input(*byte);
            self.print_console(cx, &echo);
            if let Some(line) = ended {
                self.rescue_line(cx, &line);
            }
        }
    }

    /// Bytes were typed on the console, which is this server's own as the ipc server died.
    pub(crate) fn console_input(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        if self.rescue.is_some() {
            self.rescue_input(cx, bytes);
        } else if let Some(at) = bytes.iter().position(|byte| *byte == RESCUE_KEY) {
            self.begin_rescue(cx);
            self.rescue_input(cx, &bytes[at + 1..]);
        }
    }

    fn rescue_line(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        if words.is_empty() {
            self.print_console(cx, console::PROMPT);
        } else {
            self.run(cx, Origin::Rescue, &words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_edited_bounded_and_ends_with_return() {
        let mut line = Line::default();
        let mut shown = String::new();
        for byte in b"halx\x7ft" {
            shown.push_str(&line.input(*byte).0);
        }
        assert_eq!(shown, "halx\x08 \x08t");
        assert_eq!(line.input(b'\r'), ("\n".into(), Some(b"halt".to_vec())));
        for _ in 0..RESCUE_LINE_BYTES {
            assert_eq!(line.input(b'a'), ("a".into(), None));
        }
        assert_eq!(line.input(b'a'), ("\x07".into(), None));
        assert_eq!(line.input(0x15).0.len(), 3 * RESCUE_LINE_BYTES);
        assert_eq!(line.input(b'\n').1, Some(Vec::new()));
    }
}
