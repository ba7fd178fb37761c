// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decisions: what to send when, what to raise.
//!
//! # Source
//! PC16550D data sheet.

use abi::{Errno, ServerId, Ticket};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use ipc_api::console::{ConsoleInput, ConsoleWrite, EVENT_INPUT, EVENT_ROOM};
use runtime::{Answer, Bulk, Client, Core, Cx, Event, Msg, NodeReply, Operation, Wire};

/// Output that waits for the transmitter.
pub const QUEUE_BYTES: usize = 16 * 1024;
/// The transmitter's FIFO.
const FIFO_BYTES: usize = 16;
/// Input raised at once.
const INPUT_BYTES: usize = 256;

const DATA: u16 = 0;
const INTERRUPT_ENABLE: u16 = 1;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;

const ON_INPUT: u8 = 1;
const ON_EMPTY: u8 = 2;
const FIFO_ON_AND_CLEAR: u8 = 0xc7;
const EIGHT_BITS: u8 = 3;
const READY_AND_INTERRUPTS: u8 = 0x0b;
const HAS_INPUT: u8 = 1;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// The chip's registers, 0 to 7.
pub trait Uart {
    /// Reads one.
    fn read(&mut self, register: u16) -> u8;
    /// Writes one.
    fn write(&mut self, register: u16, value: u8);
}

/// The console.
pub struct ConsoleCore<U> {
    uart: U,
    queue: VecDeque<u8>,
    refused: bool,
    enabled: u8,
    /// Who gets what is typed, and writes: the shell server only after the ipc server's death.
    user: ServerId,
}

impl<U: Uart> ConsoleCore<U> {
    /// The console on this chip.
    pub fn new(uart: U) -> Self {
        Self { uart, queue: VecDeque::new(), refused: false, enabled: 0, user: ServerId::Ipc }
    }

    /// The chip wants something.
    pub fn interrupt(&mut self, cx: &mut Cx<'_>) {
        let mut input = Vec::new();
        while self.uart.read(LINE_STATUS) & HAS_INPUT != 0 {
            input.push(self.uart.read(DATA));
            if input.len() == INPUT_BYTES {
                self.raise(cx, core::mem::take(&mut input));
            }
        }
        if !input.is_empty() {
            self.raise(cx, input);
        }
        self.feed();
        if self.refused && self.queue.len() <= QUEUE_BYTES / 2 {
            self.refused = false;
            cx.raise(self.user, EVENT_ROOM, &());
        }
    }

    fn raise(&self, cx: &mut Cx<'_>, input: Vec<u8>) {
        cx.raise(self.user, EVENT_INPUT, &ConsoleInput(input));
    }

    fn feed(&mut self) {
        while !self.queue.is_empty() && self.uart.read(LINE_STATUS) & TRANSMITTER_EMPTY != 0 {
            for byte in self.queue.drain(..FIFO_BYTES.min(self.queue.len())) {
                self.uart.write(DATA, byte);
            }
        }
        let wanted = if self.queue.is_empty() { ON_INPUT } else { ON_INPUT | ON_EMPTY };
        if self.enabled != wanted {
            self.enabled = wanted;
            self.uart.write(INTERRUPT_ENABLE, wanted);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if self.queue.len() + bytes.len() > QUEUE_BYTES {
            self.refused = true;
            return Err(Errno::EAGAIN);
        }
        self.queue.extend(bytes);
        self.feed();
        Ok(())
    }
}

impl<U: Uart> Core for ConsoleCore<U> {
    fn start(&mut self, _cx: &mut Cx<'_>) {
        self.uart.write(INTERRUPT_ENABLE, 0);
        self.uart.write(LINE_CONTROL, EIGHT_BITS);
        self.uart.write(FIFO_CONTROL, FIFO_ON_AND_CLEAR);
        self.uart.write(MODEM_CONTROL, READY_AND_INTERRUPTS);
        self.feed();
    }

    fn request(
        &mut self,
        _cx: &mut Cx<'_>,
        from: Client,
        op: u16,
        msg: &Msg,
        _bulk: &mut Bulk<'_>,
    ) -> Answer {
        let may = matches!(from, Client::Server { id, .. } if id == self.user);
        if op != ConsoleWrite::NUMBER || !may {
            return Answer::Failed(Errno::ENOSYS);
        }
        Answer::from_result(ConsoleWrite::get(msg).and_then(|write| self.write(&write.0)))
    }

    fn completion(&mut self, _cx: &mut Cx<'_>, _cookie: u64, _result: Result<NodeReply, Errno>) {}

    fn event(&mut self, _cx: &mut Cx<'_>, event: Event) {
        match event {
            Event::ServerDown(ServerId::Ipc) => self.user = ServerId::Shell,
            Event::ServerDown(_)
            | Event::Upcall { .. }
            | Event::Timer(_)
            | Event::NodeDown(_)
            | Event::NodeUp(_) => {}
        }
    }

    fn cancel(&mut self, _cx: &mut Cx<'_>, _ticket: Ticket) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Fake {
        sent: Vec<u8>,
        room: usize,
        enabled: u8,
    }

    impl Uart for Fake {
        fn read(&mut self, register: u16) -> u8 {
            if register == LINE_STATUS && self.room > 0 { TRANSMITTER_EMPTY } else { 0 }
        }

        fn write(&mut self, register: u16, value: u8) {
            match register {
                DATA => {
                    self.room -= 1;
                    self.sent.push(value);
                }
                INTERRUPT_ENABLE => self.enabled = value,
                _ => {}
            }
        }
    }

    #[test]
    fn write_to_a_busy_transmitter_waits_for_its_interrupt() {
        let mut console = ConsoleCore::new(Fake::default());
        console.write(b"hello").expect("the queue is empty");
        assert_eq!((console.uart.sent.len(), console.uart.enabled), (0, ON_INPUT | ON_EMPTY));
        console.uart.room = FIFO_BYTES;
        console.feed();
        assert_eq!((console.uart.sent.as_slice(), console.uart.enabled), (&b"hello"[..], ON_INPUT));
    }

    #[test]
    fn write_beyond_the_queue_is_refused_whole() {
        let mut console = ConsoleCore::new(Fake::default());
        console.write(&[b'x'; QUEUE_BYTES]).expect("it fits");
        assert_eq!(console.write(b"y"), Err(Errno::EAGAIN));
        assert_eq!(console.queue.len(), QUEUE_BYTES);
    }
}
