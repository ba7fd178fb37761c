// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the shell server writes to the console itself: one write at a time, in order.

use crate::limits::{CONSOLE_BYTES, CONSOLE_QUEUE_BYTES, RETRY_NS};
use crate::{Machine, Shell, Wait, text};
use alloc::string::{String, ToString};
use ipc_api::console::ConsoleWrite;
use ipc_api::{RescueEnd, RescueWrite};
use runtime::Cx;

/// Says how to leave, as the prompt takes the console away from the login shell.
pub(crate) const GREETING: &str = "\nKorrigan rescue: `help` lists commands, `exit` goes back\n";
/// The rescue prompt.
pub(crate) const PROMPT: &str = "rescue> ";

#[derive(Default)]
pub(crate) struct Console {
    queue: String,
    busy: bool,
    /// The ipc server died: the console driver is asked itself.
    direct: bool,
}

impl Console {
    /// The ipc server died.
    pub(crate) fn take_over(&mut self) {
        self.direct = true;
    }
}

impl<M: Machine> Shell<M> {
    /// Writes text to the console when what came before has been written.
    pub(crate) fn print_console(&mut self, cx: &mut Cx<'_>, text: &str) {
        if self.console.queue.len() + text.len() > CONSOLE_QUEUE_BYTES {
            return;
        }
        self.console.queue.push_str(text);
        if !self.console.busy {
            self.write_console(cx);
        }
    }

    pub(crate) fn write_console(&mut self, cx: &mut Cx<'_>) {
        let part = text::first(&self.console.queue, CONSOLE_BYTES).to_string();
        self.console.busy = !part.is_empty();
        if self.console.busy {
            if self.console.direct {
                let write = ConsoleWrite(part.replace('\n', "\r\n").into_bytes());
                self.ask(cx, &write, Wait::ConsoleWrite(part));
            } else {
                let write = RescueWrite { text: part.as_bytes().to_vec() };
                self.ask(cx, &write, Wait::ConsoleWrite(part));
            }
        }
    }

    /// The text leaves the queue when it is written: if the console was full it is written again.
    pub(crate) fn console_written(&mut self, cx: &mut Cx<'_>, text: String, written: bool) {
        if written {
            self.console.queue.drain(..text.len());
            self.write_console(cx);
        } else {
            self.later(cx, RETRY_NS, Wait::ConsoleRoom);
        }
    }

    pub(crate) fn end_rescue(&mut self, cx: &mut Cx<'_>) {
        self.rescue = None;
        self.ask(cx, &RescueEnd {}, Wait::RescueEnd);
    }
}
