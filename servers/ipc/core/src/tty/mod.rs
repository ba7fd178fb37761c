// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console terminal of a node: line discipline, output, job control, and the calls that wait.
//!
//! # Model
//! ```text
//! console driver --EVENT_INPUT--> Line (echo to Output) --ready--> readers
//! writers --> Output --ConsoleWrite--> console driver --EVENT_ROOM--> Output
//! Ctrl-] switches input to the shell server's rescue prompt until RescueEnd.
//! ```

mod ioctl;
mod line;
mod output;
mod termios;

use crate::limits::INPUT_BYTES;
use crate::transfer::{Poller, Source, Taken, Target, Writer, fetch, wake_pollers};
use crate::watch::note_terminal;
use abi::linux::general::{
    ICANON, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, SIGTTIN, VMIN, VTIME,
};
use abi::{Errno, FileId, NodeId, ServerId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ipc_api::epoll::Changes;
use ipc_api::file::Caller;
use ipc_api::{
    EVENT_RESCUE, EVENT_RESCUE_INPUT, EVENT_TERMINAL_SIGNAL, RESCUE_KEY, RescueInput,
    TerminalSignal,
};
use line::Line;
use output::Output;
use runtime::Cx;

/// The cookie of every timer of the terminal: when one runs out all waiting reads are looked at.
pub(crate) const TIMER_COOKIE: u64 = 1;
/// Unit of VTIME.
const DECISECOND_NS: u64 = 100_000_000;

/// A blocked read.
#[derive(Debug)]
struct Reader {
    ticket: Ticket,
    from: NodeId,
    file: FileId,
    target: Target,
    len: usize,
    /// When VTIME ends it; in raw mode with VMIN above 0 it runs from the first byte on.
    deadline_ns: Option<u64>,
}

/// Whose terminal it is; 0 is nobody.
#[derive(Default, Debug)]
struct Job {
    session: u32,
    foreground: u32,
}

#[derive(Debug)]
pub(crate) struct Terminal {
    line: Line,
    output: Output,
    job: Job,
    /// Rows, columns and two sizes in pixels, as in `struct winsize`.
    window: [u16; 4],
    readers: VecDeque<Reader>,
    pub(crate) writers: VecDeque<Writer>,
    pub(crate) pollers: Vec<Poller>,
    pub(crate) changes: Changes,
    /// The shell server has the console.
    rescue: bool,
    /// There is no shell server any more.
    no_shell: bool,
    /// There is no console any more: calls end with EIO.
    no_console: bool,
}

impl Default for Terminal {
    fn default() -> Self {
        Self {
            line: Line::default(),
            output: Output::default(),
            job: Job::default(),
            window: [24, 80, 0, 0],
            readers: VecDeque::new(),
            writers: VecDeque::new(),
            pollers: Vec::new(),
            changes: Changes::default(),
            rescue: false,
            no_shell: false,
            no_console: false,
        }
    }
}

impl Terminal {
    /// Bytes came from the console.
    pub(crate) fn input(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first() {
            if self.rescue {
                cx.raise(ServerId::Shell, EVENT_RESCUE_INPUT, &RescueInput(rest.to_vec()));
                break;
            }
            self.input_byte(cx, *byte);
            rest = after;
        }
        self.restart_timers(cx);
        self.changes.ins = self.changes.ins.wrapping_add(1);
        self.pump(cx);
    }

    fn input_byte(&mut self, cx: &mut Cx<'_>, byte: u8) {
        if byte == RESCUE_KEY && !self.no_shell {
            self.rescue = true;
            self.output.stopped = false;
            cx.raise(ServerId::Shell, EVENT_RESCUE, &());
        } else if let Some(signal) = self.line.input(&mut self.output, byte) {
            self.signal(cx, self.job.foreground, signal);
        }
    }

    fn signal(&self, cx: &mut Cx<'_>, group: u32, signal: u32) {
        if group != 0 {
            cx.raise(ServerId::Proc, EVENT_TERMINAL_SIGNAL, &TerminalSignal { group, signal });
        }
    }

    /// Text of the rescue prompt or the log.
    pub(crate) fn rescue_write(&mut self, cx: &mut Cx<'_>, text: &[u8]) -> Result<(), Errno> {
        self.output.rescue(text)?;
        self.output.drain(cx);
        Ok(())
    }

    pub(crate) fn rescue_end(&mut self) {
        self.rescue = false;
    }

    /// The shell server died: what is typed goes to programs, for good.
    pub(crate) fn shell_down(&mut self) {
        self.rescue = false;
        self.no_shell = true;
    }

    /// The console driver died: nobody will type any more, and nobody read.
    pub(crate) fn console_down(&mut self, cx: &mut Cx<'_>) {
        self.no_console = true;
        self.changes.ins = self.changes.ins.wrapping_add(1);
        self.output.clear();
        for reader in core::mem::take(&mut self.readers) {
            end_read(cx, reader, Err(Errno::EIO));
        }
        for writer in core::mem::take(&mut self.writers) {
            writer.end(cx, Err(Errno::EIO));
        }
        self.pump(cx);
    }

    /// Fails if there is no console any more.
    pub(crate) fn check(&self) -> Result<(), Errno> {
        if self.no_console { Err(Errno::EIO) } else { Ok(()) }
    }

    /// The console driver has room again.
    pub(crate) fn room(&mut self, cx: &mut Cx<'_>) {
        self.output.room_again();
        self.changes.outs = self.changes.outs.wrapping_add(1);
        self.pump(cx);
    }

    /// A reader in the background gets SIGTTIN, and its call is run again when it is in front.
    pub(crate) fn check_reader(&self, cx: &mut Cx<'_>, caller: &Caller) -> Result<(), Errno> {
        let job = &self.job;
        let background =
            caller.session == job.session && job.foreground != 0 && caller.group != job.foreground;
        if caller.session != 0 && background {
            self.signal(cx, caller.group, SIGTTIN);
            return Err(Errno::ERESTART);
        }
        Ok(())
    }

    /// Reads now; `None` if the call has to wait.
    pub(crate) fn read(
        &mut self,
        cx: &mut Cx<'_>,
        target: Target,
        len: usize,
    ) -> Result<Option<Taken>, Errno> {
        self.check()?;
        if len == 0 {
            return Ok(Some(Taken::nothing()));
        }
        if !self.readers.is_empty() {
            return Ok(None);
        }
        let taken = self.take(cx, target, len)?;
        if taken.is_none() && self.returns_at_once() {
            return Ok(Some(Taken::nothing()));
        }
        Ok(taken)
    }

    fn take(
        &mut self,
        cx: &mut Cx<'_>,
        target: Target,
        len: usize,
    ) -> Result<Option<Taken>, Errno> {
        let Some(readable) = self.line.readable(self.minimum(len)) else { return Ok(None) };
        self.take_ready(cx, target, len.min(readable)).map(Some)
    }

    fn take_ready(&mut self, cx: &mut Cx<'_>, target: Target, len: usize) -> Result<Taken, Errno> {
        let taken = self.line.ready.take(cx, target, len)?;
        self.line.consumed(taken.bytes as usize);
        Ok(taken)
    }

    fn raw(&self) -> bool {
        !self.line.termios.local(ICANON)
    }

    /// Bytes that must be there before a read in raw mode ends by itself.
    fn minimum(&self, len: usize) -> usize {
        usize::from(self.line.termios.character(VMIN)).clamp(1, len.max(1))
    }

    fn time_ns(&self) -> u64 {
        u64::from(self.line.termios.character(VTIME)) * DECISECOND_NS
    }

    /// Raw mode, VMIN = VTIME = 0: a read never waits.
    fn returns_at_once(&self) -> bool {
        self.raw() && self.line.termios.character(VMIN) == 0 && self.time_ns() == 0
    }

    pub(crate) fn wait_to_read(
        &mut self,
        cx: &mut Cx<'_>,
        (ticket, from, file): (Ticket, NodeId, FileId),
        target: Target,
        len: usize,
    ) {
        let from_the_start = self.raw() && self.line.termios.character(VMIN) == 0;
        let mut reader = Reader { ticket, from, file, target, len, deadline_ns: None };
        if from_the_start || (self.raw() && !self.line.ready.is_empty()) {
            self.start_timer(cx, &mut reader);
        }
        self.readers.push_back(reader);
    }

    /// Without room for one more timer the read waits for bytes alone.
    fn start_timer(&self, cx: &mut Cx<'_>, reader: &mut Reader) {
        stop_timer(cx, reader);
        let time_ns = self.time_ns();
        if time_ns == 0 {
            return;
        }
        let deadline_ns = cx.now_ns() + time_ns;
        if cx.arm(deadline_ns, TIMER_COOKIE).is_ok() {
            reader.deadline_ns = Some(deadline_ns);
        }
    }

    /// A byte came: the time between bytes begins anew.
    fn restart_timers(&mut self, cx: &mut Cx<'_>) {
        if !self.raw() || self.line.termios.character(VMIN) == 0 {
            return;
        }
        let mut readers = core::mem::take(&mut self.readers);
        if let Some(reader) = readers.front_mut() {
            self.start_timer(cx, reader);
        }
        self.readers = readers;
    }

    /// A timer ran out.
    pub(crate) fn timer(&mut self, cx: &mut Cx<'_>) {
        let now_ns = cx.now_ns();
        let due = |reader: &Reader| reader.deadline_ns.is_some_and(|at| at <= now_ns);
        while let Some(at) = self.readers.iter().position(due) {
            let Some(reader) = self.readers.remove(at) else { return };
            let result = self.take_ready(cx, reader.target, reader.len);
            end_read(cx, reader, result);
        }
        self.pump(cx);
    }

    /// Writes what goes out now; the number of bytes.
    pub(crate) fn write(
        &mut self,
        cx: &mut Cx<'_>,
        source: &Source,
        len: usize,
    ) -> Result<usize, Errno> {
        self.check()?;
        if !self.writers.is_empty() {
            return Ok(0);
        }
        let mut done = 0;
        while done < len {
            let moved = match self.put(cx, source, done, len) {
                Ok(0) => break,
                Ok(moved) => moved,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            done += moved;
        }
        Ok(done)
    }

    /// Queues one run of bytes and hands it to the driver.
    fn put(
        &mut self,
        cx: &mut Cx<'_>,
        source: &Source,
        done: usize,
        len: usize,
    ) -> Result<usize, Errno> {
        let part = (len - done).min(self.output.room());
        if part == 0 {
            return Ok(0);
        }
        for byte in fetch(cx, source, done, part)? {
            self.output.write(&self.line.termios, byte);
        }
        self.output.drain(cx);
        Ok(part)
    }

    /// Serves whoever can be served now.
    fn pump(&mut self, cx: &mut Cx<'_>) {
        self.output.drain(cx);
        while let Some(reader) = self.readers.pop_front() {
            match self.take(cx, reader.target, reader.len) {
                Ok(Some(taken)) => end_read(cx, reader, Ok(taken)),
                Ok(None) => {
                    self.readers.push_front(reader);
                    break;
                }
                Err(errno) => end_read(cx, reader, Err(errno)),
            }
        }
        while let Some(mut writer) = self.writers.pop_front() {
            match self.put(cx, &writer.source, writer.done, writer.len) {
                Ok(0) => {
                    self.writers.push_front(writer);
                    break;
                }
                Ok(moved) => {
                    writer.done += moved;
                    if writer.done == writer.len {
                        writer.end(cx, Ok(()));
                    } else {
                        self.writers.push_front(writer);
                    }
                }
                Err(errno) => writer.end(cx, Err(errno)),
            }
        }
        let mut pollers = core::mem::take(&mut self.pollers);
        wake_pollers(cx, &mut pollers, |poller| self.poll(poller.events));
        self.pollers = pollers;
        note_terminal(cx);
    }

    /// Which of `events` hold.
    pub(crate) fn poll(&self, events: u32) -> u32 {
        let mut ready = 0;
        let minimum = if self.time_ns() == 0 { self.minimum(usize::MAX) } else { 1 };
        if self.line.readable(minimum).is_some() {
            ready |= POLLIN | POLLRDNORM;
        }
        if self.output.room() > 0 {
            ready |= POLLOUT | POLLWRNORM;
        }
        if self.no_console {
            return ready & events | POLLERR | POLLHUP;
        }
        ready & events
    }

    /// Bytes that were read and could not be delivered.
    pub(crate) fn put_back(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) -> Result<(), Errno> {
        if self.line.ready.len() + bytes.len() > 2 * INPUT_BYTES {
            return Err(Errno::ENOSPC);
        }
        self.line.put_back(bytes);
        self.changes.ins = self.changes.ins.wrapping_add(1);
        self.pump(cx);
        Ok(())
    }

    /// Nobody has it open any more: the next session finds it as the first one did. Output that was
    /// written still goes out.
    pub(crate) fn hang_up(&mut self, cx: &mut Cx<'_>) {
        self.line = Line::default();
        self.job = Job::default();
        self.output.stopped = false;
        self.output.drain(cx);
    }

    /// Ends a waiting call, if it waits here.
    pub(crate) fn cancel(&mut self, cx: &mut Cx<'_>, ticket: Ticket) -> bool {
        if let Some(at) = self.writers.iter().position(|writer| writer.ticket == ticket) {
            if let Some(writer) = self.writers.remove(at) {
                writer.end(cx, Err(Errno::ECANCELED));
            }
            return true;
        }
        if let Some(at) = self.readers.iter().position(|reader| reader.ticket == ticket) {
            if let Some(reader) = self.readers.remove(at) {
                end_read(cx, reader, Err(Errno::ECANCELED));
            }
            // The next one may be content with less.
            self.pump(cx);
            return true;
        }
        let waiting = self.pollers.len();
        self.pollers.retain(|poller| poller.ticket != ticket);
        if self.pollers.len() < waiting {
            cx.complete::<()>(ticket, Err(Errno::ECANCELED));
        }
        self.pollers.len() < waiting
    }

    /// Ends the calls for which `gone` holds: their node is down, or their file is closed.
    pub(crate) fn forget(&mut self, cx: &mut Cx<'_>, gone: impl Fn(NodeId, FileId) -> bool) {
        let readers = self.readers.iter().map(|call| (call.ticket, call.from, call.file));
        let writers = self.writers.iter().map(|call| (call.ticket, call.from, call.file));
        let pollers = self.pollers.iter().map(|call| (call.ticket, call.from, call.file));
        let calls = readers.chain(writers).chain(pollers);
        let tickets: Vec<Ticket> =
            calls.filter(|(_, from, file)| gone(*from, *file)).map(|(ticket, ..)| ticket).collect();
        for ticket in tickets {
            self.cancel(cx, ticket);
        }
    }
}

fn stop_timer(cx: &mut Cx<'_>, reader: &mut Reader) {
    if let Some(deadline_ns) = reader.deadline_ns.take() {
        cx.disarm(deadline_ns, TIMER_COOKIE);
    }
}

fn end_read(cx: &mut Cx<'_>, mut reader: Reader, result: Result<Taken, Errno>) {
    stop_timer(cx, &mut reader);
    match result {
        Ok(taken) => taken.complete(cx, reader.ticket),
        Err(errno) => cx.complete::<()>(reader.ticket, Err(errno)),
    }
}
